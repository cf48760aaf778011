//! What differs between a computer and a browser, behind one API. Above this floor only `lib.rs`
//! and the model file's load and save ask for the target.

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(not(target_arch = "wasm32"))]
pub use native::{
    for_each_index, for_each_part, map_parts, on_pool, read_file, seconds, threads, write_atomic,
    write_streamed,
};

#[cfg(target_arch = "wasm32")]
mod web;
#[cfg(target_arch = "wasm32")]
pub use web::{for_each_index, for_each_part, map_parts, on_pool, seconds, threads};

/// Whether this machine multiplies and adds in one instruction. wasm does not; there a fused
/// operation is a slow function.
pub const FUSED: bool = cfg!(not(target_arch = "wasm32"));

/// `a * b + c`. Natively the product is not rounded (IEEE fused multiply-add, the same on every
/// machine); wasm has no such instruction and rounds twice. Definition and fast path share this
/// function, so they agree bit for bit on each.
#[allow(clippy::inline_always, reason = "one instruction in the innermost loops")]
#[inline(always)]
#[must_use]
pub fn madd(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// A good 64-bit hash (the finaliser of SplitMix64).
#[must_use]
pub fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}
