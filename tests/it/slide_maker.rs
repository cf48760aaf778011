//! Writes TIFF slides in every layout, for tests.

use image::codecs::jpeg::JpegEncoder;
use prunella::raster::{Plane, RgbImage};

/// Rows of a strip.
const STRIP_ROWS: usize = 10;
/// TIFF tag 259.
const LZW: u16 = 5;
const JPEG: u16 = 7;
const DEFLATE: u16 = 8;
/// TIFF field types.
const ASCII: u16 = 2;
const SHORT: u16 = 3;
const LONG: u16 = 4;
const IFD: u16 = 13;
const LONG8: u16 = 16;
const IFD8: u16 = 18;

/// How a test slide is written.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// `BigTIFF`.
    pub big: bool,
    pub big_endian: bool,
    /// TIFF tag 259: 1, 5, 7 or 8.
    pub compression: u16,
    /// Side of the tiles, pixels; none for strips.
    pub tile: Option<usize>,
    /// Levels behind the first are its sub-directories.
    pub nested: bool,
}

/// Little-endian classic TIFF, uncompressed, tiles of 32 × 32 pixels.
pub const PLAIN: Style =
    Style { big: false, big_endian: false, compression: 1, tile: Some(32), nested: false };

/// A tag with its values.
struct Tag {
    number: u16,
    field_type: u16,
    values: Vec<u64>,
}

impl Tag {
    fn value_width(&self) -> usize {
        match self.field_type {
            ASCII => 1,
            SHORT => 2,
            LONG8 | IFD8 => 8,
            _ => 4,
        }
    }
}

/// Where a directory was written.
struct WrittenDirectory {
    offset: u64,
    /// Offset of its link to the next directory.
    link: u64,
}

struct Writer {
    style: Style,
    bytes: Vec<u8>,
}

impl Writer {
    fn number(&self, value: u64, width: usize) -> Vec<u8> {
        let all = value.to_be_bytes();
        let mut out = all[8 - width..].to_vec();
        if !self.style.big_endian {
            out.reverse();
        }
        out
    }

    fn numbers(&self, values: &[u64], width: usize) -> Vec<u8> {
        values.iter().flat_map(|v| self.number(*v, width)).collect()
    }

    /// Bytes of an offset, and of the value field of a tag.
    fn offset_width(&self) -> usize {
        if self.style.big { 8 } else { 4 }
    }

