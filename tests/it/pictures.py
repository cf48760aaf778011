"""Makes picture and label files of many flavours, and beside each what Pillow reads of it.

NAME.rgb: the pixels that viewers show, 8 bits a channel. NAME.labels: the labels, 32 bits each.
Usage: pictures.py FOLDER
"""

import struct
import sys
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, ImageOps

folder = Path(sys.argv[1])
random = np.random.default_rng(7)
height, width = 45, 62
y, x = np.mgrid[:height, :width]
smooth = np.stack([90 + x * 2, 200 - y * 3, 120 + (x + y) // 2], axis=2)
colours = np.clip(smooth + random.integers(-6, 6, smooth.shape), 0, 255).astype(np.uint8)
picture = Image.fromarray(colours)
grey = picture.convert("L")
opacity = Image.fromarray(np.clip(x * 5, 0, 255).astype(np.uint8))


def shown(name):
    """The pixels of a file as a viewer shows them, by Pillow."""
    image = ImageOps.exif_transpose(Image.open(folder / name))
    if image.mode in ("LA", "RGBA") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        white.alpha_composite(image.convert("RGBA"))
        image = white
    return np.asarray(image.convert("RGB"))


def keep(name, pixels=None):
    pixels = shown(name) if pixels is None else pixels
    size = struct.pack("<II", pixels.shape[1], pixels.shape[0])
    (folder / f"{name}.rgb").write_bytes(size + pixels.tobytes())


def save(image, name, **options):
    image.save(folder / name, **options)
    keep(name)


def oriented(value):
    exif = Image.Exif()
    exif[0x112] = value
    return exif


# PNG.
save(picture, "rgb.png")
save(grey, "grey.png")
save(picture.convert("1"), "one-bit.png")
for bits in (1, 2, 4, 8):
    save(picture.quantize(2**bits), f"indexed-{bits}.png", bits=bits)
save(picture.quantize(60), "indexed-transparent.png", transparency=3)
save(picture, "colour-key.png", transparency=tuple(int(v) for v in colours[0, 0]))
for image, name in ((picture.convert("RGBA"), "rgba.png"), (grey.convert("LA"), "grey-alpha.png")):
    image.putalpha(opacity)
    save(image, name)
save(picture, "animated.png", save_all=True, append_images=[picture.rotate(180)])
save(picture, "turned.png", exif=oriented(8))
sixteen = np.asarray(grey).astype(np.uint16) * 257
Image.fromarray(sixteen).save(folder / "grey-16.png")
keep("grey-16.png", np.repeat(np.asarray(grey)[..., None], 3, axis=2))

# JPEG.
for name, options in {
    "base.jpg": {},
    "progressive.jpg": {"progressive": True},
    "444.jpg": {"subsampling": "4:4:4"},
    "422.jpg": {"subsampling": "4:2:2"},
    "rgb.jpg": {"keep_rgb": True},
    "restarts.jpg": {"restart_marker_blocks": 3},
}.items():
    save(picture, name, quality=92, **options)
for value in range(2, 9):
    save(picture, f"turned-{value}.jpg", quality=92, exif=oriented(value))
save(grey, "grey.jpg", quality=92)
save(picture.convert("CMYK"), "cmyk.jpg", quality=92)
whole = (folder / "base.jpg").read_bytes()
(folder / "trailing.jpg").write_bytes(whole + b"maker's data \xff\xda\x00" * 9)
keep("trailing.jpg", shown("base.jpg"))
# Without JFIF header: SOI, then APP0 with its length.
length = struct.unpack(">H", whole[4:6])[0]
(folder / "no-jfif.jpg").write_bytes(whole[:2] + whole[4 + length :])
keep("no-jfif.jpg")

# Other formats.
save(picture, "rgb.bmp")
save(picture.quantize(60), "indexed.bmp")
save(picture.quantize(60), "indexed.gif")
save(picture, "lossless.webp", lossless=True)
save(picture, "lossy.webp", quality=90)
save(picture, "lossless.jp2", irreversible=False)
save(grey, "grey.jp2", irreversible=False)

# TIFF: all hold the same picture.
for name, options in {
    "raw.tif": {},
    "big-endian.tif": {"byteorder": ">"},
    "big.tif": {"bigtiff": True},
    "planes.tif": {"planarconfig": "separate"},
    "tiles.tif": {"tile": (16, 32)},
    "deflate.tif": {"compression": "zlib", "predictor": True},
    "lzw.tif": {"compression": "lzw", "predictor": True},
    "packbits.tif": {"compression": "packbits"},
    "zstd.tif": {"compression": "zstd"},
}.items():
    data = np.moveaxis(colours, 2, 0) if name == "planes.tif" else colours
    tifffile.imwrite(folder / name, data, photometric="rgb", **options)
    keep(name, colours)
tifffile.imwrite(folder / "jpeg.tif", colours, photometric="rgb", compression="jpeg")
keep("jpeg.tif", tifffile.imread(folder / "jpeg.tif"))
for value in (3, 6, 7):
    tag = (274, "H", 1, value, True)
    name = f"turned-{value}.tif"
    tifffile.imwrite(folder / name, colours, photometric="rgb", extratags=[tag])
    keep(name)
unspecified = np.dstack([colours, np.zeros((height, width), np.uint8)])
tifffile.imwrite(
    folder / "unspecified.tif", unspecified, photometric="rgb", extrasamples=["unspecified"]
)
keep("unspecified.tif", colours)
tifffile.imwrite(
    folder / "transparent.tif", unspecified, photometric="rgb", extrasamples=["unassalpha"]
)
keep("transparent.tif", colours)
twelve = colours.astype(np.uint16) * 16
twelve[0, 0] = 4095
tifffile.imwrite(folder / "twelve-bits.tif", twelve, photometric="rgb")
keep("twelve-bits.tif", np.round(twelve / 4095 * 255).astype(np.uint8))
dark = 255 - np.asarray(grey)
tifffile.imwrite(folder / "white-is-zero.tif", dark, photometric="miniswhite")
keep("white-is-zero.tif", np.repeat(np.asarray(grey)[..., None], 3, axis=2))
save(picture.quantize(60), "indexed.tif")
save(picture.convert("1"), "one-bit.tif")

# Labels: squares of 5 pixels, one in two, numbered from 1 on.
squares = (y // 5) * ((width + 4) // 5) + x // 5 + 1
labels = np.where((y // 5 + x // 5) % 2 == 0, squares, 0).astype(np.uint32)


def keep_labels(name):
    size = struct.pack("<II", width, height)
    (folder / f"{name}.labels").write_bytes(size + labels.tobytes())


for kind in ("u1", "u2", "u4", "i2", "i4", "i8", "u8", "f4", "f8"):
    name = f"labels-{kind}.tif"
    tifffile.imwrite(folder / name, labels.astype(kind))
    keep_labels(name)
tifffile.imwrite(folder / "labels-imagej.tif", labels.astype("f4"), imagej=True)
keep_labels("labels-imagej.tif")
tifffile.imwrite(folder / "labels-lzw.tif", labels.astype("u2"), compression="lzw")
keep_labels("labels-lzw.tif")
Image.fromarray(labels.astype(np.uint16)).save(folder / "labels-16.png")
keep_labels("labels-16.png")
indexed = Image.fromarray(labels.astype(np.uint8), mode="P")
indexed.putpalette([0, 0, 0] + random.integers(0, 255, 255 * 3).tolist())
for name in ("labels-indexed.png", "labels-indexed.tif"):
    indexed.save(folder / name)
    keep_labels(name)
coded = np.stack([labels % 256, labels // 256 % 256, labels // 65536], axis=2)
Image.fromarray(coded.astype(np.uint8)).save(folder / "labels-coded.png")
keep_labels("labels-coded.png")
