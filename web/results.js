// Shows the nuclei that were found: count, areas and table.
import { elements } from "./elements.js";
import { formatArea, formatCount, formatLargeArea, formatNuclei } from "./format.js";
import { showHistogram } from "./histogram.js";
import { NucleiTable } from "./nuclei-table.js";
import { showSheetCount } from "./sheet.js";

/** Numbers for each object in the list of `Session.objects`. */
const NUMBERS_PER_OBJECT = 9;

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
 */

export class Results {
  /** @type {Nucleus[]} */
  nuclei = [];
  /** Pixel size, µm; 0 if unknown. */
  mpp = 0;
  /** Segmented area, pixels. */
  #areaPx = 0;
  #table;

  /** @param {(nucleus: Nucleus) => void} show called when a nucleus is chosen in the table */
  constructor(show) {
    this.#table = new NucleiTable(elements.table, show);
  }

  clear() {
    this.nuclei = [];
    this.#areaPx = 0;
    for (const element of [elements.count, elements.areaShare, elements.median]) {
      element.textContent = "–";
    }
    // The time is of these nuclei.
    elements.time.textContent = "–";
    elements.countScope.hidden = true;
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
    elements.count.textContent = formatCount(count);
    this.#showScope();
    showSheetCount(formatNuclei(count));
    elements.areaShare.textContent = `${(share * 100).toFixed(1)} %`;
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
      });
    }
    this.#table.showFirstRows();
    this.refresh();
  }

  /** Says of what area the numbers are. */
  #showScope() {
    elements.countScope.hidden = this.#areaPx === 0;
    const area = formatLargeArea(this.#areaPx, this.mpp);
    elements.countArea.textContent = `In the segmented area, ${area}.`;
  }

  /** Shows everything again, for instance with another pixel size. */
  refresh() {
    this.#showScope();
    const areas = this.nuclei.map((nucleus) => nucleus.area).sort((a, b) => a - b);
    const median = areas.length > 0 ? this.#formatArea(areas[areas.length >> 1]) : "–";
    elements.median.textContent = median;
    showHistogram(elements.histogram, areas, (px) => this.#formatArea(px));
    this.#table.show(this.nuclei, this.mpp);
  }

  /** @param {number} px */
  #formatArea(px) {
    return formatArea(px, this.mpp);
  }

  /**
   * Marks a nucleus in the table.
   * @param {number} label 0 for none
   * @returns {string | undefined} a description of the nucleus
   */
  select(label) {
    this.#table.select(label);
    const nucleus = this.nuclei.find((candidate) => candidate.label === label);
    if (!nucleus) return undefined;
    const area = this.#formatArea(nucleus.area);
    const probability = nucleus.probability.toFixed(2);
    return `Nucleus ${label}: area ${area}, mean probability ${probability}.`;
  }
}
