//! Which stain the image view shows. Results never depend on it.

use wasm_bindgen::prelude::*;

use super::session::Session;
use crate::error::Error;
use crate::raster::{Stain, StainFilter};

#[wasm_bindgen]
impl Session {
    /// Shows one stain in the tiles that are made from now on: `hematoxylin`, `eosin`, or `rgb`
    /// for the image as it is.
    ///
    /// # Errors
    /// A sentence for another word.
    #[wasm_bindgen(js_name = setStainView)]
    pub fn set_stain_view(&self, stain: &str) -> std::result::Result<(), JsValue> {
        let filter = match stain {
            "rgb" => None,
            "hematoxylin" => Some(StainFilter::new(Stain::Hematoxylin)),
            "eosin" => Some(StainFilter::new(Stain::Eosin)),
            _ => return Err(super::thrown(&Error::invalid("There is no such stain"))),
        };
        self.state.borrow_mut().stain_filter = filter;
        Ok(())
    }
}
