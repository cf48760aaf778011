//! Buffers that one step leaves to the next. They are tens of megabytes, which an allocator would
//! hand back to the system each time, only to have every page mapped and cleared again while other
//! threads wait.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::engine::AlignedBuffer;

/// Buffers at hand by their values; clones share them.
#[derive(Debug, Clone, Default)]
pub struct BufferPool(Arc<Mutex<BTreeMap<usize, Vec<AlignedBuffer>>>>);

impl BufferPool {
    fn at_hand(&self) -> MutexGuard<'_, BTreeMap<usize, Vec<AlignedBuffer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer of so many lines whose values are whatever was left there: for who writes all of
    /// them.
    pub fn any(&self, lines: usize) -> AlignedBuffer {
        let spare =
            self.at_hand().get_mut(&(lines * crate::engine::PATCH_BATCH)).and_then(Vec::pop);
        spare.unwrap_or_else(|| AlignedBuffer::zeroed(lines))
    }

    /// A buffer of zeros.
    pub fn zeroed(&self, lines: usize) -> AlignedBuffer {
        let mut buffer = self.any(lines);
        buffer.fill(0.0);
        buffer
    }

    /// Takes buffers back.
    pub fn give(&self, buffers: impl IntoIterator<Item = AlignedBuffer>) {
        let mut at_hand = self.at_hand();
        for buffer in buffers {
            at_hand.entry(buffer.len()).or_default().push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_comes_back_clean_and_of_the_right_length() {
        let pool = BufferPool::default();
        let mut used = pool.zeroed(3);
        used.fill(7.0);
        let place = used.as_ptr();
        pool.clone().give([used, AlignedBuffer::zeroed(2)]);
        let again = pool.zeroed(3);
        assert_eq!(again.as_ptr(), place, "the same memory");
        assert!(again.iter().all(|&v| v == 0.0));
        assert_eq!(pool.any(3).len(), again.len(), "another where none is left");
    }
}
