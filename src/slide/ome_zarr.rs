//! OME-Zarr 0.4 (Zarr 2) and 0.5 (Zarr 3): which arrays of a Zarr are a picture and its smaller
//! levels, what their axes mean, and how large a pixel is.

use serde_json::Value;

use super::level::SlideLevel;
use super::objects::{ObjectCache, ObjectResult};
use super::pictures::continues_pyramid;
use super::pixel_size::{PixelSize, unit_um};
use super::slide_file::{Slide, SlideFormat};
use super::zarr::{ZarrArray, metadata_request, parse_metadata};
use super::zarr_level::{PictureAxes, ZarrLevel};
use crate::error::{Error, Result, counted};

/// Most levels of a picture.
const MAX_LEVELS: usize = 64;
/// Longest path of an array or image in the Zarr.
const MAX_PATH: usize = 400;
/// Axes of pictures before version 0.3, which do not state them.
const OLD_AXES: &str = "tczyx";
const COLOUR_NAMES: [&str; 3] = ["red", "green", "blue"];
/// As `omero` writes colours.
const COLOUR_CODES: [&str; 3] = ["FF0000", "00FF00", "0000FF"];
/// A channel of this colour is of no colour.
const WHITE: &str = "FFFFFF";

/// A folder of a Zarr with attributes.
struct Group {
    /// Its key, with a `/` at the end, or nothing.
    folder: String,
    /// Whether it is of Zarr 3.
    is_version_3: bool,
    attributes: Value,
}

/// What an axis is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AxisKind {
    Row,
    Column,
    Focus,
    Channel,
    Time,
    Other,
}

struct Axis {
    kind: AxisKind,
    name: String,
    /// Micrometres of its unit, if it states one of length.
    unit_um: Option<f64>,
}

/// Reads the metadata of a Zarr; see [`Slide::open_objects`].
pub(super) fn open(known: &ObjectCache) -> ObjectResult<Slide> {
    let root = Group::read(known, "")?;
    let Some(root) = root else {
        return Err(Error::unsupported(
            "This is no OME-Zarr: it holds none of zarr.json, .zattrs and .zgroup",
        )
        .into());
    };
    let mut notes = Vec::new();
    let (group, other_images) = picture_group(known, root, &mut notes)?;
    let pictures = group.attributes["multiscales"].as_array().map_or(&[][..], Vec::as_slice);
    let Some(picture) = pictures.first() else { return Err(no_picture(&group).into()) };
    if !group.attributes["image-label"].is_null() {
        return Err(Error::unsupported(
            "This is a label image of an OME-Zarr, not a picture; open the folder of its picture",
        )
        .into());
    }
    if pictures.len() > 1 {
        notes.push(format!("The OME-Zarr holds {} pictures; the first is used", pictures.len()));
    }
    let arrays = arrays(known, &group, picture)?;
    let axes = axes(picture, arrays[0].shape.len())?;
    let picture_axes = picture_axes(&axes, &arrays[0].shape, &group.attributes, &mut notes)?;
    let size = pixel_size(picture, &axes, &picture_axes, &mut notes);
    let (levels, levels_set_aside) = levels(arrays, &picture_axes)?;
    if levels_set_aside > 0 {
        notes.push(format!(
            "{} set aside: width and height are not those of the finest level divided by one factor",
            counted(levels_set_aside, "smaller level is", "smaller levels are")
        ));
    }
    notes.extend(size.and_then(|size| size.note()));
    Ok(Slide {
        format: SlideFormat::OmeZarr,
        levels,
        mpp_um: size.map(|size| size.mean()),
        pixel_size_um: size,
        magnification: None,
        associated_images: other_images + pictures.len() - 1,
        levels_set_aside,
        notes,
    })
}

