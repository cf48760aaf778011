//! Model files, compared by parts: the arrays and the card.
//!
//! Layout of safetensors: length of the header (u64, little-endian), header (JSON), values. The
//! header maps each array to type, shape and byte range; `__metadata__` holds the card.

use super::json::Json;
use crate::run::Result;

/// A model file, taken apart.
struct ModelFile<'a> {
    /// In the order of their names.
    arrays: Vec<Array<'a>>,
    metadata: Option<Json>,
}

struct Array<'a> {
    name: String,
    /// Type and shape as the header writes them.
    format: String,
    is_f32: bool,
    values: &'a [u8],
}

/// How two model files differ.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelVerdict {
    /// Equal but for weights within the tolerance; the largest absolute difference.
    Close(f32),
    /// A description of both parts.
    Different(String),
}

/// Compares two model files whose bytes differ.
///
/// `tolerance` is the largest absolute difference of a weight (f32 arrays only); the card has none.
///
/// # Errors
/// When one of the files is no safetensors file.
pub fn compare_models(left: &[u8], right: &[u8], tolerance: f32) -> Result<ModelVerdict> {
    let left = ModelFile::parse(left)?;
    let right = ModelFile::parse(right)?;
    let card = if left.metadata == right.metadata { "card equal" } else { "card differs" };
    if let Some(difference) = different_layout(&left, &right) {
        return Ok(ModelVerdict::Different(format!("{card}; {difference}")));
    }
    let mut largest = 0.0_f32;
    let mut differing = None;
    for (a, b) in left.arrays.iter().zip(&right.arrays) {
        if a.values == b.values {
            continue;
        }
        if !a.is_f32 {
            return Ok(ModelVerdict::Different(format!(
                "{card}; bytes of array '{}' differ",
                a.name
            )));
        }
        let difference = largest_difference(a.values, b.values);
        // The total order puts NaN above every number.
        if differing.is_none() || difference.total_cmp(&largest).is_gt() {
            largest = difference;
            differing = Some(&a.name);
        }
    }
    let Some(array) = differing else {
        return Ok(ModelVerdict::Different(format!("{card}; arrays equal")));
    };
    if left.metadata == right.metadata && largest <= tolerance {
        return Ok(ModelVerdict::Close(largest));
    }
    let arrays = format!("arrays differ by at most {largest:e}, most in '{array}'");
    Ok(ModelVerdict::Different(format!("{card}; {arrays}")))
}

/// Arrays of another name, type or shape.
fn different_layout(left: &ModelFile<'_>, right: &ModelFile<'_>) -> Option<String> {
    if left.arrays.len() != right.arrays.len() {
        return Some(format!("{} and {} arrays", left.arrays.len(), right.arrays.len()));
    }
    for (a, b) in left.arrays.iter().zip(&right.arrays) {
        if a.name != b.name {
            return Some(format!("arrays '{}' and '{}'", a.name, b.name));
        }
        if a.format != b.format || a.values.len() != b.values.len() {
            return Some(format!("array '{}' is {} and {}", a.name, a.format, b.format));
        }
    }
    None
}

/// Of two arrays of f32 with as many values; NaN where a difference is no number.
fn largest_difference(left: &[u8], right: &[u8]) -> f32 {
    let mut largest = 0.0_f32;
    for (a, b) in left.chunks_exact(4).zip(right.chunks_exact(4)) {
        if a == b {
            continue;
        }
        let difference = (f32_of(a) - f32_of(b)).abs();
        if difference.is_nan() {
            return difference;
        }
        largest = largest.max(difference);
    }
    largest
}

fn f32_of(bytes: &[u8]) -> f32 {
    bytes.try_into().map_or(f32::NAN, f32::from_le_bytes)
}

impl<'a> ModelFile<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self> {
        let broken = || "no safetensors file".to_owned();
        let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(broken)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| broken())?;
        let (header, values) = rest.split_at_checked(length).ok_or_else(broken)?;
        let Json::Object(members) =
            Json::parse(std::str::from_utf8(header).map_err(|_| broken())?)?
        else {
            return Err(broken());
        };
        let mut file = Self { arrays: Vec::new(), metadata: None };
        for (name, entry) in members {
            if name == "__metadata__" {
                file.metadata = Some(entry);
            } else {
                file.arrays.push(Array::of(name, &entry, values).ok_or_else(broken)?);
            }
        }
        file.arrays.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(file)
    }
}

