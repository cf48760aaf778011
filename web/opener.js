// Opens an image that fits memory, a slide that is read as needed, or the sample.
import { elements } from "./elements.js";
import { MAX_IMAGE_BYTES, fetchFile } from "./fetch-file.js";
import { markOpened } from "./file-list.js";
import { showNotes } from "./notes.js";

/** @import { Page } from "./page.js" */
/** @import { ImageFacts, SlideFacts } from "./worker-api.d.ts" */

/** Pixel size of the sample, µm. */
const SAMPLE_MPP = 0.25;

export class Opener {
  /** Name of the open image without folders and ending, for names of files. */
  name = "image";
  isSample = false;
  /** Number of the request whose file is being read, 0 for none. */
  #reading = 0;
  /** Number of the last request to open something. A download that is older is not opened. */
  #lastRequest = 0;

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
  }

  /** Whether a file is being read. It is segmented with the settings that there are then. */
  get isReading() {
    return this.#reading > 0;
  }

  /**
   * Runs a task that reads a file and shows it.
   * @param {import("./task-queue.js").Task} task
   */
  async #runReadingTask(task) {
    this.#lastRequest += 1;
    const request = this.#lastRequest;
    this.#reading = request;
    await this.page.tasks.runUserTask(task);
    if (this.#reading === request) this.#reading = 0;
  }

  /**
   * Opens an image or a slide and segments it.
   * @param {Blob} blob
   * @param {string} name
   * @param {string} [imageUrl] its address, if the page's address should name it
   */
  openBlob(blob, name, imageUrl) {
    const { page } = this;
    return this.#runReadingTask(async (check) => {
      page.showStatus("Reading the image…");
      try {
        await this.#readBlob(blob, name, imageUrl, check);
      } finally {
        page.showStatus("");
      }
      await page.segment(check);
    });
  }

  /**
   * @param {Blob} blob
   * @param {string} name
   * @param {string | undefined} imageUrl
   * @param {() => void} check
   */
  async #readBlob(blob, name, imageUrl, check) {
    const { engine } = this.page;
    const slide = await engine.call("openSlide", { blob, name });
    check();
    if (slide !== null && slide !== "whole") {
      this.#show(slide, name, imageUrl, slide);
      return;
    }
    if (blob.size > MAX_IMAGE_BYTES) {
      const limit = MAX_IMAGE_BYTES / 1e6;
      throw new Error(`The image is larger than ${limit} MB, the limit of this page (${name}).`);
    }
    const content = new Uint8Array(await blob.arrayBuffer());
    check();
    const image = await engine.callJson("openImage", content, name);
    this.#show(image, name, imageUrl);
  }

  /**
   * Opens an image or a slide of a server. A slide is read by ranges, if the server supports these,
   * and segmented if the view is small.
   * @param {string} address
   * @param {string} name
   * @param {string} [imageUrl] the same address, if the page's address should name it
   */
  async openUrl(address, name, imageUrl) {
    const { page } = this;
    const request = ++this.#lastRequest;
    try {
      const { href } = new URL(address, location.href);
      if (await this.openSlideUrl(href, name, imageUrl)) return;
      const content = await fetchFile(href, "image", (fraction) => {
        if (request === this.#lastRequest) {
          page.showStatus(`Loading the image: ${Math.round(fraction * 100)} %`);
        }
      });
      if (request !== this.#lastRequest) return;
      await this.openBlob(new Blob([/** @type {BlobPart} */ (content)]), name, imageUrl);
    } catch (error) {
      if (request !== this.#lastRequest) return;
      page.showStatus("");
      page.showError(error);
    }
  }

  /**
   * Opens a slide of a server.
   * @param {string} address absolute
   * @param {string} name
   * @param {string} [imageUrl] the same address, if the page's address should name it
   * @returns {Promise<boolean>} false if the file must be downloaded as a whole: it is an image, or
   *   its server does not support ranges. True otherwise, also after an error, which is shown.
   */
  async openSlideUrl(address, name, imageUrl) {
    const { page } = this;
    let isFinished = true;
    await page.tasks.runUserTask(async (check) => {
      const slide = await page.engine.call("openSlide", { address, name });
      check();
      if (slide === null || slide === "whole") {
        isFinished = false;
        return;
      }
      this.#show(slide, name, imageUrl, slide);
      await page.segment(check);
    });
    return isFinished;
  }

  openSample() {
    const { page } = this;
    return this.#runReadingTask(async (check) => {
      const image = await page.engine.callJson("openSample");
      this.#show({ ...image, mpp: SAMPLE_MPP }, "sample");
      this.isSample = true;
      await page.segment(check);
    });
  }

  /**
   * @param {Pick<ImageFacts, "width" | "height" | "mpp" | "notes">} image
   * @param {string} name
   * @param {string} [imageUrl] its address, if the page's address should name it
   * @param {SlideFacts} [slide]
   */
  #show({ width, height, mpp, notes }, name, imageUrl, slide) {
    const { page } = this;
    const { urlState } = page.address;
    this.#reading = 0;
    this.name = name.replace(/^.*[/\\]|(\.ome)?\.[^.]*$/g, "") || "image";
    this.isSample = false;
    page.address.imageUrl = imageUrl;
    markOpened(name);
    const levels = slide ? `, ${slide.levels} ${slide.levels === 1 ? "level" : "levels"}` : "";
    elements.imageFacts.textContent = `${name}, ${width} × ${height} pixels${levels}`;
    showNotes("image", notes);
    showNotes("segmentation", []);
    elements.dropHint.hidden = true;
    page.slideSegmentation.setSlide(slide);
    page.canvasView.setImage(width, height, slide !== undefined);
    page.results.clear();
    page.preview.clear();
    // The pixel size and the view of the page's address are for the image that is opened first.
    const entered = imageUrl || !mpp ? urlState.mpp : undefined;
    const isSlide = slide !== undefined;
    page.openDocument({ hash: "", name, width, height, isSlide }, mpp ?? 0, entered);
    page.ruler.clear();
    void page.overview.reload();
    if (urlState.view) page.canvasView.setCssView(urlState.view);
    urlState.mpp = undefined;
    urlState.view = undefined;
  }
}
