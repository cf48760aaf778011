// Fingerprints of image files, by which the page finds what it keeps of an image.
import { sha256 } from "./prunella.js";

/** Largest file of which every byte counts, bytes. */
const WHOLE_BYTES = 64e6;
/** Number of pieces of a larger file; bytes of one, which are at most a part of the file. */
const PIECES = 16;
const MAX_PIECE_BYTES = 65_536;
const MAX_PIECE_SHARE = 1 / 256;
/** The sample is the same for everyone. */
export const SAMPLE_FINGERPRINT = "sample";

/**
 * Bytes of a file from `start` to `end`, which is excluded.
 * @callback ReadPiece
 * @param {number} start
 * @param {number} end
 * @returns {Promise<Uint8Array>}
 */

/**
 * `whole-` and the SHA-256 of the file, up to 64 MB; for a larger file that of its pieces, as in
 * `fingerprintOfPieces`.
 * @param {Blob} blob
 */
export async function fingerprintOfFile(blob) {
  if (blob.size > WHOLE_BYTES) {
    return fingerprintOfPieces(blob.size, (start, end) => readBlob(blob, start, end));
  }
  return `whole-${await sha256Hex(await readBlob(blob, 0, blob.size))}`;
}

/**
 * `pieces-` and the SHA-256 of the length (64 bits, little endian) and of 16 pieces at even
 * distances, the first at the beginning and the last at the end. A piece has 64 KB, less in a file
 * of less than 16 MB. Slides of a server are read by ranges, so that this is their fingerprint at
 * any size.
 * @param {number} length of the file, bytes
 * @param {ReadPiece} read
 */
export async function fingerprintOfPieces(length, read) {
  const share = Math.ceil(length * MAX_PIECE_SHARE);
  const pieceBytes = Math.min(MAX_PIECE_BYTES, share);
  const lastStart = length - pieceBytes;
  const reading = [];
  for (let i = 0; i < PIECES; i++) {
    const start = Math.floor((lastStart * i) / (PIECES - 1));
    reading.push(read(start, start + pieceBytes));
  }
  const header = new Uint8Array(8);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  const parts = [header, ...(await Promise.all(reading))];
  const content = await new Blob(/** @type {BlobPart[]} */ (parts)).arrayBuffer();
  return `pieces-${await sha256Hex(new Uint8Array(content))}`;
}

/** @param {Blob} blob @param {number} start @param {number} end */
async function readBlob(blob, start, end) {
  return new Uint8Array(await blob.slice(start, end).arrayBuffer());
}

/** @param {Uint8Array} content */
async function sha256Hex(content) {
  // Only pages of https and of this machine have the browser's own.
  if (!globalThis.crypto?.subtle) return sha256(content);
  const digest = await crypto.subtle.digest("SHA-256", /** @type {BufferSource} */ (content));
  const bytes = [...new Uint8Array(digest)];
  return bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
