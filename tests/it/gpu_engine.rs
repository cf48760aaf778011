//! Rungs 1 and 2 of the exactness ladder (`engine`) on the first adapter of this machine, and the
//! fall-back to the CPU when a device fails.

use std::sync::Arc;

use prunella::dataset::phantom;
use prunella::engine::gpu::{
    ABSOLUTE, Gpu, GpuEngine, RELATIVE, adapters, black_and_white, integers, verify_integers,
};
use prunella::engine::{
    Block, Control, Device, DeviceKind, SegmentOptions, Segmenter, patch_at, patch_logits, segment,
};
use prunella::error::Warnings;
use prunella::instances::label_nuclei;
use prunella::model::{Architecture, Model, dccn, dcnn};
use prunella::raster::{LabelMap, Plane, RgbImage};

use crate::compare::close;
use crate::support::{root, skip};

/// The first adapter; without one the test is reported as skipped.
pub fn device(test: &str) -> Option<Arc<Gpu>> {
    let found = pollster::block_on(adapters());
    let Some(adapter) = found.first() else {
        skip(test, "there is no graphics adapter; 'cargo xtask setup' installs a software one");
        return None;
    };
    println!("{test} on {} ({})", adapter.facts.name, adapter.facts.driver);
    Some(Arc::new(pollster::block_on(Gpu::open(adapter)).expect("the adapter opens")))
}

/// An image in which neighbouring pixels differ.
fn picture(width: usize, height: usize) -> RgbImage {
    let mut pixels = Vec::new();
    for i in 0..width * height {
        pixels.push([0, 1, 2].map(|c| ((i * 7919 + c * 104_729) % 251) as u8));
    }
    Plane::from_vec(width, height, pixels).expect("plane")
}

fn logits(gpu: &Arc<Gpu>, model: &Model, image: &RgbImage, block: Block) -> Vec<f32> {
    let engine = GpuEngine::new(Arc::clone(gpu), model).expect("engine");
    pollster::block_on(engine.logits(image, block)).expect("logits")
}

/// The model prepared on the GPU.
fn segmenter(gpu: Arc<Gpu>, model: &Model) -> Segmenter {
    let open = Segmenter::new(Arc::new(model.clone()), Device::Gpu(gpu));
    pollster::block_on(open).expect("segmenter")
}

/// Logits of a block by the definition, patch by patch.
fn definition(model: &Model, image: &RgbImage, block: Block) -> Vec<f32> {
    let mut logits = Vec::new();
    for row in block.row..block.row + block.height {
        for column in block.column..block.column + block.width {
            logits.extend(patch_logits(model, &patch_at(image, row, column)));
        }
    }
    logits
}

/// Bits of each value; −0 counts as 0.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| (v + 0.0).to_bits()).collect()
}

#[test]
fn integers_are_equal_bit_for_bit_at_any_width_size_and_phase() {
    let Some(gpu) = device("integers_are_equal_bit_for_bit_at_any_width_size_and_phase") else {
        return;
    };
    pollster::block_on(verify_integers(&gpu)).expect("the probe passes");
    let networks = [
        dcnn([1, 1, 1], 3, 2),
        dcnn([3, 5, 8], 20, 2),
        dcnn([3, 5, 8], 20, 3),
        dcnn([2, 3, 5], 9, 4),
        dcnn([17, 18, 33], 37, 2),
        dccn(5, 6, 3, [5, 9, 5], 2),
    ];
    for architecture in networks {
        let model = integers(&Model::random(architecture, 3).expect("model")).expect("integers");
        let image = black_and_white(19, 10).expect("image");
        // All phases of the pools (8 pixels), an odd size, one pixel, and a block at the far
        // corner.
        let blocks = [(0, 0, 9, 9), (3, 5, 1, 1), (8, 11, 8, 2)];
        for (row, column, width, height) in blocks {
            let block = Block { row, column, width, height };
            let got = logits(&gpu, &model, &image, block);
            let want = definition(&model, &image, block);
            assert_eq!(bits(&got), bits(&want), "{:?} {block:?}", model.card().architecture);
        }
    }
}

#[test]
fn real_weights_agree_within_the_stated_tolerance() {
    let Some(gpu) = device("real_weights_agree_within_the_stated_tolerance") else { return };
    let networks = [
        Architecture::paper_dcnn(),
        dcnn([13, 25, 40], 1024, 2),
        dcnn([3, 5, 8], 102, 2),
        dcnn([8, 8, 12], 36, 3),
        dccn(6, 12, 3, [12, 25, 51], 2),
    ];
    for architecture in networks {
        let model = Model::random(architecture, 5).expect("model");
        let image = picture(23, 9);
        let block = Block { row: 2, column: 3, width: 5, height: 3 };
        let got = logits(&gpu, &model, &image, block);
        let want = definition(&model, &image, block);
        close(&got, &want, f64::from(ABSOLUTE), f64::from(RELATIVE)).expect("close");
    }
}

#[test]
fn whole_images_of_any_size_agree_with_the_cpu_whatever_the_blocks() {
    let Some(gpu) = device("whole_images_of_any_size_agree_with_the_cpu_whatever_the_blocks")
    else {
        return;
    };
    let model = Model::random(dcnn([3, 5, 8], 20, 2), 2).expect("model");
    let segmenter = segmenter(gpu, &model);
    for (w, h, block_px) in
        [(1, 1, None), (40, 1, Some(16)), (1, 40, None), (70, 45, Some(32)), (70, 45, Some(1000))]
    {
        let image = picture(w, h);
        let mut report = Warnings::default();
        let options = SegmentOptions { stride: 1, block_px };
        let control = Control::default();
        let run = segmenter.segment(&image, options, &control, &mut report);
        let got = pollster::block_on(run).expect("map");
        let want = segment(&model, &image, options, &Control::default()).expect("map");
        assert_eq!((report.notes, got.device), (Vec::new(), DeviceKind::Gpu), "all on the GPU");
        close(got.map.nucleus().data(), want.nucleus().data(), 1e-5, 0.0).expect("close");
    }
}

