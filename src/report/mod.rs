//! Results as pictures: SVG curves and self-contained HTML.

mod curves;

pub use curves::{Line, training_curves};
