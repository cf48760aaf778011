//! TIFFs of every kind by Python's writers: pixels as its readers give them, of pictures in
//! memory and of vendors' slides.

use std::path::Path;
use std::process::Command;

use prunella::slide::{SampleValues, SlideReader, read_tiff_image, source};

use crate::support::{skip, text};

/// Decoders of JPEG may differ by this much, of 255; libjpeg and zune-jpeg round differently where
/// they upsample chroma.
const JPEG_TOLERANCE: u8 = 6;
/// YCbCr is converted by rounded tables elsewhere.
const YCBCR_TOLERANCE: u8 = 2;
const MAX_PIXELS: u64 = 1_000_000;

/// Writes TIFFs into a folder, and a line for each into `index`: what to do, name, type of the
/// values, height, width, samples; and the values of its reader into `name.raw`.
const MAKER: &str = r#"
import sys, os, itertools, numpy as np, tifffile, openslide
from PIL import Image
folder = sys.argv[1]
index = open(os.path.join(folder, 'index'), 'w')
y, x = np.mgrid[0:70, 0:90]
wave = lambda a, b: np.sin((x * a + y * b) / 12) * 100 + 128
smooth = np.stack([wave(1, 0), wave(0, 1), wave(1, 1)], -1)
rgb = smooth.astype('u1')
path = lambda name: os.path.join(folder, name + '.tif')

def expect(kind, name, values):
    if values.ndim == 2:
        values = values[..., None]
    if values.dtype == np.float16:
        values = values.astype('f4')
    if values.dtype == bool:
        values = values.astype('u1')
    values = np.ascontiguousarray(values.astype(values.dtype.newbyteorder('<')))
    values.tofile(os.path.join(folder, name + '.raw'))
    index.write(' '.join([kind, name, values.dtype.str[1:], *map(str, values.shape)]) + '\n')

def write(name, data, kind='exact', **options):
    tifffile.imwrite(path(name), data, metadata=None, **options)
    read = tifffile.imread(path(name), key=0)
    if options.get('planarconfig') == 'separate':
        read = np.moveaxis(read, 0, -1)
    expect(kind, name, read)

def refuse(word, name, data, **options):
    tifffile.imwrite(path(name), data, metadata=None, **options)
    index.write(f'refused {name} {word} 0 0 0\n')

grey = {t: (smooth[..., 0] * (200 if np.dtype(t).itemsize > 1 else 1)).astype(t) for t in
        ('u1', 'u2', 'u4', 'u8', 'i2', 'i4', 'i8', 'f2', 'f4', 'f8')}
grey['i1'] = (smooth[..., 0] - 128).astype('i1')
n = 0
for t, data in grey.items():
    for compression in (None, 'lzw', 'deflate', 'packbits', 'zstd'):
        for predictor in ((False, True) if compression in ('lzw', 'deflate', 'zstd') else (False,)):
            if predictor and t in ('u8', 'i8'):
                continue
            n += 1
            options = dict(compression=compression, predictor=predictor, photometric='minisblack')
            if n % 2:
                options['tile'] = (32, 48)
            else:
                options['rowsperstrip'] = 13
            order = '>' if n % 3 == 0 else '<'
            write(f'grey-{t}-{compression}-{predictor}', data, byteorder=order,
                  bigtiff=n % 5 == 0, **options)
for t in ('u1', 'u2'):
    data = rgb if t == 'u1' else (smooth * 200).astype('u2')
    for i, compression in enumerate((None, 'lzw', 'zstd', 'packbits')):
        for planar in ('contig', 'separate'):
            arranged = data if planar == 'contig' else np.moveaxis(data, -1, 0)
            write(f'rgb-{t}-{compression}-{planar}', np.ascontiguousarray(arranged),
                  compression=compression, photometric='rgb', planarconfig=planar,
                  predictor=compression == 'lzw', byteorder='<>'[i % 2],
                  **({'tile': (32, 32)} if i % 2 else {'rowsperstrip': 20}))
