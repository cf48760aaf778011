//! How many blocks a part of a slide has, before it is segmented.

use js_sys::Function;
use serde::Serialize;
use wasm_bindgen::prelude::*;

use super::session::Session;
use super::{Thrown as _, json};
use crate::error::Result;
use crate::model::InstanceParameters;
use crate::raster::StainMatching;
use crate::slide::SlideBounds;
use crate::whole_slide::{
    BackgroundBlocks, BlockNumbers, SegmentSettings, SlideRegion, SlideSetup,
};

/// JSON of [`Session::slide_estimate`].
#[derive(Debug, Serialize)]
struct Estimate {
    /// Blocks of the rectangle that hold tissue, and all of its blocks.
    needed: usize,
    all: usize,
    /// The same of the whole slide.
    slide_needed: usize,
    slide_all: usize,
}

impl Session {
    async fn block_numbers(
        &self,
        model: u32,
        mpp_um: f64,
        bounds: SlideBounds,
        read: &Function,
    ) -> Result<[BlockNumbers; 2]> {
        let slide = self.slide()?;
        let model_mpp_um = self.state.borrow().model(model)?.card().mpp_um;
        let known_tissue = slide.tissue.borrow().clone();
        // To find the tissue of a slide of one level, all of it would be read.
        let is_flat = slide.slide.levels.len() == 1;
        let background = if known_tissue.is_none() && is_flat {
            BackgroundBlocks::Segment
        } else {
            BackgroundBlocks::Skip
        };
        let settings = SegmentSettings {
            parameters: InstanceParameters::default(),
            region: SlideRegion::Everything,
            mpp_um: Some(mpp_um),
            // The stain does not change the number.
            stain: StainMatching::KEEP,
            background,
            block_px: super::slide::BLOCK_PX,
        };
        let mut setup = SlideSetup::of_slide(&slide.slide, model_mpp_um, settings)?;
        if let Some(tissue) = known_tissue {
            setup = setup.with_tissue(tissue);
        }
        while let Some(request) = setup.next_request() {
            setup.supply(slide.region(request.level, request.rect, read).await?)?;
        }
        let job = setup.finish()?;
        if background == BackgroundBlocks::Skip {
            slide.tissue.replace(Some(job.tissue().clone()));
        }
        let (width, height) = slide.tiles.size();
        let whole = SlideBounds::of_size(width, height);
        Ok([job.blocks_in(&bounds), job.blocks_in(&whole)])
    }
}

#[wasm_bindgen]
impl Session {
    /// Numbers of blocks of a rectangle, in pixels of the finest level, and of the whole slide, as
    /// JSON.
    ///
    /// # Errors
    /// A sentence if no slide is open or it cannot be read.
    #[wasm_bindgen(js_name = slideEstimate)]
    #[allow(clippy::too_many_arguments, reason = "numbers across the interface to the script")]
    pub async fn slide_estimate(
        &self,
        model: u32,
        mpp: f64,
        left: f64,
        top: f64,
        right: f64,
        bottom: f64,
        read: Function,
    ) -> std::result::Result<String, JsValue> {
        let bounds = SlideBounds { left, top, right, bottom };
        let [view, slide] = self.block_numbers(model, mpp, bounds, &read).await.thrown()?;
        json(&Estimate {
            needed: view.needed,
            all: view.all,
            slide_needed: slide.needed,
            slide_all: slide.all,
        })
    }
}
