//! Writes small DICOM whole slide images (DICOM PS3.5, PS3.10), for tests. Unit tests and
//! integration tests share this file.

/// Transfer syntaxes (PS3.6, annex A).
pub const IMPLICIT: &str = "1.2.840.10008.1.2";
pub const EXPLICIT: &str = "1.2.840.10008.1.2.1";
pub const JPEG: &str = "1.2.840.10008.1.2.4.50";
pub const RLE: &str = "1.2.840.10008.1.2.5";

/// SOP class of whole slide images.
pub const WHOLE_SLIDE: &str = "1.2.840.10008.5.1.4.1.1.77.1.6";

/// Where encapsulated frames are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetTable {
    Basic,
    Extended,
    Empty,
}

/// An image in one file.
#[derive(Debug, Clone)]
pub struct MadeDicom {
    pub transfer_syntax: &'static str,
    pub sop_class: &'static str,
    pub series: &'static str,
    /// Identifies the instance, digits and points.
    pub instance: String,
    /// The third value of the image type.
    pub flavour: &'static str,
    /// Of the whole image, pixels.
    pub width: u32,
    pub height: u32,
    /// Of a frame, pixels.
    pub tile_width: u16,
    pub tile_height: u16,
    pub samples: u16,
    pub bits: u16,
    pub photometric: &'static str,
    pub is_planar: bool,
    /// Bytes of each frame.
    pub frames: Vec<Vec<u8>>,
    /// Column and row of each frame's first pixel, counted from 1: sparse tiling. Without them the
    /// tiling is full.
    pub positions: Option<Vec<[i32; 2]>>,
    pub table: OffsetTable,
    /// Fragments of each frame.
    pub fragments: usize,
    /// Identifier, and frames in the files before.
    pub concatenation: Option<(&'static str, u32)>,
    /// Whether sequences and items end with delimiters.
    pub has_delimiters: bool,
    /// Side of a pixel, µm.
    pub pixel_um: f64,
}

impl MadeDicom {
    /// RGB without compression, full tiling, no frames yet.
    pub fn new(width: u32, height: u32, tile_width: u16, tile_height: u16) -> Self {
        Self {
            transfer_syntax: EXPLICIT,
            sop_class: WHOLE_SLIDE,
            series: "1.2.3",
            instance: "1.2.3.1".to_owned(),
            flavour: "VOLUME",
            width,
            height,
            tile_width,
            tile_height,
            samples: 3,
            bits: 8,
            photometric: "RGB",
            is_planar: false,
            frames: Vec::new(),
            positions: None,
            table: OffsetTable::Basic,
            fragments: 1,
            concatenation: None,
            has_delimiters: false,
            pixel_um: 0.5,
        }
    }

    fn is_native(&self) -> bool {
        [IMPLICIT, EXPLICIT].contains(&self.transfer_syntax)
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut meta = Writer { is_implicit: false, has_delimiters: false, bytes: Vec::new() };
        meta.element(0x0002_0001, *b"OB", &[0, 1]);
        meta.text(0x0002_0002, *b"UI", self.sop_class);
        meta.text(0x0002_0003, *b"UI", &self.instance);
        meta.text(0x0002_0010, *b"UI", self.transfer_syntax);
        meta.text(0x0002_0012, *b"UI", "1.2.3.4");
        let mut file = vec![0; 128];
        file.extend_from_slice(b"DICM");
        let mut head = Writer { is_implicit: false, has_delimiters: false, bytes: Vec::new() };
        head.element(0x0002_0000, *b"UL", &(meta.bytes.len() as u32).to_le_bytes());
        file.extend(head.bytes);
        file.extend(meta.bytes);
        file.extend(self.data_set());
        file
    }

    fn data_set(&self) -> Vec<u8> {
        let mut out = Writer {
            is_implicit: self.transfer_syntax == IMPLICIT,
            has_delimiters: self.has_delimiters,
            bytes: Vec::new(),
        };
        let kind = format!("ORIGINAL\\PRIMARY\\{}\\NONE", self.flavour);
        out.text(0x0008_0008, *b"CS", &kind);
        out.text(0x0008_0016, *b"UI", self.sop_class);
        out.text(0x0008_0018, *b"UI", &self.instance);
        out.text(0x0008_0060, *b"CS", "SM");
        out.text(0x0020_000D, *b"UI", "1.2.3.9");
        out.text(0x0020_000E, *b"UI", self.series);
        if let Some((uid, offset)) = self.concatenation {
            out.text(0x0020_9161, *b"UI", uid);
            out.element(0x0020_9228, *b"UL", &offset.to_le_bytes());
        }
        let organization = if self.positions.is_some() { "TILED_SPARSE" } else { "TILED_FULL" };
        out.text(0x0020_9311, *b"CS", organization);
        out.short(0x0028_0002, self.samples);
        out.text(0x0028_0004, *b"CS", self.photometric);
        if self.samples > 1 {
            out.short(0x0028_0006, u16::from(self.is_planar));
        }
        out.text(0x0028_0008, *b"IS", &self.frames.len().to_string());
        out.short(0x0028_0010, self.tile_height);
        out.short(0x0028_0011, self.tile_width);
        out.short(0x0028_0100, self.bits);
        out.short(0x0028_0101, self.bits);
        out.short(0x0028_0102, self.bits - 1);
        out.short(0x0028_0103, 0);
        out.element(0x0048_0006, *b"UL", &self.width.to_le_bytes());
        out.element(0x0048_0007, *b"UL", &self.height.to_le_bytes());
        out.sequence(0x0048_0105, 1, |item, _| item.text(0x0048_0112, *b"DS", "20"));
        out.element(0x0048_0302, *b"UL", &1_u32.to_le_bytes());
        out.element(0x0048_0303, *b"UL", &1_u32.to_le_bytes());
        let mm = self.pixel_um / 1000.0;
        out.sequence(0x5200_9229, 1, |item, _| {
            item.sequence(0x0028_9110, 1, |measures, _| {
                measures.text(0x0028_0030, *b"DS", &format!("{mm}\\{mm}"));
            });
        });
        if let Some(positions) = &self.positions {
            out.sequence(0x5200_9230, positions.len(), |item, frame| {
                let [column, row] = positions[frame];
                item.sequence(0x0048_021A, 1, |position, _| {
                    position.element(0x0048_021E, *b"SL", &column.to_le_bytes());
                    position.element(0x0048_021F, *b"SL", &row.to_le_bytes());
                });
            });
        }
        self.write_pixels(&mut out);
        out.bytes
    }