impl Group {
    /// The group in a folder; `None` when there is none.
    ///
    /// # Errors
    /// Missing objects; metadata that make no sense; an array.
    fn read(known: &ObjectCache, folder: &str) -> ObjectResult<Option<Self>> {
        let names = ["zarr.json", ".zattrs", ".zgroup", ".zarray"];
        let found = known.read(&names.map(|name| metadata_request(folder, name)))?;
        let is_array = |folder: &str| {
            Error::unsupported(format!(
                "{folder} is an array of a Zarr; open the folder of the OME-Zarr that holds it"
            ))
        };
        if let Some(bytes) = found[0] {
            let mut metadata = parse_metadata(names[0], bytes)?;
            if metadata["node_type"] == "array" {
                return Err(is_array(if folder.is_empty() { "This" } else { folder }).into());
            }
            let mut attributes = metadata["attributes"].take();
            // Since version 0.5 all that is of OME stands together.
            if attributes["ome"].is_object() {
                attributes = attributes["ome"].take();
            }
            return Ok(Some(Self { folder: folder.to_owned(), is_version_3: true, attributes }));
        }
        if found[3].is_some() {
            return Err(is_array(if folder.is_empty() { "This" } else { folder }).into());
        }
        if found[1].is_none() && found[2].is_none() {
            return Ok(None);
        }
        let attributes = found[1].map(|bytes| parse_metadata(names[1], bytes)).transpose()?;
        Ok(Some(Self {
            folder: folder.to_owned(),
            is_version_3: false,
            attributes: attributes.unwrap_or_default(),
        }))
    }
}

/// The group that holds the picture: the root, or the first image of the layout of bioformats2raw;
/// and the number of other images.
fn picture_group(
    known: &ObjectCache,
    root: Group,
    notes: &mut Vec<String>,
) -> ObjectResult<(Group, usize)> {
    let is_layout = !root.attributes["bioformats2raw.layout"].is_null();
    if !is_layout || root.attributes["multiscales"].is_array() {
        return Ok((root, 0));
    }
    let listed = Group::read(known, "OME/")?;
    let series = listed.as_ref().and_then(|group| group.attributes["series"].as_array());
    let first = series.and_then(|series| series.first()).and_then(Value::as_str).unwrap_or("0");
    let count = series.map_or(1, Vec::len).max(1);
    let folder = format!("{}/", checked_path(first)?);
    let Some(group) = Group::read(known, &folder)? else {
        return Err(Error::malformed(format!(
            "The OME-Zarr lists the image {first}, which is not in it"
        ))
        .into());
    };
    if count > 1 {
        notes.push(format!("The OME-Zarr holds {count} images; the first, {first}, is used"));
    }
    Ok((group, count - 1))
}

fn no_picture(group: &Group) -> Error {
    let has = |key: &str| !group.attributes[key].is_null();
    Error::unsupported(if has("plate") || has("well") {
        "This OME-Zarr is a plate of many images; open one of them, such as plate.zarr/A/1/0"
    } else if has("labels") {
        "This folder holds the label images of an OME-Zarr; open the folder above it"
    } else {
        "The Zarr states no picture: it has no 'multiscales', which OME-Zarr needs. Write it with \
         an OME-Zarr writer, such as bioformats2raw"
    })
}

/// A path in the Zarr without `/` at its ends.
///
/// # Errors
/// [`Error::Malformed`] for one that leads out of it.
fn checked_path(path: &str) -> Result<&str> {
    let path = path.trim_matches('/');
    let is_plain = |name: &str| {
        !matches!(name, "" | "." | "..") && !name.contains(['\\', ':', '\0', '?', '#'])
    };
    if path.len() <= MAX_PATH && path.split('/').all(is_plain) {
        return Ok(path);
    }
    Err(Error::malformed("The OME-Zarr names a path that cannot be in it"))
}

/// The arrays of a picture in the order in which it lists them; at least one.
fn arrays(known: &ObjectCache, group: &Group, picture: &Value) -> ObjectResult<Vec<ZarrArray>> {
    let datasets = picture["datasets"].as_array().filter(|list| !list.is_empty());
    let datasets = datasets.ok_or_else(|| Error::malformed("The OME-Zarr lists no arrays"))?;
    let name = if group.is_version_3 { "zarr.json" } else { ".zarray" };
    let mut folders = Vec::new();
    for dataset in datasets.iter().take(MAX_LEVELS) {
        let path = dataset["path"].as_str().unwrap_or_default();
        folders.push(format!("{}{}/", group.folder, checked_path(path)?));
    }
    let requests: Vec<_> = folders.iter().map(|folder| metadata_request(folder, name)).collect();
    let mut arrays = Vec::new();
    for (folder, found) in folders.iter().zip(known.read(&requests)?) {
        let key = format!("{folder}{name}");
        let bytes = found.ok_or_else(|| {
            Error::malformed(format!("{key} of the OME-Zarr is missing; it may be copied in part"))
        })?;
        arrays.push(ZarrArray::new(folder, &parse_metadata(&key, bytes)?)?);
    }
    Ok(arrays)
}

