// How the image is shown: brightness, contrast and one stain alone. Nothing of this changes what is
// segmented, measured or exported.
import { elements } from "./elements.js";

/** @import { Page } from "./page.js" */

const UNCHANGED = 100;

export class Look {
  #stain = "both";

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    elements.brightness.oninput = () => this.apply();
    elements.contrast.oninput = () => this.apply();
    elements.stain.onchange = () => this.apply();
    elements.lookReset.onclick = () => this.#reset();
    this.apply();
  }

  #reset() {
    elements.brightness.value = String(UNCHANGED);
    elements.contrast.value = String(UNCHANGED);
    elements.stain.value = "both";
    this.apply();
    // The button is disabled now, which would lose the focus.
    elements.stain.focus();
  }

  /** Shows the image as the controls say. */
  apply() {
    const brightness = Number(elements.brightness.value);
    const contrast = Number(elements.contrast.value);
    elements.brightnessText.textContent = `${brightness} %`;
    elements.contrastText.textContent = `${contrast} %`;
    const isChanged = brightness !== UNCHANGED || contrast !== UNCHANGED;
    const filter = isChanged ? `brightness(${brightness}%) contrast(${contrast}%)` : "";
    this.page.canvasView.canvas.style.filter = filter;
    elements.overviewMap.style.filter = filter;
    const stain = elements.stain.value;
    elements.lookReset.disabled = !isChanged && stain === "both";
    if (stain !== this.#stain) void this.#setStain(stain);
  }

  /** @param {string} stain `both`, `hematoxylin` or `eosin` */
  async #setStain(stain) {
    const { page } = this;
    this.#stain = stain;
    // The worker answers in order: tiles that are requested from now on show the stain.
    const isSet = page.engine.call("setStainView", stain);
    page.canvasView.reloadTiles();
    void page.overview.reload();
    await isSet.catch((error) => page.showError(error));
  }
}
