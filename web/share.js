// The address: what it carries, and what it may not do. A link comes from a stranger.

/** Largest files that are fetched from an address, bytes. */
const MAX_MODEL_BYTES = 64e6;
export const MAX_IMAGE_BYTES = 400e6;

/**
 * @typedef {object} Wish What an address asks for; what it does not say is undefined.
 * @property {string} [link] a model, `m=…`
 * @property {string} [modelUrl]
 * @property {string} [sha256]
 * @property {string} [imageUrl]
 * @property {string} [folder]
 * @property {"auto" | "gpu" | "cpu"} device
 * @property {number} [workers] most CPU workers
 * @property {boolean} sample
 * @property {number} [ratio] per cent
 * @property {boolean} hiddenToo
 * @property {number} [threshold]
 * @property {number[]} [view] centre x, y and scale
 * @property {number[]} [layers] outline, mask, heat, 0 to 100
 * @property {number} [divider] per cent
 * @property {number} [mpp]
 * @property {string[]} refused what was not understood, in words
 */

/** @param {string | null} text @param {number} low @param {number} high */
function number(text, low, high) {
  if (text === null || text === "") return undefined;
  const value = Number(text);
  return Number.isFinite(value) && value >= low && value <= high ? value : NaN;
}

/** Reads an address; nonsense is left out and told. @param {URL} url @returns {Wish} */
export function read(url) {
  const query = url.searchParams;
  const fragment = new URLSearchParams(url.hash.slice(1));
  /** @type {string[]} */
  const refused = [];
  /** @param {string} key @param {string} what @param {number} low @param {number} high */
  const one = (key, what, low, high) => {
    const value = number(fragment.get(key), low, high);
    if (!Number.isNaN(value)) return value;
    refused.push(what);
    return undefined;
  };
  /** @param {string} key @param {string} what @param {number} count @param {number} high */
  const list = (key, what, count, high) => {
    const text = fragment.get(key);
    if (text === null) return undefined;
    const values = text.split(",").map((t) => number(t, 0, high) ?? NaN);
    if (values.length === count && values.every((v) => !Number.isNaN(v))) return values;
    refused.push(what);
    return undefined;
  };
  const device = query.get("device") ?? "auto";
  if (!["auto", "gpu", "cpu"].includes(device)) refused.push("the device");
  return {
    link: fragment.has("m") ? `m=${fragment.get("m")}` : undefined,
    modelUrl: query.get("model") ?? undefined,
    sha256: query.get("sha256")?.toLowerCase(),
    imageUrl: query.get("image_url") ?? undefined,
    folder: query.get("folder") ?? undefined,
    device: device === "gpu" || device === "cpu" ? device : "auto",
    workers: number(query.get("workers"), 1, 64) || undefined,
    sample: fragment.get("i") === "sample",
    ratio: one("r", "the share of filters to remove", 0, 90),
    hiddenToo: fragment.get("u") === "1",
    threshold: one("t", "the threshold", 0, 1),
    view: list("v", "the view", 3, 1e6),
    layers: list("l", "the layers", 3, 100),
    divider: one("c", "the divider", 0, 100),
    mpp: one("p", "the pixel size", 0.001, 1000),
    refused,
  };
}

/**
 * The fragment for a state; `read` gives the state back.
 * @param {{ link?: string, sample: boolean, ratio?: number, hiddenToo: boolean, threshold?: number, view?: number[], layers: number[], divider?: number, mpp?: number }} state
 */
export function fragment(state) {
  const short = (/** @type {number} */ v) => String(Math.round(v * 1000) / 1000);
  const parts = [
    state.link,
    state.sample ? "i=sample" : undefined,
    state.ratio === undefined ? undefined : `r=${short(state.ratio)}`,
    state.hiddenToo ? "u=1" : undefined,
    state.threshold === undefined ? undefined : `t=${short(state.threshold)}`,
    state.view ? `v=${state.view.map(short).join(",")}` : undefined,
    state.layers.join() === "100,0,0" ? undefined : `l=${state.layers.map(short).join(",")}`,
    state.divider === undefined ? undefined : `c=${short(state.divider)}`,
    state.mpp ? `p=${Number(state.mpp.toPrecision(7))}` : undefined,
  ];
  return parts.filter((p) => p !== undefined).join("&");
}

/**
 * Bytes of an address, refused beyond a limit while they come.
 * @param {string} address
 * @param {"model" | "image"} what
 * @param {(share: number) => void} [progress]
 */
export async function load(address, what, progress = () => {}) {
  const limit = what === "model" ? MAX_MODEL_BYTES : MAX_IMAGE_BYTES;
  let url;
  try {
    url = new URL(address, location.href);
  } catch {
    throw new Error(`The address of the ${what} cannot be understood.`);
  }
  if (!/^https?:$/.test(url.protocol)) throw new Error(`The ${what} must come from an http or https address.`);
  const advice = "Its host must allow other sites to read it (CORS).";
  const response = await fetch(url, { credentials: "omit", referrerPolicy: "no-referrer" }).catch(() => {
    throw new Error(`The ${what} at ${url.host} cannot be reached. ${url.origin === location.origin ? "" : advice}`.trim());
  });
  if (!response.ok || !response.body) throw new Error(`The ${what} at ${url.host} cannot be loaded (${response.status}).`);
  const told = Number(response.headers.get("Content-Length"));
  const tooLarge = () => new Error(`The ${what} is larger than ${limit / 1e6} MB, the most this page takes.`);
  if (told > limit) throw tooLarge();
  const parts = [];
  let bytes = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    bytes += value.length;
    if (bytes > limit) {
      await reader.cancel();
      throw tooLarge();
    }
    if (told > 0) progress(Math.min(1, bytes / told));
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** Last part of an address, for names of files. @param {string} address */
export function nameOf(address) {
  try {
    const last = new URL(address, location.href).pathname.split("/").pop() ?? "";
    return decodeURIComponent(last) || "image";
  } catch {
    // Not every path can be decoded.
    return "image";
  }
}
