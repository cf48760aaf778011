//! TIFF slides in every layout, made on the spot.

use image::codecs::jpeg::JpegEncoder;
use prunella::raster::{Plane, RgbImage};

/// How a test slide is written.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    pub big: bool,
    pub big_endian: bool,
    /// 1, 5, 7 or 8.
    pub compression: u16,
    pub tile: Option<usize>,
    /// Levels behind the first are its sub-directories.
    pub nested: bool,
}

pub const PLAIN: Style =
    Style { big: false, big_endian: false, compression: 1, tile: Some(32), nested: false };

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

    fn pack(&self, values: &[u8], width: usize) -> Vec<u8> {
        match self.style.compression {
            5 => weezl::encode::Encoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8)
                .encode(values)
                .expect("LZW"),
            7 => {
                let mut out = Vec::new();
                let height = values.len() / 3 / width;
                let mut encoder = JpegEncoder::new_with_quality(&mut out, 95);
                encoder
                    .encode(values, width as u32, height as u32, image::ExtendedColorType::Rgb8)
                    .expect("JPEG");
                out
            }
            8 => {
                let mut encoder =
                    flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
                std::io::Write::write_all(&mut encoder, values).expect("deflate");
                encoder.finish().expect("deflate")
            }
            _ => values.to_vec(),
        }
    }

    /// Tiles of a level; their places and lengths.
    fn tiles(&mut self, image: &RgbImage) -> Vec<(u64, u64)> {
        let (w, h) = self.style.tile.map_or((image.width(), 10), |t| (t, t));
        let mut places = Vec::new();
        for top in (0..image.height()).step_by(h) {
            for left in (0..image.width()).step_by(w) {
                let rows = if self.style.tile.is_some() { h } else { h.min(image.height() - top) };
                let value = |i: usize| {
                    let (y, x) = (
                        (top + i / w).min(image.height() - 1),
                        (left + i % w).min(image.width() - 1),
                    );
                    image.get(y, x)
                };
                let values: Vec<u8> = (0..w * rows).flat_map(value).collect();
                let packed = self.pack(&values, w);
                places.push((self.bytes.len() as u64, packed.len() as u64));
                self.bytes.extend(packed);
            }
        }
        places
    }

    /// Writes values outside a directory; gives their place.
    fn list(&mut self, values: &[u64], width: usize) -> u64 {
        let at = self.bytes.len() as u64;
        let bytes: Vec<u8> = values.iter().flat_map(|v| self.number(*v, width)).collect();
        self.bytes.extend(bytes);
        at
    }

    /// Writes a directory; gives its place and the place of its link to the next.
    fn directory(&mut self, image: &RgbImage, description: &str, subs: &[u64]) -> (u64, u64) {
        let places = self.tiles(image);
        let wide = if self.style.big { 8 } else { 4 };
        let long = if self.style.big { 16 } else { 4 };
        let mut tags: Vec<(u16, u16, Vec<u64>)> = vec![
            (256, 4, vec![image.width() as u64]),
            (257, 4, vec![image.height() as u64]),
            (258, 3, vec![8, 8, 8]),
            (259, 3, vec![u64::from(self.style.compression)]),
            (262, 3, vec![if self.style.compression == 7 { 6 } else { 2 }]),
            (270, 2, description.bytes().map(u64::from).chain([0]).collect()),
            (277, 3, vec![3]),
        ];
        let (offsets, counts): (Vec<u64>, Vec<u64>) = places.into_iter().unzip();
        if let Some(tile) = self.style.tile {
            tags.extend([(322, 3, vec![tile as u64]), (323, 3, vec![tile as u64])]);
            tags.extend([(324, long, offsets), (325, 4, counts)]);
        } else {
            tags.extend([(273, long, offsets), (278, 4, vec![10]), (279, 4, counts)]);
        }
        if !subs.is_empty() {
            tags.push((330, if self.style.big { 18 } else { 13 }, subs.to_vec()));
        }
        tags.sort_by_key(|t| t.0);
        let mut entries = Vec::new();
        for (tag, kind, values) in &tags {
            let width = match kind {
                2 => 1,
                3 => 2,
                16 | 18 => 8,
                _ => 4,
            };
            let inline = values.len() * width <= wide;
            let mut value: Vec<u8> = values.iter().flat_map(|v| self.number(*v, width)).collect();
            if !inline {
                let at = self.list(values, width);
                value = self.number(at, wide);
            }
            value.resize(wide, 0);
            entries.extend(self.number(u64::from(*tag), 2));
            entries.extend(self.number(u64::from(*kind), 2));
            entries.extend(self.number(values.len() as u64, wide));
            entries.extend(value);
        }
        let at = self.bytes.len() as u64;
        let count = self.number(tags.len() as u64, if self.style.big { 8 } else { 2 });
        self.bytes.extend(count);
        self.bytes.extend(entries);
        let link = self.bytes.len() as u64;
        self.bytes.extend(vec![0; wide]);
        (at, link)
    }

    fn link(&mut self, from: u64, to: u64) {
        let wide = if self.style.big { 8 } else { 4 };
        let value = self.number(to, wide);
        self.bytes[from as usize..][..wide].copy_from_slice(&value);
    }
}

/// A slide of these levels.
pub fn slide(levels: &[RgbImage], style: Style, description: &str) -> Vec<u8> {
    let mut w = Writer { style, bytes: vec![0; 16] };
    let mark: [u8; 2] = if style.big_endian { *b"MM" } else { *b"II" };
    w.bytes[..2].copy_from_slice(&mark);
    let version = w.number(if style.big { 43 } else { 42 }, 2);
    w.bytes[2..4].copy_from_slice(&version);
    if style.big {
        let eight = w.number(8, 2);
        w.bytes[4..6].copy_from_slice(&eight);
    }
    let mut from = if style.big { 8 } else { 4 };
    if style.nested {
        let subs: Vec<u64> = levels[1..].iter().map(|l| w.directory(l, "", &[]).0).collect();
        let (at, _) = w.directory(&levels[0], description, &subs);
        w.link(from, at);
        return w.bytes;
    }
    for (i, level) in levels.iter().enumerate() {
        let (at, link) = w.directory(level, if i == 0 { description } else { "" }, &[]);
        w.link(from, at);
        from = link;
    }
    w.bytes
}

/// Three levels, each half of the one before; smooth, so that lossy packing stays close.
pub fn pyramid(width: usize, height: usize) -> Vec<RgbImage> {
    let level = |step: usize| {
        let (w, h) = (width / step, height / step);
        let value = |i: usize| {
            let (x, y) = ((i % w * step) as f32, (i / w * step) as f32);
            [x * 0.9, y * 1.1, (x + y) * 0.5].map(|v| ((v * 0.05).sin() * 100.0 + 128.0) as u8)
        };
        Plane::from_vec(w, h, (0..w * h).map(value).collect()).expect("level")
    };
    [1, 2, 4].map(level).to_vec()
}
