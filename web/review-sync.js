// Tells the session of marks and regions when they have changed, and shows what then counts. Of
// several changes during one call the last one counts.

import { MAIN } from "./slots.js";

/** @import { Page } from "./page.js" */

export class ReviewSync {
  /** What the session has. */
  #sent = "";
  /** @type {Promise<void> | undefined} The update that runs. */
  #running;
  #isWanted = false;

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    page.store.subscribe((state, before) => {
      if (state.revision !== before.revision) void this.update();
    });
  }

  /** The session has another image, and with it neither marks nor regions. */
  imageOpened() {
    this.#sent = "";
  }

  /** Resolves when the session has all changes. */
  update() {
    this.#isWanted = true;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
      // Wanted after the last change was looked for, and before this.
      return this.#isWanted ? this.update() : undefined;
    });
    return this.#running;
  }

  /** Shows the numbers of what counts. @returns {Promise<number | undefined>} how many nuclei */
  async showSummary() {
    const { engine, results, canvasView, regions, store } = this.page;
    if (!canvasView.hasResult[MAIN]) return undefined;
    const summary = await engine.callJson("summary", MAIN);
    results.showReview(summary, store.state.insideOnly ? regions.insideScope(summary) : undefined);
    regions.showCounts(summary);
    this.page.compare.resultChanged();
    return summary.nuclei;
  }

  /** Shows what counts. */
  async count() {
    const { engine, results } = this.page;
    if ((await this.showSummary()) === undefined) return;
    results.setNuclei(await engine.call("objects", MAIN));
  }

  async #run() {
    const { page } = this;
    while (this.#isWanted) {
      this.#isWanted = false;
      const review = page.store.forWorker();
      if (review === this.#sent) continue;
      try {
        await page.engine.call("setReview", review);
        this.#sent = review;
        page.outlines.markAllStale();
        await this.count();
      } catch (error) {
        page.showError(error);
      }
    }
  }
}
