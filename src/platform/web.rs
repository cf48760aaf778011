//! The same API on wasm32: one thread, no files.

use crate::error::Result;

/// Calls `work(i)` for every `i < count`, in order.
///
/// # Errors
/// The first error that `work` returns; no call follows it.
pub fn for_each_index(count: usize, work: impl Fn(usize) -> Result<()>) -> Result<()> {
    (0..count).try_for_each(work)
}

/// Calls `work` with every part in turn.
pub fn for_each_part<T>(parts: Vec<T>, work: impl Fn(T)) {
    parts.into_iter().for_each(work);
}

/// The results of `work` on every part, in order.
pub fn map_parts<P, T>(parts: Vec<P>, work: impl Fn(P) -> T) -> Vec<T> {
    parts.into_iter().map(work).collect()
}

/// Runs `work`; there is no pool.
pub fn on_pool<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Seconds since some fixed moment.
#[must_use]
pub fn seconds() -> f64 {
    js_sys::Date::now() / 1000.0
}

/// Threads of this instance: one. The page distributes blocks over workers itself.
#[must_use]
pub fn threads() -> usize {
    1
}
