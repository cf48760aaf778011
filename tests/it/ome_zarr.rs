//! OME-Zarrs that Python wrote, of both versions and with every codec: their pixels, from a folder
//! and from a server.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use prunella::slide::{SlideFormat, SlideReader};

use crate::support::{run_json, skip, text};

/// Writes OME-Zarrs and the pixels of their levels into a folder, and prints their names.
const MAKER: &str = r"
import sys, warnings, numpy as np, zarr
from numcodecs import Blosc, GZip, LZ4, Zlib, Zstd
from zarr.codecs import (BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, ShardingCodec,
    TransposeCodec, ZstdCodec)
warnings.simplefilter('ignore')
out = sys.argv[1]
rng = np.random.default_rng(1)
H, W = 200, 300
y, x = np.mgrid[0:H, 0:W]
finest = np.stack([(x // 3 + y // 5) % 256, x * y // 97 % 256, 200 + 30 * np.sin(x / 17)])
finest = finest.astype(np.uint8) + rng.integers(0, 6, finest.shape).astype(np.uint8)
levels = [finest, finest[:, ::2, ::2], finest[:, ::4, ::4]]
for i, level in enumerate(levels):
    level.transpose(1, 2, 0).tofile(f'{out}/level{i}.raw')

def multiscales(names):
    kind = lambda n: {'t': 'time', 'c': 'channel'}.get(n, 'space')
    unit = lambda n: {'unit': 'micrometer'} if n in 'zyx' else {}
    axes = [dict(name=n, type=kind(n), **unit(n)) for n in names]
    size = lambda n, i: 0.25 * 2 ** i if n in 'yx' else 1.0
    datasets = [{'path': str(i), 'coordinateTransformations': [
        {'type': 'scale', 'scale': [size(n, i) for n in names]}]} for i in range(3)]
    return [{'axes': axes, 'datasets': datasets, 'version': '0.4'}]

def arranged(level, names, planes):
    a = level.transpose(['cyx'.index(n) for n in names if n in 'cyx'])
    for i, n in enumerate(names):
        if n not in 'cyx':
            a = np.expand_dims(a, i)
            a = np.concatenate([a] + [255 - a] * (planes - 1), axis=i)
    return a

def write(name, version, names, chunks, planes=1, **options):
    place = f'{out}/{name}.zarr'
    colours = [{'color': c} for c in ('FF0000', '00FF00', '0000FF')]
    about = {'multiscales': multiscales(names), 'omero': {'channels': colours}}
    group = zarr.open_group(place, mode='w', zarr_format=version)
    group.attrs.update(about if version == 2 else {'ome': {'version': '0.5', **about}})
    for i, level in enumerate(levels):
        a = arranged(level, names, planes)
        size = chunks if version == 3 else tuple(min(c, s) for c, s in zip(chunks, a.shape))
        array = zarr.create_array(place, name=str(i), shape=a.shape, chunks=size, dtype='uint8',
            zarr_format=version, **options)
        array[...] = a
    print(name)

def two(name, names, chunks, compressor, sep='/', **options):
    key = {'name': 'v2', 'separator': sep}
    write('v2-' + name, 2, names, chunks, compressors=compressor, chunk_key_encoding=key, **options)

def three(name, names, chunks, **options):
    write('v3-' + name, 3, names, chunks, **options)

C = (1, 1, 1, 64, 64)
two('none', 'tczyx', C, None)
two('dot', 'tczyx', C, Zlib(1), sep='.')
two('gzip', 'cyx', (3, 70, 90), GZip(5))
two('zstd', 'yxc', (64, 64, 3), Zstd(3))
two('lz4', 'czyx', (2, 1, 64, 64), LZ4())
two('order', 'cyx', (3, 50, 70), Zstd(1), order='F')
two('planes', 'tczyx', (1, 3, 2, 64, 64), Blosc(), planes=3)
two('fill', 'cyx', (1, 16, 16), Blosc(cname='zstd'), fill_value=255)
two('large', 'cyx', (3, 4096, 4096), Blosc(cname='lz4'))
for codec in ('lz4', 'lz4hc', 'zlib', 'zstd', 'blosclz'):
    for shuffle in (0, 1, 2):
        two(f'{codec}-{shuffle}', 'cyx', (3, 64, 64), Blosc(codec, 5, shuffle))
three('none', 'cyx', (3, 64, 64), compressors=None)
three('gzip', 'tczyx', C, compressors=[GzipCodec(level=4)])
three('zstd', 'yxc', (64, 64, 3), compressors=[ZstdCodec(level=3, checksum=True)])
for codec in ('lz4', 'zstd', 'blosclz'):
    for shuffle in ('shuffle', 'bitshuffle'):
        blosc = BloscCodec(cname=codec, shuffle=shuffle, typesize=4)
        three(f'{codec}-{shuffle}', 'cyx', (3, 64, 64), compressors=[blosc])
three('checksum', 'cyx', (3, 64, 64), compressors=[GzipCodec(), Crc32cCodec()])
three('transpose', 'cyx', (3, 50, 70), filters=[TransposeCodec(order=(1, 2, 0))])
three('keys-dot', 'cyx', (3, 64, 64), chunk_key_encoding={'name': 'default', 'separator': '.'})
three('keys-v2', 'cyx', (3, 64, 64), chunk_key_encoding={'name': 'v2', 'separator': '.'})
three('shard', 'tczyx', (1, 1, 1, 32, 32), shards=(1, 3, 1, 128, 128), compressors=[ZstdCodec()])
three('shard-none', 'yxc', (32, 32, 3), shards=(128, 128, 3), compressors=None)
for place, index in (('start', [BytesCodec(), Crc32cCodec()]), ('end', [BytesCodec()])):
    inner = [TransposeCodec(order=(2, 0, 1)), BytesCodec(), GzipCodec()]
    shards = ShardingCodec(chunk_shape=(3, 16, 16), codecs=inner, index_codecs=index,
        index_location=place)
    three(f'shard-{place}', 'cyx', (3, 64, 64), serializer=shards, compressors=None)
";
/// Sides of the levels, pixels.
const SIZES: [(usize, usize); 3] = [(300, 200), (150, 100), (75, 50)];

/// A folder of OME-Zarrs and their names.
fn made(test: &str) -> Option<(tempfile::TempDir, Vec<String>)> {
    let python = std::env::var("PRUNELLA_PYTHON").unwrap_or_else(|_| "python3".into());
    let import = Command::new(&python).args(["-c", "import zarr"]).output();
    if !import.is_ok_and(|o| o.status.success()) {
        skip(test, "zarr is not installed; 'cargo xtask setup' installs it");
        return None;
    }
    let dir = tempfile::tempdir().expect("folder");
    let output = Command::new(python).args(["-c", MAKER]).arg(dir.path()).output().expect("python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).expect("names");
    Some((dir, names.lines().map(str::to_owned).collect()))
}

fn check(place: &str, folder: &Path) {
    let reader = SlideReader::open_at(place).expect(place);
    assert_eq!((reader.slide.format, reader.slide.mpp_um), (SlideFormat::OmeZarr, Some(0.25)));
    assert_eq!(reader.slide.levels.len(), SIZES.len(), "{place}");
    for (i, (width, height)) in SIZES.into_iter().enumerate() {
        let pixels = reader.region(i, 0, 0, width, height).expect(place);
        let expected = std::fs::read(folder.join(format!("level{i}.raw"))).expect("pixels");
        assert!(pixels.data().as_flattened() == expected, "{place}, level {i}");
    }
    let notes = usize::from(place.contains("planes")) * 2;
    assert_eq!(reader.slide.notes.len(), notes, "{place}: {:?}", reader.slide.notes);
}

#[test]
fn pixels_of_every_codec_are_pythons() {
    let Some((dir, names)) = made("pixels_of_every_codec_are_pythons") else { return };
    assert!(names.len() > 35);
    for name in &names {
        check(text(&dir.path().join(format!("{name}.zarr"))), dir.path());
    }
    let info = run_json(&["slide", "info", text(&dir.path().join("v3-shard.zarr"))]);
    assert_eq!((&info["kind"], &info["levels"][0]["tile_width"]), (&"ome-zarr".into(), &32.into()));
}

#[cfg(feature = "net")]
#[test]
fn a_server_gives_the_same_pixels() {
    let Some((dir, _)) = made("a_server_gives_the_same_pixels") else { return };
    let address = serve(dir.path().to_owned());
    for name in ["v2-none", "v2-fill", "v3-shard", "v3-shard-none", "v3-shard-start"] {
        check(&format!("{address}/{name}.zarr?token=1"), dir.path());
    }
    let error = SlideReader::open_at(&format!("{address}/none.zarr")).err().expect("nothing there");
    assert!(error.to_string().contains("no OME-Zarr"), "{error}");
}

/// An HTTP server of the files of a folder.
fn serve(folder: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("port");
    let address = format!("http://{}", listener.local_addr().expect("address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let folder = folder.clone();
            std::thread::spawn(move || drop(respond(stream, &folder)));
        }
    });
    address
}

fn respond(mut stream: TcpStream, folder: &Path) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(['?', ' ']).nth(1).unwrap_or_default().trim_start_matches('/');
    let Ok(bytes) = std::fs::read(folder.join(path)) else {
        let head = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return stream.write_all(head.as_bytes());
    };
    let lower = head.to_lowercase();
    let range = lower.split("range: bytes=").nth(1).and_then(|rest| rest.lines().next());
    let (status, part) = match range.and_then(|range| range.split_once('-')) {
        Some(("", count)) => {
            let count: usize = count.trim().parse().expect("count");
            ("206 Partial Content", &bytes[bytes.len().saturating_sub(count)..])
        }
        Some((first, last)) => {
            let first: usize = first.parse().expect("first");
            let last: usize = last.trim().parse().expect("last");
            ("206 Partial Content", &bytes[first..=last.min(bytes.len() - 1)])
        }
        None => ("200 OK", &bytes[..]),
    };
    let len = part.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(part)
}
