//! The CPU engine for someone who holds the pixels of one block alone: a worker of the page, which
//! has no memory in common with the one that holds the image. Cutting out is done once, by the
//! owner, so the answer is that of [`super::segment`].

use super::dense::{PlaneSize, around, window_pixels};
use super::{BatchEngine, Block, PATCH_BATCH, WinogradEngine, blocks, cpu_side};
use crate::error::{Error, Result};
use crate::model::{Architecture, Head, Model, PATCH_PX};
use crate::raster::{Plane, RgbImage};

/// Side of blocks of a network that runs patch by patch, pixels.
const PATCHWISE_BLOCK_PX: usize = 16;

/// Side of the first blocks, pixels.
const FIRST_BLOCK_PX: usize = 64;

/// An image below this is done so soon that small first blocks would only cost.
const SMALL_IMAGE_PIXELS: usize = 1 << 16;

/// A model made ready for blocks that come as pixels.
#[derive(Debug)]
pub struct WindowEngine {
    kind: CpuNetwork,
    head: Head,
}

#[derive(Debug)]
enum CpuNetwork {
    Tiles(WinogradEngine),
    Patches(BatchEngine),
}

impl WindowEngine {
    /// Packs the weights of a model with two classes.
    ///
    /// # Errors
    /// Those of the engines.
    pub fn new(model: &Model) -> Result<Self> {
        let kind = match model.card().architecture {
            Architecture::Dcnn { .. } => CpuNetwork::Tiles(WinogradEngine::new(model)?),
            Architecture::Dccn { .. } => CpuNetwork::Patches(BatchEngine::new(model)?),
        };
        if model.card().architecture.classes() != 2 {
            return Err(Error::unsupported(
                "Segmentation needs a model with two classes, background and nucleus",
            ));
        }
        Ok(Self { kind, head: model.card().head })
    }

    /// The image in blocks, enough for `workers`. The first are small, so that something is to be
    /// seen soon.
    #[must_use]
    pub fn blocks(&self, image: &RgbImage, workers: usize) -> Vec<Block> {
        let CpuNetwork::Tiles(_) = self.kind else {
            return blocks(image.width(), image.height(), PATCHWISE_BLOCK_PX);
        };
        let all = blocks(image.width(), image.height(), cpu_side(image, workers));
        if image.data().len() < SMALL_IMAGE_PIXELS {
            return all;
        }
        let (first, rest) = all.split_at(1.min(all.len()));
        let pieces = first.iter().flat_map(|block| {
            let within = blocks(block.width, block.height, FIRST_BLOCK_PX).into_iter();
            within.map(|b| Block { row: block.row + b.row, column: block.column + b.column, ..b })
        });
        pieces.chain(rest.iter().copied()).collect()
    }

    /// What [`Self::run`] needs of the image for a block, mirrored at its borders.
    #[must_use]
    pub fn cut(&self, image: &RgbImage, block: Block) -> Vec<[u8; 3]> {
        window_pixels(image, block, self.window(block))
    }

    /// Size of what [`Self::cut`] gives.
    fn window(&self, block: Block) -> PlaneSize {
        match &self.kind {
            CpuNetwork::Tiles(engine) => engine.window(block),
            CpuNetwork::Patches(_) => around(block),
        }
    }

    /// Probabilities of a block, row by row.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the pixels are not what [`Self::cut`] gives.
    pub fn run(&self, pixels: Vec<[u8; 3]>, block: Block) -> Result<Vec<f32>> {
        let PlaneSize { height, width } = self.window(block);
        if pixels.len() != height * width {
            return Err(Error::mismatch("The pixels are not those of the block"));
        }
        let logits = match &self.kind {
            CpuNetwork::Tiles(engine) => engine.run_window(&pixels, block),
            CpuNetwork::Patches(engine) => {
                patches(engine, &Plane::from_vec(width, height, pixels)?, block)
            }
        };
        Ok(logits.chunks_exact(2).map(|z| self.head.probability([z[0], z[1]])).collect())
    }
}

/// Every pixel of a block from its window.
fn patches(engine: &BatchEngine, window: &RgbImage, block: Block) -> Vec<f32> {
    let middle = PATCH_PX / 2;
    let places: Vec<(usize, usize)> = (0..block.height)
        .flat_map(|row| (0..block.width).map(move |column| (middle + row, middle + column)))
        .collect();
    places.chunks(PATCH_BATCH).flat_map(|batch| engine.run(window, batch)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::picture;
    use super::super::{Control, SegmentOptions, segment};
    use super::*;
    use crate::model::{dccn, dcnn};

    #[test]
    fn blocks_from_cut_pixels_equal_the_whole_image_bit_for_bit() {
        for (architecture, (w, h)) in [
            (dcnn([3, 5, 8], 20, 2), (280, 240)),
            (dccn(4, 6, 3, [5, 5, 5], 2), (18, 7)),
            (dcnn([3, 5, 8], 20, 2), (1, 40)),
        ] {
            let model = Model::random(architecture, 2).expect("model");
            let image = picture(w, h);
            let whole = segment(&model, &image, SegmentOptions::default(), &Control::default())
                .expect("whole");
            let engine = WindowEngine::new(&model).expect("engine");
            let all = engine.blocks(&image, 3);
            assert!(all.len() > 1 || w == 1);
            for block in all {
                let values = engine.run(engine.cut(&image, block), block).expect("block");
                for (row, line) in values.chunks_exact(block.width).enumerate() {
                    assert_eq!(
                        line,
                        &whole.row(block.row + row)[block.column..][..block.width],
                        "{block:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn pixels_of_another_block_are_refused() {
        let engine = WindowEngine::new(&Model::random(dcnn([3, 5, 8], 20, 2), 2).expect("model"))
            .expect("engine");
        let block = Block { row: 0, column: 0, width: 32, height: 32 };
        assert!(engine.run(vec![[0; 3]; 5], block).is_err());
    }
}
