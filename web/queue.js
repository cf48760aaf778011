// One thing at a time: a person's wish ends what runs and waits for its end; work that can wait gives way.

/** @typedef {(check: () => void) => Promise<void>} Work `check` throws once the work is no longer wanted. */

export class Queue {
  /** The newest work of each kind; older ones give up. */
  #turns = { main: 0, trial: 0, share: 0 };
  /** @type {Promise<unknown>} All work, one after the other. */
  #chain = Promise.resolve();

  /** @param {{ busy: (on: boolean) => void, stop: () => void, fail: (error: unknown) => void }} page */
  constructor(page) {
    this.page = page;
  }

  /** The person's wish. @param {Work} work */
  async main(work) {
    const turn = (this.#turns.main += 1);
    this.page.busy(true);
    this.page.stop();
    try {
      await this.#run(() => turn === this.#turns.main, work);
    } catch (e) {
      this.page.fail(e);
    } finally {
      if (turn === this.#turns.main) this.page.busy(false);
    }
  }

  /**
   * Work that can wait: begins when nothing else runs, and gives up when a wish or newer work of its kind comes. Gives false
   * if it gave up.
   * @param {"trial" | "share"} kind
   * @param {Work} work
   */
  async side(kind, work) {
    const [turn, main] = [(this.#turns[kind] += 1), this.#turns.main];
    try {
      await this.#run(() => turn === this.#turns[kind] && main === this.#turns.main, work);
    } catch (e) {
      if (/** @type {Error} */ (e).name === "AbortError") return false;
      this.page.fail(e);
    }
    return true;
  }

  /** @param {() => boolean} live @param {Work} work */
  #run(live, work) {
    const check = () => {
      if (!live()) throw Object.assign(new Error("Cancelled."), { name: "AbortError" });
    };
    const run = this.#chain.then(() => {
      check();
      return work(check);
    });
    this.#chain = run.catch(() => {});
    return run;
  }
}
