// Segments a slide, as a whole or where the view is, and shows the blocks as they finish.
import { elements } from "./elements.js";
import { formatBlocks, formatDuration, formatNuclei } from "./format.js";
import { showNotes } from "./notes.js";
import { remainingMs, showProgress } from "./progress.js";
import { openSheet } from "./sheet.js";
import { noteSpeed } from "./slide-estimate.js";
import { COMPARISON, MAIN } from "./slots.js";

/** @import { Page } from "./page.js" */
/** @import { Bounds, SlideFacts, SlideProgress } from "./worker-api.d.ts" */

/** Largest view that is segmented without a request, pixels. A larger one would take minutes. */
const MAX_UNREQUESTED_PX = 4e6;
/** Pause between two updates of the table while blocks arrive, milliseconds. */
const TABLE_DELAY_MS = 1500;
/** Distance by which nuclei may extend beyond their block, pixels. */
const BLOCK_OVERLAP_PX = 100;
/** Files that would be too large for a slide. */
const IMAGE_ONLY_FILES = ["labels", "overlay", "probability"];
export const NO_MPP = "The slide's pixel size is unknown. Enter it first, in µm.";

/** @param {Bounds} bounds */
function areaOf([left, top, right, bottom]) {
  return (right - left) * (bottom - top);
}

