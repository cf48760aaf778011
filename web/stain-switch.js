// The switch for matching stain colours, and what was done to those of the open image.
import { elements } from "./elements.js";

/** @import { Page } from "./page.js" */

/** @param {Page} page */
export function bindStainSwitch(page) {
  elements.matchStain.onchange = () =>
    page.store.apply({ "keep-stain": !elements.matchStain.checked });
  page.store.subscribe(({ keepStain }, before) => {
    if (keepStain === before.keepStain) return;
    elements.matchStain.checked = !keepStain;
    void useStain(page, !keepStain);
  });
}

/** @param {Page} page @param {boolean} isMatched */
async function useStain(page, isMatched) {
  await page.engine.call("setStainMatching", isMatched);
  page.preview.clear();
  await page.segmentWithSettings();
}

/** Says what was done to the colours at the last segmentation. @param {Page} page */
export async function showStainFacts(page) {
  const isMatched = await page.engine.call("stainMatched");
  let text = "";
  if (isMatched === true) text = "The colours of this image were matched.";
  else if (page.store.state.keepStain) text = "The colours of this image were used as they are.";
  else if (isMatched === false) text = "The colours of this image needed no matching.";
  elements.stainFacts.textContent = text;
}
