// Where a slide's bytes come from: a file of this device, or a server that answers range requests.
// Used in the session worker.

/** First bytes that are read: the header, and often the first directory. */
const HEAD_BYTES = 32 * 1024;
/** Attempts for a range: a connection may be gone for some ten seconds. */
const ATTEMPTS = 6;
/** Pause before the second attempt; it doubles with each further one. */
const RETRY_PAUSE_MS = 400;
/** Longest wait for a response, milliseconds. */
const TIMEOUT_MS = 30e3;
/** First four bytes of a TIFF or BigTIFF, little and big endian. */
const TIFF_MAGIC = ["II*\0", "MM\0*", "II+\0", "MM\0+"];
/** Behind the preamble of a DICOM file. */
const DICOM_MAGIC = "DICM";
const DICOM_MAGIC_AT = 128;

/**
 * @callback ReadRange
 * @param {number} start
 * @param {number} end excluded
 * @returns {Promise<Uint8Array>}
 */

/**
 * @typedef {object} Source
 * @property {number} length of all files together, bytes
 * @property {number[]} lengths of each file, one behind the other
 * @property {Uint8Array} head the first bytes, at least 1 KB unless the file is shorter
 * @property {(signal: AbortSignal) => ReadRange} reader a function that reads until it is aborted
 */

/** @param {Uint8Array} head */
export function isTiff(head) {
  return TIFF_MAGIC.includes(String.fromCharCode(...head.slice(0, 4)));
}

/** @param {Uint8Array} head */
export function isDicom(head) {
  const magic = head.slice(DICOM_MAGIC_AT, DICOM_MAGIC_AT + DICOM_MAGIC.length);
  return String.fromCharCode(...magic) === DICOM_MAGIC;
}

/**
 * @param {Blob} blob a file, or several one behind the other
 * @param {number[]} [lengths] of several files
 * @returns {Promise<Source>}
 */
export async function openBlob(blob, lengths = [blob.size]) {
  const head = await readBlob(blob, 0, HEAD_BYTES);
  /** @type {Source["reader"]} */
  const reader = (signal) => async (start, end) => {
    signal.throwIfAborted();
    return readBlob(blob, start, end);
  };
  return { length: blob.size, lengths, head, reader };
}

/** @param {Blob} blob @param {number} start @param {number} end */
async function readBlob(blob, start, end) {
  return new Uint8Array(await blob.slice(start, end).arrayBuffer());
}

/**
 * @param {string} address
 * @param {AbortSignal} signal
 * @returns {Promise<Source | "whole">} `whole` if the server sends only whole files
 */
export async function openUrl(address, signal) {
  const url = new URL(address);
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw new Error("The image must come from an http or https address.");
  }
  const bodyNotNeeded = new AbortController();
  const anySignal = AbortSignal.any([bodyNotNeeded.signal, signal]);
  const response = await requestRange(url, 0, HEAD_BYTES, anySignal);
  if (response.status !== 206) {
    bodyNotNeeded.abort();
    if (response.status === 200) return "whole";
    throw new Error(`The image at ${url.host} cannot be loaded (${response.status}).`);
  }
  const range = contentRange(response);
  // A server of another origin may not allow the page to read this header.
  if (range?.start !== 0) {
    bodyNotNeeded.abort();
    return "whole";
  }
  const { length } = range;
  const file = { url, length, version: versionOf(response) };
  const head = new Uint8Array(await response.arrayBuffer());
  /** @type {Source["reader"]} */
  const reader = (readSignal) => async (start, end) => {
    if (end <= head.length) return head.slice(start, end);
    return fetchRange(file, start, end, readSignal);
  };
  return { length, lengths: [length], head, reader };
}

/**
 * A file on a server.
 * @typedef {{ url: URL, length: number, version: FileVersion }} RemoteFile
 */

/**
 * By what a server tells versions of a file apart, as far as it lets the page read that.
 * @typedef {{ etag: string | null, date: string | null }} FileVersion
 */

