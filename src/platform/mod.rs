//! What differs between native targets and wasm32, behind one API: files, threads, time and fused
//! multiply-add. Above this floor the target decides which modules and functions exist (files,
//! devices and Burn are native), never what one of them computes.

pub(crate) mod packed_bytes;

mod csv;
pub use csv::{CsvReader, CsvRecord, csv_field, csv_text, without_apostrophe};

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(not(target_arch = "wasm32"))]
pub use native::{
    check_writable, composed, file_identity, for_each_index, for_each_part, map_parts, name_key,
    on_pool, read_file, seconds, threads, write_atomic, write_streamed,
};

#[cfg(target_arch = "wasm32")]
mod web;
#[cfg(target_arch = "wasm32")]
pub use web::{for_each_index, for_each_part, map_parts, on_pool, seconds, threads};

/// Whether the target has a fused multiply-add instruction. wasm32 has none; there `f32::mul_add`
/// is a slow library function.
pub const FUSED: bool = cfg!(not(target_arch = "wasm32"));

/// `a * b + c`. Natively this is the IEEE 754 fused multiply-add: one rounding, the same bits on
/// every machine. wasm32 rounds twice. The slow definitions and the fast kernels share this
/// operation, so they agree bit for bit on each target.
#[allow(clippy::inline_always, reason = "one instruction in the innermost loops")]
#[inline(always)]
#[must_use]
pub fn madd(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// A 64-bit hash with good diffusion: one step of SplitMix64 (Steele, Lea & Flood 2014).
#[must_use]
pub fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}
