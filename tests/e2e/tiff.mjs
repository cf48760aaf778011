// A pyramid as a TIFF of plain tiles, and a server of it that answers range requests and counts them.
import { PNG } from "pngjs";

const TILE = 128;

/** Pixels of half the size: each the mean of four. @param {PNG} image */
function halved(image) {
  const out = new PNG({ width: image.width >> 1, height: image.height >> 1 });
  for (let y = 0; y < out.height; y++) {
    for (let x = 0; x < out.width; x++) {
      for (let c = 0; c < 4; c++) {
        const at = (dx, dy) => image.data[((2 * y + dy) * image.width + 2 * x + dx) * 4 + c];
        out.data[(y * out.width + x) * 4 + c] = (at(0, 0) + at(1, 0) + at(0, 1) + at(1, 1) + 2) >> 2;
      }
    }
  }
  return out;
}

/** A TIFF of so many levels. @param {Buffer} png @param {{ levels?: number, description?: string }} [how] */
export function tiff(png, { levels = 3, description = "Aperio test|AppMag = 40|MPP = 0.25" } = {}) {
  const parts = [Buffer.from([0x49, 0x49, 42, 0, 0, 0, 0, 0])];
  let length = 8;
  const put = (bytes) => {
    parts.push(bytes);
    length += bytes.length;
    return length - bytes.length;
  };
  let image = PNG.sync.read(png);
  let link = [parts[0], 4];
  for (let level = 0; level < levels; level++) {
    if (level > 0) image = halved(image);
    const [across, down] = [image.width, image.height].map((n) => Math.ceil(n / TILE));
    const offsets = [];
    for (let i = 0; i < across * down; i++) {
      const tile = Buffer.alloc(TILE * TILE * 3, 255);
      const [left, top] = [(i % across) * TILE, Math.floor(i / across) * TILE];
      for (let y = 0; y < TILE && top + y < image.height; y++) {
        for (let x = 0; x < TILE && left + x < image.width; x++) {
          image.data.copy(tile, (y * TILE + x) * 3, ((top + y) * image.width + left + x) * 4, ((top + y) * image.width + left + x) * 4 + 3);
        }
      }
      offsets.push(put(tile));
    }
    const text = Buffer.from(`${level === 0 ? description : ""}\0`);
    const longs = (values) => {
      const bytes = Buffer.alloc(values.length * 4);
      values.forEach((v, i) => bytes.writeUInt32LE(v, i * 4));
      return bytes;
    };
    const tags = [
      [256, 4, 1, image.width], [257, 4, 1, image.height], [258, 3, 3, put(Buffer.from([8, 0, 8, 0, 8, 0]))], [259, 3, 1, 1], [262, 3, 1, 2],
      [270, 2, text.length, text.length > 4 ? put(text) : 0], [277, 3, 1, 3], [322, 3, 1, TILE], [323, 3, 1, TILE],
      [324, 4, offsets.length, offsets.length > 1 ? put(longs(offsets)) : offsets[0]],
      [325, 4, offsets.length, offsets.length > 1 ? put(longs(offsets.map(() => TILE * TILE * 3))) : TILE * TILE * 3],
    ];
    const directory = Buffer.alloc(2 + tags.length * 12 + 4);
    directory.writeUInt16LE(tags.length, 0);
    tags.forEach(([tag, kind, count, value], i) => {
      directory.writeUInt16LE(tag, 2 + i * 12);
      directory.writeUInt16LE(kind, 4 + i * 12);
      directory.writeUInt32LE(count, 6 + i * 12);
      directory.writeUInt32LE(value, 10 + i * 12);
    });
    const at = put(directory);
    link[0].writeUInt32LE(at, link[1]);
    link = [directory, directory.length - 4];
  }
  return Buffer.concat(parts);
}

/** Answers range requests for a file; `spoil` may answer instead. @param {Buffer} file @param {(range: [number, number], response: any, count: number) => boolean} [spoil] */
export function ranged(file, spoil = () => false) {
  const spent = { requests: 0, bytes: 0, whole: 0, broken: 0 };
  const answer = (request, response) => {
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
    spent.requests += 1;
    if (!range) {
      spent.whole += 1;
      response.writeHead(200, { "Content-Length": file.length }).end(file);
      return;
    }
    const [start, end] = [Number(range[1]), Math.min(Number(range[2]) + 1, file.length)];
    request.on("close", () => {
      if (!response.writableEnded) spent.broken += 1;
    });
    if (spoil([start, end], response, spent.requests)) return;
    spent.bytes += end - start;
    response.writeHead(206, { "Content-Range": `bytes ${start}-${end - 1}/${file.length}`, "Content-Length": end - start }).end(file.subarray(start, end));
  };
  return { answer, spent };
}
