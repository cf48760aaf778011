// Shows the nuclei that were found: count, areas and table.
import { elements } from "./elements.js";
import { formatArea, formatCount, formatLargeArea, formatNuclei } from "./format.js";
import { showHistogram } from "./histogram.js";
import { NucleiTable } from "./nuclei-table.js";
import { REJECTED, cssColourOf } from "./object-status.js";
import { showSheetCount } from "./sheet.js";

/** @import { NucleusFacts, ReviewObject, ReviewSummary } from "./worker-api.d.ts" */

/** Numbers for each object in the list of `Session.objects`. */
export const NUMBERS_PER_OBJECT = 10;
/** Place of the mean probability in the measurements. */
const MEAN_PROBABILITY = 4;

/**
 * @typedef {object} Nucleus
 * @property {number} label number of a model's nucleus, 1 and up; of a mark with bit 31 set
 * @property {number} x centroid, pixels
 * @property {number} y
 * @property {number} area pixels
 * @property {number} probability mean, 0 to 1
 * @property {number} circularity 0 to 1
 * @property {number} status 0 of the model, 1 accepted, 2 added, 3 rejected
 * @property {number} number in files; 0 if it does not count
 * @property {number} regions bit mask of the first 31 regions that hold its centroid
 * @property {number} class place of its type, -1 for none
 */

/** @typedef {{ name: string, css: string }} ShownType A type of nuclei and its colour for CSS. */

/**
 * @typedef {object} InsideScope The regions inside of which alone nuclei count.
 * @property {number} regions how many
 * @property {number | undefined} areaPx their segmented area, pixels; unknown where they overlap
 */

export class Results {
  /** @type {Nucleus[]} */
  nuclei = [];
  /** Pixel size, µm; 0 if unknown. */
  mpp = 0;
  /** Called when other nuclei are shown. */
  onchange = () => {};
  /** How many nuclei count, -1 before any were found. */
  count = -1;
  /** Threshold at which the nuclei were found. */
  threshold = 0.5;
  /** @type {ShownType[]} Those that the model tells apart; empty where there is only one. */
  types = [];
  /** Segmented area, pixels. */
  #areaPx = 0;
  /** @type {InsideScope | undefined} What counts if only regions do. */
  #inside;
  #table;

  /** @param {(nucleus: Nucleus) => void} show called when a nucleus is chosen in the table */
  constructor(show) {
    this.show = show;
    this.#table = new NucleiTable(elements.table, show);
  }

  clear() {
    this.nuclei = [];
    this.count = -1;
    this.#areaPx = 0;
    this.#inside = undefined;
    this.types = [];
    for (const element of [elements.count, elements.areaShare, elements.median]) {
      element.textContent = "–";
    }
    // The time is of these nuclei.
    elements.time.textContent = "–";
    elements.countScope.hidden = true;
    elements.edited.hidden = true;
    elements.typeCounts.hidden = true;
    showSheetCount("");
    elements.histogram.replaceChildren();
    elements.table.replaceChildren();
  }

  /**
   * @param {{ count: number, share: number }} summary share of the area that is nuclei, 0 to 1
   * @param {number} areaPx segmented area, pixels
   */
  showSummary({ count, share }, areaPx) {
    this.#areaPx = areaPx;
    this.count = count;
    elements.count.textContent = formatCount(count);
    this.#showScope();
    showSheetCount(formatNuclei(count));
    const isKnown = Number.isFinite(share) && areaPx > 0;
    elements.areaShare.textContent = isKnown ? `${(share * 100).toFixed(1)} %` : "–";
  }

  /**
   * Shows what counts, with the marks.
   * @param {ReviewSummary} summary
   * @param {InsideScope} [inside] if nuclei count inside regions only
   */
  showReview(summary, inside) {
    const { nuclei, coveredPx, accepted, added, rejected, segmentedPx, threshold } = summary;
    this.threshold = threshold ?? this.threshold;
    this.types = summary.types.map(({ name, colour }) => ({ name, css: cssColourOf(colour) }));
    this.#inside = inside;
    // Of the same area as the nuclei.
    const areaPx = inside ? (inside.areaPx ?? NaN) : segmentedPx;
    const share = areaPx === 0 ? 0 : coveredPx / areaPx;
    this.showSummary({ count: nuclei, share }, segmentedPx);
    const parts = Object.entries({ accepted, added, rejected })
      .filter(([, count]) => count > 0)
      .map(([name, count]) => `${formatCount(count)} ${name}`);
    elements.edited.hidden = parts.length === 0;
    elements.edited.textContent = `Edited: ${parts.join(", ")}.`;
  }

  /** Number of nuclei that count, for people. */
  countText() {
    const { textContent } = elements.count;
    if (textContent === "–") return "";
    return `${textContent} ${textContent === "1" ? "nucleus" : "nuclei"}.`;
  }

