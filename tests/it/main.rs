//! All integration tests in one binary.

#![allow(clippy::panic, reason = "a test says by panicking what is wrong")]

mod bad_input;
mod bif;
mod cli;
mod compare;
mod datasets;
mod dicom;
#[allow(dead_code, reason = "unit tests share the file")]
mod dicom_maker;
mod examples;
mod export_packages;
mod gpu;
mod gpu_engine;
mod gpu_viewer;
mod kumar;
mod labels;
mod layering;
mod link;
mod many_slides;
mod ndpi;
mod ome_zarr;
mod onnx;
mod outlines;
mod pictures;
mod reference;
mod regions;
mod resume;
mod review_view;
mod serve;
mod shipped;
mod slide_maker;
mod slide_server;
mod slide_view;
mod slides;
mod slides_real;
mod study;
mod support;
mod tiffs;
mod types;
