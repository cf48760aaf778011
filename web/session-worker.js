// The session worker: it holds image, models and results, and runs the page's calls.
import { Session } from "./prunella.js";
import { openImage } from "./image-file.js";
import { messageOf } from "./error-message.js";
import { SlideSession, freeAfter } from "./slides.js";

/** @import { BlockWorkerClient } from "./block-worker.js" */
/** @import { Computation } from "./prunella.js" */
/** @import { SlideFile } from "./slides.js" */
/**
 * @import { BlockRect, Bounds, CallMessage, ComputeJob, GpuOutcome, PreparedTeaching, SegmentJob,
 *   SegmentResult, SessionMessage, SlideJob, TileIndex } from "./worker-api.d.ts"
 */

/** @typedef {ReturnType<SessionWorker["methods"]>} OwnMethods */

export class SessionWorker {
  #session = new Session();
  #slides = new SlideSession(
    this.#session,
    (computation, job) => this.#compute(computation, job),
    (progress) => this.#post({ type: "slide-progress", progress }),
  );
  /** Whether the running segmentation should end. */
  #isCancelled = false;

  /** @param {MessagePort} port to the page @param {BlockWorkerClient[]} blockWorkers */
  constructor(port, blockWorkers) {
    this.port = port;
    this.blockWorkers = blockWorkers;
  }

  serve() {
    const methods = this.methods();
    this.port.onmessage = async ({ data }) => {
      /** @type {CallMessage} */
      const { id, name, args } = data;
      const target = name in methods ? methods : this.#session;
      try {
        const value = await Reflect.apply(Reflect.get(target, name), target, args);
        const buffers = ArrayBuffer.isView(value) ? [value.buffer] : [];
        this.#post({ type: "result", id, value }, buffers);
      } catch (error) {
        this.#postError(id, error);
      }
    };
  }

  /** Methods that the page may call besides those of the session; they come before these. */
  methods() {
    return {
      /** @param {SegmentJob} job */
      segment: (job) => {
        this.#isCancelled = false;
        return this.#segment(job);
      },
      cancel: () => {
        this.#isCancelled = true;
        this.#slides.cancel();
        this.#session.cancel();
      },
      /** @param {Uint8Array} content @param {string} name */
      openImage: async (content, name) => {
        const facts = await openImage(this.#session, content, name);
        this.#slides.close();
        return facts;
      },
      openSample: () => {
        this.#slides.close();
        return this.#session.openSample();
      },
      /** @param {SlideFile} file */
      openSlide: (file) => this.#slides.open(file),
      /** @param {SlideJob} job */
      segmentSlide: (job) => {
        this.#isCancelled = false;
        return this.#slides.segment(job);
      },
      /** @param {string} request name for `cancelSlideTiles` @param {TileIndex} tile */
      readSlideTile: (request, tile) => this.#slides.readTile(request, tile),
      /**
       * @param {string} request name for `cancelSlideTiles`
       * @param {number} slot
       * @param {TileIndex} tile
       * @param {number} mask strength, 0 to 1
       * @param {number} heat strength, 0 to 1
       */
      drawSlideTile: (request, slot, tile, mask, heat) =>
        this.#slides.drawTile(request, slot, tile, mask, heat),
      /** @param {number} model @param {number} mpp @param {Bounds} bounds */
      estimateSlide: (model, mpp, bounds) => this.#slides.estimate(model, mpp, bounds),
      /** @param {string[]} requests */
      cancelSlideTiles: (requests) => this.#slides.cancelTiles(requests),
      /** @param {SlideJob} job */
      redoSlide: (job) => {
        this.#isCancelled = false;
        return this.#slides.redo(job, this.blockWorkers);
      },
      /**
       * Restores what `saveResult` gave for the image or slide that is open.
       * @param {number} slot
       * @param {Uint8Array} saved
       * @param {number} model
       */
      loadResult: (slot, saved, model) => {
        const read = this.#slides.outlineReader();
        return read
          ? this.#session.loadSlideResult(slot, saved, model, read)
          : this.#session.loadImageResult(slot, saved, model);
      },
      ...this.#outlineMethods(),
      /**
       * A task for teaching workers: what a model is to learn from the review, and what it says of
       * the pictures before.
       * @param {number} slot
       * @param {number} model
       * @param {number} mpp
       * @param {string} settings JSON of `TeachSettings`
       */
      prepareTask: async (slot, model, mpp, settings) => {
        this.#isCancelled = false;
        const read = this.#slides.outlineReader();
        /** @type {PreparedTeaching} */
        const prepared = JSON.parse(
          await this.#session.prepareTeaching(slot, model, mpp, settings, read),
        );
        for (let picture = 0; picture < prepared.pictures; picture++) {
          await this.#answer(prepared.model, picture);
        }
        return this.#session.teachTask();
      },
      /**
       * @param {number} x centre, pixels of the slide
       * @param {number} y
       * @param {number} side pixels
       * @param {number} model
       * @param {number} mpp
       */
      setSlidePreview: (x, y, side, model, mpp) => this.#slides.setPreview(x, y, side, model, mpp),
    };
  }

  /** What a model says of a picture that it is to learn from. */
  async #answer(/** @type {number} */ model, /** @type {number} */ picture) {
    const computation = this.#session.teachComputation(picture);
    try {
      await this.#compute(computation, { model, gpu: false });
    } catch (error) {
      freeAfter(error, computation);
      throw error;
    }
    this.#session.takeAnswer(computation);
  }

  /**
   * Methods that measure outlines: on a slide they read its pixels. Positions are in pixels of the
   * finest level, `mpp` is the size of these in µm, 0 if it is unknown.
   */
  #outlineMethods() {
    const session = this.#session;
    const slides = this.#slides;
    return {
      /** @param {number} slot @param {number} x @param {number} y @param {number} mpp */
      propose: (slot, x, y, mpp) => session.propose(slot, x, y, mpp, slides.outlineReader()),
      /** @param {number} slot @param {Float64Array} points x, y, … @param {number} mpp */
      drawNucleus: (slot, points, mpp) =>
        session.drawNucleus(slot, points, mpp, slides.outlineReader()),
      /**
       * @param {number} slot
       * @param {string} object JSON of a `ReviewObject`
       * @param {Float64Array} points of the stroke, x, y, …
       * @param {number} mpp
       */
      splitNucleus: (slot, object, points, mpp) =>
        session.splitNucleus(slot, object, points, mpp, slides.outlineReader()),
      /** @param {number} slot @param {string} objects JSON of a list @param {number} mpp */
      mergeNuclei: (slot, objects, mpp) =>
        session.mergeNuclei(slot, objects, mpp, slides.outlineReader()),
    };
  }

  /** @param {SessionMessage} message @param {Transferable[]} [transfer] */
  #post(message, transfer = []) {
    this.port.postMessage(message, transfer);
  }

  /** @param {number} id @param {unknown} error */
  #postError(id, error) {
    if (error instanceof WebAssembly.RuntimeError) {
      // The wasm's memory may be in any state.
      const message =
        "The engine stopped, perhaps for lack of memory. Reload the page and use a smaller image.";
      this.#post({ type: "fatal", message });
      return;
    }
    const name = error instanceof Error ? error.name : "Error";
    this.#post({ type: "error", id, name, message: messageOf(error) });
  }

  /** Segments into a slot. @param {SegmentJob} job */
  async #segment(job) {
    const { slot, model, mpp } = job;
    const computation = job.resume
      ? this.#session.resume(slot, model, mpp)
      : this.#session.begin(slot, model, mpp);
    try {
      const result = await this.#compute(computation, job);
      result.notes.unshift(...computation.notes());
      computation.free();
      return result;
    } catch (error) {
      freeAfter(error, computation);
      throw error;
    }
  }

  /**
   * Computes a map: on the GPU if requested, otherwise or after its failure on the CPU.
   * @param {Computation} computation
   * @param {ComputeJob} job
   * @returns {Promise<SegmentResult>}
   */
  async #compute(computation, { model, gpu, slot }) {
    const startedAt = performance.now();
    const scale = computation.scale();
    const onBlock = (/** @type {number[]} */ ...numbers) => {
      if (slot === undefined) return;
      const block = /** @type {BlockRect} */ (numbers.map((number) => number * scale));
      this.#post({ type: "block", slot, block });
    };
    /** @type {string[]} */
    let notes = [];
    let lost = false;
    if (gpu) {
      /** @type {GpuOutcome} */
      const outcome = JSON.parse(await computation.compute(onBlock));
      ({ notes, lost } = outcome);
      if (outcome.done) {
        return { ms: performance.now() - startedAt, onGpu: true, notes, lost: false };
      }
      if (slot !== undefined) this.#post({ type: "restart", slot });
      computation.restart();
    }
    await this.#computeOnCpu(computation, model, onBlock);
    return { ms: performance.now() - startedAt, onGpu: false, notes, lost };
  }

  /**
   * Computes a map by the block workers.
   * @param {Computation} computation
   * @param {number} model
   * @param {(...block: BlockRect) => void} onBlock
   */
  async #computeOnCpu(computation, model, onBlock) {
    const blocks = this.#cpuBlocks(computation);
    const running = this.blockWorkers.map((worker) =>
      this.#runWorker(worker, computation, model, blocks, onBlock),
    );
    for (const outcome of await Promise.allSettled(running)) {
      if (outcome.status === "rejected") throw outcome.reason;
    }
    if (this.#isCancelled) {
      throw Object.assign(new Error("Cancelled."), { name: "AbortError" });
    }
  }

  /** @param {Computation} computation */
  #cpuBlocks(computation) {
    const numbers = computation.cpuBlocks(this.blockWorkers.length);
    /** @type {BlockRect[]} */
    const blocks = [];
    for (let i = 0; i < numbers.length; i += 4) {
      blocks.push([numbers[i], numbers[i + 1], numbers[i + 2], numbers[i + 3]]);
    }
    return blocks;
  }

  /**
   * Computes blocks by one worker until none is left.
   * @param {BlockWorkerClient} worker
   * @param {Computation} computation
   * @param {number} model
   * @param {BlockRect[]} blocks what is left; all workers take from it
   * @param {(...block: BlockRect) => void} onBlock
   */
  async #runWorker(worker, computation, model, blocks, onBlock) {
    try {
      while (!this.#isCancelled) {
        const block = blocks.shift();
        if (!block) return;
        const pixels = computation.cut(...block);
        const values = await worker.compute(this.#session, model, pixels, block);
        computation.put(...block, values);
        onBlock(...block);
      }
    } catch (error) {
      // The other workers end after their current block.
      this.#isCancelled = true;
      throw error;
    }
  }
}
