// Opens an image that fits memory, a slide that is read as needed, or the sample.
import { elements } from "./elements.js";
import { MAX_IMAGE_BYTES } from "./fetch-file.js";

/** @import { Page } from "./page.js" */
/** @import { ImageFacts, SlideFacts } from "./worker-api.d.ts" */

/** Pixel size of the sample, µm. */
const SAMPLE_MPP = "0.25";

export class Opener {
  /** Name of the open image without ending, for names of files. */
  name = "image";
  isSample = false;
  /** Whether the image's stain is normalised for the model. */
  isNormalised = false;
  /** Whether the pixel size shown is that of the sample. */
  #hasSampleMpp = false;

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
  }

  /**
   * Opens an image or a slide and segments it.
   * @param {Blob} blob
   * @param {string} name
   * @param {boolean} [fromUrl] whether the page's address names it
   */
  openBlob(blob, name, fromUrl = false) {
    const { page } = this;
    page.clearError();
    return page.tasks.runUserTask(async (check) => {
      page.showStatus("Reading the image…");
      try {
        await this.#readBlob(blob, name, fromUrl, check);
      } finally {
        page.showStatus("");
      }
      await page.segment(check);
    });
  }

  /**
   * @param {Blob} blob
   * @param {string} name
   * @param {boolean} fromUrl
   * @param {() => void} check
   */
  async #readBlob(blob, name, fromUrl, check) {
    const { engine } = this.page;
    const slide = await engine.call("openSlide", { blob });
    check();
    if (slide !== null && slide !== "whole") {
      this.#showSlide(slide, name, fromUrl);
      return;
    }
    if (blob.size > MAX_IMAGE_BYTES) {
      const limit = MAX_IMAGE_BYTES / 1e6;
      throw new Error(`The image is larger than ${limit} MB, the limit of this page.`);
    }
    const content = new Uint8Array(await blob.arrayBuffer());
    check();
    const image = await engine.callJson("openImage", content);
    this.#leaveSample(fromUrl);
    this.#show(image, name);
  }

  /**
   * Opens a slide of a server, which is then read by ranges, and segments it if the view is small.
   * @param {string} address
   * @param {string} name
   * @param {boolean} [fromUrl] whether the page's address names it
   * @returns {Promise<boolean>} false if the file must be downloaded as a whole: it is an image, or
   *   its server does not support ranges. True otherwise, also after an error, which is shown.
   */
  async openSlideUrl(address, name, fromUrl = true) {
    const { page } = this;
    page.clearError();
    let isFinished = true;
    await page.tasks.runUserTask(async (check) => {
      const slide = await page.engine.call("openSlide", { address });
      check();
      if (slide === null || slide === "whole") {
        isFinished = false;
        return;
      }
      this.#showSlide(slide, name, fromUrl);
      await page.segment(check);
    });
    return isFinished;
  }

  openSample() {
    const { page } = this;
    page.clearError();
    return page.tasks.runUserTask(async (check) => {
      const image = await page.engine.callJson("openSample");
      this.isSample = true;
      page.address.fromUrl.image = false;
      if (page.mpp === 0) {
        elements.mpp.value = SAMPLE_MPP;
        this.#hasSampleMpp = true;
      }
      this.#show(image, "sample");
      await page.segment(check);
    });
  }

  /** @param {boolean} fromUrl */
  #leaveSample(fromUrl) {
    this.isSample = false;
    this.page.address.fromUrl.image = fromUrl;
    if (this.#hasSampleMpp) elements.mpp.value = "";
    this.#hasSampleMpp = false;
  }

  /** @param {SlideFacts} slide @param {string} name @param {boolean} fromUrl */
  #showSlide(slide, name, fromUrl) {
    this.#leaveSample(fromUrl);
    if (slide.mpp) {
      elements.mpp.value = String(Number(slide.mpp.toPrecision(6)));
    } else if (!fromUrl || this.page.address.urlState.mpp === undefined) {
      // A pixel size in the address belongs to the image in the address.
      elements.mpp.value = "";
    }
    this.#show(slide, name, slide);
  }

  /**
   * @param {Pick<ImageFacts, "width" | "height"> & Partial<ImageFacts>} image
   * @param {string} name
   * @param {SlideFacts} [slide]
   */
  #show({ width, height, matched = false }, name, slide) {
    const { page } = this;
    this.name = name.replace(/(\.ome)?\.[^.]*$/, "") || "image";
    this.isNormalised = matched;
    const levels = slide ? `, ${slide.levels} ${slide.levels === 1 ? "level" : "levels"}` : "";
    elements.imageFacts.textContent = `${name}, ${width} × ${height} pixels${levels}`;
    elements.dropHint.hidden = true;
    page.slideSegmentation.setSlide(slide);
    page.results.clear();
    page.results.mpp = page.mpp;
    page.preview.clear();
    page.canvasView.setImage(width, height, slide !== undefined);
    const { urlState } = page.address;
    if (urlState.view) {
      page.canvasView.setCssView(urlState.view);
      urlState.view = undefined;
    }
  }
}
