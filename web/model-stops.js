// The models that ship, as a choice by family: what a model was trained on, and its licence. A
// choice also sets the slider and the switch of the experiment, which remove filters of it.
import { elements } from "./elements.js";
import { formatBytes, formatCount } from "./format.js";
import { FAMILIES, SHIPPED_MODELS, shippedModel } from "./shipped-models.js";

/** @import { Model } from "./models.js" */
/** @import { Page } from "./page.js" */
/** @import { ModelFamily, ShippedModel } from "./shipped-models.js" */
/** @import { ModelFacts, ModelSetting } from "./worker-api.d.ts" */

/** @type {{ model: ShippedModel, input: HTMLInputElement }[]} */
const choices = [];
/** @type {string | null} What the slider prunes: `ModelSetting.shipped`. */
let unpruned = null;

/** Sets the controls to a model. @param {ModelSetting} setting */
export function setModelControls({ shipped, ratio, pruneHidden }) {
  unpruned = shipped;
  elements.ratio.value = String(ratio);
  elements.pruneHidden.checked = pruneHidden;
}

/** The model that the controls show. @param {string | null} loaded @returns {ModelSetting} */
export function controlledModel(loaded) {
  return {
    shipped: loaded === null ? unpruned : null,
    ratio: Number(elements.ratio.value),
    pruneHidden: elements.pruneHidden.checked,
    loaded,
  };
}

/** @param {Page} page @param {() => void} changed called after a choice */
export function bindModelStops(page, changed) {
  for (const family of FAMILIES) {
    const group = familyGroup(family);
    for (const model of SHIPPED_MODELS.filter((model) => model.family === family.id)) {
      const input = document.createElement("input");
      input.type = "radio";
      input.name = "model-stop";
      input.id = `model-${model.file}`;
      input.onchange = () => {
        setModelControls(model.setting);
        showModelStop(page);
        changed();
      };
      choices.push({ model, input });
      group.append(stopLabel(model, input));
    }
    elements.modelStops.querySelector("p")?.before(group);
  }
  showModelStop(page);
}

/** The first family is open: it is for every use. @param {ModelFamily} family */
function familyGroup({ id, title, licence }) {
  const group = document.createElement("details");
  group.id = `models-${id}`;
  group.open = id === FAMILIES[0].id;
  const summary = document.createElement("summary");
  const small = document.createElement("small");
  small.textContent = licence;
  summary.append(`${title} `, small);
  group.append(summary);
  return group;
}

/** @param {ShippedModel} model @param {HTMLInputElement} input */
function stopLabel({ name, parameters, bytes, dice }, input) {
  const facts = document.createElement("small");
  const score = dice === undefined ? "" : `, Dice ${dice.toFixed(3)}`;
  facts.textContent = `${formatCount(parameters)} parameters${score}`;
  const text = document.createElement("span");
  text.append(name, facts);
  const size = document.createElement("small");
  size.textContent = formatBytes(bytes);
  const label = document.createElement("label");
  label.append(input, text, size);
  return label;
}

/** Marks the model of the controls, if it is one of those that ship. @param {Page} page */
export function showModelStop(page) {
  const setting = page.shownModel();
  const { ratio, loaded } = setting;
  const more = loaded === null ? "" : " more";
  elements.ratioText.textContent = `${ratio} %${more}`;
  elements.modelStops.hidden = loaded !== null;
  const shipped = shippedModel(setting);
  for (const { model, input } of choices) {
    input.checked = model === shipped;
    const group = input.closest("details");
    if (input.checked && group) group.open = true;
  }
  const isExperiment = loaded === null ? !shipped : ratio > 0;
  if (isExperiment && choices.length > 0) elements.experiment.open = true;
}

/** What a model that ships was made from. @param {ShippedModel | undefined} model */
export function describeShipped(model) {
  const about = FAMILIES.find(({ id }) => id === model?.family)?.about ?? "";
  return model?.made ? `${model.made} ${about}` : about;
}

/**
 * Licence of a model and whom its users are to cite, as its card states them. The licence of a
 * loaded model is stated elsewhere.
 * @param {ModelFacts} facts
 * @param {Model["kind"]} kind
 */
export function licenceText({ licence, sources }, kind) {
  const sentences = [];
  if (kind !== "loaded") sentences.push(licence ? `Licence: ${licence}.` : "Licence not stated.");
  const cited = sources.map(({ name, citation }) => citation ?? name);
  if (cited.length > 0) sentences.push(`Cite: prunella; ${cited.join("; ")}.`);
  return sentences.join(" ");
}
