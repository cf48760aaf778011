// The worker's slide: tiles of the view, each of which can be given up, and blocks that are segmented one after the other.
import { isTiff, ofAddress, ofBlob } from "./source.js";

/** Slot of the session in which blocks are filled. */
const BLOCK = 4;

/** @typedef {import("./prunella.js").Session} Session */
/** @typedef {{ slot: number, model: number, gpu: boolean, mpp: number, threshold: number, bounds: number[] }} Job */

export class Slides {
  /** @type {import("./source.js").Source | undefined} */
  #source;
  /** @type {Map<string, AbortController>} Tiles that are being read. */
  #tiles = new Map();
  #work = new AbortController();

  /**
   * @param {Session} session
   * @param {(job: { slot: number, model: number, gpu: boolean }) => Promise<{ lost: boolean, notes: string[], onGpu: boolean }>} fill
   * @param {(event: object) => void} tell
   */
  constructor(session, fill, tell) {
    this.session = session;
    this.fill = fill;
    this.tell = tell;
  }

  /**
   * Opens a slide by file or address. Gives its facts; `whole` when the file must be loaded whole; null when it is an image.
   * @param {{ blob?: Blob, address?: string }} place
   */
  async open({ blob, address = "" }) {
    const signal = this.#begin();
    const source = blob ? await ofBlob(blob) : await ofAddress(address, signal);
    if (source === "whole") return "whole";
    if (!isTiff(source.first)) return null;
    const read = source.reader(signal);
    const facts = JSON.parse(await this.session.openSlide(source.length, read));
    if (facts) {
      this.close();
      this.#source = source;
    }
    return facts;
  }

  /** Another picture takes its place. */
  close() {
    this.stop();
    for (const tile of this.#tiles.values()) tile.abort();
    this.#tiles.clear();
    this.#source = undefined;
  }

  /** @param {AbortSignal} signal */
  #read(signal) {
    if (!this.#source) throw new Error("There is no slide open.");
    return this.#source.reader(signal);
  }

  /** @param {string} mark @param {(read: import("./source.js").Read) => Promise<any>} make */
  async #tile(mark, make) {
    const stop = new AbortController();
    this.#tiles.set(mark, stop);
    try {
      return await make(this.#read(stop.signal));
    } finally {
      if (this.#tiles.get(mark) === stop) this.#tiles.delete(mark);
    }
  }

  /** @param {string} mark @param {[number, number, number]} key */
  image(mark, key) {
    return this.#tile(mark, (read) => this.session.slideTile(...key, read));
  }

  /** @param {string} mark @param {number} slot @param {[number, number, number]} key @param {number[]} layers @param {number} chosen */
  drawn(mark, slot, key, layers, chosen) {
    return this.#tile(mark, (read) => this.session.slideDrawn(slot, ...key, Float32Array.from(layers), chosen, read));
  }

  /** Tiles that left the view. @param {string[]} marks */
  giveUp(marks) {
    for (const mark of marks) this.#tiles.get(mark)?.abort();
  }

  /** @param {number} x @param {number} y @param {number} side @param {number} model @param {number} mpp */
  trial(x, y, side, model, mpp) {
    return this.session.slideTrial(x, y, side, model, mpp, this.#read(this.#begin()));
  }

  #begin() {
    this.#work = new AbortController();
    return this.#work.signal;
  }

  stop() {
    this.#work.abort();
  }

  /** Segments what is missing in a rectangle; the next block is read while one is computed. @param {Job} job */
  async segment({ slot, model, gpu, mpp, threshold, bounds }) {
    const begun = performance.now();
    const signal = this.#begin();
    const read = this.#read(signal);
    const { session } = this;
    const matched = await session.slideBegin(slot, model, mpp, threshold, read);
    const missing = session.slideMissing(slot, .../** @type {[number, number, number, number]} */ (bounds));
    this.tell({ slide: { slot, of: missing.length, at: 0 } });
    /** @type {string[]} */
    let notes = [];
    let lost = false;
    let piece = missing.length > 0 ? session.slidePiece(slot, missing[0], read) : undefined;
    for (let i = 0; i < missing.length; i++) {
      await piece;
      signal.throwIfAborted();
      const filling = this.fill({ slot: BLOCK, model, gpu: gpu && !lost });
      // The fill has taken its pixels; those of the next block can come.
      piece = i + 1 < missing.length ? session.slidePiece(slot, missing[i + 1], read) : undefined;
      piece?.catch(() => {});
      const filled = await filling;
      lost ||= filled.lost;
      if (filled.notes.length > 0) notes = filled.notes;
      const told = JSON.parse(session.slideTake(slot, missing[i]));
      this.tell({ slide: { slot, of: missing.length, at: i + 1, ...told } });
    }
    return { ms: performance.now() - begun, blocks: missing.length, notes, lost, matched };
  }
}
