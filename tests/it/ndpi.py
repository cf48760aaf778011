"""Makes Hamamatsu NDPI files of many kinds, and beside each what OpenSlide reads of it.

NAME.ndpi, and NAME.N.rgb for a piece of it: 8 bits a channel, behind the width of its level, its
left, top, width and height (32 bits each).
Usage: ndpi.py FOLDER
"""

import io
import struct
import sys
from pathlib import Path

import numpy as np
import openslide
from PIL import Image

folder = Path(sys.argv[1])
SHORT, LONG, RATIONAL, SLONG, FLOAT = 3, 4, 5, 9, 11


def picture(width, height, seed):
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [120 + 60 * np.sin(x / 37 + seed), 130 + 60 * np.cos(y / 23), 90 + (x + 2 * y) % 97]
    noise = random.integers(-9, 9, (height, width, 3))
    return Image.fromarray(np.clip(np.stack(waves, 2) + noise, 0, 255).astype(np.uint8))


class Jpeg:
    """A JPEG with a restart marker every `blocks` MCUs, and where its parts begin."""

    def __init__(self, image, blocks, subsampling="4:4:4"):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=88, subsampling=subsampling, restart_marker_blocks=blocks)
        self.bytes = bytearray(file.getvalue())
        self.size = image.size
        at = 2
        while self.bytes[at + 1] != 0xDA:
            if self.bytes[at + 1] == 0xC0:
                self.size_at = at + 5
            at += 2 + struct.unpack_from(">H", self.bytes, at + 2)[0]
        at += 2 + struct.unpack_from(">H", self.bytes, at + 2)[0]
        self.starts = [at]
        for i in range(at, len(self.bytes) - 1):
            if self.bytes[i] == 0xFF and 0xD0 <= self.bytes[i + 1] <= 0xD7:
                self.starts.append(i + 2)

    def intervals(self):
        ends = [start - 2 for start in self.starts[1:]] + [len(self.bytes) - 2]
        return [self.bytes[start:end] for start, end in zip(self.starts, ends)]

    def states_size(self, width, height):
        struct.pack_into(">HH", self.bytes, self.size_at, height, width)
        return self

    def beside(self, other):
        """This image with another one, of the same height and tables, to its right: as wide as no
        JPEG may be."""
        rows = self.size[1] // 8
        left, right = self.intervals(), other.intervals()
        mine, others = len(left) // rows, len(right) // rows
        out, starts, number = self.bytes[: self.starts[0]], [], 0
        for row in range(rows):
            of_row = left[row * mine : (row + 1) * mine] + right[row * others : (row + 1) * others]
            for part in of_row:
                starts.append(len(out))
                out += part + bytes([0xFF, 0xD0 + number % 8])
                number += 1
        out[-1] = 0xD9
        self.bytes, self.starts = out, starts
        self.size = (self.size[0] + other.size[0], self.size[1])
        return self.states_size(0, 0)


class Level:
    def __init__(self, jpeg, lens, focal_plane=0, lists_starts=True, gap=None):
        self.jpeg, self.lens, self.focal_plane = jpeg, lens, focal_plane
        self.lists_starts = lists_starts
        # (number of an interval, bytes): a hole of so many bytes at its end.
        self.gap = gap


def write(name, levels, first_offset=16, mpp=0.25):
    """The bytes of the levels and their directories from `first_offset` on."""
    links = []
    with open(folder / f"{name}.ndpi", "wb") as file:
        file.write(b"II" + struct.pack("<HQ", 42, 0))
        links.append(4)
        file.seek(first_offset)
        for level in levels:
            data, starts = bytes(level.jpeg.bytes), list(level.jpeg.starts)
            jpeg_at = file.tell()
            if level.gap:
                number, hole = level.gap
                cut = starts[number + 1] - 2
                file.write(data[:cut])
                file.seek(hole, 1)
                file.write(data[cut:])
                starts[number + 1 :] = [start + hole for start in starts[number + 1 :]]
            else:
                file.write(data)
            byte_count = file.tell() - jpeg_at
            per_centimetre = round(level.lens / levels[0].lens * 1e4 / mpp) if level.lens > 0 else 1
            resolution_at = file.tell()
            file.write(struct.pack("<II", per_centimetre, 1))
            starts_at = file.tell()
            file.write(struct.pack(f"<{len(starts)}I", *(s & 0xFFFFFFFF for s in starts)))
            high_at = file.tell()
            file.write(struct.pack(f"<{len(starts)}I", *(s >> 32 for s in starts)))
            bits_at = file.tell()
            file.write(struct.pack("<3H", 8, 8, 8))
            width, height = level.jpeg.size
            entries = [
                (256, LONG, 1, width),
                (257, LONG, 1, height),
                (258, SHORT, 3, bits_at),
                (259, SHORT, 1, 7),
                (262, SHORT, 1, 6),
                (273, LONG, 1, jpeg_at),
                (277, SHORT, 1, 3),
                (278, LONG, 1, height),
                (279, LONG, 1, byte_count),
                (282, RATIONAL, 1, resolution_at),
                (283, RATIONAL, 1, resolution_at),
                (296, SHORT, 1, 3),
                (65420, SHORT, 1, 1),
                (65421, FLOAT, 1, struct.unpack("<I", struct.pack("<f", level.lens))[0]),
            ]
            if level.lens > 0:
                entries.append((65424, SLONG, 1, level.focal_plane & 0xFFFFFFFF))
                if level.lists_starts:
                    entries.append((65426, LONG, len(starts), starts_at))
                    if level.gap:
                        entries.append((65432, LONG, len(starts), high_at))
            directory_at = file.tell()
            file.write(struct.pack("<H", len(entries)))
            for tag, field_type, count, value in entries:
                file.write(struct.pack("<HHII", tag, field_type, count, value & 0xFFFFFFFF))
            links.append(file.tell())
            file.write(struct.pack("<Q", 0))
            for _, _, _, value in entries:
                file.write(struct.pack("<I", value >> 32))
            end = file.tell()
            file.seek(links[-2])
            file.write(struct.pack("<Q", directory_at))
            file.seek(end)


