// The models of the page: those that ship, those that were loaded, and pruned versions of either.
import { fetchAsset } from "./assets.js";
import { isShippedName, shippedModel, SMALLEST_MODEL, unprunedOf } from "./shipped-models.js";

/** @import { Engine } from "./engine.js" */
/** @import { ModelFacts, ModelSetting } from "./worker-api.d.ts" */

/**
 * @typedef {object} Model
 * @property {ModelFacts} facts
 * @property {"shipped" | "pruned" | "loaded"} kind pruned: here, without fine-tuning
 */

/** Largest number of models that the session holds, besides those that were loaded. */
const MAX_MODELS = 12;

/** @param {ModelSetting} setting */
function keyOf({ shipped, ratio, pruneHidden, loaded }) {
  return JSON.stringify([loaded ?? "", shipped ?? "", ratio, ratio > 0 && pruneHidden]);
}

export class Models {
  /** @type {ModelFacts | undefined} The loaded model that is in use. */
  loaded;
  /** @type {Map<string, Promise<Model>>} By setting, the one that was used last at the end. */
  #versions = new Map();
  /** @type {Map<string, ModelFacts>} Models that were loaded, by fingerprint. */
  #known = new Map();

  /** @param {Engine} engine */
  constructor(engine) {
    this.engine = engine;
  }

  /** Makes a loaded model known; `use` then uses it. @param {ModelFacts} facts */
  keep(facts) {
    this.#known.set(facts.fingerprint, facts);
  }

  /** Whether `use` can use it. @param {ModelSetting} setting */
  isKnown({ shipped, loaded }) {
    if (loaded !== null) return this.#known.has(loaded);
    return shipped === null || isShippedName(shipped);
  }

  /** Uses a model. @param {ModelSetting} setting @returns {Promise<Model>} */
  use(setting) {
    if (!this.isKnown(setting)) {
      throw new Error("The model that was used here is not at hand any more. Load it again.");
    }
    this.loaded = setting.loaded === null ? undefined : this.#known.get(setting.loaded);
    return this.version(setting);
  }

  /** The smallest model that ships, whichever is in use. @returns {Promise<ModelFacts>} */
  async smallest() {
    const { facts } = await this.version(SMALLEST_MODEL);
    return facts;
  }

  /**
   * The model from which the one in use was pruned.
   * @param {ModelSetting} setting
   */
  async unpruned(setting) {
    const { facts } = await this.version(unprunedOf(setting));
    return facts;
  }

  /**
   * The model of a setting, whichever is in use.
   * @param {ModelSetting} setting
   * @returns {Promise<Model>}
   */
  version(setting) {
    const key = keyOf(setting);
    const model = this.#versions.get(key) ?? this.#create(setting);
    this.#versions.delete(key);
    this.#versions.set(key, model);
    model.catch(() => this.#versions.delete(key));
    this.#dropOldest();
    return model;
  }

  #dropOldest() {
    for (const [key, model] of this.#versions) {
      if (this.#versions.size <= MAX_MODELS) break;
      this.#versions.delete(key);
      this.#drop(model);
    }
  }

  /** Frees a model in the session; a loaded one stays. @param {Promise<Model>} model */
  #drop(model) {
    const drop = (/** @type {Model} */ { facts, kind }) => {
      if (kind !== "loaded") void this.engine.call("dropModel", facts.id);
    };
    model.then(drop).catch(() => {});
  }

  /** @param {ModelSetting} setting @returns {Promise<Model>} */
  async #create(setting) {
    const { ratio, pruneHidden, loaded } = setting;
    const facts = loaded === null ? undefined : this.#known.get(loaded);
    if (facts && ratio === 0) return { facts, kind: "loaded" };
    const shipped = shippedModel(setting);
    if (shipped) return { facts: await this.#fetchShipped(shipped.file), kind: "shipped" };
    if (ratio === 0) throw new Error("No model is loaded.");
    const { id } = await this.unpruned(setting);
    const pruned = await this.engine.callJson("prune", id, ratio / 100, pruneHidden);
    return { facts: pruned, kind: "pruned" };
  }

  /** @param {string} name @returns {Promise<ModelFacts>} */
  async #fetchShipped(name) {
    const response = await fetchAsset(`models/${name}.safetensors`);
    const content = new Uint8Array(await response.arrayBuffer());
    return this.engine.callJson("addModel", content);
  }
}
