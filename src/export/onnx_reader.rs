//! Reads ONNX that [`to_onnx`](super::to_onnx) wrote, in any of its forms: the card is in the
//! metadata, and the arrays have the names and the order of values of the model's.

use std::collections::BTreeMap;

use prost::Message as _;

use super::onnx_messages::{FLOAT, ModelProto, TensorProto};
use crate::error::{Error, Result};
use crate::model::{Array, Card, Graph, Model, Weights};

/// The model of an ONNX file of this program.
///
/// # Errors
/// [`Error::Malformed`] for a broken file or a value that is not finite, [`Error::Unsupported`] for
/// one without a card, [`Error::Mismatch`] naming an array that does not fit.
pub fn from_onnx(bytes: &[u8]) -> Result<Model> {
    let proto = ModelProto::decode(bytes)
        .map_err(|e| Error::malformed("The file is no whole ONNX file").caused_by(e))?;
    let card =
        proto.metadata_props.iter().find(|entry| entry.key == "prunella").ok_or_else(|| {
            Error::unsupported(
                "The ONNX file was not written by 'prunella export --onnx'; of networks of other \
             programs import the PyTorch state dict",
            )
        })?;
    let card: Card = serde_json::from_str(&card.value)
        .map_err(|e| Error::malformed("The model's card cannot be understood").caused_by(e))?;
    card.validate()?;
    let mut tensors = BTreeMap::new();
    for tensor in proto.graph.unwrap_or_default().initializer {
        tensors.insert(tensor.name.clone(), tensor);
    }
    let mut weights = Weights::new();
    for spec in Graph::new(&card.architecture).arrays() {
        let tensor = tensors.get(&spec.name).ok_or_else(|| {
            Error::mismatch(format!("The file lacks the array '{}' of the network", spec.name))
        })?;
        // The dense form has the matrices of fully connected layers as windows: the first side is
        // the same in all forms.
        let first_side = tensor.dims.first().copied().and_then(|side| usize::try_from(side).ok());
        if first_side != spec.shape.first().copied() {
            return Err(Error::mismatch(format!(
                "Array '{}' has the shape {:?}; the network needs {:?}",
                spec.name, tensor.dims, spec.shape
            )));
        }
        weights.insert(spec.name, Array::new(spec.shape, values(tensor)?)?);
    }
    Model::new(card, weights)
}

fn values(tensor: &TensorProto) -> Result<Vec<f32>> {
    let name = &tensor.name;
    if tensor.data_type != FLOAT || !tensor.raw_data.len().is_multiple_of(4) {
        return Err(Error::unsupported(format!("Array '{name}' is not of 32-bit numbers")));
    }
    let mut values = Vec::with_capacity(tensor.raw_data.len() / 4);
    for bytes in tensor.raw_data.chunks_exact(4) {
        let value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        if !value.is_finite() {
            return Err(Error::malformed(format!(
                "Array '{name}' holds a value that is not finite"
            )));
        }
        values.push(value);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::{OnnxForm, to_onnx};
    use crate::model::{dccn, dcnn};

    #[test]
    fn every_form_comes_back_bit_for_bit() {
        let forms = [
            (dcnn([3, 5, 8], 20, 3), OnnxForm::Patch),
            (dcnn([3, 5, 8], 20, 3), OnnxForm::Dense),
            (dcnn([3, 5, 8], 20, 3), OnnxForm::Tile),
            (dccn(4, 6, 3, [5, 5, 5], 2), OnnxForm::Patch),
        ];
        for (architecture, form) in forms {
            let model = Model::random(architecture, 1).expect("model");
            let bytes = to_onnx(&model, form).expect("onnx");
            assert_eq!(from_onnx(&bytes).expect("model"), model, "{form:?}");
        }
    }

    #[test]
    fn broken_and_foreign_files_are_refused() {
        let model = Model::random(dcnn([3, 5, 8], 20, 2), 1).expect("model");
        let bytes = to_onnx(&model, OnnxForm::Patch).expect("onnx");
        for cut in (0..bytes.len()).step_by(501) {
            assert!(from_onnx(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let proto = || ModelProto::decode(&bytes[..]).expect("protobuf");
        let mut foreign = proto();
        foreign.metadata_props.clear();
        let error = from_onnx(&foreign.encode_to_vec()).expect_err("foreign").to_string();
        assert!(error.contains("not written by"), "{error}");
        let mut wrong = proto();
        let graph = wrong.graph.as_mut().expect("graph");
        graph.initializer[0].raw_data.truncate(8);
        assert!(from_onnx(&wrong.encode_to_vec()).is_err(), "too few values");
        let mut turned = proto();
        let graph = turned.graph.as_mut().expect("graph");
        let matrix = graph.initializer.iter_mut().find(|t| t.name == "fc1.weight").expect("fc1");
        matrix.dims.reverse();
        assert!(from_onnx(&turned.encode_to_vec()).is_err(), "another shape");
        let mut infinite = proto();
        let graph = infinite.graph.as_mut().expect("graph");
        graph.initializer[0].raw_data[..4].copy_from_slice(&f32::INFINITY.to_le_bytes());
        assert!(from_onnx(&infinite.encode_to_vec()).is_err(), "infinity");
    }
}