#[test]
fn the_dccn_runs_on_a_grid_as_on_the_cpu() {
    let Some(gpu) = device("the_dccn_runs_on_a_grid_as_on_the_cpu") else { return };
    let model = Model::random(dccn(4, 6, 3, [5, 5, 5], 2), 2).expect("model");
    let image = picture(19, 14);
    let options = SegmentOptions { stride: 4, block_px: None };
    let engine = GpuEngine::new(gpu, &model).expect("engine");
    let got =
        pollster::block_on(engine.segment(&image, options, &Control::default())).expect("map");
    let want = segment(&model, &image, options, &Control::default()).expect("map");
    close(got.nucleus().data(), want.nucleus().data(), 1e-5, 0.0).expect("close");
}

#[test]
fn a_device_lost_in_the_middle_costs_a_sentence_and_no_pixel() {
    let Some(gpu) = device("a_device_lost_in_the_middle_costs_a_sentence_and_no_pixel") else {
        return;
    };
    let model = Model::random(dcnn([3, 5, 8], 20, 2), 2).expect("model");
    let image = picture(64, 40);
    let segmenter = segmenter(Arc::clone(&gpu), &model);
    let crash = |done: u64, _: u64| {
        if done == 2 {
            gpu.destroy();
        }
    };
    let control = Control { progress: Some(&crash), ..Control::default() };
    let options = SegmentOptions { stride: 1, block_px: Some(16) };
    let mut report = Warnings::default();
    let run = segmenter.segment(&image, options, &control, &mut report);
    let got = pollster::block_on(run).expect("map");
    assert_eq!(got.device, DeviceKind::Cpu);
    assert!(segmenter.device_name(got.device).starts_with("CPU"));
    let want = segment(&model, &image, options, &Control::default()).expect("map");
    assert_eq!(got.map, want, "the CPU computed all of it");
    assert!(report.notes.last().is_some_and(|n| n.contains("CPU")), "{:?}", report.notes);
    let control = Control::default();
    let next = pollster::block_on(segmenter.segment(&image, options, &control, &mut report));
    assert_eq!(next.expect("map").map, want, "later images go to the CPU at once");
}

#[test]
fn a_block_too_large_for_the_device_is_tried_smaller() {
    let Some(gpu) = device("a_block_too_large_for_the_device_is_tried_smaller") else { return };
    let model = Model::random(dcnn([80, 1, 1], 2, 2), 2).expect("model");
    let image = picture(700, 600);
    let options = SegmentOptions { stride: 1, block_px: Some(700) };
    let mut report = Warnings::default();
    let (segmenter, control) = (segmenter(gpu, &model), Control::default());
    let run = segmenter.segment(&image, options, &control, &mut report);
    pollster::block_on(run).expect("map");
    assert_eq!(report.notes.len(), 1, "{:?}", report.notes);
    assert!(report.notes[0].contains("needs a buffer"), "{:?}", report.notes);
}

#[test]
fn two_images_under_way_at_once_do_not_mix() {
    let Some(gpu) = device("two_images_under_way_at_once_do_not_mix") else { return };
    let model = Model::random(dcnn([3, 5, 8], 20, 2), 2).expect("model");
    let segmenter = segmenter(gpu, &model);
    let options = SegmentOptions { stride: 1, block_px: Some(32) };
    std::thread::scope(|scope| {
        for (width, height) in [(90, 40), (40, 90)] {
            let (segmenter, model) = (&segmenter, &model);
            scope.spawn(move || {
                let image = picture(width, height);
                let mut warnings = Warnings::default();
                let control = Control::default();
                let want = segment(model, &image, options, &control).expect("map");
                for _ in 0..3 {
                    let run = segmenter.segment(&image, options, &control, &mut warnings);
                    let got = pollster::block_on(run).expect("map");
                    assert_eq!(got.device, DeviceKind::Gpu, "{:?}", warnings.notes);
                    close(got.map.nucleus().data(), want.nucleus().data(), 1e-5, 0.0)
                        .expect("close");
                }
            });
        }
    });
}

/// Pixels whose label differs.
fn differing(a: &LabelMap, b: &LabelMap) -> usize {
    a.data().iter().zip(b.data()).filter(|(a, b)| a != b).count()
}

#[test]
fn both_engines_find_the_same_nuclei() {
    let Some(gpu) = device("both_engines_find_the_same_nuclei") else { return };
    let model = Model::load(&root().join("models/paper-90.safetensors")).expect("shipped model");
    let image = phantom::tile(120, 100, 3).image;
    let segmenter = segmenter(gpu, &model);
    let control = Control::default();
    let mut report = Warnings::default();
    let run = segmenter.segment(&image, SegmentOptions::default(), &control, &mut report);
    let on_gpu = pollster::block_on(run).expect("map").map;
    let on_cpu = segment(&model, &image, SegmentOptions::default(), &control).expect("map");
    let parameters = model.card().instances;
    let gpu_labels = label_nuclei(&on_gpu, &parameters).expect("objects").0;
    let cpu_labels = label_nuclei(&on_cpu, &parameters).expect("objects").0;
    assert!(gpu_labels.data().iter().any(|&label| label > 3), "there are nuclei to compare");
    assert_eq!(differing(&gpu_labels, &cpu_labels), 0);
    let mut wrong = cpu_labels.clone();
    wrong.data_mut()[0] += 1;
    assert_eq!(differing(&wrong, &cpu_labels), 1, "one wrong pixel is found");
}