export class SlideSegmentation {
  /** @type {SlideFacts | undefined} Of the open slide; undefined while an image is open. */
  slide;
  #startedAt = 0;
  /** @type {"view" | "slide"} What was segmented last. */
  #lastExtent = "view";

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
  }

  /** @param {SlideFacts | undefined} slide that was opened; undefined for an image */
  setSlide(slide) {
    this.slide = slide;
    elements.slideRow.hidden = !slide;
    for (const button of elements.exports) {
      if (IMAGE_ONLY_FILES.includes(button.dataset.file ?? "")) button.hidden = Boolean(slide);
    }
  }

  /** The part of the slide in view. @returns {Bounds} */
  visibleBounds() {
    const { viewport, canvas, width, height } = this.page.canvasView;
    const [left, top] = viewport.toImage(0, 0);
    const [right, bottom] = viewport.toImage(canvas.width, canvas.height);
    return [Math.max(0, left), Math.max(0, top), Math.min(width, right), Math.min(height, bottom)];
  }

  /**
   * Makes the results follow the settings: what was found stays to be seen as older, and blocks
   * whose probabilities are kept are done again.
   * @param {() => void} check
   */
  async #redo(check) {
    const { page } = this;
    const { facts } = page.model ?? (await page.selectModel(check));
    const bounds = this.visibleBounds();
    for (const slot of [MAIN, COMPARISON]) {
      if (!page.canvasView.hasResult[slot]) continue;
      if (slot === COMPARISON && page.compare.hasReference) continue;
      const model = slot === MAIN ? facts.id : (await page.compare.model()).id;
      check();
      this.#startedAt = performance.now();
      const job = { slot, model, gpu: false, mpp: page.mpp, threshold: page.threshold ?? -1 };
      const { ms, blocks } = await page.engine.call("redoSlide", { ...job, bounds });
      check();
      if (slot === MAIN && blocks > 0) {
        elements.time.textContent = `${formatDuration(ms)} (${formatBlocks(blocks)} from memory)`;
      }
      page.canvasView.resultChanged(slot);
    }
    page.editing.nucleiChanged();
    await this.#showTable();
  }

  /**
   * Follows the settings and segments the view if it is small; otherwise shows what to do.
   * @param {() => void} check
   */
  async segmentSmallView(check) {
    const { page } = this;
    if (page.mpp === 0) {
      openSheet();
      page.showStatus("The slide's pixel size is unknown. Enter it, in µm, then segment the view.");
      return;
    }
    const hadResult = page.canvasView.hasResult[MAIN];
    if (hadResult) await this.#redo(check);
    if (areaOf(this.visibleBounds()) <= MAX_UNREQUESTED_PX) {
      await this.segment("view", check);
    } else if (hadResult) {
      await this.#describeOlder();
    } else {
      openSheet();
      page.showStatus("Zoom in and segment the view, or segment the whole slide.");
    }
  }

  /** Says what is shown with older settings. */
  async #describeOlder() {
    const { page } = this;
    const { nuclei, olderNuclei } = await page.engine.callJson("summary", MAIN);
    const older =
      olderNuclei > 0
        ? ` ${formatNuclei(olderNuclei)} of older settings stay in sight and do not count: ` +
          "segment the view or the slide to find them anew."
        : "";
    page.showStatus(`${formatNuclei(nuclei)}.${older}`);
  }

  /** @param {"view" | "slide"} extent @param {() => void} check */
  async segment(extent, check) {
    const { page } = this;
    if (page.mpp === 0) {
      openSheet();
      elements.mpp.focus();
      throw new Error(NO_MPP);
    }
    const { facts } = page.model ?? (await page.selectModel(check));
    const { width, height } = page.canvasView;
    /** @type {Bounds} */
    const bounds = extent === "view" ? this.visibleBounds() : [0, 0, width, height];
    this.#lastExtent = extent;
    page.isSegmenting = true;
    try {
      const result = await this.#segmentInto(MAIN, facts.id, bounds);
      check();
      await this.#showTable();
      const blocks = formatBlocks(result.blocks);
      showNotes("segmentation", result.notes);
      page.showStatus(`${page.results.countText()} ${blocks} in ${formatDuration(result.ms)}.`);
      if (page.comparing) await this.#segmentSecond(bounds, check);
    } finally {
      page.isSegmenting = false;
    }
    page.address.scheduleWrite();
  }

  /** Goes on with what was cancelled. @param {() => void} check */
  resume(check) {
    return this.segment(this.#lastExtent, check);
  }

  /** Segments the view with the second model if it is small. @param {() => void} check */
  async segmentComparison(check) {
    if (this.page.mpp === 0) throw new Error(NO_MPP);
    const bounds = this.visibleBounds();
    if (areaOf(bounds) > MAX_UNREQUESTED_PX) {
      this.page.showStatus("Zoom in to compare with the second model.");
      return;
    }
    await this.#segmentSecond(bounds, check);
  }

  /** @param {Bounds} bounds @param {() => void} check */
  async #segmentSecond(bounds, check) {
    const { compare, canvasView } = this.page;
    if (compare.hasReference) {
      canvasView.resultChanged(COMPARISON);
      return;
    }
    const second = await compare.model();
    check();
    await this.#segmentInto(COMPARISON, second.id, bounds);
    compare.resultChanged();
  }

  /** @param {number} slot @param {number} model @param {Bounds} bounds */
  async #segmentInto(slot, model, bounds) {
    const { page } = this;
    this.#startedAt = performance.now();
    const result = await page.engine.call("segmentSlide", {
      slot,
      model,
      gpu: page.engine.device.gpu,
      mpp: page.mpp,
      threshold: page.threshold ?? -1,
      bounds,
    });
    // Later blocks have changed the labels of earlier nuclei.
    page.canvasView.resultChanged(slot);
    if (result.lost) await page.openDevice();
    noteSpeed(model, result.ms, result.blocks);
    if (result.blocks > 0 && slot === MAIN) {
      const perBlock = formatDuration(result.ms / result.blocks);
      elements.time.textContent = `${formatDuration(result.ms)} (${perBlock} per block)`;
    }
    return result;
  }

  /** Shows the progress, and the block that was finished. @param {SlideProgress} progress */
  showProgress({ slot, finished, total, block }) {
    const { page } = this;
    const fraction = total > 0 ? finished / total : 1;
    const remaining = finished > 1 ? remainingMs(this.#startedAt, fraction) : 0;
    // Blocks that are done again from memory say nothing of the network's speed.
    if (slot === MAIN && page.model && page.isSegmenting) {
      noteSpeed(page.model.facts.id, performance.now() - this.#startedAt, finished);
    }
    showProgress(fraction, `${finished} of ${formatBlocks(total)}`, remaining);
    if (!block) {
      // The result of other settings has become an older one.
      page.canvasView.resultChanged(slot);
      return;
    }
    const [left, top, right, bottom] = block.bounds;
    page.canvasView.resultChanged(slot, [
      top - BLOCK_OVERLAP_PX,
      left - BLOCK_OVERLAP_PX,
      right - left + 2 * BLOCK_OVERLAP_PX,
      bottom - top + 2 * BLOCK_OVERLAP_PX,
    ]);
    document.documentElement.dataset.firstBlock ??= String(Math.round(performance.now()));
    if (slot !== MAIN) return;
    page.results.showSummary(block, page.canvasView.segmentedArea.area);
    // Numbers change with every block.
    page.editing.nucleiChanged();
    page.debounce("list", TABLE_DELAY_MS, () => void this.#showTable());
  }

  async #showTable() {
    await this.page.reviewSync.count().catch(() => undefined);
  }

  /** Shows the blocks that were finished before a cancellation. */
  async cancelled() {
    const { page } = this;
    page.canvasView.resultChanged(MAIN);
    await this.#showTable();
    const nuclei = page.results.countText().replace(".", "");
    page.showStatus(`Cancelled: ${nuclei} in the finished blocks.`);
    page.continuing.offer();
  }
}
