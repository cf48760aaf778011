// The dialog that makes a link with the model inside and says what that costs.
import { byId } from "./dom.js";

/** Longest link that chat programs and mail carry well, characters. */
const COMFORTABLE = 32_000;
/** Addresses that other computers know. */
const PUBLIC = /^https?:\/\/(?!(127\.|localhost|\[::1\]))/;

export class ShareDialog {
  #turn = 0;

  /** @param {import("./main.js").PageType} page */
  constructor(page) {
    this.page = page;
  }

  /** Opens the dialog. */
  async open() {
    /** @type {HTMLDialogElement} */ (byId("share")).showModal();
    await this.make();
  }

  get precision() {
    return /** @type {HTMLInputElement} */ (byId("f16")).checked ? "f16" : "int8";
  }

  /** Makes the link at the precision chosen, and tries it when nothing else runs. */
  async make() {
    const { page } = this;
    const box = /** @type {HTMLTextAreaElement} */ (byId("share-link"));
    const cost = byId("share-cost");
    const turn = (this.#turn += 1);
    const say = (/** @type {string} */ text) => {
      if (turn === this.#turn) cost.textContent = text;
    };
    box.value = "";
    byId("share-copy").textContent = "Copy";
    say("Packing the model…");
    try {
      const { chosen } = page;
      if (!chosen) throw new Error("There is no model yet.");
      const link = await page.engine.call("link", chosen.facts.id, this.precision);
      if (turn !== this.#turn) return;
      box.value = this.#address(link);
      const length = `${box.value.length.toLocaleString("en")} characters.`;
      const long = box.value.length > COMFORTABLE ? " Many programs cut links this long; remove more filters, and units of the hidden layer too." : "";
      const here = PUBLIC.test(location.href) ? "" : " This page's address is known on this computer alone: give others the part from # on, to put behind the address of any prunella page.";
      say(`${length}${long}${here} Measuring what the precision costs…`);
      const measure = async (/** @type {() => void} */ check) => {
        const words = await this.#cost(chosen.facts.id, check);
        say(`${length}${long}${here} ${words}`);
      };
      // What comes between only postpones it.
      while (turn === this.#turn && !(await page.queue.side("share", measure)));
    } catch (e) {
      say(/** @type {Error} */ (e).message);
    }
  }

  /** The page's address with the model in it; nothing of this computer's own choices. @param {string} link */
  #address(link) {
    const url = new URL(location.href);
    // The model is in the fragment; another one in the query would contradict it.
    for (const own of ["model", "sha256", "device", "workers", "folder"]) url.searchParams.delete(own);
    url.hash = this.page.address.fragment(link);
    return url.protocol === "file:" ? url.hash : url.href;
  }

  /** What quantisation changes, in words. @param {number} id @param {() => void} check */
  async #cost(id, check) {
    const { page } = this;
    if (page.stage.width === 0) return "Open an image to see what the precision costs.";
    const less = await page.engine.ask("quantise", id, this.precision);
    try {
      const dice = await page.trial.agreement(less.id, id, check);
      return `Agreement with the model as it is: Dice ${dice.toFixed(3)}, on a window in the middle of the view.`;
    } finally {
      await page.engine.call("dropModel", less.id);
    }
  }

  async copy() {
    const box = /** @type {HTMLTextAreaElement} */ (byId("share-link"));
    try {
      await navigator.clipboard.writeText(box.value);
      this.page.say("The link is copied.");
      byId("share-copy").textContent = "Copied";
    } catch {
      box.select();
      byId("share-cost").textContent = "The browser does not let the page copy; the link is selected for you.";
    }
  }
}
