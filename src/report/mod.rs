//! Results as pictures: SVG curves and self-contained HTML. Only plain numbers come in.

mod curves;
mod demo;

pub use curves::history_curves;
pub use demo::{DemoPage, DemoRow, Picture, render_demo};
