// Opens an image that fits memory, a slide that is read as needed, or the sample.
import { elements } from "./elements.js";
import { MAX_IMAGE_BYTES, fetchFile } from "./fetch-file.js";
import { SAMPLE_FINGERPRINT } from "./fingerprint.js";
import { showNotes } from "./notes.js";

/** @import { FileEntry } from "./file-list.js" */
/** @import { ObjectFiles } from "./objects.js" */
/** @import { Page } from "./page.js" */
/** @import { ImageFacts, SlideFacts } from "./worker-api.d.ts" */

const READING = "Reading the image…";
/** Pixel size of the sample, µm. */
const SAMPLE_MPP = 0.25;

/**
 * @typedef {object} ImageSource Where the bytes of an image or slide are.
 * @property {string} name of the file
 * @property {Blob} [blob] its content, or
 * @property {number[]} [lengths] of the files that the blob holds, if it holds several
 * @property {ObjectFiles} [files] the files of an OME-Zarr, or
 * @property {string} [address] where it can be loaded
 * @property {string} [imageUrl] the same address, if the page's address should name it
 * @property {FileSystemFileHandle} [handle] of the file, by which it can be opened again
 * @property {FileEntry} [entry] of the list of files
 */

/** @param {unknown} error */
function asError(error) {
  return error instanceof Error ? error : new Error(String(error));
}

/** An error that is not shown: another request came first. */
export function superseded() {
  return Object.assign(new Error("Cancelled."), { name: "AbortError" });
}

export class Opener {
  /** Name of the open image without folders and ending, for names of files. */
  name = "image";
  /** @type {ImageSource | undefined} The open image or slide. */
  source;
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
   * @returns {Promise<Error | undefined>} why it did not end
   */
  async #runReadingTask(task) {
    this.#lastRequest += 1;
    const request = this.#lastRequest;
    this.#reading = request;
    const error = await this.page.tasks.runUserTask(task);
    if (this.#reading === request) this.#reading = 0;
    return error;
  }

  /**
   * Opens an image or a slide and segments it. An error is shown.
   * @param {ImageSource} source
   * @returns {Promise<Error | undefined>} why it is not open and segmented
   */
  open(source) {
    const { blob, files } = source;
    return blob || files ? this.#openBlob(source, blob) : this.#openAddress(source);
  }

  /** Opens the open image once more. @param {ImageSource} source */
  reopen(source) {
    return source.blob || source.files || source.address ? this.open(source) : this.openSample();
  }

  /** Writes what is to be kept of the open image, before another one takes its place. */
  async #leave() {
    await this.page.manyFiles.leave();
    await this.page.persistence.flush();
  }

  /** @param {ImageSource} source @param {Blob} [blob] none of the files of an OME-Zarr */
  #openBlob(source, blob) {
    const { page } = this;
    return this.#runReadingTask(async (check) => {
      await this.#leave();
      page.showStatus(READING);
      try {
        await this.#readBlob(source, blob, check);
      } finally {
        // What was found stays in sight.
        if (elements.status.textContent === READING) page.showStatus("");
      }
    });
  }

  /**
   * @param {ImageSource} source
   * @param {Blob | undefined} blob
   * @param {() => void} check
   */
  async #readBlob(source, blob, check) {
    const { engine, persistence } = this.page;
    const { name, lengths, files } = source;
    const fingerprinting = persistence.fingerprintOf(source);
    const slide = await engine.call("openSlide", { blob, lengths, files, name });
    check();
    if (slide !== null && slide !== "whole") {
      await this.#show(slide, source, await fingerprinting, check, slide);
      return;
    }
    if (!blob) throw new Error(`${name} is no OME-Zarr.`);
    if (blob.size > MAX_IMAGE_BYTES) {
      const limit = MAX_IMAGE_BYTES / 1e6;
      throw new Error(`The image is larger than ${limit} MB, the limit of this page (${name}).`);
    }
    const content = new Uint8Array(await blob.arrayBuffer());
    check();
    const image = await engine.callJson("openImage", content, name);
    await this.#show(image, source, await fingerprinting, check);
  }

  /**
   * Opens an image or a slide of a server. A slide is read by ranges, if the server supports these,
   * and segmented if the view is small.
   * @param {ImageSource} source with an address
   * @returns {Promise<Error | undefined>} why it is not open and segmented
   */
  async #openAddress(source) {
    const { page } = this;
    const request = ++this.#lastRequest;
    try {
      const { href } = new URL(source.address ?? "", location.href);
      const outcome = await this.#openSlideAddress({ ...source, address: href });
      if (outcome !== "download") return outcome;
      const content = await fetchFile(href, "image", (fraction) => {
        if (request === this.#lastRequest) {
          page.showStatus(`Loading the image: ${Math.round(fraction * 100)} %`);
        }
      });
      if (request !== this.#lastRequest) return superseded();
      const blob = new Blob([/** @type {BlobPart} */ (content)]);
      return await this.#openBlob({ ...source, address: href, blob }, blob);
    } catch (error) {
      if (request !== this.#lastRequest) return superseded();
      page.showStatus("");
      page.showError(error);
      return asError(error);
    }
  }

  /**
   * Opens a slide of a server.
   * @param {ImageSource} source with an absolute address
   * @returns {Promise<Error | "download" | undefined>} `download` if the file must be downloaded as
   *   a whole: it is an image, or its server does not support ranges. Otherwise why the slide is
   *   not open.
   */
  async #openSlideAddress(source) {
    const { page } = this;
    const { address = "", name } = source;
    let mustDownload = false;
    const error = await page.tasks.runUserTask(async (check) => {
      await this.#leave();
      const slide = await page.engine.call("openSlide", { address, name });
      check();
      if (slide === null || slide === "whole") {
        mustDownload = true;
        return;
      }
      const fingerprint = await page.persistence.fingerprintOf(source);
      await this.#show(slide, source, fingerprint, check, slide);
    });
    return mustDownload ? "download" : error;
  }

  openSample() {
    const { page } = this;
    return this.#runReadingTask(async (check) => {
      await this.#leave();
      const image = await page.engine.callJson("openSample");
      const source = { name: "sample" };
      await this.#show({ ...image, mpp: SAMPLE_MPP }, source, SAMPLE_FINGERPRINT, check);
    });
  }

  /**
   * Shows an image that the engine has opened, with what was kept of it, and segments it.
   * @param {Pick<ImageFacts, "width" | "height" | "mpp" | "notes">} image
   * @param {ImageSource} source
   * @param {string} fingerprint empty if nothing is kept of the image
   * @param {() => void} check
   * @param {SlideFacts} [slide]
   */
  async #show({ width, height, mpp, notes }, source, fingerprint, check, slide) {
    const { page } = this;
    const { name, imageUrl } = source;
    const { urlState } = page.address;
    this.#reading = 0;
    this.source = source;
    this.name = name.replace(/^.*[/\\]|(\.ome)?\.[^.]*$/g, "") || "image";
    this.isSample = fingerprint === SAMPLE_FINGERPRINT;
    page.address.imageUrl = imageUrl;
    page.files.markOpened(source.entry);
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
    const document = { hash: fingerprint, name, width, height, isSlide: slide !== undefined };
    page.openDocument(document, mpp ?? 0, entered);
    const kept = await page.persistence.opened(source, fingerprint);
    page.ruler.clear();
    void page.overview.reload();
    if (urlState.view) page.canvasView.setCssView(urlState.view);
    urlState.mpp = undefined;
    urlState.view = undefined;
    urlState.threshold = undefined;
    check();
    await page.showKept(kept?.results, check);
  }
}
