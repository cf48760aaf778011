// The scale bar: a round length of at most so many CSS pixels.
import { elements } from "./elements.js";

const MAX_WIDTH_PX = 120;

/**
 * @param {number} mpp pixel size, µm; 0 if unknown
 * @param {number} scale CSS pixels for one of the image
 */
export function showScaleBar(mpp, scale) {
  const { scaleBar } = elements;
  scaleBar.hidden = mpp === 0;
  if (scaleBar.hidden) return;
  const umPerPx = mpp / scale;
  const length = roundLength(MAX_WIDTH_PX * umPerPx);
  scaleBar.style.width = `${length / umPerPx}px`;
  scaleBar.textContent = `${Number(length.toPrecision(2))} µm`;
}

/** The largest length up to a limit of 1, 2 or 5 times a power of ten. @param {number} limit */
function roundLength(limit) {
  const power = 10 ** Math.floor(Math.log10(limit));
  for (const factor of [5, 2]) {
    if (factor * power <= limit) return factor * power;
  }
  return power;
}
