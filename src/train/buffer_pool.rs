//! Buffers that one step leaves to the next. They take tens of megabytes. An allocator would return
//! them to the system after each step, and the system would map and clear every page again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::engine::{AlignedBuffer, PATCH_BATCH};

/// Free buffers by length, in values; clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct BufferPool(Arc<Mutex<BTreeMap<usize, Vec<AlignedBuffer>>>>);

impl BufferPool {
    fn free(&self) -> MutexGuard<'_, BTreeMap<usize, Vec<AlignedBuffer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer of `positions` × [`PATCH_BATCH`] values with unspecified content, for code that
    /// writes all of them.
    pub(super) fn take(&self, positions: usize) -> AlignedBuffer {
        let free = self.free().get_mut(&(positions * PATCH_BATCH)).and_then(Vec::pop);
        free.unwrap_or_else(|| AlignedBuffer::zeroed(positions))
    }

    /// A buffer of zeros.
    pub(super) fn take_zeroed(&self, positions: usize) -> AlignedBuffer {
        let mut buffer = self.take(positions);
        buffer.fill(0.0);
        buffer
    }

    /// Returns buffers to the pool.
    pub(super) fn give_back(&self, buffers: impl IntoIterator<Item = AlignedBuffer>) {
        let mut free = self.free();
        for buffer in buffers {
            free.entry(buffer.len()).or_default().push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returned_buffer_is_used_again_for_its_own_length_alone() {
        let pool = BufferPool::default();
        let mut used = pool.take_zeroed(3);
        used.fill(7.0);
        let address = used.as_ptr();
        pool.clone().give_back([used, AlignedBuffer::zeroed(2)]);
        let again = pool.take_zeroed(3);
        assert_eq!(again.as_ptr(), address, "the same memory");
        assert!(again.iter().all(|&v| v == 0.0));
        assert_eq!(pool.take(3).len(), again.len(), "a new one where none is left");
    }
}
