// Visits the nuclei of which the model was least sure, those nearest the threshold first.
import { OF_MODEL } from "./object-status.js";
import { hint } from "./tools.js";

/** @import { Page } from "./page.js" */
/** @import { Nucleus } from "./results.js" */

export class ReviewQueue {
  /** @type {Nucleus[]} In the order in which they are visited. */
  #order = [];
  /** Position of the nucleus that is visited. */
  #at = -1;
  /** Whether a decision goes on to the next one. */
  isActive = false;

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
  }

  /** Begins anew with the next visit, as there are other nuclei. */
  clear() {
    this.#order = [];
    this.#at = -1;
    this.isActive = false;
  }

  stop() {
    this.isActive = false;
  }

  #sort() {
    const { results } = this.page;
    const threshold = results.threshold;
    const doubt = (/** @type {Nucleus} */ nucleus) => Math.abs(nucleus.probability - threshold);
    const undecided = results.nuclei.filter((nucleus) => nucleus.status === OF_MODEL);
    this.#order = undecided.sort((a, b) => doubt(a) - doubt(b));
    this.#at = -1;
  }

  /** Goes to the next undecided nucleus, or to the one before. @param {1 | -1} step */
  async go(step) {
    const { page } = this;
    await page.imageSegmentation.updateTable();
    if (this.#order.length === 0) this.#sort();
    const undecided = new Set();
    for (const nucleus of page.results.nuclei) {
      if (nucleus.status === OF_MODEL) undecided.add(nucleus.label);
    }
    let at = this.#at + step;
    while (at >= 0 && at < this.#order.length && !undecided.has(this.#order[at].label)) at += step;
    if (at < 0 || at >= this.#order.length) {
      const isEnd = at >= 0 && this.#order.length > 0;
      page.showStatus(isEnd ? "That was the last nucleus to review." : "No nucleus to review.");
      if (isEnd) this.isActive = false;
      return;
    }
    this.#at = at;
    this.isActive = true;
    await page.showNucleus(this.#order[at]);
    const [object] = page.editing.selected;
    const facts = object ? page.results.factsOf(object) : "";
    const place = `${at + 1} of ${this.#order.length}`;
    page.showStatus(hint(`Review: ${place}. ${facts} A accepts, X rejects.`));
  }
}
