// Where a slide's bytes come from: a file of this device, or a server that answers range requests. Used in the worker.

/** First bytes asked of a server: enough for the header and often for the first directory. */
const FIRST = 32 * 1024;
/** Tries of one request, and the pause before the next, milliseconds. */
const TRIES = 3;
const PAUSE_MS = 250;
/** Longest wait for an answer, milliseconds. */
const WAIT_MS = 30e3;

/** @typedef {(start: number, end: number) => Promise<Uint8Array>} Read */
/** @typedef {{ length: number, first: Uint8Array, reader: (signal: AbortSignal) => Read }} Source */

/** @param {Uint8Array} first */
export const isTiff = (first) => {
  const text = String.fromCharCode(...first.slice(0, 4));
  return ["II*\0", "MM\0*", "II+\0", "MM\0+"].includes(text);
};

/** @param {Blob} blob @returns {Promise<Source>} */
export async function ofBlob(blob) {
  const bytes = async (/** @type {number} */ start, /** @type {number} */ end) => new Uint8Array(await blob.slice(start, end).arrayBuffer());
  const reader = (/** @type {AbortSignal} */ signal) => async (/** @type {number} */ start, /** @type {number} */ end) => {
    signal.throwIfAborted();
    return bytes(start, end);
  };
  return { length: blob.size, first: await bytes(0, 4), reader };
}

/**
 * A file on a server, or what must be done instead: `whole` when it only sends whole files.
 * @param {string} address @param {AbortSignal} wish
 * @returns {Promise<Source | "whole">}
 */
export async function ofAddress(address, wish) {
  const url = new URL(address);
  if (!/^https?:$/.test(url.protocol)) throw new Error("The image must come from an http or https address.");
  let length = 0;
  const stop = new AbortController();
  const answer = await request(url, 0, FIRST, AbortSignal.any([stop.signal, wish]));
  if (answer.status !== 206) {
    // Nothing of the body is wanted.
    stop.abort();
    if (answer.status === 200) return "whole";
    throw new Error(`The image at ${url.host} cannot be loaded (${answer.status}).`);
  }
  const place = /^bytes (\d+)-\d+\/(\d+)$/.exec(answer.headers.get("Content-Range") ?? "");
  // A host of another origin must allow this header to be read.
  if (!place || place[1] !== "0") {
    stop.abort();
    return "whole";
  }
  length = Number(place[2]);
  const first = new Uint8Array(await answer.arrayBuffer());
  const reader = (/** @type {AbortSignal} */ signal) => async (/** @type {number} */ start, /** @type {number} */ end) => {
    if (end <= first.length) return first.slice(start, end);
    return bytes(url, start, end, length, signal);
  };
  return { length, first, reader };
}

/** @param {URL} url @param {number} start @param {number} end @param {AbortSignal} signal */
function request(url, start, end, signal) {
  const headers = { Range: `bytes=${start}-${end - 1}` };
  const limited = AbortSignal.any([signal, AbortSignal.timeout(WAIT_MS)]);
  return fetch(url, { headers, credentials: "omit", referrerPolicy: "no-referrer", signal: limited }).catch((e) => {
    if (signal.aborted) throw e;
    const advice = url.origin === self.location.origin ? "" : " Its host must allow other sites to read it (CORS).";
    throw new Error(`The image at ${url.host} cannot be reached.${advice}`);
  });
}

/**
 * @param {URL} url @param {number} start @param {number} end @param {number} length of the whole file
 * @param {AbortSignal} signal
 */
async function bytes(url, start, end, length, signal) {
  let last;
  for (let round = 0; round < TRIES; round++) {
    if (round > 0) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS << round));
    signal.throwIfAborted();
    try {
      const answer = await request(url, start, end, signal);
      const place = /^bytes (\d+)-\d+\/(\d+)$/.exec(answer.headers.get("Content-Range") ?? "");
      if (answer.status !== 206) throw new Error(`${url.host} does not send a part of the slide any more (${answer.status}).`);
      if (Number(place?.[1]) !== start || Number(place?.[2]) !== length) throw new Error(`${url.host} sends other bytes than were asked for.`);
      const got = new Uint8Array(await answer.arrayBuffer());
      if (got.length !== end - start) throw new Error(`${url.host} sends other bytes than were asked for.`);
      return got;
    } catch (e) {
      if (signal.aborted) throw e;
      last = e;
    }
  }
  throw last;
}
