"""Makes Ventana BIF files whose tiles overlap or lie in several areas, and a Trestle slide, and
beside each what OpenSlide reads of its levels, on white.

NAME.bif; NAME.N.rgb: level N as a whole, behind its width and height (32 bits each).
Usage: bif.py FOLDER
"""

import struct
import sys
from pathlib import Path

import numpy as np
import openslide
import tifffile
from PIL import Image

folder = Path(sys.argv[1])
TILE = 128
JPEG = dict(photometric="ycbcr", compression="jpeg", tile=(TILE, TILE), metadata=None)


class Area:
    """Tiles in `rows` and `columns` from a tile of the stored grid on; the overlaps of the joints
    along x and y, in pixels, each with its confidence."""

    def __init__(self, first, columns, rows, place, along_x, along_y, is_scanned=1):
        self.first, self.columns, self.rows, self.place = first, columns, rows, place
        self.along_x, self.along_y, self.is_scanned = along_x, along_y, is_scanned

    def joints(self):
        # Tiles count from the bottom, rows to the right and to the left in turn.
        def number(column, row):
            from_bottom = self.rows - 1 - row
            across = self.columns - 1 - column if from_bottom % 2 else column
            return from_bottom * self.columns + across + 1

        text = ""
        for i, (overlap, confidence) in enumerate(self.along_x):
            column, row = i % (self.columns - 1), i // (self.columns - 1)
            text += (
                f'<TileJointInfo Confidence="{confidence}" Direction="RIGHT" '
                f'Tile1="{number(column, row)}" Tile2="{number(column + 1, row)}" '
                f'OverlapX="{overlap}" OverlapY="0"/>'
            )
        for i, (overlap, confidence) in enumerate(self.along_y):
            column, row = i % self.columns, i // self.columns + 1
            text += (
                f'<TileJointInfo Confidence="{confidence}" Direction="UP" '
                f'Tile1="{number(column, row)}" Tile2="{number(column, row - 1)}" '
                f'OverlapX="0" OverlapY="{overlap}"/>'
            )
        return text


def write(name, columns, rows, areas):
    info, origins = "", ""
    for i, area in enumerate(areas):
        info += (
            f'<ImageInfo AOIScanned="{area.is_scanned}" AOIIndex="{i}" NumRows="{area.rows}" '
            f'NumCols="{area.columns}" Width="{TILE}" Height="{TILE}" Pos-X="{area.place[0]}" '
            f'Pos-Y="{area.place[1]}">{area.joints()}</ImageInfo>'
        )
        left, top = area.first
        origins += f'<AOI{i} OriginX="{left * TILE}" OriginY="{top * TILE}"/>'
    xml = (
        f'<EncodeInfo Ver="2"><SlideStitchInfo>{info}</SlideStitchInfo><AoiOrigin>{origins}'
        "</AoiOrigin></EncodeInfo>"
    )
    y, x = np.mgrid[0 : rows * TILE, 0 : columns * TILE]
    # Each tile has a brightness of its own, by which seams show.
    own = (x // TILE * 37 + y // TILE * 61) % 90
    waves = [np.sin(x / 20), np.sin(y / 25), np.sin((x + y) / 30)]
    tissue = np.stack([wave * 60 + 70 + own for wave in waves], -1).astype("u1")
    label = np.full((96, 64, 3), 200, "u1")
    packet = lambda text: [(700, 1, len(text), text.encode(), True)]
    scanner = '<iScan Magnification="40" ScanRes="0.2500"></iScan>'
    with tifffile.TiffWriter(folder / f"{name}.bif", bigtiff=True) as file:
        options = dict(photometric="rgb", metadata=None, extratags=packet(scanner))
        file.write(label, description="Label_Image", **options)
        for level in range(3):
            step = 2**level
            # A tile of a coarser level holds reduced ones of the finest side by side.
            extra = dict(extratags=packet(xml)) if level == 0 else {}
            description = f"level={level} mag={40 / step:g} quality=95"
            file.write(tissue[::step, ::step], description=description, **extra, **JPEG)
    keep(name)


def keep(name):
    slide = openslide.OpenSlide(folder / f"{name}.bif")
    for level, size in enumerate(slide.level_dimensions):
        white = Image.new("RGBA", size, (255, 255, 255, 255))
        white.alpha_composite(slide.read_region((0, 0), level, size))
        head = struct.pack("<2I", *size)
        (folder / f"{name}.{level}.rgb").write_bytes(head + white.convert("RGB").tobytes())


def write_trestle(name, overlaps):
    """Levels of tiles that overlap by so many pixels along x and y."""
    y, x = np.mgrid[0:500, 0:600]
    own = (x // TILE * 37 + y // TILE * 61) % 90
    with tifffile.TiffWriter(folder / f"{name}.bif") as file:
        for level in range(2):
            step = 2**level
            waves = [np.sin(x * step / 40), np.sin(y * step / 50), np.sin((x + y) * step / 60)]
            tissue = np.stack([wave * 60 + 70 + own for wave in waves], -1).astype("u1")
            text = ";".join(["Objective Power=20", "OverlapsXY=" + " ".join(map(str, overlaps))])
            file.write(
                tissue[: 500 // step, : 600 // step],
                description=text,
                software="MedScan",
                resolution=(0.25, 0.25),
                **JPEG,
            )
    keep(name)


same = lambda overlap, count: [(overlap, 98)] * count
write("overlap", 4, 4, [Area((0, 0), 4, 4, (0, 0), same(12, 12), same(8, 12))])
write(
    "areas",
    5,
    4,
    [
        Area((0, 0), 2, 3, (100, 440), same(16, 3), same(4, 4)),
        Area((0, 3), 5, 1, (0, 0), [], [], is_scanned=0),
        Area((2, 1), 3, 2, (420, 96), same(16, 4), same(4, 3)),
    ],
)
# Means of 10.75 and 6.5: tiles lie between pixels.
between = [(10, 25), (11, 75)] * 6
write("between", 4, 4, [Area((0, 0), 4, 4, (0, 0), between, same(6, 6) + same(7, 6))])
write_trestle("trestle", [16, 20, 16, 30])
