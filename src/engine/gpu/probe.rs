//! Start-up proof: a small-integer network bit for bit, then the model itself on a few pixels
//! within rounding. Drivers that stop loops early or multiply with fewer bits fail here and not in
//! a result.

use std::sync::Arc;

use super::{Gpu, GpuEngine};
use crate::engine::block::Block;
use crate::engine::{BatchEngine, DenseEngine};
use crate::error::{Error, Result};
use crate::model::{Architecture, Model, Weights, dcnn};
use crate::raster::{Plane, RgbImage};

/// Largest difference of logits between GPU and CPU: `ABSOLUTE + RELATIVE · |logit|`. Both round
/// each of up to 1800 products once, in another order.
pub const ABSOLUTE: f32 = 2e-4;
pub const RELATIVE: f32 = 2e-4;

/// Weights become -1, 0 or 1, most of them 0, so that every partial sum is a small integer and
/// neither the order of additions nor fused multiply-add can change a bit.
pub fn integers(model: &Model) -> Result<Model> {
    let mut weights: Weights = model.weights().clone();
    for (name, array) in &mut weights {
        let fan_in = array.data.len() / array.shape[0].max(1);
        for (i, v) in array.data.iter_mut().enumerate() {
            let draw =
                (i as u32).wrapping_mul(2_654_435_761).wrapping_add(name.len() as u32 * 97) >> 8;
            let every = if array.shape.len() > 1 { (fan_in as u32 / 6).max(1) } else { 2 };
            let sign = if draw >> 12 & 1 == 0 { 1.0 } else { -1.0 };
            *v = if draw.is_multiple_of(every) { sign } else { 0.0 };
            if name.ends_with("running_var") {
                *v = 1.0 - crate::model::BATCH_NORM_EPSILON;
            }
            if name.ends_with("norm.weight") || name.contains("norm") && name.ends_with(".weight") {
                *v = 1.0;
            }
        }
    }
    model.with_weights(weights)
}

/// A picture of black and white channels: inputs 0 and 1.
pub fn black_and_white(width: usize, height: usize) -> Result<RgbImage> {
    let bit = |i: usize, c: usize| if (i * 7919 + c * 104_729) % 7 < 3 { 255 } else { 0 };
    Plane::from_vec(
        width,
        height,
        (0..width * height).map(|i| [bit(i, 0), bit(i, 1), bit(i, 2)]).collect(),
    )
}

/// Proves a device on integers.
///
/// # Errors
/// [`Error::Gpu`] with the first difference.
pub async fn prove_integers(gpu: &Arc<Gpu>) -> Result<()> {
    let model = integers(&Model::random(dcnn([3, 5, 8], 20, 2), 1)?)?;
    let image = black_and_white(9, 7)?;
    let block = Block { row: 0, column: 0, width: 9, height: 7 };
    let want = DenseEngine::new(&model)?.run(&image, block);
    let got = GpuEngine::new(Arc::clone(gpu), &model)?.logits(&image, block).await?;
    same(gpu, &got, &want, 0.0, 0.0)
}

/// Proves a device on the model that is to run.
///
/// # Errors
/// [`Error::Gpu`] with the first difference.
pub async fn prove_model(engine: &GpuEngine, model: &Model) -> Result<()> {
    let pixel = |i: usize| [0, 1, 2].map(|c| ((i * 7919 + c * 104_729) % 251) as u8);
    let image = Plane::from_vec(8, 8, (0..64).map(pixel).collect())?;
    let (want, block) = match model.card().architecture {
        Architecture::Dcnn { .. } => {
            let block = Block { row: 0, column: 0, width: 8, height: 8 };
            (DenseEngine::new(model)?.run(&image, block), block)
        }
        Architecture::Dccn { .. } => {
            let places = [(3, 2), (3, 3), (3, 4)];
            (
                BatchEngine::new(model)?.run(&image, &places),
                Block { row: 3, column: 2, width: 3, height: 1 },
            )
        }
    };
    let got = engine.logits(&image, block).await?;
    same(engine.gpu(), &got, &want, ABSOLUTE, RELATIVE)
}

fn same(gpu: &Gpu, got: &[f32], want: &[f32], absolute: f32, relative: f32) -> Result<()> {
    let wrong =
        |(g, w): (&f32, &f32)| (g - w).is_nan() || (g - w).abs() > absolute + relative * w.abs();
    if got.len() == want.len() && !got.iter().zip(want).any(wrong) {
        return Ok(());
    }
    let shown = got.iter().zip(want).find(|&(g, w)| wrong((g, w)));
    let (g, w) = shown.map_or((f32::NAN, f32::NAN), |(g, w)| (*g, *w));
    Err(Error::gpu(format!(
        "{} computes wrongly ({g} where the CPU has {w}) and is not used",
        gpu.facts.name
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalisation_of_the_integer_network_is_exactly_one() {
        let model =
            integers(&Model::random(crate::model::dccn(4, 6, 3, [5, 5, 5], 2), 2).expect("model"))
                .expect("integers");
        for node in &model.graph().nodes {
            if matches!(node.op, crate::model::Op::BatchNorm) {
                let (scale, shift) = crate::engine::packed::norm_affine(&model, node);
                assert!(scale.iter().all(|s| s.to_bits() == 1.0f32.to_bits()), "{}", node.name);
                assert!(shift.iter().all(|s| s.fract() == 0.0), "{}", node.name);
            }
        }
    }
}