    fn write_pixels(&self, out: &mut Writer) {
        if self.is_native() {
            let mut pixels = self.frames.concat();
            pixels.resize(pixels.len().next_multiple_of(2), 0);
            out.element(0x7FE0_0010, *b"OB", &pixels);
            return;
        }
        let mut items = Vec::new();
        let mut offsets = Vec::new();
        let mut lengths = Vec::new();
        for frame in &self.frames {
            offsets.push(items.len() as u64);
            lengths.push(frame.len() as u64);
            let piece = frame.len().div_ceil(self.fragments).next_multiple_of(2);
            for fragment in frame.chunks(piece) {
                let mut fragment = fragment.to_vec();
                fragment.resize(fragment.len().next_multiple_of(2), 0);
                write_item(&mut items, &fragment);
            }
        }
        let mut basic = Vec::new();
        if self.table == OffsetTable::Extended {
            let list = |numbers: &[u64]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
            let (offsets, lengths): (Vec<u8>, Vec<u8>) = (list(&offsets), list(&lengths));
            out.element(0x7FE0_0001, *b"OV", &offsets);
            out.element(0x7FE0_0002, *b"OV", &lengths);
        } else if self.table == OffsetTable::Basic {
            basic = offsets.iter().flat_map(|n| (*n as u32).to_le_bytes()).collect();
        }
        out.header(0x7FE0_0010, *b"OB", u32::MAX);
        write_item(&mut out.bytes, &basic);
        out.bytes.extend(items);
        out.bytes.extend([0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
    }
}

fn write_item(out: &mut Vec<u8>, content: &[u8]) {
    out.extend([0xFE, 0xFF, 0x00, 0xE0]);
    out.extend((content.len() as u32).to_le_bytes());
    out.extend_from_slice(content);
}

/// Writes data elements.
struct Writer {
    is_implicit: bool,
    has_delimiters: bool,
    bytes: Vec<u8>,
}

impl Writer {
    fn header(&mut self, tag: u32, vr: [u8; 2], length: u32) {
        self.bytes.extend(((tag >> 16) as u16).to_le_bytes());
        self.bytes.extend((tag as u16).to_le_bytes());
        if self.is_implicit {
            self.bytes.extend(length.to_le_bytes());
        } else if [*b"OB", *b"OV", *b"SQ"].contains(&vr) {
            self.bytes.extend(vr);
            self.bytes.extend([0, 0]);
            self.bytes.extend(length.to_le_bytes());
        } else {
            self.bytes.extend(vr);
            self.bytes.extend((length as u16).to_le_bytes());
        }
    }

    fn element(&mut self, tag: u32, vr: [u8; 2], value: &[u8]) {
        self.header(tag, vr, value.len() as u32);
        self.bytes.extend_from_slice(value);
    }

    fn short(&mut self, tag: u32, value: u16) {
        self.element(tag, *b"US", &value.to_le_bytes());
    }

    fn text(&mut self, tag: u32, vr: [u8; 2], value: &str) {
        let mut value = value.as_bytes().to_vec();
        if !value.len().is_multiple_of(2) {
            value.push(if &vr == b"UI" { 0 } else { b' ' });
        }
        self.element(tag, vr, &value);
    }

    /// A sequence of items that `write` fills.
    fn sequence(&mut self, tag: u32, items: usize, mut write: impl FnMut(&mut Self, usize)) {
        let mut content = Vec::new();
        for i in 0..items {
            let mut item = Self { bytes: Vec::new(), ..*self };
            write(&mut item, i);
            if self.has_delimiters {
                content.extend([0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF]);
                content.extend(item.bytes);
                content.extend([0xFE, 0xFF, 0x0D, 0xE0, 0, 0, 0, 0]);
            } else {
                write_item(&mut content, &item.bytes);
            }
        }
        if self.has_delimiters {
            self.header(tag, *b"SQ", u32::MAX);
            self.bytes.extend(content);
            self.bytes.extend([0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
        } else {
            self.header(tag, *b"SQ", content.len() as u32);
            self.bytes.extend(content);
        }
    }
}

/// Run lengths of a frame of RGB pixels (PS3.5, annex G): a segment for each sample, literal runs.
pub fn rle_frame(pixels: &[[u8; 3]]) -> Vec<u8> {
    let mut frame = vec![0; 64];
    frame[0] = 3;
    for sample in 0..3 {
        let start = (frame.len() as u32).to_le_bytes();
        frame[4 * (sample + 1)..4 * (sample + 2)].copy_from_slice(&start);
        for run in pixels.chunks(128) {
            frame.push((run.len() - 1) as u8);
            frame.extend(run.iter().map(|pixel| pixel[sample]));
        }
        frame.resize(frame.len().next_multiple_of(2), 0x80);
    }
    frame
}
