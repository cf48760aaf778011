// Agreement of a pruned model with the unpruned one, in a preview window at the centre of the view.
import { elements } from "./elements.js";
import { PREVIEW, PREVIEW_REFERENCE } from "./slots.js";

/** @import { Page } from "./page.js" */

/** Side of the window, pixels: small enough for a result while the slider moves. */
const SIDE_PX = { gpu: 256, cpu: 128 };
/** Movement of the view from which the window moves too, pixels. */
const GRID_PX = 32;

export class Preview {
  /** Whether the agreement is computed after each segmentation: once the slider was used. */
  isEnabled = false;
  /** @type {{ window: string, model: number } | undefined} What the reference slot holds. */
  #reference;

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
  }

  /** Another image or model. */
  clear() {
    this.#reference = undefined;
    elements.agreement.textContent = "–";
  }

  /** Cuts out the window at the centre of the view, unless it is there. Gives its name. */
  async #setWindow() {
    const { canvasView, engine, isSlide, model, mpp } = this.page;
    const [x, y] = canvasView.viewport.state();
    const window = `${Math.round(x / GRID_PX)},${Math.round(y / GRID_PX)},${mpp}`;
    if (this.#reference?.window === window) return window;
    const isFast = engine.device.gpu && !engine.device.software;
    const side = isFast ? SIDE_PX.gpu : SIDE_PX.cpu;
    const method = isSlide ? "setSlidePreview" : "setPreview";
    await engine.call(method, x, y, side, model?.facts.id ?? 0, mpp);
    this.#reference = undefined;
    return window;
  }

  /**
   * Dice of one model's nuclei with another's, in the window.
   * @param {number} model
   * @param {number} reference
   * @param {() => void} check
   */
  async agreement(model, reference, check) {
    const { engine, mpp, threshold = -1 } = this.page;
    const window = await this.#setWindow();
    check();
    if (this.#reference?.model !== reference) {
      this.#reference = undefined;
      await engine.segment(PREVIEW_REFERENCE, reference, mpp);
      check();
      this.#reference = { window, model: reference };
    }
    await engine.segment(PREVIEW, model, mpp);
    check();
    await engine.callJson("find", PREVIEW_REFERENCE, threshold);
    await engine.callJson("find", PREVIEW, threshold);
    return engine.call("dice", PREVIEW, PREVIEW_REFERENCE);
  }

  /** Shows the agreement of the selected model with the unpruned one. @param {() => void} check */
  async update(check) {
    const { page } = this;
    if (page.canvasView.width === 0 || !page.model) return;
    const { facts } = page.model;
    const unpruned = await page.models.unpruned(page.selectedSetting);
    check();
    if (unpruned.id === facts.id) {
      elements.agreement.textContent = "1 (unpruned)";
      return;
    }
    elements.agreement.textContent = "…";
    try {
      const dice = await this.agreement(facts.id, unpruned.id, check);
      elements.agreement.textContent = dice.toFixed(3);
    } catch (error) {
      elements.agreement.textContent = "–";
      throw error;
    }
  }
}
