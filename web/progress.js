// Progress of a segmentation and an estimate of the time left.
import { elements } from "./elements.js";
import { formatDuration } from "./format.js";

/** Shorter times left are not shown, milliseconds. */
const MIN_SHOWN_MS = 1000;
/** Part of the work after which the time left is estimated. */
const MIN_FRACTION = 0.02;

/**
 * @param {number} fraction finished, 0 to 1
 * @param {string} text
 * @param {number} [remainingMs] time left, milliseconds
 */
export function showProgress(fraction, text, remainingMs = 0) {
  const left = remainingMs > MIN_SHOWN_MS ? `, ${formatDuration(remainingMs)} left` : "";
  elements.progress.value = fraction;
  elements.progressText.textContent = `${text}${left}`;
}

/**
 * Time left if the rest is as fast as the part that is finished, milliseconds.
 * @param {number} startedAt of `performance.now()`
 * @param {number} fraction finished, more than 0
 */
export function remainingMs(startedAt, fraction) {
  return ((performance.now() - startedAt) * (1 - fraction)) / fraction;
}

/** Progress of an image: the area of the finished blocks. */
export class AreaProgress {
  #finished = 0;
  #total = 1;
  #startedAt = 0;

  /** @param {number} total area, pixels */
  start(total) {
    this.#total = total;
    this.restart();
    this.#show();
  }

  /** Starts again from nothing, without showing it before the next block. */
  restart() {
    this.#finished = 0;
    this.#startedAt = performance.now();
  }

  /** @param {number} area finished, pixels */
  add(area) {
    this.#finished += area;
    this.#show();
  }

  #show() {
    const fraction = Math.min(1, this.#finished / this.#total);
    const left = fraction > MIN_FRACTION ? remainingMs(this.#startedAt, fraction) : 0;
    showProgress(fraction, `${Math.round(fraction * 100)} %`, left);
  }
}
