// A histogram of nuclear areas as SVG.
import { formatNuclei } from "./format.js";

const SVG_NAMESPACE = "http://www.w3.org/2000/svg";
const BINS = 20;
/** Share of the nuclei that the axis spans; larger ones are in the last bin. */
const AXIS_QUANTILE = 0.99;
/** Size of the drawing, its bars and its base line, in units of the view box. */
const WIDTH = 300;
const HEIGHT = 84;
const BAR_HEIGHT = 64;
const BASE_Y = 66;
const LABEL_Y = 80;
const GAP = 1;

/**
 * @param {HTMLElement} container
 * @param {number[]} areas ascending, pixels
 * @param {(px: number) => string} formatArea
 */
export function showHistogram(container, areas, formatArea) {
  container.replaceChildren();
  if (areas.length < 2) return;
  const axisEnd = areas[Math.floor(areas.length * AXIS_QUANTILE)] || 1;
  const counts = countByBin(areas, axisEnd);
  const highest = Math.max(...counts);
  const range = `${formatArea(areas[0])} to ${formatArea(areas[areas.length - 1])}`;
  const svg = svgElement("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    role: "img",
    "aria-label": `Histogram of nuclear areas, ${range}`,
  });
  for (let bin = 0; bin < BINS; bin++) {
    svg.append(bar(bin, counts[bin], (counts[bin] / highest) * BAR_HEIGHT));
  }
  svg.append(label(0, "start", "0"));
  svg.append(label(WIDTH / 2, "middle", "area"));
  // The last bar holds the largest nuclei, too.
  const isOpen = areas[areas.length - 1] > axisEnd;
  svg.append(label(WIDTH, "end", `${formatArea(axisEnd)}${isOpen ? " and more" : ""}`));
  container.append(svg);
}

/** @param {number[]} areas @param {number} axisEnd */
function countByBin(areas, axisEnd) {
  /** @type {number[]} */
  const counts = new Array(BINS).fill(0);
  for (const area of areas) {
    const bin = Math.floor((area / axisEnd) * BINS);
    counts[Math.min(BINS - 1, bin)] += 1;
  }
  return counts;
}

/** @param {number} bin @param {number} count @param {number} height */
function bar(bin, count, height) {
  const binWidth = WIDTH / BINS;
  const rect = svgElement("rect", {
    x: bin * binWidth + GAP,
    y: BASE_Y - height,
    width: binWidth - 2 * GAP,
    height,
  });
  const title = svgElement("title", {});
  title.textContent = formatNuclei(count);
  rect.append(title);
  return rect;
}

/** @param {number} x @param {"start" | "middle" | "end"} anchor @param {string} text */
function label(x, anchor, text) {
  const element = svgElement("text", { x, y: LABEL_Y, "text-anchor": anchor });
  element.textContent = text;
  return element;
}

/** @param {string} name @param {Record<string, string | number>} attributes */
function svgElement(name, attributes) {
  const element = document.createElementNS(SVG_NAMESPACE, name);
  for (const [attribute, value] of Object.entries(attributes)) {
    element.setAttribute(attribute, String(value));
  }
  return element;
}
