//! All integration tests in one binary.

mod cli;
mod compare;
mod house;
mod kumar;
mod reference;
mod resume;
mod support;