/** @param {Response} response @returns {FileVersion} */
function versionOf({ headers }) {
  return { etag: headers.get("ETag"), date: headers.get("Last-Modified") };
}

/**
 * Whether two responses are of different files. Servers behind one address may form other tags of
 * the same file, so a date that both state decides.
 * @param {FileVersion} a
 * @param {FileVersion} b
 */
export function isOtherVersion(a, b) {
  if (a.date && b.date) return a.date !== b.date;
  return Boolean(a.etag && b.etag && a.etag !== b.etag);
}

/**
 * What a response of status 206 holds, by its header: first byte, and length of the whole file.
 * @param {Response} response
 */
function contentRange(response) {
  const header = response.headers.get("Content-Range") ?? "";
  const match = /^bytes (\d+)-\d+\/(\d+)$/.exec(header);
  return match ? { start: Number(match[1]), length: Number(match[2]) } : undefined;
}

/**
 * @param {URL} url
 * @param {number} start
 * @param {number} end excluded
 * @param {AbortSignal} signal
 */
function requestRange(url, start, end, signal) {
  return request(url, { Range: `bytes=${start}-${end - 1}` }, signal);
}

/**
 * @param {URL} url
 * @param {Record<string, string>} headers
 * @param {AbortSignal} signal
 */
export async function request(url, headers, signal) {
  const limited = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
  try {
    return await fetch(url, {
      headers,
      credentials: "omit",
      referrerPolicy: "no-referrer",
      signal: limited,
    });
  } catch (error) {
    if (signal.aborted) throw error;
    const sameOrigin = url.origin === self.location.origin;
    const advice = sameOrigin ? "" : " Its host must allow other sites to read it (CORS).";
    throw new Error(`The image at ${url.host} cannot be reached.${advice}`);
  }
}

/**
 * Bytes of a range, with further attempts after an error.
 * @param {RemoteFile} file
 * @param {number} start
 * @param {number} end excluded
 * @param {AbortSignal} signal
 */
function fetchRange(file, start, end, signal) {
  return withAttempts(signal, () => fetchRangeOnce(file, start, end, signal));
}

/** An error for which further attempts do not help. */
export class FinalError extends Error {}

/**
 * The error for a response without what was asked for. A server may be too busy for now.
 * @param {Response} response
 * @param {string} sentence
 */
export function responseError({ status }, sentence) {
  const mayPass = status >= 500 || status === 429;
  return mayPass ? new Error(sentence) : new FinalError(sentence);
}

/**
 * Repeats what fails, after pauses.
 * @template T
 * @param {AbortSignal} signal
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function withAttempts(signal, work) {
  let lastError;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    if (attempt > 0) await pause(RETRY_PAUSE_MS * 2 ** (attempt - 1));
    signal.throwIfAborted();
    try {
      return await work();
    } catch (error) {
      if (signal.aborted || error instanceof FinalError) throw error;
      lastError = error;
    }
  }
  throw lastError;
}

/** @param {number} ms */
function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/**
 * @param {RemoteFile} file
 * @param {number} start
 * @param {number} end excluded
 * @param {AbortSignal} signal
 */
async function fetchRangeOnce({ url, length, version }, start, end, signal) {
  const response = await requestRange(url, start, end, signal);
  if (response.status !== 206) {
    const sentence = `${url.host} no longer sends ranges of the slide (${response.status}).`;
    throw responseError(response, sentence);
  }
  const range = contentRange(response);
  const isOther = range && range.length !== length;
  if (isOther || isOtherVersion(versionOf(response), version)) {
    throw new FinalError(
      `The slide at ${url.host} has changed since it was opened. Open it again.`,
    );
  }
  if (range?.start !== start) throw wrongBytes(url);
  const content = new Uint8Array(await response.arrayBuffer());
  if (content.length !== end - start) throw wrongBytes(url);
  return content;
}

/** @param {URL} url */
function wrongBytes(url) {
  return new Error(`${url.host} sends other bytes than requested.`);
}
