// The dialog that makes a link with the model inside and says what that costs.

/** Longest link that chat programs and mail carry well, characters. */
const COMFORTABLE = 32_000;

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

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

  /** Makes the link at the precision chosen, and tries it. */
  async make() {
    const { page } = this;
    const turn = (this.#turn += 1);
    const box = /** @type {HTMLTextAreaElement} */ (byId("share-link"));
    const cost = byId("share-cost");
    box.value = "";
    cost.textContent = "Packing the model…";
    try {
      const { facts } = page.chosen ?? (await page.chooseModel());
      const link = await page.engine.call("link", facts.id, this.precision);
      if (turn !== this.#turn) return;
      const url = new URL(location.href);
      // The model is in the fragment; another one in the query would contradict it.
      url.searchParams.delete("model");
      url.searchParams.delete("sha256");
      url.hash = page.fragment(link);
      box.value = url.href;
      const length = `${box.value.length.toLocaleString("en")} characters`;
      const long = box.value.length > COMFORTABLE ? " Many programs cut links this long; remove more filters, and units of the hidden layer too." : "";
      cost.textContent = `${length}.${long} Measuring what the precision costs…`;
      cost.textContent = `${length}.${long} ${await this.#cost(facts.id)}`;
    } catch (e) {
      if (turn === this.#turn) cost.textContent = /** @type {Error} */ (e).message;
    }
  }

  /** What quantisation changes, in words. @param {number} id */
  async #cost(id) {
    const { page } = this;
    if (page.stage.width === 0) return "Open an image to see what the precision costs.";
    const less = await page.engine.ask("quantise", id, this.precision);
    try {
      const { dice } = await page.trial.agreement(less.id, id);
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
