// The models that ship, as models/README.md has them: data, and no element of the page.

/** @import { ModelSetting } from "./worker-api.d.ts" */

/**
 * @typedef {object} ModelFamily Models that were trained on the same data.
 * @property {string} id
 * @property {string} title
 * @property {string} licence of the weights
 * @property {string} about what the weights were trained on, a sentence
 */

/**
 * @typedef {object} ShippedModel
 * @property {string} family
 * @property {string} file without folder and ending
 * @property {string} name for people
 * @property {number} parameters
 * @property {number} bytes size of the file
 * @property {number} [dice] mean agreement with the annotations of test tiles
 * @property {string} [made] how the weights were made, a sentence
 * @property {ModelSetting} setting
 */

/** @type {ModelFamily[]} */
export const FAMILIES = [
  {
    id: "open",
    title: "For every use",
    licence: "CC BY 4.0",
    about: "Trained on open data.",
  },
  {
    id: "nuclei",
    title: "Non-commercial, most tissue",
    licence: "CC BY-NC-SA 4.0",
    about: "Trained on the open data and on the tiles of Kumar et al. 2017.",
  },
  {
    id: "paper",
    title: "Non-commercial, as the paper",
    licence: "CC BY-NC-SA 4.0",
    about: "Trained on the tiles of Kumar et al. 2017 as Götz et al. 2022 describe.",
  },
];

/** @param {string} name @returns {ModelSetting} */
function asItShips(name) {
  return { shipped: name, ratio: 0, pruneHidden: false, loaded: null };
}

/** @param {number} ratio @param {boolean} [pruneHidden] @returns {ModelSetting} */
function ofThePaper(ratio, pruneHidden = false) {
  return { shipped: null, ratio, pruneHidden, loaded: null };
}

/** @type {ShippedModel[]} */
export const SHIPPED_MODELS = [
  {
    family: "open",
    file: "open-small",
    name: "Open: small",
    parameters: 9874,
    bytes: 63_916,
    dice: 0.72,
    setting: asItShips("open-small"),
  },
  {
    family: "open",
    file: "open-medium",
    name: "Open: medium",
    parameters: 50_277,
    bytes: 132_194,
    dice: 0.716,
    setting: asItShips("open-medium"),
  },
  {
    family: "nuclei",
    file: "nuclei-medium",
    name: "All data: medium",
    parameters: 50_277,
    bytes: 142_298,
    setting: asItShips("nuclei-medium"),
  },
  {
    family: "nuclei",
    file: "nuclei-small",
    name: "All data: small",
    parameters: 9503,
    bytes: 68_222,
    setting: asItShips("nuclei-small"),
  },
  {
    family: "paper",
    file: "paper-50",
    name: "Paper: half of the filters",
    parameters: 416_541,
    bytes: 840_250,
    dice: 0.797,
    made: "Fine-tuned after pruning.",
    setting: ofThePaper(50),
  },
  {
    family: "paper",
    file: "paper-90",
    name: "Paper: a tenth of the filters",
    parameters: 78_777,
    bytes: 166_570,
    dice: 0.788,
    made: "Fine-tuned after pruning.",
    setting: ofThePaper(90),
  },
  {
    family: "paper",
    file: "paper-90-all",
    name: "Paper: smallest",
    parameters: 9702,
    bytes: 30_028,
    dice: 0.788,
    made: "Fine-tuned after pruning.",
    setting: ofThePaper(90, true),
  },
  {
    family: "paper",
    file: "paper-00",
    name: "Paper: unpruned, slowest",
    parameters: 916_959,
    bytes: 1_838_742,
    dice: 0.778,
    made: "The unpruned network.",
    setting: ofThePaper(0),
  },
];

/** The page begins with it. */
export const DEFAULT_MODEL = asItShips("open-small");
/** It fits a link. */
export const SMALLEST_MODEL = asItShips("open-small");
/** What others are compared with at first. */
export const PAPER_UNPRUNED = ofThePaper(0);

/** Whether a model of that name ships; the paper's have none. @param {string} name */
export function isShippedName(name) {
  return SHIPPED_MODELS.some(({ setting }) => setting.shipped === name);
}

/**
 * The model that ships with a setting; undefined where filters are removed here.
 * @param {ModelSetting} model
 */
export function shippedModel({ shipped, ratio, pruneHidden, loaded }) {
  if (loaded !== null) return undefined;
  return SHIPPED_MODELS.find(
    ({ setting }) =>
      setting.shipped === shipped &&
      setting.ratio === ratio &&
      // Nothing of the hidden layer is removed either.
      (ratio === 0 || setting.pruneHidden === pruneHidden),
  );
}

/** The model from which a setting removes filters. @param {ModelSetting} model */
export function unprunedOf({ shipped, loaded }) {
  return { shipped, ratio: 0, pruneHidden: false, loaded };
}

/** A setting for people. @param {ModelSetting} model @param {number} percent removed in all */
export function modelName(model, percent = model.ratio) {
  const shipped = shippedModel(model);
  if (shipped) return shipped.name;
  if (model.ratio === 0) return "as loaded";
  const base = model.shipped === null ? undefined : shippedModel(unprunedOf(model));
  const removed = `${percent} % removed${model.pruneHidden ? ", hidden layer too" : ""}`;
  return base ? `${base.name}, ${removed}` : removed;
}
