// Versions of a network that were taught on the open image. They stay on this device.
import { isStandalone } from "./assets.js";
import { elements } from "./elements.js";
import { formatCount } from "./format.js";
import { modelName } from "./shipped-models.js";

/** @import { Page } from "./page.js" */
/** @import { Taught } from "./teaching.js" */
/** @import { KeptVersion } from "./storage.js" */
/** @import { ModelSetting } from "./worker-api.d.ts" */

/** Versions that are kept of an image; the oldest one that is not in use goes. */
const MAX_VERSIONS = 20;

/** @param {string} fingerprint @returns {ModelSetting} */
function settingOf(fingerprint) {
  return { shipped: null, ratio: 0, pruneHidden: false, loaded: fingerprint };
}

export class Versions {
  /** @type {KeptVersion[]} Of the open image, the first one first. */
  #all = [];

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    page.store.subscribe((state, before) => {
      if (state.model !== before.model) this.#show();
    });
  }

  /** Name of a taught network, for people. @param {ModelSetting} setting */
  nameOf({ loaded, ratio }) {
    const version = this.#all.find(({ fingerprint }) => fingerprint === loaded);
    return version && ratio === 0 ? `version ${version.number}` : undefined;
  }

  /**
   * Another image is open.
   * @param {KeptVersion[]} kept of it
   */
  async open(kept) {
    this.#all = [];
    for (const version of kept) {
      try {
        const facts = await this.page.engine.callJson("addModel", version.model.slice());
        this.page.models.keep(facts);
        this.#all.push(version);
      } catch (error) {
        this.page.showError(error);
      }
    }
    this.#show();
  }

  /** Keeps what was taught and uses it. @param {Taught} taught */
  async add({ facts, outcome, marks }) {
    const { page } = this;
    const number = (this.#all.at(-1)?.number ?? 0) + 1;
    const model = await page.engine.call("modelFile", facts.id);
    /** @type {KeptVersion} */
    const version = {
      number,
      fingerprint: facts.fingerprint,
      base: page.selectedSetting,
      marks,
      learned: outcome.learned,
      at: Date.now(),
      model,
    };
    this.#all.push(version);
    page.models.keep(facts);
    await page.persistence.saveVersion(version);
    await this.#dropOldest();
    this.#use(settingOf(version.fingerprint));
    page.showStatus(`Kept as version ${number}. Share it under Export, or mark more and teach on.`);
  }

  async #dropOldest() {
    const { loaded } = this.page.modelSetting;
    while (this.#all.length > MAX_VERSIONS) {
      const oldest = this.#all.find(({ fingerprint }) => fingerprint !== loaded);
      if (!oldest) return;
      this.#all = this.#all.filter((version) => version !== oldest);
      await this.page.persistence.removeVersion(oldest.number);
    }
  }

  /** @param {ModelSetting} setting */
  #use(setting) {
    const { page } = this;
    page.address.modelLink = undefined;
    page.address.hasModelUrl = false;
    elements.shippedModels.hidden = setting.loaded === null || isStandalone();
    page.chooseModel(setting);
    this.#show();
  }

  #show() {
    const { page } = this;
    elements.versions.hidden = this.#all.length === 0;
    if (this.#all.length === 0) {
      elements.versionList.replaceChildren();
      return;
    }
    const { base } = this.#all[0];
    const first = this.#row("version-0", `Before: ${modelName(base)}`, "", base);
    const rows = this.#all.map((version) => {
      const { number, marks, learned, fingerprint, at } = version;
      const places = `${formatCount(learned.after)} of ${formatCount(learned.marks)} places`;
      const right = `right at ${places}`;
      const time = new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
      const day = new Date(at).toLocaleDateString();
      const said = `${marks === 1 ? "1 mark" : `${formatCount(marks)} marks`}, ${right}`;
      const when = new Date().toLocaleDateString() === day ? time : day;
      return this.#row(
        `version-${number}`,
        `Version ${number}`,
        `${said}, ${when}`,
        settingOf(fingerprint),
      );
    });
    const had = document.activeElement?.id ?? "";
    elements.versionList.replaceChildren(first, ...rows);
    if (had.startsWith("version-")) document.getElementById(had)?.focus();
    void page.compare?.showLabels();
  }

  /** @param {string} id @param {string} text @param {string} facts @param {ModelSetting} setting */
  #row(id, text, facts, setting) {
    const input = document.createElement("input");
    input.type = "radio";
    input.name = "version";
    input.id = id;
    input.checked = JSON.stringify(setting) === JSON.stringify(this.page.modelSetting);
    input.onchange = () => this.#use(setting);
    const small = document.createElement("small");
    small.textContent = facts;
    const span = document.createElement("span");
    span.append(text, " ", small);
    const label = document.createElement("label");
    label.append(input, span);
    const item = document.createElement("li");
    item.append(label);
    return item;
  }
}
