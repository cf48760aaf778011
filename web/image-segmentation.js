// Segments the open image with the selected model, and with the unpruned one for comparison.
import { elements } from "./elements.js";
import { formatDuration, formatNuclei } from "./format.js";
import { showNotes } from "./notes.js";
import { AreaProgress } from "./progress.js";
import { COMPARISON, MAIN } from "./slots.js";

/** @import { Page } from "./page.js" */
/** @import { BlockRect } from "./worker-api.d.ts" */

/** Pause after the last change of the threshold before the table is updated, milliseconds. */
const TABLE_DELAY_MS = 200;

export class ImageSegmentation {
  #isPartial = false;
  /** @type {Promise<void> | undefined} The search for nuclei that runs. */
  #searching;
  #isSearchWanted = false;
  /** Whether the table lacks what was found last. */
  #isTableOld = false;
  /** @type {Promise<void>} Ends when the table is up to date. */
  #tableShown = Promise.resolve();
  #progress = new AreaProgress();

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
  }

  /** Whether only a part of the image has been segmented. */
  get isPartial() {
    return this.#isPartial;
  }

  /** Goes on with what was cancelled. @param {() => void} check */
  resume(check) {
    return this.segment(check, { resume: true });
  }

  /**
   * Segments the whole image. What was found before stays in sight until it is found anew.
   * @param {() => void} check
   * @param {{ resume?: boolean }} [how] whether to go on with what was cancelled
   */
  async segment(check, { resume = false } = {}) {
    const { page } = this;
    const { facts } = page.model ?? (await page.selectModel(check));
    page.isSegmenting = true;
    this.#isPartial = true;
    try {
      page.canvasView.clearResult(COMPARISON);
      elements.time.textContent = "…";
      const { ms } = await this.#segmentInto(MAIN, facts.id, { resume });
      check();
      const megapixels = (page.canvasView.width * page.canvasView.height) / 1e6;
      const perMegapixel = formatDuration(ms / megapixels);
      elements.time.textContent = `${formatDuration(ms)} (${perMegapixel} per megapixel)`;
      this.#isPartial = false;
      await this.findNuclei();
      check();
      if (page.comparing) await this.segmentComparison(check);
    } finally {
      page.isSegmenting = false;
    }
    page.address.scheduleWrite();
    if (page.preview.isEnabled) {
      void page.tasks.runInBackground("preview", (stillCurrent) =>
        page.preview.update(stillCurrent),
      );
    }
  }

  /**
   * Segments the image with the second model, unless it is compared with objects of a file.
   * @param {() => void} check
   */
  async segmentComparison(check) {
    const { page } = this;
    try {
      if (page.compare.hasReference) {
        page.canvasView.resultChanged(COMPARISON);
        return;
      }
      const second = await page.compare.model();
      check();
      await this.#segmentInto(COMPARISON, second.id);
      await this.#findComparison();
    } catch (error) {
      page.canvasView.clearResult(COMPARISON);
      throw error;
    }
  }

  /** @param {number} slot @param {number} model @param {{ resume?: boolean }} [how] */
  async #segmentInto(slot, model, how) {
    const { page } = this;
    this.#progress.start(page.canvasView.width * page.canvasView.height);
    const result = await page.engine.segment(slot, model, page.mpp, how);
    if (slot === MAIN) showNotes("segmentation", result.notes);
    if (result.lost) await page.openDevice();
    document.documentElement.dataset.lost = String(result.lost);
    page.canvasView.resultChanged(slot);
    return result;
  }

  /** Shows a finished block. @param {number} slot @param {BlockRect} block */
  blockFinished(slot, block) {
    const [, , width, height] = block;
    this.page.canvasView.resultChanged(slot, block);
    // Nuclei of the finished part appear while the rest is computed.
    this.page.outlines.markAllStale();
    document.documentElement.dataset.firstBlock ??= String(Math.round(performance.now()));
    this.#progress.add(width * height);
  }

  /** The segmentation starts again on another device. */
  restarted() {
    this.#progress.restart();
  }

  /** Shows what was finished before a cancellation. */
  async cancelled() {
    if (this.page.canvasView.hasResult[MAIN]) await this.findNuclei();
    else this.page.showStatus("Cancelled.");
    this.page.continuing.offer();
  }

  /**
   * Finds the nuclei at the threshold and shows them. Of several calls during a search the last one
   * counts; each resolves when its nuclei are shown.
   * @returns {Promise<void>}
   */
  findNuclei() {
    // Probabilities of a slide are not kept.
    if (this.page.isSlide) return Promise.resolve();
    this.#isSearchWanted = true;
    this.#isTableOld = true;
    this.#searching ??= this.#search().finally(() => {
      this.#searching = undefined;
      return this.#isSearchWanted ? this.findNuclei() : undefined;
    });
    return this.#searching;
  }

  async #search() {
    while (this.#isSearchWanted) {
      this.#isSearchWanted = false;
      await this.#find();
    }
  }

  async #find() {
    const { page } = this;
    try {
      const summary = await page.engine.callJson("find", MAIN, page.threshold ?? -1);
      // The session counts its nuclei; what counts with the marks and regions is another number.
      const count = (await page.reviewSync.showSummary()) ?? summary.count;
      page.editing.nucleiChanged();
      page.canvasView.setLayers({ preview: -1 });
      page.canvasView.resultChanged(MAIN);
      // Now, not with the table: what is found is kept even if another image is opened at once.
      page.persistence.resultsChanged("finished");
      page.showStatus(this.#describe(count));
      if (page.canvasView.hasResult[COMPARISON] && !page.isSegmenting) await this.#findComparison();
      page.debounce("table", TABLE_DELAY_MS, () => void this.updateTable());
    } catch (error) {
      page.showError(error);
    }
  }

  /** Lists what was found last. Resolves when it is listed. */
  updateTable() {
    if (this.#isTableOld) {
      this.#isTableOld = false;
      const searching = this.#searching ?? Promise.resolve();
      this.#tableShown = searching.then(() => this.#showTable());
    }
    return this.#tableShown;
  }

  async #findComparison() {
    const { page } = this;
    if (!page.compare.hasReference) {
      await page.engine.callJson("find", COMPARISON, page.threshold ?? -1);
    }
    page.canvasView.resultChanged(COMPARISON);
    page.compare.resultChanged();
  }

  async #showTable() {
    // Fails if blocks that arrived in the meantime removed the nuclei. They are found again later.
    await this.page.reviewSync.count().catch(() => undefined);
  }

  /** @param {number} count */
  #describe(count) {
    const nuclei = formatNuclei(count);
    if (this.#isPartial) {
      return `Cancelled: ${nuclei} in the finished part. Exports contain only that part.`;
    }
    return `${nuclei}.`;
  }
}
