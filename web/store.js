// The page's state: one typed value, changed by commands and nowhere else. Controls, address,
// storage and worker follow it.
import { ReviewStore } from "./prunella.js";

/** @import { PageState, ReviewCommand } from "./worker-api.d.ts" */

/** @typedef {(state: PageState, before: PageState) => void} StoreListener */

export class Store {
  #review = new ReviewStore();
  /** @type {PageState} */
  #state = JSON.parse(this.#review.state());
  /** @type {Set<StoreListener>} */
  #listeners = new Set();

  /** The state now; it must not be changed. */
  get state() {
    return this.#state;
  }

  /**
   * Calls a function after every change. Gives a function that ends this.
   * @param {StoreListener} listener
   */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Executes a command. Throws a sentence if it is refused; nothing changes then.
   * @param {ReviewCommand} command
   */
  apply(command) {
    this.#review.apply(JSON.stringify(command));
    this.#changed();
  }

  /** Undoes the last step. Gives its name, null if there is none. */
  undo() {
    const name = this.#state.undo;
    if (this.#review.undo()) this.#changed();
    return name;
  }

  /** Does again what was undone last. Gives its name, null if nothing was. */
  redo() {
    const name = this.#state.redo;
    if (this.#review.redo()) this.#changed();
    return name;
  }

  /** Marks and regions for `Session.setReview`. */
  forWorker() {
    return this.#review.forWorker();
  }

  /** The state as bytes, for storage. */
  save() {
    return this.#review.save();
  }

  /**
   * Takes a saved state. Throws a sentence if it is of another version.
   * @param {Uint8Array} bytes
   */
  load(bytes) {
    this.#review.load(bytes);
    this.#changed();
  }

  #changed() {
    const before = this.#state;
    this.#state = JSON.parse(this.#review.state());
    for (const listener of this.#listeners) listener(this.#state, before);
  }
}
