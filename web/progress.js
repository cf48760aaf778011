// How far a segmentation is, and the time left.
import { byId, secs } from "./dom.js";

export class Progress {
  #done = 0;
  #whole = 1;
  #begun = 0;

  /** @param {number} whole area, pixels */
  start(whole) {
    this.#whole = whole;
    this.restart();
    this.#show();
  }

  /** Begins again: what was done is not of use. */
  restart() {
    [this.#done, this.#begun] = [0, performance.now()];
  }

  /** @param {number} area finished, pixels */
  add(area) {
    this.#done += area;
    this.#show();
  }

  #show() {
    const share = Math.min(1, this.#done / this.#whole);
    /** @type {HTMLProgressElement} */ (byId("progress")).value = share;
    const left = share > 0.02 ? ((performance.now() - this.#begun) * (1 - share)) / share : NaN;
    byId("progress-text").textContent = `${Math.round(share * 100)} %${left > 1000 ? `, ${secs(left)} left` : ""}`;
  }
}
