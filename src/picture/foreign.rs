//! Files of other programs, by their first bytes: what they are, and the way out.

use crate::error::Error;

/// What a file is that is no picture for this program, and the way out; `None` for a file that may
/// be a picture. `first_bytes`: 1 KB is enough; `name` helps where the bytes say little.
#[must_use]
pub fn foreign_format(first_bytes: &[u8], name: Option<&str>) -> Option<Error> {
    let _ = (first_bytes, name);
    None
}
