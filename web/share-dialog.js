// The dialog with a link that contains the model: its length, a shorter one, what the recipient
// gets, and the effect of the precision.
import { isStandalone } from "./assets.js";
import { elements } from "./elements.js";
import { formatCount } from "./format.js";

/** @import { Page } from "./page.js" */
/** @import { ModelFacts } from "./worker-api.d.ts" */

/** Longest link that chat and mail programs handle well, characters. */
const MAX_COMFORTABLE_LENGTH = 30_000;
/** Addresses that other computers can reach. */
const PUBLIC_ADDRESS = /^https?:\/\/(?!(127\.|localhost|\[::1\]))/;
const LOCAL_ADDRESS =
  "Other computers cannot reach this page's address: share the part from # on, which works after " +
  "the address of any prunella page.";

/** @typedef {"int8" | "f16"} LinkPrecision */

/** @param {number} length */
function characters(length) {
  return `${formatCount(length)} characters`;
}

export class ShareDialog {
  /** Number of the newest update. It replaces earlier ones. */
  #newest = 0;
  /** Whether the smallest model is shared in place of the selected one. */
  #isSmallest = false;
  /** Length of the link with the selected model, characters; 0 before it was made. */
  #ownLength = 0;

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    elements.shareSmallest.onclick = () => this.#choose(true);
    elements.shareOwn.onclick = () => this.#choose(false);
    elements.shareInt8.onclick = () => {
      elements.int8.checked = true;
      void this.update();
    };
  }

  async open() {
    this.#isSmallest = false;
    elements.share.showModal();
    await this.update();
  }

  /** @param {boolean} isSmallest */
  #choose(isSmallest) {
    this.#isSmallest = isSmallest;
    // The lengths that were offered are those at 8 bits.
    if (isSmallest) elements.int8.checked = true;
    // The button that was pressed is replaced by another one.
    elements.shareCopy.focus();
    void this.update();
  }

  /** The precision that was chosen. @returns {LinkPrecision} */
  get #precision() {
    return elements.f16.checked ? "f16" : "int8";
  }

  /** Makes the link at the chosen precision and measures what the precision costs. */
  async update() {
    this.#newest += 1;
    const number = this.#newest;
    const isCurrent = () => number === this.#newest;
    elements.shareLink.value = "";
    elements.shareCopy.textContent = "Copy";
    elements.shareCost.textContent = "Packing the model…";
    try {
      await this.#makeLink(isCurrent);
    } catch (error) {
      if (isCurrent()) elements.shareCost.textContent = /** @type {Error} */ (error).message;
    }
  }

  /** @param {number} model @param {LinkPrecision} precision */
  async #linkOf(model, precision) {
    return this.page.address.shareUrl(await this.page.engine.call("link", model, precision));
  }

  /** @param {() => boolean} isCurrent */
  async #makeLink(isCurrent) {
    const { page } = this;
    if (!page.model) throw new Error("No model is loaded.");
    const { facts: own } = page.model;
    const facts = this.#isSmallest ? await page.models.smallest() : own;
    const precision = this.#precision;
    const link = await this.#linkOf(facts.id, precision);
    if (!isCurrent()) return;
    if (!this.#isSmallest) this.#ownLength = link.length;
    elements.shareLink.value = link;
    this.#describeLink(link, facts);
    await this.#suggest(own, link.length, isCurrent);
    if (!isCurrent()) return;
    elements.shareCost.textContent = "Measuring the effect…";
    // A user task in between cancels the measurement, which is then repeated.
    let isMeasured = false;
    while (isCurrent() && !isMeasured) {
      isMeasured = await page.tasks.runInBackground("share", async (check) => {
        const cost = await this.#describeCost(facts.id, own.id, check);
        if (isCurrent()) elements.shareCost.textContent = cost;
      });
    }
  }

  /**
   * Says how long a link is and what its recipient gets.
   * @param {string} link
   * @param {ModelFacts} facts
   */
  #describeLink(link, facts) {
    const { threshold = facts.threshold } = this.page;
    const bits = this.#precision === "f16" ? 16 : 8;
    const which = this.#isSmallest ? "the smallest model" : "this model";
    const sentences = [
      `${characters(link.length)}.`,
      `The recipient gets ${which}: ${formatCount(facts.parameters)} parameters, ${bits} bits ` +
        `each, threshold ${Number(threshold.toFixed(2))}.`,
    ];
    if (!PUBLIC_ADDRESS.test(location.href)) sentences.push(LOCAL_ADDRESS);
    elements.shareGets.textContent = sentences.join(" ");
  }

  /**
   * Offers shorter links for one that is too long, and the way back.
   * @param {ModelFacts} own the selected model
   * @param {number} length of the link that is shown
   * @param {() => boolean} isCurrent
   */
  async #suggest(own, length, isCurrent) {
    const { shareAdvice, shareSmallest, shareInt8, shareOwn } = elements;
    const isLong = length > MAX_COMFORTABLE_LENGTH;
    /** @type {number | undefined} */
    let smallestLength;
    /** @type {number | undefined} */
    let int8Length;
    if (isLong && this.#precision === "f16" && !this.#isSmallest) {
      int8Length = (await this.#linkOf(own.id, "int8")).length;
    }
    if (isLong && !this.#isSmallest && !isStandalone()) {
      const smallest = await this.page.models.smallest();
      if (smallest.parameters < own.parameters) {
        smallestLength = (await this.#linkOf(smallest.id, "int8")).length;
      }
    }
    if (!isCurrent()) return;
    shareAdvice.textContent = isLong
      ? "Many mail and chat programs cut links of more than " +
        `${characters(MAX_COMFORTABLE_LENGTH)}: this one may not arrive whole.`
      : "";
    shareAdvice.hidden = !isLong;
    shareSmallest.hidden = smallestLength === undefined;
    shareSmallest.textContent = `Share the smallest model: ${characters(smallestLength ?? 0)}`;
    shareInt8.hidden = int8Length === undefined;
    shareInt8.textContent = `Use 8 bits: ${characters(int8Length ?? 0)}`;
    shareOwn.hidden = !this.#isSmallest;
    shareOwn.textContent = `Share the selected model: ${characters(this.#ownLength)}`;
  }

  /**
   * The difference that the recipient will see.
   * @param {number} model that is shared
   * @param {number} own the selected model
   * @param {() => void} check
   */
  async #describeCost(model, own, check) {
    const { page } = this;
    if (page.canvasView.width === 0) return "Open an image to see the effect on its nuclei.";
    const quantised = await page.engine.callJson("quantise", model, this.#precision);
    try {
      const dice = await page.preview.agreement(quantised.id, own, check);
      const agreement = `Dice ${dice.toFixed(3)}, in a window at the centre of the view`;
      return `Agreement of what the link holds with the selected model: ${agreement}.`;
    } finally {
      await page.engine.call("dropModel", quantised.id);
    }
  }

  async copy() {
    try {
      await navigator.clipboard.writeText(elements.shareLink.value);
      this.page.showStatus("The link was copied.");
      elements.shareCopy.textContent = "Copied";
    } catch {
      elements.shareLink.select();
      elements.shareCost.textContent =
        "The browser does not allow copying. The link is selected: copy it yourself.";
    }
  }
}