    fn compress(&self, values: &[u8], width: usize) -> Vec<u8> {
        match self.style.compression {
            LZW => weezl::encode::Encoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8)
                .encode(values)
                .expect("LZW"),
            JPEG => {
                let mut out = Vec::new();
                let height = values.len() / 3 / width;
                let mut encoder = JpegEncoder::new_with_quality(&mut out, 95);
                encoder
                    .encode(values, width as u32, height as u32, image::ExtendedColorType::Rgb8)
                    .expect("JPEG");
                out
            }
            DEFLATE => {
                let mut encoder =
                    flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
                std::io::Write::write_all(&mut encoder, values).expect("deflate");
                encoder.finish().expect("deflate")
            }
            _ => values.to_vec(),
        }
    }

    /// Writes the tiles or strips of a level; gives their offsets and byte counts.
    fn tiles(&mut self, image: &RgbImage) -> (Vec<u64>, Vec<u64>) {
        let width = self.style.tile.unwrap_or(image.width());
        let height = self.style.tile.unwrap_or(STRIP_ROWS);
        let mut offsets = Vec::new();
        let mut byte_counts = Vec::new();
        for top in (0..image.height()).step_by(height) {
            for left in (0..image.width()).step_by(width) {
                let mut rows = height;
                if self.style.tile.is_none() {
                    rows = height.min(image.height() - top);
                }
                // Beyond the image the last pixel repeats.
                let mut values = Vec::new();
                for y in top..top + rows {
                    for x in left..left + width {
                        let pixel = image.get(y.min(image.height() - 1), x.min(image.width() - 1));
                        values.extend(pixel);
                    }
                }
                let compressed = self.compress(&values, width);
                offsets.push(self.bytes.len() as u64);
                byte_counts.push(compressed.len() as u64);
                self.bytes.extend(compressed);
            }
        }
        (offsets, byte_counts)
    }

    fn tags(&mut self, image: &RgbImage, description: &str, sub_ifds: &[u64]) -> Vec<Tag> {
        let (offsets, byte_counts) = self.tiles(image);
        let offset_type = if self.style.big { LONG8 } else { LONG };
        let photometric = if self.style.compression == JPEG { 6 } else { 2 };
        let text: Vec<u64> = description.bytes().map(u64::from).chain([0]).collect();
        let tag = |number, field_type, values| Tag { number, field_type, values };
        let mut tags = vec![
            tag(256, LONG, vec![image.width() as u64]),
            tag(257, LONG, vec![image.height() as u64]),
            tag(258, SHORT, vec![8, 8, 8]),
            tag(259, SHORT, vec![u64::from(self.style.compression)]),
            tag(262, SHORT, vec![photometric]),
            tag(270, ASCII, text),
            tag(277, SHORT, vec![3]),
        ];
        if let Some(tile) = self.style.tile {
            tags.push(tag(322, SHORT, vec![tile as u64]));
            tags.push(tag(323, SHORT, vec![tile as u64]));
            tags.push(tag(324, offset_type, offsets));
            tags.push(tag(325, LONG, byte_counts));
        } else {
            tags.push(tag(273, offset_type, offsets));
            tags.push(tag(278, LONG, vec![STRIP_ROWS as u64]));
            tags.push(tag(279, LONG, byte_counts));
        }
        if !sub_ifds.is_empty() {
            tags.push(tag(330, if self.style.big { IFD8 } else { IFD }, sub_ifds.to_vec()));
        }
        tags.sort_by_key(|t| t.number);
        tags
    }

    /// Writes a level: its tiles, values that do not fit into the directory, the directory.
    fn directory(
        &mut self,
        image: &RgbImage,
        description: &str,
        sub_ifds: &[u64],
    ) -> WrittenDirectory {
        let tags = self.tags(image, description, sub_ifds);
        let offset_width = self.offset_width();
        let mut entries = Vec::new();
        for tag in &tags {
            let mut value = self.numbers(&tag.values, tag.value_width());
            if value.len() > offset_width {
                let offset = self.bytes.len() as u64;
                self.bytes.extend(value);
                value = self.number(offset, offset_width);
            }
            value.resize(offset_width, 0);
            entries.extend(self.number(u64::from(tag.number), 2));
            entries.extend(self.number(u64::from(tag.field_type), 2));
            entries.extend(self.number(tag.values.len() as u64, offset_width));
            entries.extend(value);
        }
        let offset = self.bytes.len() as u64;
        let count = self.number(tags.len() as u64, if self.style.big { 8 } else { 2 });
        self.bytes.extend(count);
        self.bytes.extend(entries);
        let link = self.bytes.len() as u64;
        self.bytes.extend(vec![0; offset_width]);
        WrittenDirectory { offset, link }
    }

    /// Writes the offset `to` at the place `from`.
    fn link(&mut self, from: u64, to: u64) {
        let value = self.number(to, self.offset_width());
        self.bytes[from as usize..][..value.len()].copy_from_slice(&value);
    }
}

/// A slide of these levels, the finest first.
pub fn slide(levels: &[RgbImage], style: Style, description: &str) -> Vec<u8> {
    let mut w = Writer { style, bytes: vec![0; 16] };
    let byte_order: [u8; 2] = if style.big_endian { *b"MM" } else { *b"II" };
    w.bytes[..2].copy_from_slice(&byte_order);
    let version = w.number(if style.big { 43 } else { 42 }, 2);
    w.bytes[2..4].copy_from_slice(&version);
    if style.big {
        let eight = w.number(8, 2);
        w.bytes[4..6].copy_from_slice(&eight);
    }
    let mut link = if style.big { 8 } else { 4 };
    if style.nested {
        let mut sub_ifds = Vec::new();
        for level in &levels[1..] {
            sub_ifds.push(w.directory(level, "", &[]).offset);
        }
        let first = w.directory(&levels[0], description, &sub_ifds);
        w.link(link, first.offset);
        return w.bytes;
    }
    for (i, level) in levels.iter().enumerate() {
        let written = w.directory(level, if i == 0 { description } else { "" }, &[]);
        w.link(link, written.offset);
        link = written.link;
    }
    w.bytes
}

/// Three levels, each half of the one before; smooth, so that lossy compression stays close.
pub fn pyramid(width: usize, height: usize) -> Vec<RgbImage> {
    let mut levels = Vec::new();
    for step in [1, 2, 4] {
        let mut level = Plane::filled(width / step, height / step, [0; 3]);
        for y in 0..level.height() {
            for x in 0..level.width() {
                let fx = (x * step) as f32;
                let fy = (y * step) as f32;
                let waves = [fx * 0.9, fy * 1.1, (fx + fy) * 0.5];
                level.set(y, x, waves.map(|v| ((v * 0.05).sin() * 100.0 + 128.0) as u8));
            }
        }
        levels.push(level);
    }
    levels
}
