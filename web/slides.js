// The open slide of the session worker: tiles of the view, each of which can be cancelled, and
// blocks, which are segmented one after the other.
import { MAX_IMAGE_BYTES } from "./fetch-file.js";
import { isZarrAddress, openFiles, openObjects } from "./objects.js";
import { isDicom, isTiff, openBlob, openUrl } from "./source.js";

/** @import { BlockWorkerClient } from "./block-worker.js" */
/** @import { Computation, Session } from "./prunella.js" */
/** @import { ObjectFiles, ObjectSource, ReadObject } from "./objects.js" */
/** @import { ReadRange, Source } from "./source.js" */
/**
 * @import { Bounds, ComputeJob, RedoneBlocks, SegmentResult, SlideBlockResult, SlideEstimate,
 *   SlideFacts, SlideJob, SlideProgress, SlideResult, TileIndex } from "./worker-api.d.ts"
 */

/**
 * @typedef {object} SlideFile
 * @property {string} name
 * @property {Blob} [blob] its content, or
 * @property {number[]} [lengths] of the files that the blob holds, if it holds several
 * @property {ObjectFiles} [files] the objects of an OME-Zarr, or
 * @property {string} [address]
 */

/**
 * Frees a computation that failed; not after a trap of the wasm, whose memory may be in any state.
 * @param {unknown} error
 * @param {Computation} computation
 */
export function freeAfter(error, computation) {
  if (!(error instanceof WebAssembly.RuntimeError)) computation.free();
}

export class SlideSession {
  /** @type {Source | ObjectSource | undefined} */
  #source;
  /** @type {Map<string, AbortController>} Tiles that are being read, by name of the request. */
  #tileRequests = new Map();
  /** Cancels the opening, preview or segmentation that runs. */
  #work = new AbortController();

  /**
   * @param {Session} session
   * @param {(computation: Computation, job: ComputeJob) => Promise<SegmentResult>} compute
   * @param {(progress: SlideProgress) => void} onProgress
   */
  constructor(session, compute, onProgress) {
    this.session = session;
    this.compute = compute;
    this.onProgress = onProgress;
  }

  /**
   * @param {SlideFile} file
   * @returns {Promise<SlideFacts | "whole" | null>} `whole` if the server does not support ranges;
   *   null if the file is an image and no slide
   */
  async open(file) {
    const signal = this.#startWork();
    const { blob, files, address = "" } = file;
    if (files) return this.#openObjects(file, openFiles(files), signal);
    if (!blob && isZarrAddress(address)) {
      return this.#openObjects(file, openObjects(address), signal);
    }
    const source = blob ? await openBlob(blob, file.lengths) : await openUrl(address, signal);
    if (source === "whole") return "whole";
    const { head, length, lengths } = source;
    const isTooLarge = length > MAX_IMAGE_BYTES;
    // Of other files than slides the image reader says what they are, if it can hold them.
    const isSlide = isTiff(head) || isDicom(head);
    if (!isTiff(head) && (isDicom(head) || isTooLarge)) {
      const foreign = this.session.foreignFormat(head, file.name);
      if (foreign) throw new Error(foreign);
    }
    if (!isSlide) return null;
    /** @type {SlideFacts | null} */
    let facts;
    try {
      const read = source.reader(signal);
      facts = JSON.parse(await this.session.openSlide(Float64Array.from(lengths), file.name, read));
    } catch (error) {
      // Perhaps a TIFF that only the image reader knows; its error is then the one to show.
      const isFinal = !blob || isTooLarge || signal.aborted || isDicom(head);
      if (isFinal || error instanceof WebAssembly.RuntimeError) throw error;
      return null;
    }
    if (facts) {
      this.close();
      this.#source = source;
    }
    return facts;
  }