def keep(name, pieces):
    """Keeps what OpenSlide reads: pieces of (width of the level, left, top, width, height), one for
    each stored level or several of the first."""
    slide = openslide.OpenSlide(folder / f"{name}.ndpi")
    widths = [size[0] for size in slide.level_dimensions]
    for number, (level_width, left, top, width, height) in enumerate(pieces):
        level = widths.index(level_width)
        step = round(slide.level_downsamples[level])
        piece = slide.read_region((left * step, top * step), level, (width, height))
        head = struct.pack("<5I", level_width, left, top, width, height)
        (folder / f"{name}.{number}.rgb").write_bytes(head + piece.convert("RGB").tobytes())


def keep_of_jpeg(name, jpeg, left, top, width, height):
    """Keeps a piece of the first level as Pillow reads its JPEG, where OpenSlide does not."""
    image = Image.open(io.BytesIO(jpeg.bytes)).convert("RGB")
    piece = image.crop((left, top, left + width, top + height))
    head = struct.pack("<5I", image.width, left, top, width, height)
    (folder / f"{name}.0.rgb").write_bytes(head + piece.tobytes())


def pyramid(blocks, subsampling="4:4:4", mcu=8, **options):
    """Three levels whose intervals have `blocks` MCUs, and those of the coarsest all of a row."""
    levels = []
    for number, (width, height) in enumerate([(2048, 1536), (1024, 768), (512, 384)]):
        across = min(blocks, width // mcu)
        image = picture(2048, 1536, 1).resize((width, height))
        levels.append(Level(Jpeg(image, across, subsampling), 40 / 2**number, **options))
    return levels


WHOLE = [(2048, 0, 0, 2048, 1536), (1024, 0, 0, 1024, 768), (512, 0, 0, 512, 384)]
macro = Level(Jpeg(picture(300, 100, 9), 1), -1)
map_image = Level(Jpeg(picture(150, 50, 8), 1), -2)

write("rows", pyramid(256) + [macro, map_image])
keep("rows", WHOLE)
write("narrow", pyramid(8))
keep("narrow", WHOLE)
write("wide-chroma", pyramid(64, "4:2:2", 16))
keep("wide-chroma", WHOLE)
# OpenSlide decodes one row of MCUs at a time, which does not do here.
halved = pyramid(64, "4:2:0", 16)
write("halved-chroma", halved)
keep_of_jpeg("halved-chroma", halved[0].jpeg, 100, 20, 900, 990)
# Sides that are no multiple of an MCU's.
odd = Jpeg(picture(1003, 605, 7), 21, "4:2:2")
write("odd", [Level(odd, 40)])
keep_of_jpeg("odd", odd, 0, 0, 1003, 605)
write("unlisted", pyramid(64, lists_starts=False))
keep("unlisted", WHOLE)
write("far", pyramid(64) + [macro], first_offset=5 << 30)
keep("far", WHOLE)

planes = []
for lens, size in ((20, (1024, 512)), (10, (512, 256))):
    for focal_plane in (0, -2000, 3000):
        image = picture(*size, 20 + focal_plane // 1000)
        planes.append(Level(Jpeg(image, 64), lens, focal_plane))
write("planes", planes + [macro])
keep("planes", [(1024, 0, 0, 1024, 512), (512, 0, 0, 512, 256)])

# As wide as no JPEG may state.
half = 129 * 256
wide = Jpeg(picture(half, 64, 3), 32).beside(Jpeg(picture(half, 64, 4), 32))
write("longer-than-jpeg", [Level(wide, 40)])
keep(
    "longer-than-jpeg",
    [(2 * half, half - 700, 0, 1500, 64), (2 * half, 2 * half - 300, 5, 300, 50)],
)

# A hole of 5 GiB in an interval of the first tiles.
hole = Level(Jpeg(picture(512, 2048, 6), 64), 40, gap=(10, 5 << 30))
write("long-jpeg", [hole])
keep("long-jpeg", [(512, 0, 1024, 512, 1024)])
