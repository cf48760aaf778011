// A slide on the page: what of it is segmented, and how far that is.
import { byId, input, secs } from "./dom.js";

/** A view with more pixels than this is not segmented without being asked: it would take minutes. */
const UNASKED_PX = 4e6;
const NO_SIZE = "The slide does not say how large its pixels are. State it first, in µm.";
/** Pause between two lists of nuclei while blocks come, milliseconds. */
const LIST_MS = 1500;

/** Said when colours are changed for the model's eyes. */
export const MATCHED = "The stain is unlike any that the model learned from: its colours are matched for the model.";

/**
 * @typedef {{ width: number, height: number, levels: number, mpp: number | null, magnification: number | null }} SlideFacts
 * @typedef {{ slot: number, of: number, at: number, bounds?: number[], count?: number, share?: number }} SlideEvent
 */

export class SlideAnswers {
  /** @type {SlideFacts | undefined} Of the open slide; undefined while an image is open. */
  facts;
  #begun = 0;

  /** @param {import("./main.js").PageType} page */
  constructor(page) {
    this.page = page;
  }

  /** A slide was opened, or something else. @param {SlideFacts} [facts] */
  opened(facts) {
    this.facts = facts;
    byId("slide-row").hidden = !facts;
    for (const kind of ["labels", "overlay", "probability"]) {
      /** @type {HTMLButtonElement} */ (document.querySelector(`#exports [data-file=${kind}]`)).hidden = Boolean(facts);
    }
  }

  /** The rectangle that the view shows, in pixels of the slide. */
  #view() {
    const { stage } = this.page;
    const [left, top] = stage.eye.toImage(0, 0);
    const [right, bottom] = stage.eye.toImage(stage.canvas.width, stage.canvas.height);
    return [Math.max(0, left), Math.max(0, top), Math.min(stage.width, right), Math.min(stage.height, bottom)];
  }

  /** What was found belongs to another model, threshold or pixel size. */
  async forget() {
    const { page } = this;
    for (const slot of [0, 1]) {
      await page.engine.call("slideForget", slot);
      page.stage.clear(slot);
    }
    page.results.clear();
  }

  /** Segments a small view; says how to go on otherwise. @param {() => void} check */
  async unasked(check) {
    const { page } = this;
    await this.forget();
    check();
    if (page.mpp === 0) {
      page.say("The slide does not say how large its pixels are: state it, in µm, and segment the view.");
      return;
    }
    const [left, top, right, bottom] = this.#view();
    if ((right - left) * (bottom - top) <= UNASKED_PX) await this.segment("view", check);
    else page.say("Zoom in and segment the view, or segment the whole slide.");
  }

  /** @param {"view" | "slide"} extent @param {() => void} check */
  async segment(extent, check) {
    const { page } = this;
    if (page.mpp === 0) {
      input("mpp").focus();
      throw new Error(NO_SIZE);
    }
    const { facts } = page.chosen ?? (await page.chooseModel(check));
    const bounds = extent === "view" ? this.#view() : [0, 0, page.stage.width, page.stage.height];
    page.answers.running = true;
    try {
      const done = await this.#fill(0, facts.id, bounds);
      check();
      await this.#list();
      const count = page.results.nuclei.length.toLocaleString("en");
      const stain = done.matched ? [MATCHED] : [];
      page.say([`${count} nuclei, ${done.blocks} blocks in ${secs(done.ms)}.`, ...stain, ...done.notes].join(" "));
      if (page.comparing) await this.other(bounds, check);
    } finally {
      page.answers.running = false;
    }
    page.address.soon();
  }

  /** The unpruned model's answer for the same place. @param {number[] | undefined} bounds @param {() => void} check */
  async other(bounds, check) {
    const [left, top, right, bottom] = bounds ?? this.#view();
    if (this.page.mpp === 0) throw new Error(NO_SIZE);
    if (!bounds && (right - left) * (bottom - top) > UNASKED_PX) {
      this.page.say("Zoom in to compare with the unpruned model.");
      return;
    }
    const whole = await this.page.models.unpruned();
    check();
    await this.#fill(1, whole.id, bounds ?? this.#view());
  }

  /** @param {number} slot @param {number} model @param {number[]} bounds */
  async #fill(slot, model, bounds) {
    const { page } = this;
    this.#begun = performance.now();
    const { gpu } = page.engine.device;
    const job = { slot, model, gpu, mpp: page.mpp, threshold: page.threshold ?? -1, bounds };
    const done = await page.engine.call("slideSegment", job);
    // Later blocks gave earlier nuclei other numbers.
    page.stage.changed(slot);
    if (done.lost) await page.openDevice();
    if (done.blocks > 0 && slot === 0) {
      byId("time").textContent = `${secs(done.ms)} (${secs(done.ms / done.blocks)} a block)`;
    }
    return done;
  }

  /** A block is finished. @param {SlideEvent} event */
  show({ slot, of, at, bounds, count, share }) {
    const { page } = this;
    const done = of > 0 ? at / of : 1;
    /** @type {HTMLProgressElement} */ (byId("progress")).value = done;
    const left = at > 1 ? ((performance.now() - this.#begun) * (1 - done)) / done : NaN;
    byId("progress-text").textContent = `${at} of ${of} blocks${left > 1000 ? `, ${secs(left)} left` : ""}`;
    if (!bounds) {
      // What another model found is gone.
      page.stage.changed(slot);
      return;
    }
    const [l, t, r, b] = bounds;
    // Nuclei reach beyond their block.
    page.stage.changed(slot, [t - 100, l - 100, r - l + 200, b - t + 200]);
    document.documentElement.dataset.firstBlock ??= String(Math.round(performance.now()));
    if (slot > 0) return;
    page.results.summary({ count: count ?? 0, share: share ?? 0 });
    // Numbers follow the blocks: the chosen one may have another now.
    if (page.stage.layers.chosen > 0) page.stage.show({ chosen: 0 });
    page.later("list", LIST_MS, () => void this.#list());
  }

  async #list() {
    const rows = await this.page.engine.call("table", 0).catch(() => undefined);
    if (rows && this.facts) this.page.results.list(rows);
  }

  /** What was finished before it was cancelled stays. */
  async cancelled() {
    this.page.stage.changed(0);
    await this.#list();
    this.page.say(`Cancelled: ${this.page.results.nuclei.length.toLocaleString("en")} nuclei in the blocks that were finished.`);
  }
}