  /** Those that count: all but the rejected ones. */
  counted() {
    return this.nuclei.filter((nucleus) => nucleus.status !== REJECTED);
  }

  /** @param {Float64Array} numbers as `Session.objects` gives them, object after object */
  setNuclei(numbers) {
    this.nuclei = [];
    for (let i = 0; i < numbers.length; i += NUMBERS_PER_OBJECT) {
      this.nuclei.push({
        label: numbers[i],
        x: numbers[i + 1],
        y: numbers[i + 2],
        area: numbers[i + 3],
        probability: numbers[i + 4],
        circularity: numbers[i + 5],
        status: numbers[i + 6],
        number: numbers[i + 7],
        regions: numbers[i + 8],
        class: numbers[i + 9],
      });
    }
    this.refresh();
    this.onchange();
  }

  /** Says of what area the numbers are. */
  #showScope() {
    elements.countScope.hidden = this.#areaPx === 0;
    const inside = this.#inside;
    const area = formatLargeArea(inside?.areaPx ?? this.#areaPx, this.mpp);
    if (!inside) {
      elements.countArea.textContent = `In the segmented area, ${area}.`;
      return;
    }
    const place = inside.regions === 1 ? "Inside 1 region" : `Inside ${inside.regions} regions`;
    elements.countArea.textContent =
      inside.areaPx === undefined ? `${place}, which overlap.` : `${place}, ${area}.`;
  }

  /** Shows everything again, for instance with another pixel size. */
  refresh() {
    this.#showScope();
    const areas = this.counted().map((nucleus) => nucleus.area).sort((a, b) => a - b);
    const median = areas.length > 0 ? this.#formatArea(areas[areas.length >> 1]) : "–";
    elements.median.textContent = median;
    showHistogram(elements.histogram, areas, (px) => this.#formatArea(px));
    this.#table.show(this.nuclei, this.mpp, this.types);
    this.#showTypes();
  }

  /** Shows how many nuclei count of each type, with its colour. */
  #showTypes() {
    elements.typeCounts.hidden = this.types.length === 0;
    const counts = this.types.map(() => 0);
    for (const nucleus of this.counted()) {
      if (nucleus.class in counts) counts[nucleus.class] += 1;
    }
    const parts = this.types.map(({ name, css }, place) => {
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.backgroundColor = css;
      const part = document.createElement("span");
      part.append(swatch, ` ${formatCount(counts[place])} ${name}`);
      return part;
    });
    elements.typeCounts.replaceChildren(...parts);
  }

  /** The type of a nucleus. @param {NucleusFacts} nucleus @returns {ShownType | undefined} */
  typeOf(nucleus) {
    return this.types[nucleus.class ?? -1];
  }

  /** @param {number} px */
  #formatArea(px) {
    return formatArea(px, this.mpp);
  }

  /** Marks objects in the table. @param {number[]} ids */
  markSelected(ids) {
    this.#table.select(ids);
  }

  /** Area and probability of an object, for people. @param {ReviewObject} object */
  factsOf({ nucleus }) {
    const { area_px, measurements } = nucleus;
    const type = this.typeOf(nucleus);
    const area = `Area ${this.#formatArea(area_px)}${type ? `, ${type.name}` : ""}`;
    const probability = measurements?.[MEAN_PROBABILITY];
    // Of a nucleus that was drawn where no probabilities are known.
    if (typeof probability !== "number") return `${area}.`;
    return `${area}, mean probability ${probability.toFixed(2)}.`;
  }

  /** An object for people. @param {ReviewObject} object */
  describe(object) {
    const { number = 0 } = this.nuclei.find((nucleus) => nucleus.label === object.id) ?? {};
    const name = number > 0 ? `Nucleus ${number}` : "Nucleus";
    const status = object.status ? `, ${object.status}` : "";
    const facts = this.factsOf(object);
    return `${name}${status}: ${facts[0].toLowerCase()}${facts.slice(1)}`;
  }

  /**
   * The nucleus after another one, from top to bottom, or before it.
   * @param {number | undefined} id of the other one; without it the first or the last
   * @param {1 | -1} step
   */
  neighbour(id, step) {
    const inOrder = [...this.nuclei].sort((a, b) => readingOrder(a) - readingOrder(b) || a.x - b.x);
    const at = inOrder.findIndex((nucleus) => nucleus.label === id);
    if (at < 0) return step > 0 ? inOrder[0] : inOrder[inOrder.length - 1];
    return inOrder[at + step];
  }
}

/** Height of the rows in which nuclei are visited, pixels. */
const ROW_PX = 48;

/** @param {Nucleus} nucleus */
function readingOrder({ y }) {
  return Math.floor(y / ROW_PX);
}
