// The page's own files: next to this module, or inside the HTML file of a standalone page.

/**
 * @typedef {object} Bundle What the loader of a standalone page provides.
 * @property {Record<string, string>} modules addresses of the modules by file name
 * @property {Record<string, string>} files contents by path, gzip in base64
 */

/** @returns {Bundle | undefined} */
function bundle() {
  return /** @type {{ PRUNELLA_BUNDLE?: Bundle }} */ (globalThis).PRUNELLA_BUNDLE;
}

/** Whether the page is one HTML file. It then has no other files to fetch. */
export function isStandalone() {
  return bundle() !== undefined;
}

/**
 * Address of one of the page's modules.
 * @param {string} name
 */
export function moduleUrl(name) {
  return bundle()?.modules[name] ?? new URL(`./${name}`, import.meta.url).href;
}

/**
 * One of the page's files, `web/…` or `models/…`.
 * @param {string} path
 * @returns {Promise<Response>}
 */
export async function fetchAsset(path) {
  const packed = bundle()?.files[path];
  if (packed !== undefined) {
    const zipped = Uint8Array.from(atob(packed), (character) => character.charCodeAt(0));
    const stream = new Blob([zipped]).stream().pipeThrough(new DecompressionStream("gzip"));
    const type = path.endsWith(".wasm") ? "application/wasm" : "";
    return new Response(stream, { headers: { "Content-Type": type } });
  }
  if (isStandalone()) {
    throw new Error("This file contains only one model. The hosted page has the others.");
  }
  const response = await fetch(new URL(`../${path}`, import.meta.url)).catch(() => undefined);
  if (!response?.ok) {
    throw new Error(`${path} cannot be loaded (${response?.status ?? "no network"}).`);
  }
  return response;
}
