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
            "{} set aside: width and height are not those of the finest level divided by one \
             factor",
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
                "{folder} is an array of a Zarr; open the folder that holds it"
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Write as _;

    use serde_json::json;

    use super::*;
    use crate::raster::RgbImage;
    use crate::slide::{BACKGROUND, ObjectError, ObjectSource as _, SlideReader};

    type Objects = BTreeMap<String, Vec<u8>>;

    /// Width and height of the finest level; its chunks have 16 rows and 24 columns.
    const SIZE: (usize, usize) = (50, 40);
    const CHUNK: (usize, usize) = (24, 16);

    fn value(x: usize, y: usize, c: usize) -> u8 {
        (x * 3 + y * 5 + c * 70) as u8
    }

    /// The picture of a level that has every `step`-th pixel.
    fn expected(step: usize) -> RgbImage {
        let mut image = RgbImage::filled(SIZE.0 / step, SIZE.1 / step, [0; 3]);
        for y in 0..image.height() {
            for (x, pixel) in image.row_mut(y).iter_mut().enumerate() {
                *pixel = [0, 1, 2].map(|c| value(x * step, y * step, c));
            }
        }
        image
    }

    fn put(objects: &mut Objects, key: &str, value: &Value) {
        objects.insert(key.to_owned(), value.to_string().into_bytes());
    }

    /// The chunk of all three colours at a position of a level.
    fn chunk(step: usize, column: usize, row: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for c in 0..3 {
            for y in row * CHUNK.1..(row + 1) * CHUNK.1 {
                for x in column * CHUNK.0..(column + 1) * CHUNK.0 {
                    bytes.push(value(x * step, y * step, c));
                }
            }
        }
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory")
    }

    fn multiscales() -> Value {
        let level = |path: &str, side: f64| {
            let scale = json!({ "type": "scale", "scale": [1.0, side, side] });
            json!({ "path": path, "coordinateTransformations": [scale] })
        };
        let space = |name: &str| json!({ "name": name, "type": "space", "unit": "micrometer" });
        json!([{
            "axes": [{ "name": "c", "type": "channel" }, space("y"), space("x")],
            "datasets": [level("0", 0.25), level("a/1", 0.5)],
        }])
    }

    fn omero(colours: [&str; 3]) -> Value {
        json!({ "channels": colours.map(|colour| json!({ "color": colour })) })
    }

    /// OME-Zarr 0.4: gzip, one chunk for all colours.
    fn version_4() -> Objects {
        let mut objects = Objects::new();
        let attributes = json!({ "multiscales": multiscales(), "omero": omero(COLOUR_CODES) });
        put(&mut objects, ".zgroup", &json!({ "zarr_format": 2 }));
        put(&mut objects, ".zattrs", &attributes);
        for (path, step) in [("0", 1), ("a/1", 2)] {
            let (width, height) = (SIZE.0 / step, SIZE.1 / step);
            put(
                &mut objects,
                &format!("{path}/.zarray"),
                &json!({
                    "zarr_format": 2, "shape": [3, height, width], "chunks": [3, CHUNK.1, CHUNK.0],
                    "dtype": "|u1", "order": "C", "fill_value": 255, "filters": null,
                    "compressor": { "id": "gzip", "level": 1 }, "dimension_separator": "/",
                }),
            );
            for row in 0..height.div_ceil(CHUNK.1) {
                for column in 0..width.div_ceil(CHUNK.0) {
                    let key = format!("{path}/0/{row}/{column}");
                    objects.insert(key, gzip(&chunk(step, column, row)));
                }
            }
        }
        objects
    }

    /// OME-Zarr 0.5: shards of 2 × 2 chunks without compression, but with checksums.
    fn version_5() -> Objects {
        let mut objects = Objects::new();
        let attributes = json!({ "ome": { "multiscales": multiscales(), "version": "0.5" } });
        let group = json!({ "zarr_format": 3, "node_type": "group", "attributes": attributes });
        put(&mut objects, "zarr.json", &group);
        for (path, step) in [("0", 1), ("a/1", 2)] {
            let (width, height) = (SIZE.0 / step, SIZE.1 / step);
            let shard = [3, 2 * CHUNK.1, 2 * CHUNK.0];
            let codecs = json!([{ "name": "bytes" }, { "name": "crc32c" }]);
            put(
                &mut objects,
                &format!("{path}/zarr.json"),
                &json!({
                    "zarr_format": 3, "node_type": "array", "shape": [3, height, width],
                    "data_type": "uint8", "fill_value": 9,
                    "chunk_grid": { "name": "regular", "configuration": { "chunk_shape": shard } },
                    "chunk_key_encoding": { "name": "default" },
                    "codecs": [{ "name": "sharding_indexed", "configuration": {
                        "chunk_shape": [3, CHUNK.1, CHUNK.0],
                        "codecs": codecs, "index_codecs": codecs, "index_location": "end",
                    } }],
                }),
            );
            for row in 0..height.div_ceil(2 * CHUNK.1) {
                for column in 0..width.div_ceil(2 * CHUNK.0) {
                    objects
                        .insert(format!("{path}/c/0/{row}/{column}"), shard_of(step, column, row));
                }
            }
        }
        objects
    }

    fn shard_of(step: usize, column: usize, row: usize) -> Vec<u8> {
        let (mut shard, mut index) = (Vec::new(), Vec::new());
        for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            let mut bytes = chunk(step, 2 * column + dx, 2 * row + dy);
            bytes.extend(super::super::zarr::crc32c(&bytes).to_le_bytes());
            index.extend((shard.len() as u64).to_le_bytes());
            index.extend((bytes.len() as u64).to_le_bytes());
            shard.extend(bytes);
        }
        index.extend(super::super::zarr::crc32c(&index).to_le_bytes());
        shard.extend(index);
        shard
    }

    fn open(objects: &Objects) -> Result<SlideReader> {
        SlideReader::open_objects(Box::new(objects.clone()))
    }

    fn whole(objects: &Objects, level: usize) -> Result<RgbImage> {
        let reader = open(objects)?;
        let size = &reader.slide.levels[level];
        reader.region(level, 0, 0, size.width, size.height)
    }

    /// The metadata of a key, changed.
    fn changed(objects: &Objects, key: &str, change: impl Fn(&mut Value)) -> Objects {
        let mut objects = objects.clone();
        let mut value = serde_json::from_slice(&objects[key]).expect("JSON");
        change(&mut value);
        put(&mut objects, key, &value);
        objects
    }

    #[test]
    fn both_versions_open_with_levels_pixel_size_and_pixels() {
        for objects in [version_4(), version_5()] {
            let reader = open(&objects).expect("opens");
            assert_eq!(reader.slide.format, SlideFormat::OmeZarr);
            assert_eq!(reader.slide.pixel_size_um, Some(PixelSize::square(0.25)));
            assert_eq!(reader.slide.levels.len(), 2);
            for (level, step) in [(0, 1), (1, 2)] {
                assert!(whole(&objects, level).expect("pixels") == expected(step), "level {level}");
            }
            // Only colours that are stated need no note.
            assert_eq!(reader.slide.notes.is_empty(), objects.contains_key(".zattrs"));
        }
    }

    #[test]
    fn absent_chunks_have_the_fill_value_and_colours_any_order() {
        let mut objects = version_4();
        objects.remove("0/0/0/1");
        let pixels = whole(&objects, 0).expect("pixels");
        assert_eq!((pixels.get(0, 24), pixels.get(15, 47)), (BACKGROUND, BACKGROUND));
        assert_eq!(pixels.get(16, 24), expected(1).get(16, 24));
        let mut objects = version_5();
        objects.remove("0/c/0/0/0");
        assert_eq!(whole(&objects, 0).expect("pixels").get(3, 4), [9; 3]);
        let turned = changed(&version_4(), ".zattrs", |a| {
            a["omero"] = omero(["0000FF", "FF0000", "00FF00"]);
        });
        let [red, green, blue] = expected(1).get(7, 8);
        assert_eq!(whole(&turned, 0).expect("pixels").get(7, 8), [green, blue, red]);
    }

    #[test]
    fn one_object_at_a_time_opens_the_same_slide() {
        let objects = version_5();
        let mut known = ObjectCache::default();
        let mut rounds = 0;
        let slide = loop {
            match Slide::open_objects(&known) {
                Ok(slide) => break slide,
                Err(ObjectError::Fail(error)) => unreachable!("{error}"),
                Err(ObjectError::NeedObjects(mut requests)) => {
                    requests.truncate(1);
                    let mut found = objects.read(&requests).expect("memory");
                    known.insert(requests.remove(0), found.remove(0)).expect("complete");
                }
            }
            rounds += 1;
            assert!(rounds < 100, "it does not end");
        };
        assert!(slide == open(&objects).expect("opens").slide);
    }

    #[test]
    fn the_identity_differs_between_slides_and_not_by_what_was_looked_at() {
        let objects = version_5();
        let reader = open(&objects).expect("opens");
        let before = reader.identity().expect("identity");
        reader.region(0, 0, 0, 50, 40).expect("pixels");
        assert_eq!(reader.identity().expect("identity"), before);
        let mut other = objects.clone();
        other.insert("a/1/c/0/0/0".into(), shard_of(3, 0, 0));
        assert_ne!(open(&other).expect("opens").identity().expect("identity"), before);
    }

    #[test]
    fn what_is_no_picture_is_refused_by_name() {
        let attributes = |change: &dyn Fn(&mut Value)| changed(&version_4(), ".zattrs", change);
        let array = |change: &dyn Fn(&mut Value)| changed(&version_4(), "0/.zarray", change);
        let version_3 = |change: &dyn Fn(&mut Value)| changed(&version_5(), "0/zarr.json", change);
        let path =
            |path: &str| attributes(&|a| a["multiscales"][0]["datasets"][0]["path"] = json!(path));
        let shard = |change: &dyn Fn(&mut Value)| {
            version_3(&|a| change(&mut a["codecs"][0]["configuration"]))
        };
        for (objects, word) in [
            (Objects::new(), "no OME-Zarr"),
            (attributes(&|a| a["image-label"] = json!({})), "label image"),
            (attributes(&|a| *a = json!({ "labels": ["nuclei"] })), "label images"),
            (attributes(&|a| *a = json!({ "plate": {} })), "plate"),
            (attributes(&|a| *a = json!({})), "multiscales"),
            (attributes(&|a| *a = json!([1])), "no JSON object"),
            (
                attributes(&|a| a["multiscales"][0]["axes"][2]["name"] = json!("q")),
                "one x and one y",
            ),
            (attributes(&|a| a["multiscales"][0]["axes"] = json!(["y", "x"])), "2 axes"),
            (attributes(&|a| a["omero"] = omero(["FF00FF", "FF0000", "00FF00"])), "3 channels"),
            (attributes(&|a| a["omero"]["channels"][0]["label"] = json!("DAPI")), "DAPI"),
            (path("../../x"), "cannot be in it"),
            (path("/"), "cannot be in it"),
            (path("9"), "9/.zarray of the OME-Zarr is missing"),
            (array(&|a| a["dtype"] = json!("<u2")), "8 bits"),
            (array(&|a| a["filters"] = json!([{ "id": "delta" }])), "filters"),
            (array(&|a| a["compressor"] = json!({ "id": "bz2" })), "bz2"),
            (array(&|a| a["shape"] = json!([2, 40, 50])), "2 channels"),
            (array(&|a| a["shape"] = json!([3, 40, 1u64 << 40])), "lengths"),
            (array(&|a| a["shape"] = json!([3, 40, 1u64 << 30])), "out of range"),
            (array(&|a| a["chunks"] = json!([3, 0, 24])), "no length"),
            (array(&|a| a["chunks"] = json!([3, 16])), "other axes"),
            (array(&|a| a["chunks"] = json!([3, 1 << 20, 1 << 20])), "too large"),
            (array(&|a| a["chunks"] = json!([1 << 30, 16, 24])), "too large"),
            (array(&|a| a["fill_value"] = json!(-1)), "fill value"),
            (array(&|a| a["zarr_format"] = json!(4)), "2 and 3"),
            (version_3(&|a| a["data_type"] = json!("float32")), "float32"),
            (version_3(&|a| a["codecs"] = json!([])), "no bytes"),
            (version_3(&|a| a["codecs"][0]["name"] = json!("zfp")), "zfp"),
            (shard(&|c| c["chunk_shape"] = json!([3, 16, 25])), "whole chunks"),
            (shard(&|c| c["chunk_shape"] = json!([0, 16, 24])), "whole chunks"),
            (shard(&|c| c["index_codecs"] = json!([{ "name": "gzip" }])), "indices"),
        ] {
            let error = open(&objects).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(word), "{word}: {error}");
        }
    }

    #[test]
    fn nested_metadata_do_not_exhaust_the_stack() {
        let mut objects = version_4();
        objects.insert(".zattrs".into(), [b"[".repeat(1 << 20), b"]".repeat(1 << 20)].concat());
        assert!(open(&objects).is_err());
    }

    #[test]
    fn objects_cut_short_or_damaged_are_errors() {
        for (objects, key) in [(version_4(), "0/0/0/0"), (version_5(), "0/c/0/0/0")] {
            let len = objects[key].len();
            for cut in [0, 1, len / 2, len - 1] {
                let mut cut_short = objects.clone();
                cut_short.get_mut(key).expect("chunk").truncate(cut);
                assert!(whole(&cut_short, 0).is_err(), "{key} cut to {cut}");
            }
            for at in [len / 3, len - 5] {
                let mut damaged = objects.clone();
                damaged.get_mut(key).expect("chunk")[at] ^= 0x10;
                assert!(whole(&damaged, 0).is_err(), "{key} damaged at {at}");
            }
        }
        // Ten million zeros in ten kilobytes: no more is decoded than a chunk has.
        let mut bomb = version_4();
        bomb.insert("0/0/0/0".into(), gzip(&vec![0; 10_000_000]));
        assert!(whole(&bomb, 0).is_err());
    }

    #[test]
    fn images_of_bioformats2raw_are_found() {
        let mut objects = Objects::new();
        for (key, bytes) in version_4() {
            objects.insert(format!("0/{key}"), bytes);
        }
        put(&mut objects, ".zattrs", &json!({ "bioformats2raw.layout": 3 }));
        assert!(open(&objects).expect("opens").slide.notes.is_empty());
        put(&mut objects, "OME/.zattrs", &json!({ "series": ["0", "1", "2"] }));
        let slide = open(&objects).expect("opens").slide;
        assert_eq!((slide.associated_images, slide.notes.len()), (2, 1));
        put(&mut objects, "OME/.zattrs", &json!({ "series": ["5"] }));
        assert!(open(&objects).is_err());
    }
}
