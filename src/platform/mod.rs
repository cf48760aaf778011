//! What differs between a computer and a browser, behind one API. Above this floor only `lib.rs` and the model
//! file's load and save ask for the target.

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(not(target_arch = "wasm32"))]
pub use native::{for_each_index, read_file, seconds, threads, write_atomic, write_streamed};

#[cfg(target_arch = "wasm32")]
mod web;
#[cfg(target_arch = "wasm32")]
pub use web::{for_each_index, seconds, threads};

/// `a * b + c`. Natively the product is not rounded (IEEE fused multiply-add, the same on every machine); wasm has no
/// such instruction and rounds twice. Definition and fast path share this function, so they agree bit for bit on each.
#[allow(clippy::inline_always, reason = "one instruction in the innermost loops")]
#[inline(always)]
#[must_use]
pub fn madd(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(target_arch = "wasm32") { a * b + c } else { a.mul_add(b, c) }
}
