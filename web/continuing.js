// The button that goes on with a segmentation that was cancelled.
import { elements } from "./elements.js";

/** @import { Page } from "./page.js" */

export class Continuing {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    elements.continue.onclick = () => void this.#resume();
  }

  /** Shows the button, after a cancellation. */
  offer() {
    elements.continueRow.hidden = false;
    // The button that was pressed is hidden by now.
    if (document.activeElement === document.body) elements.continue.focus();
  }

  /** Hides the button: something else is done. */
  withdraw() {
    // Hiding the button with the focus would lose it.
    const hadFocus = document.activeElement === elements.continue;
    elements.continueRow.hidden = true;
    if (hadFocus) this.page.canvasView.canvas.focus();
  }

  #resume() {
    const { page } = this;
    page.clearError();
    return page.tasks.runUserTask(async (check) => {
      await page.selectModel(check);
      if (page.isSlide) await page.slideSegmentation.resume(check);
      else await page.imageSegmentation.resume(check);
    });
  }
}
