// The dialog with a link that contains the model, its length, and the effect of its precision.
import { elements } from "./elements.js";
import { formatCount } from "./format.js";

/** @import { Page } from "./page.js" */

/** Longest link that chat and mail programs handle well, characters. */
const MAX_COMFORTABLE_LENGTH = 32_000;
/** Addresses that other computers can reach. */
const PUBLIC_ADDRESS = /^https?:\/\/(?!(127\.|localhost|\[::1\]))/;

/** @param {string} link */
function describeLink(link) {
  const sentences = [`${formatCount(link.length)} characters.`];
  if (link.length > MAX_COMFORTABLE_LENGTH) {
    sentences.push(
      "Many programs truncate links of this length: remove more filters, and units of the hidden " +
        "layer.",
    );
  }
  if (!PUBLIC_ADDRESS.test(location.href)) {
    sentences.push(
      "Other computers cannot reach this page's address: share the part from # on, which works " +
        "after the address of any prunella page.",
    );
  }
  return sentences.join(" ");
}

export class ShareDialog {
  /** Number of the newest update. It replaces earlier ones. */
  #newest = 0;

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
  }

  async open() {
    elements.share.showModal();
    await this.update();
  }

  /** The precision that was chosen, as `Session.link` takes it. */
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

  /** @param {() => boolean} isCurrent */
  async #makeLink(isCurrent) {
    const { page } = this;
    if (!page.model) throw new Error("No model is loaded.");
    const { id } = page.model.facts;
    const modelLink = await page.engine.call("link", id, this.#precision);
    if (!isCurrent()) return;
    const link = page.address.shareUrl(modelLink);
    const description = describeLink(link);
    elements.shareLink.value = link;
    elements.shareCost.textContent = `${description} Measuring the effect of the precision…`;
    // A user task in between cancels the measurement, which is then repeated.
    let isMeasured = false;
    while (isCurrent() && !isMeasured) {
      isMeasured = await page.tasks.runInBackground("share", async (check) => {
        const cost = await this.#describeCost(id, check);
        if (isCurrent()) elements.shareCost.textContent = `${description} ${cost}`;
      });
    }
  }

  /** The effect of the precision on the nuclei. @param {number} model @param {() => void} check */
  async #describeCost(model, check) {
    const { page } = this;
    if (page.canvasView.width === 0) return "Open an image to see the effect of the precision.";
    const quantised = await page.engine.callJson("quantise", model, this.#precision);
    try {
      const dice = await page.preview.agreement(quantised.id, model, check);
      const agreement = `Dice ${dice.toFixed(3)}, in a window at the centre of the view`;
      return `Agreement with the original model: ${agreement}.`;
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
