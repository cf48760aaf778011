// An OME-Zarr 0.4 of uncompressed chunks, one for each colour; see
// https://ngff.openmicroscopy.org/0.4.
import { PNG } from "pngjs";
import { TILE_PX, halved, tilePixels } from "./tiff.mjs";

const UM_PER_PX = 0.25;
const COLOURS = 3;

/**
 * The objects of a slide, by key.
 * @param {Buffer} png
 * @param {number} [levels]
 * @returns {Map<string, Buffer>}
 */
export function zarrObjects(png, levels = 3) {
  const objects = new Map();
  const datasets = [];
  let image = PNG.sync.read(png);
  for (let level = 0; level < levels; level++) {
    if (level > 0) image = halved(image);
    const size = UM_PER_PX * 2 ** level;
    const coordinateTransformations = [{ type: "scale", scale: [1, size, size] }];
    datasets.push({ path: String(level), coordinateTransformations });
    objects.set(`${level}/.zarray`, encode(arrayOf(image)));
    for (let top = 0; top < image.height; top += TILE_PX) {
      for (let left = 0; left < image.width; left += TILE_PX) {
        const pixels = tilePixels(image, left, top);
        for (let colour = 0; colour < COLOURS; colour++) {
          const key = `${level}/${colour}/${top / TILE_PX}/${left / TILE_PX}`;
          objects.set(key, everyThird(pixels, colour));
        }
      }
    }
  }
  const axes = [
    { name: "c", type: "channel" },
    { name: "y", type: "space", unit: "micrometer" },
    { name: "x", type: "space", unit: "micrometer" },
  ];
  objects.set(".zgroup", encode({ zarr_format: 2 }));
  objects.set(".zattrs", encode({ multiscales: [{ version: "0.4", axes, datasets }] }));
  return objects;
}

function arrayOf({ width, height }) {
  return {
    zarr_format: 2,
    shape: [COLOURS, height, width],
    chunks: [1, TILE_PX, TILE_PX],
    dtype: "|u1",
    compressor: null,
    filters: null,
    fill_value: 255,
    order: "C",
    dimension_separator: "/",
  };
}

function encode(value) {
  return Buffer.from(JSON.stringify(value));
}

function everyThird(pixels, colour) {
  const length = pixels.length / COLOURS;
  return Buffer.from(Uint8Array.from({ length }, (_, i) => pixels[i * COLOURS + colour]));
}
