//! Models of a session: read, pruned, put into a link.

use serde_json::json;
use wasm_bindgen::prelude::*;

use super::Thrown as _;
use super::session::Session;
use crate::error::{Error, Result};
use crate::export::{LinkPrecision, from_link, quantised, to_link};
use crate::model::{FileLimits, Model, Precision};
use crate::prune::{PruningPlan, Scope, apply};

/// What the page says of a model.
fn facts(model: &Model) -> Result<serde_json::Value> {
    let card = model.card();
    Ok(json!({
        "family": card.architecture.family(),
        "parameters": model.graph().parameters(),
        "bytes": model.to_bytes(Precision::F32)?.len(),
        "ratio": card.pruning_ratio,
        "threshold": card.instances.threshold,
        "mpp": card.mpp_um,
        "licence": card.licence,
        "classes": card.classes,
        "fingerprint": model.fingerprint(),
        "metrics": card.metrics,
    }))
}

fn link_precision(word: &str) -> Result<LinkPrecision> {
    match word {
        "int8" => Ok(LinkPrecision::Int8),
        "f16" => Ok(LinkPrecision::F16),
        _ => Err(Error::mismatch("A link carries int8 or f16")),
    }
}

impl Session {
    /// Keeps a model and gives what the page says of it.
    fn keep(&self, model: Model) -> std::result::Result<String, JsValue> {
        let mut told = facts(&model).thrown()?;
        told["id"] = self.state.borrow_mut().keep(model).into();
        Ok(told.to_string())
    }
}

#[wasm_bindgen]
impl Session {
    /// Reads a model file; gives what it is as JSON.
    ///
    /// # Errors
    /// A sentence.
    #[wasm_bindgen(js_name = addModel)]
    pub fn add_model(&self, bytes: &[u8]) -> std::result::Result<String, JsValue> {
        let model = Model::from_bytes(bytes, FileLimits::default()).thrown()?;
        self.keep(model)
    }

    /// Reads a model out of a link.
    ///
    /// # Errors
    /// A sentence.
    #[wasm_bindgen(js_name = addLink)]
    pub fn add_link(&self, link: &str) -> std::result::Result<String, JsValue> {
        let model = from_link(link).thrown()?;
        self.keep(model)
    }

    /// Removes the weakest filters of a model, and the units of its hidden layer if `all`; gives
    /// the new model.
    ///
    /// # Errors
    /// A sentence.
    pub fn prune(&self, id: u32, ratio: f64, all: bool) -> std::result::Result<String, JsValue> {
        let state = self.state.borrow();
        let scope = if all { Scope::All } else { Scope::Convolutions };
        let model = state.model(id).thrown()?;
        let small = PruningPlan::l1(&model, ratio, scope)
            .and_then(|(plan, _)| apply(&model, &plan))
            .thrown()?;
        drop(state);
        self.keep(small)
    }

    /// The model as a link would carry it.
    ///
    /// # Errors
    /// A sentence.
    pub fn quantise(&self, id: u32, precision: &str) -> std::result::Result<String, JsValue> {
        let state = self.state.borrow();
        let model = state.model(id).thrown()?;
        let less = link_precision(precision).and_then(|p| quantised(&model, p)).thrown()?;
        drop(state);
        self.keep(less)
    }

    /// The model in a link's fragment, `m=…`.
    ///
    /// # Errors
    /// A sentence.
    pub fn link(&self, id: u32, precision: &str) -> std::result::Result<String, JsValue> {
        let model = self.state.borrow().model(id).thrown()?;
        link_precision(precision).and_then(|p| to_link(&model, p)).thrown()
    }

    /// The model's file, single precision: exactly what is computed with.
    ///
    /// # Errors
    /// A sentence.
    #[wasm_bindgen(js_name = modelFile)]
    pub fn model_file(&self, id: u32) -> std::result::Result<Vec<u8>, JsValue> {
        self.state.borrow().model(id).and_then(|m| m.to_bytes(Precision::F32)).thrown()
    }

    /// Forgets a model.
    #[wasm_bindgen(js_name = dropModel)]
    pub fn drop_model(&self, id: u32) {
        self.state.borrow_mut().drop_model(id);
    }
}
