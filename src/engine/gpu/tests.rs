//! The list of passes against the definition, without a GPU: bit for bit on small-integer networks.

use super::program::Program;
use super::{arrange, black_and_white, integers, lower, twin};
use crate::engine::block::Block;
use crate::engine::dense::block_values;
use crate::engine::{patch_at, patch_logits};
use crate::model::{Architecture, Model, PATCH_PX, dccn, dcnn};

const LIMIT_BYTES: u64 = 1 << 30;

fn integer_model(architecture: Architecture) -> Model {
    integers(&Model::random(architecture, 3).expect("model")).expect("integers")
}

/// Bits of each value; −0 counts as 0.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| (v + 0.0).to_bits()).collect()
}

#[test]
fn dense_passes_equal_the_definition_on_integers_at_any_width() {
    for (filters, classes) in [([1, 1, 1], 2), ([3, 5, 8], 3), ([17, 18, 33], 2), ([2, 3, 5], 4)] {
        let model = integer_model(dcnn(filters, 21, classes));
        let image = black_and_white(11, 6).expect("image");
        let block = Block { row: 1, column: 2, width: 9, height: 5 };
        let program = lower::dense(&model).expect("program");
        let width = block.width + PATCH_PX - 1;
        let height = block.height + PATCH_PX - 1;
        let layout = program.lay_out(width, height, 1, LIMIT_BYTES).expect("layout");
        let input = block_values(&image, block);
        let got = twin::run(&program, &layout, &input[..layout.slot_len[0]]);
        assert_eq!(got.len(), block.width * block.height * classes);
        for (y, x) in [(0, 0), (2, 5), (4, 8)] {
            let want = patch_logits(&model, &patch_at(&image, block.row + y, block.column + x));
            assert!(want.iter().any(|z| *z != 0.0), "the network gives other values than zero");
            let pixel = y * block.width + x;
            let got = &got[classes * pixel..][..classes];
            assert_eq!(bits(got), bits(&want), "{filters:?} ({y}, {x})");
        }
    }
}

fn batch_logits(program: &Program, patches: &[Vec<f32>], patch_batch: usize) -> Vec<f32> {
    let side = super::batch_side(program);
    let input = arrange(program, patches, patch_batch);
    let layout = program.lay_out(side, side, patch_batch, LIMIT_BYTES).expect("layout");
    let planes = twin::run(program, &layout, &input);
    super::interleave(&planes, program.classes, patch_batch, patches.len())
}

#[test]
fn batch_passes_equal_the_definition_on_integers() {
    for architecture in [dccn(4, 6, 3, [5, 5, 5], 2), dccn(17, 5, 2, [3, 9, 4], 3)] {
        let model = integer_model(architecture);
        let image = black_and_white(60, 58).expect("image");
        let patches = [patch_at(&image, 30, 31), patch_at(&image, 0, 57)];
        let got = batch_logits(&lower::batch(&model).expect("program"), &patches, 3);
        let mut want = Vec::new();
        for patch in &patches {
            want.extend(patch_logits(&model, patch));
        }
        assert!(want.iter().any(|z| *z != 0.0), "the network gives other values than zero");
        assert_eq!(bits(&got), bits(&want));
    }
}

#[test]
fn a_block_beyond_the_limit_is_refused_before_any_buffer_is_made() {
    let program = lower::dense(&integer_model(dcnn([3, 5, 8], 20, 2))).expect("program");
    let error = program.lay_out(2000, 2000, 1, 1 << 20).expect_err("too large").to_string();
    assert!(error.contains("MB"), "{error}");
    assert!(program.lay_out(20, 20, 1, LIMIT_BYTES).is_err(), "smaller than the window");
}

#[test]
fn the_network_with_padding_has_no_dense_form() {
    assert!(lower::dense(&integer_model(dccn(2, 2, 2, [2, 2, 2], 2))).is_err());
    assert!(lower::dense(&integer_model(dcnn([1, 1, 1], 1, 5))).is_err(), "more classes");
}

/// Name and offset of each field of a shader's uniform, as naga lays it out.
fn uniform_fields(shader: &str) -> Vec<(String, u32)> {
    let (_, text) = super::SHADERS.into_iter().find(|(name, _)| *name == shader).expect("shader");
    let module = naga::front::wgsl::parse_str(text).expect("valid WGSL");
    let uniform = module
        .global_variables
        .iter()
        .find(|(_, v)| v.space == naga::AddressSpace::Uniform)
        .expect("uniform");
    let naga::TypeInner::Struct { members, .. } = &module.types[uniform.1.ty].inner else {
        return Vec::new();
    };
    members.iter().map(|m| (m.name.clone().unwrap_or_default(), m.offset)).collect()
}

/// Name and offset of each field of a Rust struct.
macro_rules! struct_fields {
    ($kind:ty: $($field:ident)*) => {
        vec![$((stringify!($field).to_owned(), std::mem::offset_of!($kind, $field) as u32)),*]
    };
}

#[test]
fn parameters_lie_where_the_shaders_read_them() {
    let layer = struct_fields!(super::LayerParameters: width height channels filters
        source_row_stride source_plane_stride source_width source_height
        target_row_stride target_plane_stride target_offset groups
        step_x step_y padding_x padding_y
        weights_offset bias_offset norm_offset head_offset);
    assert_eq!(uniform_fields("layer"), layer);
    assert_eq!(layer.len() * 4, size_of::<super::LayerParameters>(), "no field is left out");
    let pool = struct_fields!(super::PoolParameters: width height channels patch_batch
        source_row_stride source_plane_stride source_width source_height
        target_row_stride target_plane_stride target_offset stride
        step_x step_y padding_x padding_y);
    assert_eq!(uniform_fields("pool"), pool);
    assert_eq!(pool.len() * 4, size_of::<super::PoolParameters>(), "no field is left out");
}
