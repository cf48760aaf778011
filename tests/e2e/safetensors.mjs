// Model files (safetensors) as the tests compare them.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

/** Differences of the weights of two model files. */
export function weightDifference(a, b) {
  const [x, y] = [a, b].map(arraysOf);
  assert.deepEqual([...x.keys()], [...y.keys()]);
  let largest = 0;
  let squares = 0;
  let count = 0;
  for (const [name, values] of x) {
    for (const [i, value] of values.entries()) {
      const difference = Math.abs(value - y.get(name)[i]);
      largest = Math.max(largest, difference);
      squares += difference ** 2;
      count += 1;
    }
  }
  return { largest, rms: Math.sqrt(squares / count) };
}

/** A number of half precision. */
function half(bits) {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const sign = bits >> 15 ? -1 : 1;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Arrays of a safetensors file by name. */
function arraysOf(path) {
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString());
  const arrays = new Map();
  for (const name of Object.keys(header).sort()) {
    if (name === "__metadata__") continue;
    const { dtype, data_offsets: [start, end] } = header[name];
    const { buffer } = new Uint8Array(bytes.subarray(8 + length + start, 8 + length + end));
    const isHalf = dtype === "F16";
    const values = isHalf ? Array.from(new Uint16Array(buffer), half) : new Float32Array(buffer);
    arrays.set(name, values);
  }
  return arrays;
}
