// How the image is shown: brightness, contrast and one stain alone. Nothing of this changes what is
// segmented, measured or exported.
import { elements } from "./elements.js";

/** @import { Page } from "./page.js" */
/** @import { DisplaySettings } from "./worker-api.d.ts" */

/** The image as it is. */
const UNCHANGED = { brightness: 1, contrast: 1, stain: "rgb" };

export class Look {
  #stain = UNCHANGED.stain;

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    const { brightness, contrast, stain, lookReset } = elements;
    brightness.oninput = () => this.#change({ brightness: Number(brightness.value) / 100 });
    contrast.oninput = () => this.#change({ contrast: Number(contrast.value) / 100 });
    stain.onchange = () => this.#change({ stain: stain.value });
    lookReset.onclick = () => {
      this.#change(UNCHANGED);
      // The button is disabled now, which would lose the focus.
      stain.focus();
    };
  }

  /** @param {Partial<DisplaySettings>} change */
  #change(change) {
    const { store } = this.page;
    store.apply({ display: { ...store.state.display, ...change } });
  }

  /** Shows the image as the state says. @param {DisplaySettings} display */
  show({ brightness, contrast, stain }) {
    elements.brightness.value = String(Math.round(brightness * 100));
    elements.contrast.value = String(Math.round(contrast * 100));
    elements.brightnessText.textContent = `${elements.brightness.value} %`;
    elements.contrastText.textContent = `${elements.contrast.value} %`;
    const isChanged = brightness !== UNCHANGED.brightness || contrast !== UNCHANGED.contrast;
    const filter = isChanged ? `brightness(${brightness}) contrast(${contrast})` : "";
    this.page.canvasView.canvas.style.filter = filter;
    elements.overviewMap.style.filter = filter;
    elements.stain.value = stain;
    elements.lookReset.disabled = !isChanged && stain === UNCHANGED.stain;
    if (stain !== this.#stain) void this.#setStain(stain);
  }

  /** @param {string} stain `rgb`, `hematoxylin` or `eosin` */
  async #setStain(stain) {
    const { page } = this;
    this.#stain = stain;
    // The worker answers in order: tiles that are requested from now on show the stain.
    const isSet = page.engine.call("setStainView", stain);
    page.canvasView.reloadTiles();
    if (page.canvasView.width > 0) void page.overview.reload();
    await isSet.catch((error) => page.showError(error));
  }
}
