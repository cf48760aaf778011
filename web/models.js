// Which model answers: one that ships, one that was brought, or either with filters removed.
import { file, single } from "./assets.js";

/**
 * @typedef {object} Facts
 * @property {number} id
 * @property {string} family
 * @property {number} parameters
 * @property {number} bytes
 * @property {number} ratio
 * @property {number} threshold
 * @property {number} mpp
 * @property {string | null} licence
 * @property {string} fingerprint
 * @typedef {{ facts: Facts, kind: "tuned" | "cut" | "own" }} Chosen
 */

/** Models that ship, trained again after filters were removed: per cent, with u when the hidden layer lost units too. */
const SHIPPED = /** @type {Record<string, string>} */ ({ 0: "dcnn-00", 50: "dcnn-50", 90: "dcnn-90", "90u": "dcnn-90-all" });
/** Models kept at a time. */
const KEPT = 8;

/** The models of the page. */
export class Models {
  /** @type {Facts | undefined} A model that was brought; it is then the unpruned one. */
  own;
  /** @type {Map<string, Promise<Chosen>>} */
  #made = new Map();

  /** @param {import("./engine.js").Engine} engine */
  constructor(engine) {
    this.engine = engine;
  }

  /** Takes a model instead of those that ship. @param {Facts} facts */
  bring(facts) {
    this.back();
    this.own = facts;
  }

  /** Back to those that ship. */
  back() {
    for (const model of this.#made.values()) this.#drop(model);
    this.#made.clear();
    this.own = undefined;
  }

  /** @param {Promise<Chosen>} model */
  #drop(model) {
    void model.then((m) => this.engine.call("dropModel", m.facts.id)).catch(() => {});
  }

  /** The model before any filter is removed here. */
  async unpruned() {
    return (await this.choose(0, false)).facts;
  }

  /**
   * The model at a share of filters removed.
   * @param {number} percent
   * @param {boolean} hiddenToo
   * @returns {Promise<Chosen>}
   */
  choose(percent, hiddenToo) {
    const key = percent === 0 ? "0" : `${percent}${hiddenToo ? "u" : ""}`;
    const kept = this.#made.get(key);
    if (kept) return kept;
    const made = this.#make(key, percent, hiddenToo);
    this.#made.set(key, made);
    made.catch(() => this.#made.delete(key));
    for (const [oldest, model] of this.#made) {
      if (this.#made.size <= KEPT) break;
      if (oldest === "0" || oldest === key) continue;
      this.#made.delete(oldest);
      this.#drop(model);
    }
    return made;
  }

  /** @param {string} key @param {number} percent @param {boolean} hiddenToo @returns {Promise<Chosen>} */
  async #make(key, percent, hiddenToo) {
    if (this.own && percent === 0) return { facts: this.own, kind: "own" };
    if (!this.own && SHIPPED[key] && !single()) {
      const response = await file(`models/${SHIPPED[key]}.safetensors`);
      const facts = await this.engine.ask("addModel", new Uint8Array(await response.arrayBuffer()));
      return { facts, kind: "tuned" };
    }
    if (percent === 0) throw new Error("There is no model.");
    const base = await this.unpruned();
    return { facts: await this.engine.ask("prune", base.id, percent / 100, hiddenToo), kind: "cut" };
  }
}
