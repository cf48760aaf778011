// Which part of the image has been segmented: the blocks that were finished.

/** @import { Bounds } from "./worker-api.d.ts" */

export class SegmentedArea {
  /** @type {Map<string, Bounds>} By their text: a block that is computed again counts once. */
  #blocks = new Map();

  clear() {
    this.#blocks.clear();
  }

  /** @param {Bounds} block pixels */
  add(block) {
    this.#blocks.set(block.join(), block);
  }

  get blocks() {
    return [...this.#blocks.values()];
  }

  /** Pixels. */
  get area() {
    let area = 0;
    for (const [left, top, right, bottom] of this.#blocks.values()) {
      area += (right - left) * (bottom - top);
    }
    return area;
  }
}