impl<'a> Array<'a> {
    fn of(name: String, entry: &Json, values: &'a [u8]) -> Option<Self> {
        let dtype = entry.member("dtype")?;
        let Json::Array(offsets) = entry.member("data_offsets")? else { return None };
        let [Json::Scalar(start), Json::Scalar(end)] = offsets.as_slice() else { return None };
        let Json::Array(shape) = entry.member("shape")? else { return None };
        let mut format = match dtype {
            Json::String(dtype) => dtype.clone(),
            _ => return None,
        };
        for side in shape {
            let Json::Scalar(side) = side else { return None };
            format += &format!(" {side}");
        }
        Some(Self {
            name,
            is_f32: format.split(' ').next() == Some("F32"),
            format,
            values: values.get(start.parse().ok()?..end.parse().ok()?)?,
        })
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A model file of one array.
    pub fn model_file(card: &str, dtype: &str, values: &[f32]) -> Vec<u8> {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let header = format!(
            r#"{{"__metadata__":{{"prunella":"{card}"}},"w":{{"dtype":"{dtype}","shape":[{}],"#,
            values.len()
        ) + &format!(r#""data_offsets":[0,{}]}}}}"#, bytes.len());
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes].concat()
    }

    fn verdict(left: &[u8], right: &[u8], tolerance: f32) -> ModelVerdict {
        compare_models(left, right, tolerance).expect("model files")
    }

    fn assert_different(verdict: &ModelVerdict, words: [&str; 2]) {
        let all = |text: &str| words.iter().all(|word| text.contains(word));
        assert!(matches!(verdict, ModelVerdict::Different(text) if all(text)), "{verdict:?}");
    }

    #[test]
    fn card_and_arrays_are_told_apart() {
        let base = model_file("a", "F32", &[1.0, 2.0]);
        let card = model_file("b", "F32", &[1.0, 2.0]);
        assert_different(&verdict(&base, &card, 0.0), ["card differs", "arrays equal"]);
        let weight = model_file("a", "F32", &[1.0, 2.5]);
        assert_different(
            &verdict(&base, &weight, 0.0),
            ["card equal", "at most 5e-1, most in 'w'"],
        );
        let shape = model_file("a", "F32", &[1.0, 2.0, 3.0]);
        assert_different(&verdict(&base, &shape, 9.0), ["card equal", "'w' is F32 2 and F32 3"]);
        let other_type = model_file("a", "I32", &[1.0, 2.0]);
        assert_different(&verdict(&base, &other_type, 9.0), ["card equal", "F32 2 and I32 2"]);
    }

    #[test]
    fn the_tolerance_is_for_f32_arrays_alone() {
        let base = model_file("a", "F32", &[1.0]);
        let near = model_file("a", "F32", &[1.000_000_1]);
        assert!(matches!(verdict(&base, &near, 1e-6), ModelVerdict::Close(d) if d > 0.0));
        assert!(matches!(verdict(&base, &near, 1e-8), ModelVerdict::Different(_)));
        let near_with_card = model_file("b", "F32", &[1.000_000_1]);
        assert!(matches!(verdict(&base, &near_with_card, 1e-6), ModelVerdict::Different(_)));
        let not_a_number = model_file("a", "F32", &[f32::NAN]);
        assert!(matches!(verdict(&base, &not_a_number, 1e30), ModelVerdict::Different(_)));
        let integers = [1.0, 2.0].map(|v| model_file("a", "I32", &[v]));
        assert!(matches!(verdict(&integers[0], &integers[1], 9.0), ModelVerdict::Different(_)));
        let sign_of_zero = [0.0, -0.0].map(|v| model_file("a", "F32", &[v]));
        let verdict_of_zero = verdict(&sign_of_zero[0], &sign_of_zero[1], 0.0);
        assert_eq!(verdict_of_zero, ModelVerdict::Close(0.0));
    }

    #[test]
    fn files_of_another_kind_are_refused() {
        let base = model_file("a", "F32", &[1.0]);
        for wrong in [&b"text"[..], &base[..base.len() - 1], &base[..20], &[255; 64]] {
            assert!(compare_models(&base, wrong, 0.0).is_err());
        }
    }
}