/// The axes of a picture, as many as its arrays have.
fn axes(picture: &Value, count: usize) -> Result<Vec<Axis>> {
    let mut axes = Vec::new();
    if let Some(stated) = picture["axes"].as_array() {
        for axis in stated {
            // Version 0.3 states names alone.
            let name = axis["name"].as_str().or(axis.as_str()).unwrap_or_default();
            axes.push(Axis::new(name, axis));
        }
    } else {
        for letter in OLD_AXES.chars().skip(OLD_AXES.len().saturating_sub(count)) {
            axes.push(Axis::new(&letter.to_string(), &Value::Null));
        }
    }
    if axes.len() != count {
        return Err(Error::malformed(format!(
            "The OME-Zarr states {} of arrays that have {count}",
            counted(axes.len(), "axis", "axes")
        )));
    }
    Ok(axes)
}

impl Axis {
    fn new(name: &str, stated: &Value) -> Self {
        let name = name.to_lowercase();
        let kind = match (name.as_str(), stated["type"].as_str()) {
            ("y", _) => AxisKind::Row,
            ("x", _) => AxisKind::Column,
            ("z", _) => AxisKind::Focus,
            ("c", _) | (_, Some("channel")) => AxisKind::Channel,
            ("t", _) | (_, Some("time")) => AxisKind::Time,
            _ => AxisKind::Other,
        };
        Self { kind, name, unit_um: stated["unit"].as_str().and_then(unit_um) }
    }
}

/// Which axes are rows, columns and colours, and where along the others the picture lies.
fn picture_axes(
    axes: &[Axis],
    shape: &[u64],
    attributes: &Value,
    notes: &mut Vec<String>,
) -> Result<PictureAxes> {
    let single = |kind: AxisKind| {
        let mut found = axes.iter().enumerate().filter(|(_, axis)| axis.kind == kind);
        (found.next().map(|(i, _)| i), found.next().is_some())
    };
    let (Some(row), false) = single(AxisKind::Row) else { return Err(no_plane()) };
    let (Some(column), false) = single(AxisKind::Column) else { return Err(no_plane()) };
    let mut picture = PictureAxes { row, column, colours: None, position: vec![0; axes.len()] };
    for (i, axis) in axes.iter().enumerate() {
        let count = shape[i];
        let what = match axis.kind {
            AxisKind::Channel if count == 3 && picture.colours.is_none() => {
                picture.colours = Some((i, colours(&attributes["omero"]["channels"], notes)?));
                continue;
            }
            AxisKind::Channel if count > 1 => {
                return Err(channels_error(&attributes["omero"]["channels"], count));
            }
            AxisKind::Row | AxisKind::Column => continue,
            _ if count == 1 => continue,
            AxisKind::Focus => "focal planes".to_owned(),
            AxisKind::Time => "time points".to_owned(),
            _ => format!("pictures along its axis {}", axis.name),
        };
        notes.push(format!("The OME-Zarr holds {count} {what}; the first is used"));
    }
    Ok(picture)
}

fn no_plane() -> Error {
    Error::unsupported("The axes of the OME-Zarr are not those of a picture: one x and one y")
}

