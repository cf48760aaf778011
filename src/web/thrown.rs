//! Results as scripts get them: values, JSON and errors.

use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::error::Error;

/// An error as scripts catch it: a sentence, and the name `AbortError` for a cancellation.
pub(super) fn thrown(error: &Error) -> JsValue {
    let is_cancelled = matches!(error, Error::Cancelled { .. });
    let value = js_sys::Error::new(&error.to_string());
    value.set_name(if is_cancelled { "AbortError" } else { "PrunellaError" });
    value.into()
}

/// Turns the error of a result into one that scripts catch.
pub(super) trait Thrown<T> {
    fn thrown(self) -> Result<T, JsValue>;
}

impl<T> Thrown<T> for crate::error::Result<T> {
    fn thrown(self) -> Result<T, JsValue> {
        self.map_err(|e| thrown(&e))
    }
}

/// JSON text for scripts.
pub(super) fn json(value: &impl Serialize) -> Result<String, JsValue> {
    serde_json::to_string(value).map_err(|e| js_sys::Error::new(&e.to_string()).into())
}