  /**
   * Opens an OME-Zarr.
   * @param {SlideFile} file
   * @param {ObjectSource} source
   * @param {AbortSignal} signal
   * @returns {Promise<SlideFacts>}
   */
  async #openObjects({ name }, source, signal) {
    const read = source.reader(signal);
    const facts = JSON.parse(await this.session.openSlide(new Float64Array(), name, read));
    this.close();
    this.#source = source;
    return facts;
  }

  /** Closes the slide, as another image is opened. */
  close() {
    this.cancel();
    for (const request of this.#tileRequests.values()) request.abort();
    this.#tileRequests.clear();
    this.#source = undefined;
  }

  /** Cancels the opening, preview or segmentation that runs. */
  cancel() {
    this.#work.abort();
  }

  #startWork() {
    this.#work = new AbortController();
    return this.#work.signal;
  }

  /** @param {AbortSignal} signal */
  #reader(signal) {
    if (!this.#source) throw new Error("No slide is open.");
    return this.#source.reader(signal);
  }

  /**
   * RGBA of a tile with its apron.
   * @param {string} request
   * @param {TileIndex} tile
   */
  readTile(request, tile) {
    return this.#withReader(request, (read) => this.session.slideTile(...tile, read));
  }

  /**
   * RGBA of a tile with the layers drawn, without apron.
   * @param {string} request
   * @param {number} slot
   * @param {TileIndex} tile
   * @param {number} mask strength, 0 to 1
   * @param {number} heat strength, 0 to 1
   */
  drawTile(request, slot, tile, mask, heat) {
    return this.#withReader(request, (read) =>
      this.session.slideDrawn(slot, ...tile, mask, heat, read),
    );
  }

  /** Reads pixels under outlines; undefined while no slide is open. */
  outlineReader() {
    return this.#source?.reader(new AbortController().signal);
  }

  /**
   * Makes a tile with a reader that `cancelTiles` can stop.
   * @param {string} request
   * @template T
   * @param {(read: ReadRange | ReadObject) => Promise<T>} makeTile
   */
  async #withReader(request, makeTile) {
    const controller = new AbortController();
    this.#tileRequests.set(request, controller);
    try {
      return await makeTile(this.#reader(controller.signal));
    } finally {
      if (this.#tileRequests.get(request) === controller) this.#tileRequests.delete(request);
    }
  }

  /**
   * Numbers of blocks of a rectangle and of the slide.
   * @param {number} model
   * @param {number} mpp pixel size of the slide, µm
   * @param {Bounds} bounds
   * @returns {Promise<SlideEstimate>}
   */
  async estimate(model, mpp, bounds) {
    const estimate = (/** @type {ReadRange | ReadObject} */ read) =>
      this.session.slideEstimate(model, mpp, ...bounds, read);
    return JSON.parse(await this.#withReader("estimate", estimate));
  }

  /** Cancels tiles that are no longer in view. @param {string[]} requests */
  cancelTiles(requests) {
    for (const request of requests) this.#tileRequests.get(request)?.abort();
  }

  /**
   * Reads the preview window.
   * @param {number} x centre, pixels of the slide
   * @param {number} y
   * @param {number} side pixels at the model's pixel size
   * @param {number} model
   * @param {number} mpp pixel size of the slide, µm
   */
  setPreview(x, y, side, model, mpp) {
    return this.session.setSlidePreview(x, y, side, model, mpp, this.#reader(this.#startWork()));
  }

  /**
   * Segments the missing blocks of a rectangle. The next block is read while one is computed.
   * @param {SlideJob} job
   * @returns {Promise<SlideResult>}
   */
  async segment({ slot, model, gpu, mpp, threshold, bounds }) {
    const startedAt = performance.now();
    const signal = this.#startWork();
    const read = this.#reader(signal);
    const { session } = this;
    /** @type {string[]} */
    const stainNotes = JSON.parse(await session.slideBegin(slot, model, mpp, threshold, read));
    const missing = session.slideMissing(slot, ...bounds);
    const total = missing.length;
    this.onProgress({ slot, finished: 0, total });
    /** @type {string[]} */
    let notes = [];
    let lost = false;
    /** @type {Promise<Computation> | undefined} */
    let reading;
    if (total > 0) reading = session.slideBlock(slot, missing[0], model, read);
    try {
      for (let i = 0; i < total; i++) {
        signal.throwIfAborted();
        const block = /** @type {Computation} */ (await reading);
        const computing = this.#computeBlock(block, { model, gpu: gpu && !lost });
        reading = undefined;
        if (i + 1 < total) {
          reading = session.slideBlock(slot, missing[i + 1], model, read);
          // An error is reported in the next round, which awaits the block.
          reading.catch(() => {});
        }
        const result = await computing;
        lost ||= result.lost;
        if (result.notes.length > 0) notes = result.notes;
        /** @type {SlideBlockResult} */
        const finished = JSON.parse(session.slideFinish(block));
        this.onProgress({ slot, finished: i + 1, total, block: finished });
      }
    } finally {
      // After an error the next block is not computed any more.
      reading?.then(
        (block) => block.free(),
        () => {},
      );
    }
    const ms = performance.now() - startedAt;
    return { ms, blocks: total, notes: [...stainNotes, ...notes], lost };
  }

  /**
   * Begins a result with other settings: what was found before stays to be seen as older. Blocks
   * whose probabilities are kept are done again at once, those in the middle of the bounds first.
   * @param {SlideJob} job
   * @param {BlockWorkerClient[]} workers
   * @returns {Promise<RedoneBlocks>}
   */
  async redo({ slot, model, mpp, threshold, bounds: [left, top, right, bottom] }, workers) {
    const startedAt = performance.now();
    const signal = this.#startWork();
    const { session } = this;
    await session.slideBegin(slot, model, mpp, threshold, this.#reader(signal));
    signal.throwIfAborted();
    // The threshold of the model, where none was set.
    const used = JSON.parse(session.summary(slot)).threshold;
    const blocks = [...session.slideKept(slot, (left + right) / 2, (top + bottom) / 2)];
    const total = blocks.length;
    this.onProgress({ slot, finished: 0, total });
    let finished = 0;
    const running = workers.map(async (worker) => {
      while (blocks.length > 0 && !signal.aborted) {
        const block = /** @type {number} */ (blocks.shift());
        const task = session.slideTask(slot, block);
        if (task.length === 0) continue;
        const nuclei = await worker.findNuclei(task);
        if (signal.aborted) return;
        /** @type {SlideBlockResult} */
        const result = JSON.parse(session.slideTake(slot, block, used, nuclei));
        finished += 1;
        this.onProgress({ slot, finished, total, block: result });
      }
    });
    for (const outcome of await Promise.allSettled(running)) {
      if (outcome.status === "rejected") throw outcome.reason;
    }
    signal.throwIfAborted();
    return { ms: performance.now() - startedAt, blocks: finished };
  }

  /** Computes a block, or frees it. @param {Computation} block @param {ComputeJob} job */
  async #computeBlock(block, job) {
    try {
      return await this.compute(block, job);
    } catch (error) {
      freeAfter(error, block);
      throw error;
    }
  }
}
