// Downloads of models and images from other addresses. Links are not trusted: protocol and size are
// limited.

/** Largest downloads, bytes. */
export const MAX_IMAGE_BYTES = 400e6;
const MAX_BYTES = { model: 64e6, image: MAX_IMAGE_BYTES, "list of regions": 100e6 };

/**
 * Downloads a file and stops as soon as it is too large.
 * @param {string} address absolute, or relative to the page
 * @param {keyof typeof MAX_BYTES} kind
 * @param {(fraction: number) => void} [onProgress] called if the server states the length
 */
export async function fetchFile(address, kind, onProgress) {
  const url = parseAddress(address, kind);
  const response = await request(url, kind);
  if (!response.ok || !response.body) {
    throw new Error(`The ${kind} at ${url.host} cannot be loaded (${response.status}).`);
  }
  const limit = MAX_BYTES[kind];
  const statedLength = Number(response.headers.get("Content-Length"));
  if (statedLength > limit) throw tooLarge(kind, limit);
  const reader = response.body.getReader();
  const parts = [];
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    length += value.length;
    if (length > limit) {
      await reader.cancel();
      throw tooLarge(kind, limit);
    }
    if (statedLength > 0) onProgress?.(Math.min(1, length / statedLength));
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** @param {string} address @param {string} kind */
function parseAddress(address, kind) {
  let url;
  try {
    url = new URL(address, location.href);
  } catch {
    throw new Error(`The address of the ${kind} is not valid.`);
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw new Error(`The ${kind} must come from an http or https address.`);
  }
  return url;
}

/** @param {URL} url @param {string} kind */
async function request(url, kind) {
  try {
    return await fetch(url, { credentials: "omit", referrerPolicy: "no-referrer" });
  } catch {
    const sameOrigin = url.origin === location.origin;
    const advice = sameOrigin ? "" : " Its host must allow other sites to read it (CORS).";
    throw new Error(`The ${kind} at ${url.host} cannot be reached.${advice}`);
  }
}

/** @param {string} kind @param {number} limit bytes */
function tooLarge(kind, limit) {
  return new Error(`The ${kind} is larger than ${limit / 1e6} MB, the limit of this page.`);
}

/** Last part of an address's path, for names of files. @param {string} address */
export function fileNameOf(address) {
  try {
    const last = new URL(address, location.href).pathname.split("/").pop() ?? "";
    return decodeURIComponent(last) || "image";
  } catch {
    // Not every path can be decoded.
    return "image";
  }
}
