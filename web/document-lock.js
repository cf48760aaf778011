// Only one tab may change what is kept of an image.
import { PAGE_PATH, lockName } from "./storage.js";

/** Longest wait for another tab to write its latest changes, milliseconds. */
const HAND_OVER_MS = 1500;

/**
 * @typedef {{ type: "hand-over" | "handed-over", fingerprint: string }
 *   | { type: "forgotten" }} TabMessage
 */

/** What the tabs of the page tell each other. */
export class Tabs {
  #channel = globalThis.BroadcastChannel
    ? new BroadcastChannel(`prunella ${PAGE_PATH} tabs`)
    : undefined;
  /** @type {Set<(message: TabMessage) => void>} */
  #listeners = new Set();

  constructor() {
    if (!this.#channel) return;
    this.#channel.onmessage = ({ data }) => {
      for (const listener of this.#listeners) listener(data);
    };
  }

  /** @param {TabMessage} message */
  post(message) {
    this.#channel?.postMessage(message);
  }

  /**
   * @param {(message: TabMessage) => void} listener
   * @returns {() => void} a function that ends it
   */
  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Lets the tab that has an image open write its latest changes. A tab that does not answer, for
   * instance as it is frozen, is not waited for.
   * @param {string} fingerprint
   * @returns {Promise<void>}
   */
  async requestHandOver(fingerprint) {
    if (!this.#channel) return;
    /** @type {(value?: undefined) => void} */
    let finish = () => {};
    const answered = new Promise((resolve) => (finish = resolve));
    const end = this.listen((message) => {
      if (message.type === "handed-over" && message.fingerprint === fingerprint) finish();
    });
    this.post({ type: "hand-over", fingerprint });
    await Promise.race([answered, new Promise((resolve) => setTimeout(resolve, HAND_OVER_MS))]);
    end();
  }
}

export class DocumentLock {
  /** @type {() => void} */
  #release;

  /** @param {() => void} release */
  constructor(release) {
    this.#release = release;
  }

  /**
   * Takes the lock of an image; the browser frees it when the tab ends.
   * @param {string} fingerprint
   * @param {object} options
   * @param {boolean} options.steal whether another tab loses it
   * @param {() => void} options.onstolen called when another tab has taken it
   * @returns {Promise<DocumentLock | undefined>} undefined if another tab has it
   */
  static take(fingerprint, { steal, onstolen }) {
    // Not on pages of http. What is kept then belongs to the tab that opened the image last.
    if (!navigator.locks) return Promise.resolve(new DocumentLock(() => {}));
    return new Promise((resolve) => {
      let isReleased = false;
      const request = navigator.locks.request(
        lockName(fingerprint),
        steal ? { steal: true } : { ifAvailable: true },
        (lock) => {
          if (!lock) {
            resolve(undefined);
            return undefined;
          }
          return new Promise((release) => {
            resolve(
              new DocumentLock(() => {
                isReleased = true;
                release(undefined);
              }),
            );
          });
        },
      );
      request.catch(() => {
        if (!isReleased) onstolen();
        resolve(undefined);
      });
    });
  }

  /** Whether a tab has an image open. @param {string} fingerprint */
  static async isTaken(fingerprint) {
    const { held = [] } = (await navigator.locks?.query()) ?? {};
    return held.some(({ name }) => name === lockName(fingerprint));
  }

  release() {
    this.#release();
  }
}
