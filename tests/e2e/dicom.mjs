// A DICOM whole slide image of uncompressed tiles: a file for each level (DICOM PS3.3, A.32.8).
import { PNG } from "pngjs";
import { TILE_PX, halved, tilePixels } from "./tiff.mjs";

const WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6";
const EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1";
const MM_PER_PX = 0.00025;
/** Value representations whose length has four bytes, after two that are not used. */
const LONG_FORM = ["OB", "SQ", "UN"];
const UNDEFINED = 0xffffffff;

/**
 * Files of a slide, in an order that is not that of the levels.
 * @param {Buffer} png
 * @param {{ levels?: number, series?: string }} [options]
 */
export function dicomFiles(png, { levels = 3, series = "1.2.3" } = {}) {
  const files = [];
  let image = PNG.sync.read(png);
  for (let level = 0; level < levels; level++) {
    if (level > 0) image = halved(image);
    files.unshift(dicomFile(image, series, level));
  }
  return files;
}

function dicomFile(image, series, level) {
  const instance = `${series}.${level + 1}`;
  const meta = Buffer.concat([
    element(0x0002_0001, "OB", Buffer.from([0, 1])),
    element(0x0002_0002, "UI", WHOLE_SLIDE),
    element(0x0002_0003, "UI", instance),
    element(0x0002_0010, "UI", EXPLICIT_LITTLE_ENDIAN),
  ]);
  const tiles = [];
  for (let top = 0; top < image.height; top += TILE_PX) {
    for (let left = 0; left < image.width; left += TILE_PX) {
      tiles.push(tilePixels(image, left, top));
    }
  }
  const spacing = (MM_PER_PX * 2 ** level).toString();
  const measures = element(0x0028_0030, "DS", `${spacing}\\${spacing}`);
  return Buffer.concat([
    Buffer.alloc(128),
    Buffer.from("DICM"),
    element(0x0002_0000, "UL", long(meta.length)),
    meta,
    element(0x0008_0008, "CS", "ORIGINAL\\PRIMARY\\VOLUME\\NONE"),
    element(0x0008_0016, "UI", WHOLE_SLIDE),
    element(0x0008_0018, "UI", instance),
    element(0x0008_0060, "CS", "SM"),
    element(0x0020_000d, "UI", "1.2"),
    element(0x0020_000e, "UI", series),
    element(0x0020_9311, "CS", "TILED_FULL"),
    element(0x0028_0002, "US", short(3)),
    element(0x0028_0004, "CS", "RGB"),
    element(0x0028_0006, "US", short(0)),
    element(0x0028_0008, "IS", String(tiles.length)),
    element(0x0028_0010, "US", short(TILE_PX)),
    element(0x0028_0011, "US", short(TILE_PX)),
    element(0x0028_0100, "US", short(8)),
    element(0x0028_0101, "US", short(8)),
    element(0x0028_0102, "US", short(7)),
    element(0x0028_0103, "US", short(0)),
    element(0x0048_0006, "UL", long(image.width)),
    element(0x0048_0007, "UL", long(image.height)),
    element(0x5200_9229, "SQ", item(element(0x0028_9110, "SQ", item(measures)))),
    element(0x7fe0_0010, "OB", Buffer.concat(tiles)),
  ]);
}

/**
 * A data element, explicit value representation, little endian (PS3.5, section 7.1).
 * @param {number} tag
 * @param {string} representation
 * @param {string | Buffer} value
 */
function element(tag, representation, value) {
  const padding = Buffer.from(representation === "UI" ? "\0" : " ");
  let content = Buffer.from(value);
  if (content.length % 2 === 1) content = Buffer.concat([content, padding]);
  const head = Buffer.from([tag >>> 16, tag >>> 24, tag, tag >>> 8]);
  const isLong = LONG_FORM.includes(representation);
  const length = isLong ? Buffer.concat([short(0), long(content.length)]) : short(content.length);
  return Buffer.concat([head, Buffer.from(representation), length, content]);
}

/** An item of a sequence, of undefined length. @param {Buffer} content */
function item(content) {
  const start = Buffer.from([0xfe, 0xff, 0x00, 0xe0]);
  const end = Buffer.from([0xfe, 0xff, 0x0d, 0xe0]);
  return Buffer.concat([start, long(UNDEFINED), content, end, long(0)]);
}

function short(value) {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
}

function long(value) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
