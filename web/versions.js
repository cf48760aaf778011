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

/** @typedef {KeptVersion & { isSaved?: boolean }} ListedVersion */

/** As it is kept on the device. @param {ListedVersion} version @returns {KeptVersion} */
function plain({ isSaved: _, ...version }) {
  return version;
}

/** @param {string} fingerprint @returns {ModelSetting} */
function settingOf(fingerprint) {
  return { shipped: null, ratio: 0, pruneHidden: false, loaded: fingerprint };
}

export class Versions {
  /** @type {ListedVersion[]} Of the open image, the first one first. */
  #all = [];
  /** @type {ListedVersion | undefined} The one that was in use when another image was opened. */
  #carried;

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
    const { loaded } = this.page.modelSetting;
    const inUse = this.#all.find(({ fingerprint }) => fingerprint === loaded);
    this.#carried = inUse ?? this.#carried;
    this.#all = [];
    this.#show();
    for (const version of kept) {
      try {
        const facts = await this.page.engine.callJson("addModel", version.model.slice());
        this.page.models.keep(facts);
        this.#all.push({ ...version, isSaved: true });
      } catch (error) {
        this.page.showError(error);
      }
    }
    this.#show();
    this.page.compare?.choicesChanged();
  }

  /** A network that was taught on another image and is in use on this one belongs to it too. */
  adopt() {
    const { loaded } = this.page.modelSetting;
    const isHere = this.#all.some(({ fingerprint }) => fingerprint === loaded);
    if (isHere || this.#carried?.fingerprint !== loaded) return;
    this.#all.push({ ...this.#carried, number: this.#next, isSaved: false });
    this.#show();
    this.page.compare?.choicesChanged();
  }

  get #next() {
    return (this.#all.at(-1)?.number ?? 0) + 1;
  }

  /**
   * Keeps what was taught.
   * @param {Taught} taught
   * @returns {Promise<ListedVersion>}
   */
  async add({ facts, outcome, base, marks }) {
    const { page } = this;
    const known = this.#all.find(({ fingerprint }) => fingerprint === facts.fingerprint);
    if (known) return known;
    const number = this.#next;
    const model = await page.engine.call("modelFile", facts.id);
    /** @type {ListedVersion} */
    const version = {
      number,
      fingerprint: facts.fingerprint,
      base,
      marks,
      learned: outcome.learned,
      at: Date.now(),
      image: page.opener.name,
      model,
    };
    this.#all.push(version);
    page.models.keep(facts);
    version.isSaved = await page.persistence.saveVersion(plain(version));
    await this.#dropOldest();
    page.compare.choicesChanged();
    return version;
  }

  /** Uses a version that was kept just now. @param {ListedVersion} version */
  async useKept({ fingerprint, number, isSaved }) {
    const { page } = this;
    await this.#use(settingOf(fingerprint));
    const until = isSaved ? "" : " until this page closes: this device does not keep it";
    page.showStatus(`Kept as version ${number}${until}. Share it under Export, or teach on.`);
  }

  /** Keeps on the device what could not be kept before. */
  async saveRest() {
    for (const version of this.#all.filter(({ isSaved }) => !isSaved)) {
      version.isSaved = await this.page.persistence.saveVersion(plain(version));
    }
  }

  /** What the open image's versions can be compared with, for a list. */
  get choices() {
    if (this.#all.length === 0) return [];
    const { base } = this.#all[0];
    const first = { value: "version 0", text: `Before: ${modelName(base)}`, setting: base };
    const others = this.#all.map(({ number, fingerprint }) => {
      const value = `version ${number}`;
      return { value, text: `Version ${number}`, setting: settingOf(fingerprint) };
    });
    return [first, ...others];
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
  async #use(setting) {
    const { page } = this;
    page.address.modelLink = undefined;
    page.address.hasModelUrl = false;
    elements.shippedModels.hidden = setting.loaded === null || isStandalone();
    page.applyQuietly({ model: setting });
    this.#show();
    await page.segmentWithSettings();
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
      const { number, marks, learned, fingerprint, at, image } = version;
      const places = `${formatCount(learned.after)} of ${formatCount(learned.marks)} places`;
      const right = `right at ${places}`;
      const time = new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
      const day = new Date(at).toLocaleDateString();
      const said = `${marks === 1 ? "1 mark" : `${formatCount(marks)} marks`}, ${right}`;
      const when = new Date().toLocaleDateString() === day ? time : day;
      return this.#row(
        `version-${number}`,
        `Version ${number}`,
        image === page.opener.name ? `${said}, ${when}` : `taught on ${image}`,
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
    input.onchange = () => void this.#use(setting);
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
