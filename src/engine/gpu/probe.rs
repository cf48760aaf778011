//! Checks of a device before its results are used: a small-integer network bit for bit, then the
//! model itself on a few pixels within rounding. They find drivers that end loops early or multiply
//! with fewer bits.

use std::sync::Arc;

use super::{Gpu, GpuEngine};
use crate::engine::block::Block;
use crate::engine::{BatchEngine, DenseEngine};
use crate::error::{Error, Result};
use crate::model::{Architecture, BATCH_NORM_EPSILON, Model, Weights, dcnn};
use crate::raster::{Plane, RgbImage};

/// Largest difference of logits between GPU and CPU: `ABSOLUTE + RELATIVE · |logit|`. Both round
/// each of up to 1800 products once, in another order.
pub const ABSOLUTE: f32 = 2e-4;
/// See [`ABSOLUTE`].
pub const RELATIVE: f32 = 2e-4;

/// The model with weights −1, 0 and 1, most of them 0. Every partial sum is then a small integer,
/// so that neither the order of additions nor fused multiply-add can change a bit.
pub fn integers(model: &Model) -> Result<Model> {
    let mut weights: Weights = model.weights().clone();
    for (name, array) in &mut weights {
        if name.ends_with("running_var") {
            array.data.fill(1.0 - BATCH_NORM_EPSILON);
            continue;
        }
        if name.contains("norm") && name.ends_with(".weight") {
            array.data.fill(1.0);
            continue;
        }
        // About six weights of each sum are not zero; of biases and norms, every other value.
        let fan_in = array.data.len() / array.shape[0].max(1);
        let spacing = if array.shape.len() > 1 { (fan_in as u32 / 6).max(1) } else { 2 };
        for (i, value) in array.data.iter_mut().enumerate() {
            let hash =
                (i as u32).wrapping_mul(2_654_435_761).wrapping_add(name.len() as u32 * 97) >> 8;
            let sign = if hash >> 12 & 1 == 0 { 1.0 } else { -1.0 };
            *value = if hash.is_multiple_of(spacing) { sign } else { 0.0 };
        }
    }
    model.with_weights(weights)
}

/// An image whose channels are 0 or 255: network inputs 0 and 1.
pub fn black_and_white(width: usize, height: usize) -> Result<RgbImage> {
    let mut pixels = Vec::with_capacity(width * height);
    for i in 0..width * height {
        pixels.push([0, 1, 2].map(|c| if (i * 7919 + c * 104_729) % 7 < 3 { 255 } else { 0 }));
    }
    Plane::from_vec(width, height, pixels)
}

/// Checks a device on an integer network.
///
/// # Errors
/// [`Error::Gpu`] with the first difference.
pub async fn verify_integers(gpu: &Arc<Gpu>) -> Result<()> {
    let model = integers(&Model::random(dcnn([3, 5, 8], 20, 2), 1)?)?;
    let image = black_and_white(9, 7)?;
    let block = Block { row: 0, column: 0, width: 9, height: 7 };
    let want = DenseEngine::new(&model)?.run(&image, block);
    let got = GpuEngine::new(Arc::clone(gpu), &model)?.logits(&image, block).await?;
    same(gpu, &got, &want, 0.0, 0.0)
}

/// Checks a device on the model that is to run.
///
/// # Errors
/// [`Error::Gpu`] with the first difference.
pub async fn verify_model(engine: &GpuEngine, model: &Model) -> Result<()> {
    let mut pixels = Vec::new();
    for i in 0..64 {
        pixels.push([0, 1, 2].map(|c| ((i * 7919 + c * 104_729) % 251) as u8));
    }
    let image = Plane::from_vec(8, 8, pixels)?;
    let block;
    let want;
    match model.card().architecture {
        Architecture::Dcnn { .. } => {
            block = Block { row: 0, column: 0, width: 8, height: 8 };
            want = DenseEngine::new(model)?.run(&image, block);
        }
        Architecture::Dccn { .. } => {
            block = Block { row: 3, column: 2, width: 3, height: 1 };
            want = BatchEngine::new(model)?.run(&image, &[(3, 2), (3, 3), (3, 4)]);
        }
    }
    let got = engine.logits(&image, block).await?;
    same(engine.gpu(), &got, &want, ABSOLUTE, RELATIVE)
}

/// Fails unless `|got − want| ≤ absolute + relative · |want|` everywhere.
fn same(gpu: &Gpu, got: &[f32], want: &[f32], absolute: f32, relative: f32) -> Result<()> {
    if got.len() != want.len() {
        return Err(wrong(gpu, f32::NAN, f32::NAN));
    }
    for (&got, &want) in got.iter().zip(want) {
        let difference = (got - want).abs();
        if difference.is_nan() || difference > absolute + relative * want.abs() {
            return Err(wrong(gpu, got, want));
        }
    }
    Ok(())
}

fn wrong(gpu: &Gpu, got: f32, want: f32) -> Error {
    Error::gpu(format!(
        "{} computes wrongly ({got} where the CPU has {want}) and is not used",
        gpu.facts.name
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::packed::norm_affine;
    use crate::model::{Op, dccn};

    #[test]
    fn normalisation_of_the_integer_network_is_exactly_one() {
        let model = Model::random(dccn(4, 6, 3, [5, 5, 5], 2), 2).expect("model");
        let model = integers(&model).expect("integers");
        for node in &model.graph().nodes {
            if matches!(node.op, Op::BatchNorm) {
                let norm = norm_affine(&model, node);
                assert!(
                    norm.scale.iter().all(|s| s.to_bits() == 1.0f32.to_bits()),
                    "{}",
                    node.name
                );
                assert!(norm.shift.iter().all(|s| s.fract() == 0.0), "{}", node.name);
            }
        }
    }
}
