// Runs one task at a time. A user task cancels the running task and starts when that has ended.
// A background task starts when nothing else runs and ends early when a user task arrives.

/**
 * @callback Task
 * @param {() => void} check throws an AbortError once the task is cancelled
 * @returns {Promise<void>}
 */

/** @typedef {"preview" | "share"} BackgroundKind */

/**
 * @typedef {object} TaskObserver
 * @property {(busy: boolean) => void} setBusy
 * @property {() => void} cancelRunning makes the running task's worker calls end
 * @property {(error: unknown) => void} showError
 * @property {() => number} alertNumber number of the last error that was shown
 * @property {(number: number) => void} closeAlert removes errors up to that number
 */

export class TaskQueue {
  /** Number of the newest task of each kind. It replaces earlier tasks of its kind. */
  #newest = { user: 0, preview: 0, share: 0 };
  /** @type {Promise<unknown>} Settles when all tasks so far have ended. */
  #last = Promise.resolve();

  /** @param {TaskObserver} observer */
  constructor(observer) {
    this.observer = observer;
  }

  /** Runs a task that the user started. Errors are shown. @param {Task} task */
  async runUserTask(task) {
    this.#newest.user += 1;
    const number = this.#newest.user;
    const isCurrent = () => number === this.#newest.user;
    const shown = this.observer.alertNumber();
    this.observer.setBusy(true);
    this.observer.cancelRunning();
    try {
      await this.#enqueue(task, isCurrent);
      // An error stays until an action succeeds.
      this.observer.closeAlert(shown);
    } catch (error) {
      this.observer.showError(error);
    } finally {
      if (isCurrent()) this.observer.setBusy(false);
    }
  }

  /**
   * Runs a task when nothing else runs. Errors are shown.
   * @param {BackgroundKind} kind
   * @param {Task} task
   * @returns {Promise<boolean>} false if it was cancelled by a user task or a newer one of its kind
   */
  async runInBackground(kind, task) {
    this.#newest[kind] += 1;
    const number = this.#newest[kind];
    const userNumber = this.#newest.user;
    const isCurrent = () => number === this.#newest[kind] && userNumber === this.#newest.user;
    try {
      await this.#enqueue(task, isCurrent);
    } catch (error) {
      if (error instanceof Error && error.name === "AbortError") return false;
      this.observer.showError(error);
    }
    return true;
  }

  /** @param {Task} task @param {() => boolean} isCurrent */
  #enqueue(task, isCurrent) {
    const check = () => {
      if (!isCurrent()) throw Object.assign(new Error("Cancelled."), { name: "AbortError" });
    };
    const run = this.#last.then(() => {
      check();
      return task(check);
    });
    this.#last = run.catch(() => {});
    return run;
  }
}
