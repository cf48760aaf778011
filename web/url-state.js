// The page's state in its address. Query: where model and image come from, and the device.
// Fragment: view and settings, and a model in a link. Links are not trusted: every value is
// checked.
import { isShippedName } from "./shipped-models.js";

/**
 * @typedef {object} UrlState State of an address. What it does not state is undefined.
 * @property {string} [modelLink] a model inside the link, `m=…`
 * @property {string} [modelUrl]
 * @property {string} [sha256] of the model at `modelUrl`, hexadecimal
 * @property {string} [imageUrl]
 * @property {string} [regionsUrl] address of the regions of the image at `imageUrl`
 * @property {string} [folder] address of a folder of `prunella serve`
 * @property {"auto" | "gpu" | "cpu"} device
 * @property {number} [workers] largest number of CPU workers
 * @property {boolean} sample whether the sample is opened
 * @property {string} [shipped] name of a model that ships, not of the paper's
 * @property {number} [ratio] filters removed, per cent
 * @property {boolean} pruneHidden
 * @property {number} [threshold] 0 to 1
 * @property {number[]} [view] centre x, centre y, scale in CSS pixels for one of the image
 * @property {number[]} [layers] outline, mask and heat, 0 to 100
 * @property {number} [divider] per cent of the width
 * @property {number} [mpp] pixel size, µm
 * @property {string[]} rejected names of the values that are not valid
 */

/** Keys of the fragment that hold one number. */
const NUMBERS = {
  ratio: { key: "r", low: 0, high: 90, label: "the share of filters to remove" },
  threshold: { key: "t", low: 0, high: 1, label: "the threshold" },
  divider: { key: "c", low: 0, high: 100, label: "the divider" },
  mpp: { key: "p", low: 0.001, high: 1000, label: "the pixel size" },
};

/** Keys of the fragment that hold a list of numbers, each from 0 to `high`. */
const LISTS = {
  view: { key: "v", length: 3, high: 1e6, label: "the view" },
  layers: { key: "l", length: 3, high: 100, label: "the layers" },
};

const DEFAULT_LAYERS = "100,0,0";
const MAX_WORKERS = 64;

/** @param {URL} url @returns {UrlState} */
export function readUrl(url) {
  const query = url.searchParams;
  const fragment = new URLSearchParams(url.hash.slice(1));
  /** @type {string[]} */
  const rejected = [];
  const device = query.get("device") ?? "auto";
  if (!["auto", "gpu", "cpu"].includes(device)) rejected.push("the device");
  return {
    modelLink: fragment.has("m") ? `m=${fragment.get("m")}` : undefined,
    modelUrl: query.get("model") ?? undefined,
    sha256: query.get("sha256")?.toLowerCase(),
    imageUrl: query.get("image_url") ?? undefined,
    regionsUrl: query.get("regions_url") ?? undefined,
    folder: query.get("folder") ?? undefined,
    device: device === "gpu" || device === "cpu" ? device : "auto",
    workers: parseNumber(query.get("workers"), 1, MAX_WORKERS) || undefined,
    sample: fragment.get("i") === "sample",
    shipped: readShipped(fragment, rejected),
    ratio: readNumber(fragment, NUMBERS.ratio, rejected),
    pruneHidden: fragment.get("u") === "1",
    threshold: readNumber(fragment, NUMBERS.threshold, rejected),
    view: readList(fragment, LISTS.view, rejected),
    layers: readList(fragment, LISTS.layers, rejected),
    divider: readNumber(fragment, NUMBERS.divider, rejected),
    mpp: readNumber(fragment, NUMBERS.mpp, rejected),
    rejected,
  };
}

/** @param {URLSearchParams} fragment @param {string[]} rejected */
function readShipped(fragment, rejected) {
  const name = fragment.get("s");
  if (name === null) return undefined;
  if (isShippedName(name)) return name;
  rejected.push("the model");
  return undefined;
}

/**
 * A number within limits: undefined if there is none, NaN if it is not valid.
 * @param {string | null} text
 * @param {number} low
 * @param {number} high
 */
function parseNumber(text, low, high) {
  if (text === null || text === "") return undefined;
  const value = Number(text);
  return Number.isFinite(value) && value >= low && value <= high ? value : NaN;
}

/**
 * @param {URLSearchParams} fragment
 * @param {{ key: string, low: number, high: number, label: string }} field
 * @param {string[]} rejected takes the label of a value that is not valid
 */
function readNumber(fragment, { key, low, high, label }, rejected) {
  const value = parseNumber(fragment.get(key), low, high);
  if (!Number.isNaN(value)) return value;
  rejected.push(label);
  return undefined;
}

/**
 * @param {URLSearchParams} fragment
 * @param {{ key: string, length: number, high: number, label: string }} field
 * @param {string[]} rejected takes the label of a value that is not valid
 */
function readList(fragment, { key, length, high, label }, rejected) {
  const text = fragment.get(key);
  if (text === null) return undefined;
  const values = text.split(",").map((part) => parseNumber(part, 0, high) ?? NaN);
  if (values.length === length && !values.some(Number.isNaN)) return values;
  rejected.push(label);
  return undefined;
}

/**
 * @typedef {object} FragmentState
 * @property {string} [modelLink]
 * @property {boolean} sample
 * @property {string} [shipped]
 * @property {number} [ratio]
 * @property {boolean} pruneHidden
 * @property {number} [threshold]
 * @property {number[]} [view]
 * @property {number[]} layers
 * @property {number} [divider]
 * @property {number} [mpp]
 */

/** The fragment for a state; `readUrl` gives the state back. @param {FragmentState} state */
export function formatFragment(state) {
  const parts = [];
  if (state.modelLink !== undefined) parts.push(state.modelLink);
  if (state.sample) parts.push("i=sample");
  if (state.shipped !== undefined) parts.push(`s=${state.shipped}`);
  if (state.ratio !== undefined) parts.push(`r=${rounded(state.ratio)}`);
  if (state.pruneHidden) parts.push("u=1");
  if (state.threshold !== undefined) parts.push(`t=${rounded(state.threshold)}`);
  if (state.view) parts.push(`v=${state.view.map(rounded).join(",")}`);
  if (state.layers.join() !== DEFAULT_LAYERS)
    parts.push(`l=${state.layers.map(rounded).join(",")}`);
  if (state.divider !== undefined) parts.push(`c=${rounded(state.divider)}`);
  if (state.mpp) parts.push(`p=${Number(state.mpp.toPrecision(7))}`);
  return parts.join("&");
}

/** To three decimal places. @param {number} value */
function rounded(value) {
  return String(Math.round(value * 1000) / 1000);
}