rgba = np.dstack([rgb, rgb[..., 0]])
write('rgba', rgba, photometric='rgb', extrasamples=['unassalpha'])
write('white', rgb[..., 0], photometric='miniswhite')
write('bits-1', rgb[..., 0] > 128, photometric='minisblack')
colours = np.stack([np.arange(256), np.arange(256)[::-1], np.arange(256) // 2]) * 257
write('palette', rgb[..., 0], photometric='palette', colormap=colours.astype('u2'))
for t, most in (('u1', 255), ('u2', 65535)):
    data = (smooth / 255 * most).astype(t)
    write(f'j2k-{t}', data, photometric='rgb', compression='jpeg2000', tile=(64, 64),
          compressionargs={'reversible': True, 'level': 0})
write('webp', rgb, photometric='rgb', compression='webp', tile=(64, 64),
      compressionargs={'lossless': True})
for subsampling in ((1, 1), (2, 1), (2, 2)):
    write('jpeg-%d%d' % subsampling, rgb, 'jpeg', photometric='ycbcr', compression='jpeg',
          subsampling=subsampling, tile=(32, 64))
write('jpeg-rgb', rgb, 'jpeg', photometric='rgb', compression='jpeg', tile=(64, 64))
write('jpeg-grey', rgb[..., 0], 'jpeg', photometric='minisblack', compression='jpeg')
# By libtiff: packed bits, and YCbCr without JPEG.
for mode in ('1', 'P', 'L'):
    name = 'pillow-' + mode
    image = Image.fromarray(rgb[..., 0]).convert(mode)
    image.save(path(name), compression='tiff_lzw')
    expect('exact', name, np.array(image))
for compression in ('raw', 'tiff_lzw', 'tiff_adobe_deflate', 'packbits'):
    name = 'ycbcr-' + compression
    Image.fromarray(rgb).convert('YCbCr').save(path(name), compression=compression)
    expect('ycbcr', name, np.array(Image.open(path(name)).convert('RGB')))
Image.fromarray(rgb).convert('1').save(path('fax'), compression='group4')
index.write('refused fax CCITT 0 0 0\n')
Image.fromarray(rgb).convert('CMYK').save(path('cmyk'))
index.write('refused cmyk CMYK 0 0 0\n')
refuse('L*a*b*', 'lab', rgb, photometric='cielab')
refuse('LZMA', 'lzma', rgb, photometric='rgb', compression='lzma')
refuse('XL', 'jpegxl', rgb, photometric='rgb', compression='jpegxl')

# Slides: pixels and pixel size of OpenSlide.
side = 640
y, x = np.mgrid[0:side, 0:side]
wave = lambda v: np.sin(v) * 90 + 128
tissue = np.stack([wave(x / 20), wave(y / 25), wave((x + y) / 30)], -1).astype('u1')
label = np.full((96, 64, 3), 200, 'u1')
jpeg = dict(photometric='ycbcr', compression='jpeg', tile=(128, 128), metadata=None)

def slide(name, origin=(0, 0)):
    s = openslide.OpenSlide(path(name))
    for level, factor in enumerate(s.level_downsamples):
        w, h = s.level_dimensions[level]
        if origin != (0, 0):
            w, h = round(side / factor), round(side / factor)
        piece = np.array(s.read_region(origin, level, (w, h)).convert('RGB'))
        key = f'{name}-{level}'
        mpp = [s.properties.get('openslide.mpp-' + side) for side in 'xy']
        expect('slide', key, piece)
        index.write(f'about {name} {level} {factor} {mpp[0]} {mpp[1]}\n')

def spacing(mm):
    return f'<Attribute Name="DICOM_PIXEL_SPACING">&quot;{mm}&quot; &quot;{mm}&quot;</Attribute>'
levels = ''.join('<DataObject ObjectType="PixelDataRepresentation">' + spacing(0.00025 * f)
                 + '</DataObject>' for f in (1, 2, 4))
xml = ('<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">'
       '<Attribute Name="PIM_DP_SCANNED_IMAGES"><Array><DataObject ObjectType="DPScannedImage">'
       f'<Attribute Name="PIM_DP_IMAGE_TYPE">WSI</Attribute>{spacing(0.00025)}'
       '<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE"><Array>' + levels +
       '</Array></Attribute></DataObject></Array></Attribute></DataObject>')
with tifffile.TiffWriter(path('philips')) as t:
    t.write(tissue, description=xml, software='Philips DP v1.0', **jpeg)
    for factor, padded in ((2, 384), (4, 256)):
        level = np.zeros((padded, padded, 3), 'u1')
        level[:side // factor, :side // factor] = tissue[::factor, ::factor]
        t.write(level, subfiletype=1, description=f'level={factor}', **jpeg)
slide('philips')

def image(name, w, h, ifds, nm, offset):
    dims = ''.join(f'<dimension sizeX="{w // f}" sizeY="{h // f}" r="{r}" ifd="{i}"/>'
                   for r, (i, f) in enumerate(ifds))
    return (f'<image name="{name}"><device model="m" version="1"/><pixels sizeX="{w}" sizeY="{h}">'
            f'{dims}</pixels><view sizeX="{nm[0]}" sizeY="{nm[1]}" offsetX="{offset}" '
            f'offsetY="{offset}"/><scanSettings><objectiveSettings><objective>40</objective>'
            '</objectiveSettings><illuminationSettings><illuminationSource>brightfield'
            '</illuminationSource></illuminationSettings></scanSettings></image>')
glass = (2000000, 2000000)
xml = ('<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">'
       f'<collection name="c" sizeX="{glass[0]}" sizeY="{glass[1]}">'
       + image('macro', 256, 256, [(0, 1)], glass, 0)
       + image('main', side, side, [(1, 1), (2, 4)], (160000, 160000), 100000)
       + '</collection></scn>')
resolution = lambda f: dict(resolution=(40000 / f, 40000 / f), resolutionunit='centimeter')
with tifffile.TiffWriter(path('leica'), bigtiff=True) as t:
    t.write(tissue[:256, :256] // 2, description=xml, **jpeg)
    t.write(tissue, **resolution(1), **jpeg)
    t.write(tissue[::4, ::4], **resolution(4), **jpeg)
slide('leica', (400, 400))

joints = ''.join(f'<TileJointInfo Confidence="99" Direction="RIGHT" Tile1="{row * 5 + c + 1}" '
                 f'Tile2="{row * 5 + c + 2}" OverlapX="OVER" OverlapY="0"/>'
                 for row in (0, 2, 4) for c in range(4))
joints += ('<TileJointInfo Confidence="99" Direction="UP" Tile1="1" Tile2="10" OverlapX="0" '
           'OverlapY="0"/>')
info = ('<EncodeInfo Ver="2"><SlideStitchInfo><ImageInfo AOIScanned="1" AOIIndex="0" NumRows="5" '
        'NumCols="5" Width="128" Height="128" Pos-X="0" Pos-Y="0">' + joints +
        '</ImageInfo></SlideStitchInfo><AoiOrigin><AOI0 OriginX="0" OriginY="0"/></AoiOrigin>'
        '</EncodeInfo>')
packet = lambda xml: [(700, 1, len(xml), xml.encode(), True)]
for name, over in (('ventana', '0'), ('overlap', '12')):
    with tifffile.TiffWriter(path(name), bigtiff=True) as t:
        t.write(label, photometric='rgb', description='Label_Image', metadata=None,
                extratags=packet('<iScan Magnification="40" ScanRes="0.2500"></iScan>'))
        t.write(tissue, description='level=0 mag=40 quality=95',
                extratags=packet(info.replace('OVER', over)), **jpeg)
        t.write(tissue[::2, ::2], description='level=1 mag=20 quality=95', **jpeg)
slide('ventana')
index.write('refused overlap Ventana 0 0 0\n')

def qpi(kind):
    return ('<?xml version="1.0" encoding="utf-8"?><PerkinElmer-QPI-ImageDescription>'
            f'<ImageType>{kind}</ImageType><Objective>20x</Objective>'
            '</PerkinElmer-QPI-ImageDescription>')
with tifffile.TiffWriter(path('qptiff'), bigtiff=True) as t:
    t.write(tissue, description=qpi('FullResolution'), **resolution(1), **jpeg)
    t.write(tissue[::8, ::8], photometric='rgb', description=qpi('Thumbnail'), metadata=None)
    for factor in (2, 4):
        t.write(tissue[::factor, ::factor], subfiletype=1, description=qpi('ReducedResolution'),
                **resolution(factor), **jpeg)
    t.write(label, photometric='rgb', description=qpi('Label'), metadata=None)
slide('qptiff')
index.close()
"#;

/// A Python that writes TIFFs; without one the test is skipped.
fn python(test: &str) -> Option<String> {
    let python = std::env::var("PRUNELLA_PYTHON").unwrap_or_else(|_| "python3".into());
    let modules = "import tifffile, imagecodecs, openslide, PIL";
    let import = Command::new(&python).args(["-c", modules]).output();
    if !import.is_ok_and(|o| o.status.success()) {
        skip(test, "tifffile or openslide is not installed; 'cargo xtask setup' installs them");
        return None;
    }
    Some(python)
}

/// Type as `numpy` names it, and little-endian bytes.
fn bytes_of(values: &SampleValues) -> (&'static str, Vec<u8>) {
    match values {
        SampleValues::U8(v) => ("u1", v.clone()),
        SampleValues::U16(v) => ("u2", v.iter().flat_map(|n| n.to_le_bytes()).collect()),
        SampleValues::U32(v) => ("u4", v.iter().flat_map(|n| n.to_le_bytes()).collect()),
        SampleValues::U64(v) => ("u8", v.iter().flat_map(|n| n.to_le_bytes()).collect()),
        SampleValues::I8(v) => ("i1", v.iter().flat_map(|n| n.to_le_bytes()).collect()),
        SampleValues::I16(v) => ("i2", v.iter().flat_map(|n| n.to_le_bytes()).collect()),
        SampleValues::I32(v) => ("i4", v.iter().flat_map(|n| n.to_le_bytes()).collect()),
        SampleValues::I64(v) => ("i8", v.iter().flat_map(|n| n.to_le_bytes()).collect()),
        SampleValues::F32(v) => ("f4", v.iter().flat_map(|n| n.to_le_bytes()).collect()),
        SampleValues::F64(v) => ("f8", v.iter().flat_map(|n| n.to_le_bytes()).collect()),
    }
}

fn largest_difference(a: &[u8], b: &[u8]) -> u8 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

/// A line of the index; its values must be those of the file.
fn check_line(folder: &Path, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let [what, name, word, ..] = words[..] else { panic!("{line}") };
    let file = |name: &str, ending: &str| folder.join(format!("{name}.{ending}"));
    let bytes = |name: &str, ending| std::fs::read(file(name, ending)).expect("file");
    if what == "refused" {
        let error = read_tiff_image(&bytes(name, "tif"), MAX_PIXELS).expect_err(name).to_string();
        assert!(error.contains(word), "{name}: {error}");
        return;
    }
    if what == "about" || what == "slide" {
        let (slide, level) = name.rsplit_once('-').unwrap_or((name, word));
        let level: usize = level.parse().expect("level");
        let place = file(slide, "tif");
        let reader = SlideReader::open(source(text(&place)).expect("file")).expect(name);
        if what == "about" {
            let number = |i: usize| words[i].parse::<f64>().expect("number");
            let size = reader.slide.pixel_size_um.expect("stated");
            assert!((size.x - number(4)).abs() < 1e-9 && (size.y - number(5)).abs() < 1e-9);
            let factor = reader.slide.downsample(level);
            assert!((factor - number(3)).abs() < 1e-9, "{line}: {factor}");
            return;
        }
        let side = |i: usize| words[i].parse::<usize>().expect("side");
        let region = reader.region(level, 0, 0, side(4), side(3)).expect("region");
        let most = largest_difference(region.data().as_flattened(), &bytes(name, "raw"));
        assert!(most <= JPEG_TOLERANCE, "{name}: {most}");
        return;
    }
    let image = read_tiff_image(&bytes(name, "tif"), MAX_PIXELS).expect(name);
    let shape = [image.height, image.width, image.channels].map(|n| n.to_string());
    let (kind, actual) = bytes_of(&image.values);
    assert_eq!(words[2..], [kind, &shape[0], &shape[1], &shape[2]], "{name}");
    let expected = bytes(name, "raw");
    let tolerance = match what {
        "jpeg" => JPEG_TOLERANCE,
        "ycbcr" => YCBCR_TOLERANCE,
        _ => 0,
    };
    let most = largest_difference(&actual, &expected);
    assert!(most <= tolerance, "{name}: {most}");
}

#[test]
fn pixels_of_every_kind_are_pythons() {
    let Some(python) = python("pixels_of_every_kind_are_pythons") else { return };
    let dir = tempfile::tempdir().expect("folder");
    let output = Command::new(python).args(["-c", MAKER]).arg(dir.path()).output().expect("python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let index = std::fs::read_to_string(dir.path().join("index")).expect("index");
    assert!(index.lines().count() > 100);
    for line in index.lines() {
        check_line(dir.path(), line);
    }
}