/// Which of three channels are red, green and blue, by their colours and names.
fn colours(channels: &Value, notes: &mut Vec<String>) -> Result<[u64; 3]> {
    let empty = Vec::new();
    let channels = channels.as_array().unwrap_or(&empty);
    let mut places = [None; 3];
    for (i, channel) in channels.iter().take(3).enumerate() {
        let name = channel["label"].as_str().unwrap_or_default().trim().to_lowercase();
        let code = channel["color"].as_str().unwrap_or(WHITE).trim_start_matches('#');
        let code = code.to_uppercase();
        let named = COLOUR_NAMES.iter().position(|word| name == *word || name == word[..1]);
        let coded = COLOUR_CODES.iter().position(|other| code == *other);
        let rest = name.trim_start_matches("channel").trim_start_matches('c');
        let is_numbered = rest.chars().all(|c| c.is_ascii_digit() || " :_-".contains(c));
        if (named.is_none() && !is_numbered) || (coded.is_none() && code != WHITE) {
            return Err(channels_error(&Value::Array(channels.clone()), 3));
        }
        if let Some(colour) = named.or(coded) {
            places[colour] = Some(i as u64);
        }
    }
    if let [Some(red), Some(green), Some(blue)] = places {
        return Ok([red, green, blue]);
    }
    if places.iter().any(Option::is_some) {
        return Err(channels_error(&Value::Array(channels.clone()), 3));
    }
    notes.push(
        "The OME-Zarr does not state what its three channels are; they are taken for red, green \
         and blue"
            .to_owned(),
    );
    Ok([0, 1, 2])
}

fn channels_error(channels: &Value, count: u64) -> Error {
    let labels = channels.as_array().into_iter().flatten().filter_map(|c| c["label"].as_str());
    let names: Vec<&str> = labels.take(6).collect();
    let named = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
    Error::unsupported(format!(
        "The OME-Zarr holds {count} channels{named}, as fluorescence does; prunella segments one \
         colour picture. Write it with three channels: red, green and blue"
    ))
}

/// The size of a pixel by the scales of the finest level and of the whole picture.
fn pixel_size(
    picture: &Value,
    axes: &[Axis],
    picture_axes: &PictureAxes,
    notes: &mut Vec<String>,
) -> Option<PixelSize> {
    let side = |axis: usize| {
        let own = scale(&picture["datasets"][0]["coordinateTransformations"], axis)?;
        let of_all = scale(&picture["coordinateTransformations"], axis).unwrap_or(1.0);
        Some(own * of_all)
    };
    let (x, y) = (side(picture_axes.column)?, side(picture_axes.row)?);
    let units = (axes[picture_axes.column].unit_um, axes[picture_axes.row].unit_um);
    let (Some(unit_x), Some(unit_y)) = units else {
        // A scale of 1 without a unit is what writers put who know no size.
        if x.total_cmp(&1.0).is_ne() || y.total_cmp(&1.0).is_ne() {
            notes.push(format!(
                "The OME-Zarr states pixels of {x} × {y} without a unit of length; the pixel size \
                 counts as not stated"
            ));
        }
        return None;
    };
    let size = PixelSize { x: x * unit_x, y: y * unit_y };
    if size.is_plausible() {
        return Some(size);
    }
    notes.push(format!(
        "The OME-Zarr states pixels of {} × {} µm, which no slide scanner has; the pixel size \
         counts as not stated",
        size.x, size.y
    ));
    None
}

/// The scale along an axis of a list of transformations.
fn scale(transformations: &Value, axis: usize) -> Option<f64> {
    let mut scales = transformations.as_array()?.iter().filter(|t| t["type"] == "scale");
    scales.next()?["scale"][axis].as_f64()
}

/// The levels and the number of those that do not belong to the pyramid.
fn levels(arrays: Vec<ZarrArray>, axes: &PictureAxes) -> Result<(Vec<SlideLevel>, usize)> {
    let finest_shape = arrays[0].shape.clone();
    let mut levels: Vec<SlideLevel> = Vec::new();
    let mut set_aside = 0;
    for array in arrays {
        // The picture must lie at the same place in each level.
        let has_picture = array.shape.len() == finest_shape.len()
            && axes.position.iter().zip(&array.shape).all(|(at, count)| at < count)
            && axes.colours.is_none_or(|(axis, _)| array.shape[axis] == finest_shape[axis]);
        if !has_picture {
            set_aside += 1;
            continue;
        }
        let level = SlideLevel::of_zarr(&ZarrLevel { array, axes: axes.clone() })?;
        if levels.is_empty() || continues_pyramid(&levels, &level) {
            levels.push(level);
        } else {
            set_aside += 1;
        }
    }
    Ok((levels, set_aside))
}
