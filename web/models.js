// The models of the page: those that ship, one that was loaded, and pruned versions of either.
import { fetchAsset, isStandalone } from "./assets.js";

/** @import { Engine } from "./engine.js" */
/** @import { ModelFacts } from "./worker-api.d.ts" */

/**
 * @typedef {object} Model
 * @property {ModelFacts} facts
 * @property {"shipped" | "pruned" | "loaded"} kind pruned: here, without fine-tuning
 */

/** Files of the models that ship, by version: see `versionKey`. */
const SHIPPED = /** @type {Record<string, string>} */ ({
  0: "dcnn-00",
  50: "dcnn-50",
  90: "dcnn-90",
  "90u": "dcnn-90-all",
});
const SMALLEST = "dcnn-90-all";
const UNPRUNED = "0";
/** Largest number of models that the session holds. */
const MAX_MODELS = 8;

/**
 * Name of a version: per cent of filters removed, and `u` if units of the hidden layer were too.
 * @param {number} percent
 * @param {boolean} pruneHidden
 */
function versionKey(percent, pruneHidden) {
  return percent === 0 ? UNPRUNED : `${percent}${pruneHidden ? "u" : ""}`;
}

export class Models {
  /** @type {ModelFacts | undefined} A model that was loaded; it is then the unpruned one. */
  loaded;
  /** @type {Map<string, Promise<Model>>} By version, oldest first. */
  #versions = new Map();
  /** @type {Map<string, ModelFacts>} Models that were loaded, by fingerprint. */
  #known = new Map();

  /** @type {Promise<ModelFacts> | undefined} */
  #smallest;

  /** @param {Engine} engine */
  constructor(engine) {
    this.engine = engine;
  }

  /** Makes a loaded model known; `use` then uses it. @param {ModelFacts} facts */
  keep(facts) {
    this.#known.set(facts.fingerprint, facts);
  }

  /**
   * Uses a model that was loaded, or those that ship.
   * @param {string | null} fingerprint null for those that ship
   */
  use(fingerprint) {
    if ((this.loaded?.fingerprint ?? null) === fingerprint) return;
    const facts = fingerprint === null ? undefined : this.#known.get(fingerprint);
    if (fingerprint !== null && !facts) {
      throw new Error("The model that was used here is not at hand any more. Load it again.");
    }
    for (const model of this.#versions.values()) this.#drop(model);
    this.#versions.clear();
    this.loaded = facts;
  }

  /** Frees a model in the session; a loaded one stays. @param {Promise<Model>} model */
  #drop(model) {
    const drop = (/** @type {Model} */ { facts, kind }) => {
      if (kind !== "loaded") void this.engine.call("dropModel", facts.id);
    };
    model.then(drop).catch(() => {});
  }

  /**
   * The smallest model that ships, whichever is in use; it stays in the session.
   * @returns {Promise<ModelFacts>}
   */
  smallest() {
    this.#smallest ??= this.#fetchShipped(SMALLEST);
    this.#smallest.catch(() => (this.#smallest = undefined));
    return this.#smallest;
  }

  /** @param {string} name @returns {Promise<ModelFacts>} */
  async #fetchShipped(name) {
    const response = await fetchAsset(`models/${name}.safetensors`);
    const content = new Uint8Array(await response.arrayBuffer());
    return this.engine.callJson("addModel", content);
  }

  async unpruned() {
    const { facts } = await this.version(0, false);
    return facts;
  }

  /**
   * The model with a share of its filters removed.
   * @param {number} percent
   * @param {boolean} pruneHidden whether units of the hidden layer are removed too
   * @returns {Promise<Model>}
   */
  version(percent, pruneHidden) {
    const key = versionKey(percent, pruneHidden);
    const known = this.#versions.get(key);
    if (known) return known;
    const model = this.#create(key, percent, pruneHidden);
    this.#versions.set(key, model);
    model.catch(() => this.#versions.delete(key));
    this.#dropOldest(key);
    return model;
  }

  /** @param {string} newest key of a version that stays */
  #dropOldest(newest) {
    for (const [key, model] of this.#versions) {
      if (this.#versions.size <= MAX_MODELS) break;
      if (key === UNPRUNED || key === newest) continue;
      this.#versions.delete(key);
      this.#drop(model);
    }
  }

  /**
   * @param {string} key
   * @param {number} percent
   * @param {boolean} pruneHidden
   * @returns {Promise<Model>}
   */
  async #create(key, percent, pruneHidden) {
    if (this.loaded && percent === 0) return { facts: this.loaded, kind: "loaded" };
    if (!this.loaded && SHIPPED[key] && !isStandalone()) {
      return { facts: await this.#fetchShipped(SHIPPED[key]), kind: "shipped" };
    }
    if (percent === 0) throw new Error("No model is loaded.");
    const { id } = await this.unpruned();
    const facts = await this.engine.callJson("prune", id, percent / 100, pruneHidden);
    return { facts, kind: "pruned" };
  }
}
