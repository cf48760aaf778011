// The models that were trained after pruning, as a choice between accuracy and speed. A choice sets
// the slider and the switch of the experiment, which hold the model's settings.
import { elements } from "./elements.js";
import { formatBytes, formatCount } from "./format.js";

/** @import { Page } from "./page.js" */

/**
 * @typedef {object} ModelStop A model that ships.
 * @property {string} name
 * @property {number} ratio filters removed, per cent
 * @property {boolean} pruneHidden whether units of the hidden layer are removed too
 * @property {number} parameters
 * @property {number} bytes size of the file
 * @property {number} dice mean agreement with the annotations of the test tiles
 */

/**
 * From accurate to fast, then the unpruned one, as models/README.md has them.
 * @type {ModelStop[]}
 */
export const MODEL_STOPS = [
  {
    name: "Most accurate",
    ratio: 50,
    pruneHidden: false,
    parameters: 416_541,
    bytes: 840_250,
    dice: 0.797,
  },
  {
    name: "Balanced",
    ratio: 90,
    pruneHidden: false,
    parameters: 78_777,
    bytes: 166_570,
    dice: 0.788,
  },
  {
    name: "Smallest",
    ratio: 90,
    pruneHidden: true,
    parameters: 9_702,
    bytes: 30_028,
    dice: 0.788,
  },
  {
    name: "Unpruned, slowest",
    ratio: 0,
    pruneHidden: false,
    parameters: 916_959,
    bytes: 1_838_742,
    dice: 0.778,
  },
];

/**
 * Name of a model that ships; undefined for any other share of filters.
 * @param {number} ratio filters removed, per cent
 * @param {boolean} pruneHidden
 */
export function shippedName(ratio, pruneHidden) {
  if (ratio === 0) return "Unpruned";
  return MODEL_STOPS.find((stop) => stop.ratio === ratio && stop.pruneHidden === pruneHidden)?.name;
}

/** @type {{ stop: ModelStop, input: HTMLInputElement }[]} */
const choices = [];

/** @param {Page} page @param {() => void} changed called after a choice */
export function bindModelStops(page, changed) {
  for (const stop of MODEL_STOPS) {
    const input = document.createElement("input");
    input.type = "radio";
    input.name = "model-stop";
    input.id = `model-${stop.ratio}${stop.pruneHidden ? "u" : ""}`;
    input.onchange = () => {
      elements.ratio.value = String(stop.ratio);
      elements.pruneHidden.checked = stop.pruneHidden;
      showModelStop(page);
      changed();
    };
    choices.push({ stop, input });
    elements.modelStops.querySelector("p")?.before(stopLabel(stop, input));
  }
  showModelStop(page);
}

/** @param {ModelStop} stop @param {HTMLInputElement} input */
function stopLabel({ name, parameters, bytes, dice }, input) {
  const facts = document.createElement("small");
  facts.textContent = `${formatCount(parameters)} parameters, Dice ${dice.toFixed(3)}`;
  const text = document.createElement("span");
  text.append(name, facts);
  const size = document.createElement("small");
  size.textContent = formatBytes(bytes);
  const label = document.createElement("label");
  label.append(input, text, size);
  return label;
}

/** Marks the model of slider and switch, if it is one of those that ship. @param {Page} page */
export function showModelStop(page) {
  const { ratio, pruneHidden, loaded } = page.shownModel();
  const more = loaded === null ? "" : " more";
  elements.ratioText.textContent = `${ratio} %${more}`;
  // A loaded model has no trained versions.
  elements.modelStops.hidden = loaded !== null;
  let isStop = false;
  for (const { stop, input } of choices) {
    const isSameSwitch = stop.ratio === 0 || stop.pruneHidden === pruneHidden;
    input.checked = stop.ratio === ratio && isSameSwitch;
    isStop ||= input.checked;
  }
  const isExperiment = loaded === null ? !isStop : ratio > 0;
  if (isExperiment && choices.length > 0) elements.experiment.open = true;
}
