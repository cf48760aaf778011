//! One thread, no files.

use crate::error::Result;

/// Calls `work(i)` for every `i < count`, in order.
///
/// # Errors
/// Whatever `work` returns.
pub fn for_each_index(count: usize, work: impl Fn(usize) -> Result<()>) -> Result<()> {
    (0..count).try_for_each(work)
}
