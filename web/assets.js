// Where the page's own files are: beside this module, or inside the one HTML file that holds them all.

/**
 * @typedef {{ modules: Record<string, string>, files: Record<string, string> }} Bundle
 * Addresses of modules, and gzipped base64 of files.
 */

/** @returns {Bundle | undefined} */
const bundle = () => /** @type {any} */ (globalThis).PRUNELLA_BUNDLE;

/** Whether everything is inside one file: no other file of the page can be fetched. */
export const single = () => bundle() !== undefined;

/**
 * Address of one of the page's modules.
 * @param {string} name
 */
export const moduleUrl = (name) => bundle()?.modules[name] ?? new URL(`./${name}`, import.meta.url).href;

/**
 * Bytes of one of the page's files, `web/…` or `models/…`.
 * @param {string} path
 * @returns {Promise<Response>}
 */
export async function file(path) {
  const inside = bundle()?.files[path];
  if (inside !== undefined) {
    const zipped = Uint8Array.from(atob(inside), (c) => c.charCodeAt(0));
    const stream = new Blob([zipped]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream, { headers: { "Content-Type": path.endsWith(".wasm") ? "application/wasm" : "" } });
  }
  if (single()) throw new Error("This file holds one model only; the page itself has the others.");
  const response = await fetch(new URL(`../${path}`, import.meta.url)).catch(() => undefined);
  if (!response?.ok) throw new Error(`${path} cannot be loaded (${response?.status ?? "no network"}).`);
  return response;
}
