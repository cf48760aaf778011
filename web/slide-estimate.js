// What segmenting the view or the whole slide takes, before it is requested: blocks, time by the
// speed so far, and how much of the view is glass.
import { elements } from "./elements.js";
import { formatBlocks, formatDuration } from "./format.js";

/** @import { Page } from "./page.js" */
/** @import { SlideEstimate } from "./worker-api.d.ts" */

/** Pause after the last movement of the view before the estimate, milliseconds. */
const DELAY_MS = 400;
/** Share of glass below which it is not mentioned. */
const MIN_GLASS = 0.1;

/** @type {Map<number, number>} Milliseconds for a block, by number of the model. */
const speeds = new Map();

/** Notes how long blocks took. @param {number} model @param {number} ms @param {number} blocks */
export function noteSpeed(model, ms, blocks) {
  if (blocks > 0) speeds.set(model, ms / blocks);
}

/** @param {Page} page */
export function bindSlideEstimate(page) {
  let shown = "";
  page.canvasView.frameListeners.add(() => {
    if (!page.isSlide || page.mpp === 0 || !page.model) {
      elements.slideEstimate.hidden = true;
      shown = "";
      return;
    }
    const bounds = page.slideSegmentation.visibleBounds();
    const { id } = page.model.facts;
    const key = [id, speeds.get(id), page.mpp, ...bounds.map(Math.round)].join();
    if (key === shown) return;
    shown = key;
    page.debounce("estimate", DELAY_MS, () => void update(page));
  });
}

/** Computes and shows the estimate of the view as it is now. @param {Page} page */
async function update(page) {
  const { model, mpp, engine, slideSegmentation } = page;
  if (!page.isSlide || !model || mpp === 0) return;
  if (page.isSegmenting) {
    page.debounce("estimate", DELAY_MS, () => void update(page));
    return;
  }
  const bounds = slideSegmentation.visibleBounds();
  const { id } = model.facts;
  // Without an estimate, as after a failed read, the buttons are as good.
  const estimate = await engine.call("estimateSlide", id, mpp, bounds).catch(() => undefined);
  if (!page.isSlide) return;
  elements.slideEstimate.hidden = !estimate;
  if (estimate) elements.slideEstimate.textContent = describe(estimate, speeds.get(id));
}

/** @param {SlideEstimate} estimate @param {number | undefined} msPerBlock */
function describe({ needed, all, slide_needed: slideNeeded }, msPerBlock) {
  const view = needed === 0 ? "no tissue" : withTime(needed, msPerBlock);
  const slide = withTime(slideNeeded, msPerBlock);
  const glass = all > 0 ? 1 - needed / all : 0;
  const ofGlass =
    needed > 0 && glass >= MIN_GLASS ? `; ${Math.round(glass * 100)} % of it is glass` : "";
  return `The view: ${view}${ofGlass}. The whole slide: ${slide}.`;
}

/** @param {number} blocks @param {number | undefined} msPerBlock */
function withTime(blocks, msPerBlock) {
  const count = formatBlocks(blocks);
  if (msPerBlock === undefined) return count;
  return `about ${formatDuration(blocks * msPerBlock)} for ${count}`;
}
