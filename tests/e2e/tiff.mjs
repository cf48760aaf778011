// A pyramidal TIFF of uncompressed tiles, and a server for it that handles and counts range
// requests.
import { PNG } from "pngjs";

export const TILE_PX = 128;
const TILE_BYTES = TILE_PX * TILE_PX * 3;
const WHITE = 255;
/** Types of TIFF values. */
const ASCII = 2;
const SHORT = 3;
const LONG = 4;
const ENTRY_BYTES = 12;
const DEFAULT_DESCRIPTION = "Aperio test|AppMag = 40|MPP = 0.25";

/**
 * A pyramidal TIFF, little endian.
 * @param {Buffer} png
 * @param {{ levels?: number, description?: string }} [options] description of the first level
 */
export function tiff(png, { levels = 3, description = DEFAULT_DESCRIPTION } = {}) {
  const header = Buffer.from([0x49, 0x49, 42, 0, 0, 0, 0, 0]);
  const file = new FileWriter();
  file.append(header);
  let image = PNG.sync.read(png);
  // Where the offset of the next directory belongs: at first in the header.
  let link = { buffer: header, offset: 4 };
  for (let level = 0; level < levels; level++) {
    if (level > 0) image = halved(image);
    const entries = levelEntries(file, image, level === 0 ? description : "");
    const directory = encodeDirectory(entries);
    link.buffer.writeUInt32LE(file.append(directory), link.offset);
    link = { buffer: directory, offset: directory.length - 4 };
  }
  return file.contents();
}

class FileWriter {
  #parts = [];
  #length = 0;

  /**
   * Appends bytes and gives their offset. The buffer may still be changed.
   * @param {Buffer} bytes
   */
  append(bytes) {
    const offset = this.#length;
    this.#parts.push(bytes);
    this.#length += bytes.length;
    return offset;
  }

  contents() {
    return Buffer.concat(this.#parts);
  }
}

/** An image of half the width and height: each pixel is the mean of four. @param {PNG} image */
export function halved(image) {
  const half = new PNG({ width: image.width >> 1, height: image.height >> 1 });
  for (let y = 0; y < half.height; y++) {
    for (let x = 0; x < half.width; x++) {
      for (let channel = 0; channel < 4; channel++) {
        const upper = (2 * y * image.width + 2 * x) * 4 + channel;
        const lower = upper + image.width * 4;
        const { data } = image;
        const sum = data[upper] + data[upper + 4] + data[lower] + data[lower + 4];
        half.data[(y * half.width + x) * 4 + channel] = (sum + 2) >> 2;
      }
    }
  }
  return half;
}

/**
 * RGB of a tile; white outside the image.
 * @param {PNG} image
 * @param {number} left
 * @param {number} top
 */
export function tilePixels(image, left, top) {
  const tile = Buffer.alloc(TILE_BYTES, WHITE);
  for (let y = 0; y < TILE_PX && top + y < image.height; y++) {
    for (let x = 0; x < TILE_PX && left + x < image.width; x++) {
      const source = ((top + y) * image.width + left + x) * 4;
      image.data.copy(tile, (y * TILE_PX + x) * 3, source, source + 3);
    }
  }
  return tile;
}

/** Writes the tiles of a level and gives the entries of its directory. */
function levelEntries(file, image, description) {
  const offsets = [];
  for (let top = 0; top < image.height; top += TILE_PX) {
    for (let left = 0; left < image.width; left += TILE_PX) {
      offsets.push(file.append(tilePixels(image, left, top)));
    }
  }
  const text = Buffer.from(`${description}\0`);
  const bitsPerSample = Buffer.from([8, 0, 8, 0, 8, 0]);
  const lengths = offsets.map(() => TILE_BYTES);
  return [
    { tag: 256, type: LONG, count: 1, value: image.width },
    { tag: 257, type: LONG, count: 1, value: image.height },
    { tag: 258, type: SHORT, count: 3, value: file.append(bitsPerSample) },
    // No compression, RGB.
    { tag: 259, type: SHORT, count: 1, value: 1 },
    { tag: 262, type: SHORT, count: 1, value: 2 },
    // Up to four bytes are the value itself, here zeros.
    { tag: 270, type: ASCII, count: text.length, value: text.length > 4 ? file.append(text) : 0 },
    { tag: 277, type: SHORT, count: 1, value: 3 },
    { tag: 322, type: SHORT, count: 1, value: TILE_PX },
    { tag: 323, type: SHORT, count: 1, value: TILE_PX },
    { tag: 324, type: LONG, count: offsets.length, value: longsValue(file, offsets) },
    { tag: 325, type: LONG, count: lengths.length, value: longsValue(file, lengths) },
  ];
}

/** The value of an entry of longs: a single one itself, otherwise the offset of the list. */
function longsValue(file, values) {
  if (values.length === 1) return values[0];
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, i) => bytes.writeUInt32LE(value, i * 4));
  return file.append(bytes);
}

/** Number of entries, entries, and four bytes for the offset of the next directory. */
function encodeDirectory(entries) {
  const directory = Buffer.alloc(2 + entries.length * ENTRY_BYTES + 4);
  directory.writeUInt16LE(entries.length, 0);
  entries.forEach(({ tag, type, count, value }, i) => {
    const offset = 2 + i * ENTRY_BYTES;
    directory.writeUInt16LE(tag, offset);
    directory.writeUInt16LE(type, offset + 2);
    directory.writeUInt32LE(count, offset + 4);
    directory.writeUInt32LE(value, offset + 8);
  });
  return directory;
}

/**
 * A handler for range requests for a file, and a count of what was requested. `interfere` may
 * respond instead; it gets the number of the request and gives whether it did.
 * @param {Buffer} file
 * @param {(range: [number, number], response: any, count: number) => boolean} [interfere]
 */
export function rangeServer(file, interfere = () => false) {
  const traffic = { requests: 0, bytes: 0, whole: 0 };
  const handler = (request, response) => {
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
    traffic.requests += 1;
    if (!range) {
      traffic.whole += 1;
      response.writeHead(200, { "Content-Length": file.length }).end(file);
      return;
    }
    const start = Number(range[1]);
    const end = Math.min(Number(range[2]) + 1, file.length);
    if (interfere([start, end], response, traffic.requests)) return;
    traffic.bytes += end - start;
    response.writeHead(206, {
      "Content-Range": `bytes ${start}-${end - 1}/${file.length}`,
      "Content-Length": end - start,
    });
    response.end(file.subarray(start, end));
  };
  return { handler, traffic };
}
