//! Models of a session: read from files and links, pruned, quantised.

use std::collections::BTreeMap;

use serde::Serialize;
use wasm_bindgen::prelude::*;

use super::session::Session;
use super::{Thrown as _, json};
use crate::error::{Error, Result};
use crate::export::{LinkPrecision, from_link, quantised, to_link};
use crate::model::{DataSource, Family, FileLimits, Model, PixelClass, Precision};
use crate::prune::{PruningPlan, Scope, apply};

/// Facts about a model, for scripts: `ModelFacts` of `web/worker-api.d.ts`.
#[derive(Debug, Serialize)]
struct ModelFacts {
    /// Number in the session.
    id: u32,
    family: Family,
    /// Number of parameters.
    parameters: usize,
    /// Size of the file in single precision.
    bytes: usize,
    /// Share of filters removed, 0 to 1.
    ratio: f64,
    /// Default threshold of probabilities, 0 to 1.
    threshold: f32,
    /// Pixel size that the model expects, µm.
    mpp: f64,
    licence: Option<String>,
    /// Data sets that it was trained on.
    sources: Vec<DataSource>,
    classes: Vec<PixelClass>,
    fingerprint: String,
    metrics: BTreeMap<String, serde_json::Value>,
}

fn link_precision(name: &str) -> Result<LinkPrecision> {
    match name {
        "int8" => Ok(LinkPrecision::Int8),
        "f16" => Ok(LinkPrecision::F16),
        _ => Err(Error::mismatch("The precision of a link is int8 or f16")),
    }
}

impl Session {
    /// Adds a model to the session. Gives its facts as JSON.
    pub(super) fn add(&self, model: Model) -> std::result::Result<String, JsValue> {
        let card = model.card().clone();
        let parameters = model.graph().parameters();
        let bytes = model.to_bytes(Precision::F32).thrown()?.len();
        let fingerprint = model.fingerprint();
        let facts = ModelFacts {
            id: self.state.borrow_mut().add_model(model),
            family: card.architecture.family(),
            parameters,
            bytes,
            ratio: card.pruning_ratio,
            threshold: card.instances.threshold,
            mpp: card.mpp_um,
            licence: card.licence,
            sources: card.data_sources,
            classes: card.classes,
            fingerprint,
            metrics: card.metrics,
        };
        json(&facts)
    }
}

#[wasm_bindgen]
impl Session {
    /// Adds the model of a file. Gives its facts as JSON.
    ///
    /// # Errors
    /// A sentence if the file is not valid.
    #[wasm_bindgen(js_name = addModel)]
    pub fn add_model(&self, bytes: &[u8]) -> std::result::Result<String, JsValue> {
        let model = Model::from_bytes(bytes, FileLimits::default()).thrown()?;
        self.add(model)
    }

    /// Adds the model of a link's fragment, `m=…`. Gives its facts as JSON.
    ///
    /// # Errors
    /// A sentence if the link is not valid.
    #[wasm_bindgen(js_name = addLink)]
    pub fn add_link(&self, link: &str) -> std::result::Result<String, JsValue> {
        let model = from_link(link).thrown()?;
        self.add(model)
    }

    /// Removes a share of a model's filters, 0 to 1, those of the smallest L1 norm, and of the
    /// hidden layer's units too if `all`. Adds the pruned model and gives its facts as JSON.
    ///
    /// # Errors
    /// A sentence if there is no such model or the share is not valid.
    pub fn prune(&self, id: u32, ratio: f64, all: bool) -> std::result::Result<String, JsValue> {
        let model = self.state.borrow().model(id).thrown()?;
        let scope = if all { Scope::All } else { Scope::Convolutions };
        let (plan, _) = PruningPlan::l1(&model, ratio, scope).thrown()?;
        let pruned = apply(&model, &plan).thrown()?;
        self.add(pruned)
    }

    /// Rounds a model as a link would, `int8` or `f16`. Adds it and gives its facts as JSON.
    ///
    /// # Errors
    /// A sentence if there is no such model or precision.
    pub fn quantise(&self, id: u32, precision: &str) -> std::result::Result<String, JsValue> {
        let model = self.state.borrow().model(id).thrown()?;
        let precision = link_precision(precision).thrown()?;
        let rounded = quantised(&model, precision).thrown()?;
        self.add(rounded)
    }

    /// A model as the fragment of a link, `m=…`.
    ///
    /// # Errors
    /// A sentence if there is no such model or precision.
    pub fn link(&self, id: u32, precision: &str) -> std::result::Result<String, JsValue> {
        let model = self.state.borrow().model(id).thrown()?;
        let precision = link_precision(precision).thrown()?;
        to_link(&model, precision).thrown()
    }

    /// A model as a file in single precision, as the engines compute with it.
    ///
    /// # Errors
    /// A sentence if there is no such model.
    #[wasm_bindgen(js_name = modelFile)]
    pub fn model_file(&self, id: u32) -> std::result::Result<Vec<u8>, JsValue> {
        let model = self.state.borrow().model(id).thrown()?;
        model.to_bytes(Precision::F32).thrown()
    }

    /// Removes a model from the session.
    #[wasm_bindgen(js_name = dropModel)]
    pub fn drop_model(&self, id: u32) {
        self.state.borrow_mut().drop_model(id);
    }
}
