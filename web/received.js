// Words about a model that came from outside: what a link held, and what to do next.
import { elements } from "./elements.js";
import { fileNameOf } from "./fetch-file.js";
import { formatCount } from "./format.js";

/** @import { UrlState } from "./url-state.js" */
/** @import { ModelFacts } from "./worker-api.d.ts" */

/** How many filters of a model are gone, in words. @param {number} ratio 0 to 1 */
function removedFilters(ratio) {
  const percent = Math.round(ratio * 100);
  return percent === 0 ? "none of its filters removed" : `${percent} % of its filters removed`;
}

/**
 * Share of the filters of a loaded model that are gone, of which the slider removes a part more.
 * @param {ModelFacts} loaded
 * @param {number} ratio filters removed here, per cent
 */
export function removedPercent(loaded, ratio) {
  return Math.round(100 * (1 - (1 - loaded.ratio) * (1 - ratio / 100)));
}

/** A model that came from outside and is used as it came. @param {ModelFacts} facts */
export function describeLoaded({ parameters, ratio, mpp, licence }) {
  const facts = [
    `The loaded model: ${formatCount(parameters)} parameters, ${removedFilters(ratio)} before.`,
  ];
  if (mpp > 0) facts.push(`Made for ${mpp} µm a pixel.`);
  facts.push(licence ? `Licence: ${licence}.` : "Its licence is not stated.");
  return facts.join(" ");
}

/** @param {number} threshold */
function thresholdText(threshold) {
  return String(Number(threshold.toFixed(2)));
}

/**
 * What a link holds besides its model.
 * @param {ModelFacts} facts
 * @param {UrlState} state
 */
function sentAlong(facts, { imageUrl, regionsUrl, sample, threshold, view, ratio }) {
  const parts = [];
  if (threshold !== undefined) {
    const own = thresholdText(facts.threshold);
    parts.push(`a threshold of ${thresholdText(threshold)} in place of the model's ${own}`);
  }
  if (imageUrl) parts.push(`the address of an image, ${fileNameOf(imageUrl)}`);
  else if (sample) parts.push("the sample image");
  if (imageUrl && regionsUrl) parts.push("regions of it");
  if (view) parts.push("a view");
  if (ratio) parts.push(`a setting that removes ${ratio} % of its filters more`);
  const last = parts.pop();
  if (last === undefined) return "";
  return parts.length > 0 ? `${parts.join(", ")} and ${last}` : last;
}

/** @param {string[]} sentences one for each paragraph, empty ones are left out */
function show(sentences) {
  const paragraphs = [];
  for (const sentence of sentences) {
    if (!sentence) continue;
    const paragraph = document.createElement("p");
    paragraph.textContent = sentence;
    paragraphs.push(paragraph);
  }
  elements.received.replaceChildren(...paragraphs);
  elements.received.hidden = paragraphs.length === 0;
}

/** Says what a link's model is. @param {ModelFacts} facts @param {UrlState} state */
export function showReceived(facts, state) {
  const { parameters, ratio, threshold, mpp, licence } = facts;
  const used = state.threshold ?? threshold;
  const model = `${formatCount(parameters)} parameters, ${removedFilters(ratio)}`;
  const hasImage = state.imageUrl !== undefined || state.sample;
  const next = hasImage ? "It is used on the image that came with it." : "Open an image to use it.";
  const along = sentAlong(facts, state);
  show([
    `You received a model: ${model}, threshold ${thresholdText(used)}. ${next}`,
    along && `Sent along: ${along}.`,
    [
      mpp > 0 ? `Made for images of ${mpp} µm a pixel.` : "",
      licence ? `Licence: ${licence}.` : "Its licence is not stated.",
      "Not for diagnosis.",
    ]
      .join(" ")
      .trim(),
  ]);
}

/** Says that a link's model cannot be used, and what is used instead. */
export function showBrokenLink() {
  show([
    "The model in the link could not be read: long links are often cut off on their way.",
    "prunella's own model is ready instead: open an image to use it, or ask for the link again.",
  ]);
}

/** Another model was chosen: what was received is history. */
export function hideReceived() {
  show([]);
}
