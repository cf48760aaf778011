// The page: what the person does, what the engine answers, and the address that says both.
import initWasm, { version } from "./prunella.js";
import { Address } from "./address.js";
import { Answers } from "./answers.js";
import { single } from "./assets.js";
import { byId, bytes, input } from "./dom.js";
import { Engine } from "./engine.js";
import { handle } from "./hands.js";
import { Models } from "./models.js";
import { Opening } from "./opening.js";
import { Results } from "./results.js";
import { Queue } from "./queue.js";
import { read } from "./share.js";
import { ShareDialog } from "./dialog.js";
import { SlideAnswers } from "./slide.js";
import { Stage } from "./stage.js";
import { Trial } from "./trial.js";
import { wire } from "./wire.js";

/** Shortest side of the view at which a chosen nucleus is shown, pixels of the screen for one of the image. */
const FIND_SCALE = 4;

class Page {
  comparing = false;
  /** @type {number | undefined} Threshold that was chosen; the model's own otherwise. */
  threshold;
  /** @type {import("./models.js").Chosen | undefined} */
  chosen;
  /** Where slider and switch stood when it was chosen. */
  inUse = { ratio: 50, hiddenToo: false };
  #timers = new Map();
  /** @param {Engine} engine */
  constructor(engine) {
    this.engine = engine;
    this.models = new Models(engine);
    this.stage = new Stage(/** @type {HTMLCanvasElement} */ (byId("canvas")), engine);
    this.results = new Results((nucleus) => this.goTo(nucleus));
    this.trial = new Trial(this);
    this.share = new ShareDialog(this);
    this.address = new Address(this);
    this.queue = new Queue({ busy: (on) => this.busy(on), stop: () => void engine.stop(), fail: (error) => this.fail(error) });
    this.answers = new Answers(this);
    this.opening = new Opening(this);
    this.slide = new SlideAnswers(this);
    this.stage.onfail = (error) => this.fail(error);
    engine.onevent = (event) => this.answers.show(event);
    this.stage.onmove = () => {
      this.#scaleBar();
      this.address.soon();
    };
  }

  /** Runs `work` after a pause, once. @param {string} what @param {number} ms @param {() => void} work */
  later(what, ms, work) {
    clearTimeout(this.#timers.get(what));
    this.#timers.set(what, setTimeout(work, ms));
  }

  /** @param {string} sentence */
  say(sentence) {
    byId("status").textContent = sentence;
  }

  /** A failure, in words; what was there stays. @param {unknown} error */
  fail(error) {
    const e = /** @type {Error} */ (error);
    if (e?.name === "AbortError") return;
    byId("alert").textContent = e?.message ?? String(error);
    byId("alert").hidden = false;
  }

  forgive() {
    byId("alert").hidden = true;
  }

  /** @param {boolean} on */
  busy(on) {
    const root = document.documentElement.dataset;
    if (root.state !== "loading") root.state = on ? "busy" : "idle";
    const had = document.activeElement === byId("cancel");
    byId("progress-row").hidden = !on;
    // What had the focus is gone.
    if (had && !on) byId("canvas").focus();
  }

  get ratio() {
    return Number(input("ratio").value);
  }

  get hiddenToo() {
    return input("hidden-too").checked;
  }

  get mpp() {
    const value = Number(input("mpp").value);
    return value > 0 ? value : 0;
  }

  // ---- models

  /** Takes over slider and switch and shows what model that is. On failure they go back. @param {() => void} check */
  async chooseModel(check) {
    this.say("Preparing the model…");
    try {
      const chosen = await this.models.choose(this.ratio, this.hiddenToo);
      check();
      this.chosen = chosen;
      this.inUse = { ratio: this.ratio, hiddenToo: this.hiddenToo };
    } catch (e) {
      if (/** @type {Error} */ (e).name !== "AbortError") {
        input("ratio").value = String(this.inUse.ratio);
        input("hidden-too").checked = this.inUse.hiddenToo;
        byId("ratio-text").textContent = `${this.ratio} %`;
      }
      throw e;
    } finally {
      this.say("");
    }
    const { facts, kind } = this.chosen;
    byId("ratio-text").textContent = `${this.ratio} %`;
    const words = {
      tuned: this.ratio === 0 ? "The unpruned network, as it ships." : "Trained again after the filters were removed.",
      cut: "Filters removed just now and not trained again: expect worse answers.",
      own: "The model as it was given.",
    };
    byId("model-kind").textContent = words[kind];
    byId("parameters").textContent = facts.parameters.toLocaleString("en");
    byId("bytes").textContent = bytes(facts.bytes);
    byId("licence").textContent = facts.licence ?? "licence not stated";
    byId("left-side").textContent = `${this.ratio} % removed`;
    byId("right-side").textContent = this.models.own ? "as it was given" : "unpruned";
    if (this.threshold === undefined) this.#thresholdShown(facts.threshold);
    this.address.soon();
    return this.chosen;
  }

  /** Takes a model from outside, and segments the open image with it. @param {() => Promise<any>} add gives its facts @param {{ link?: string, linked?: boolean, ratio?: number, hiddenToo?: boolean }} [from] */
  async bringModel(add, { link, linked = false, ratio = 0, hiddenToo = false } = {}) {
    this.forgive();
    let done = false;
    await this.queue.main(async (check) => {
      const facts = await add();
      this.models.bring(facts);
      this.address.link = link;
      this.address.linked.model = linked;
      this.threshold = undefined;
      input("ratio").value = String(ratio);
      input("hidden-too").checked = hiddenToo;
      byId("own-models").hidden = single();
      this.trial.clear();
      await this.chooseModel(check);
      await this.openDevice();
      done = true;
      await this.answers.segment(check);
    });
    return done;
  }

  /** Back to the models that ship. */
  backToOwn() {
    this.models.back();
    this.address.link = undefined;
    this.address.linked.model = false;
    this.threshold = undefined;
    input("ratio").value = "50";
    input("hidden-too").checked = false;
    byId("own-models").hidden = true;
    this.trial.clear();
    return this.run();
  }

  async openDevice() {
    if (!this.chosen) return;
    const device = await this.engine.open(this.address.wish.device, this.chosen.facts.id);
    const workers = this.engine.helpers === 1 ? "1 worker" : `${this.engine.helpers} workers`;
    const where = device.gpu ? `${device.name}${device.software ? ": a software adapter, slow" : ""}` : `the processor (${workers})`;
    byId("device").textContent = `Runs on ${where}`;
    byId("device").title = device.notes.join(" ");
    byId("device").dataset.gpu = String(device.gpu);
    if (device.notes.length > 0) this.say(device.notes.join(" "));
  }

  // ---- segmentation

  /** Takes over the model and segments the open image with it. */
  run() {
    this.forgive();
    return this.queue.main(async (check) => {
      await this.chooseModel(check);
      await this.answers.segment(check);
    });
  }

  // ---- looking

  /** @param {import("./results.js").Nucleus} nucleus */
  goTo(nucleus) {
    this.stage.eye.goTo(nucleus.x, nucleus.y, FIND_SCALE * this.stage.ratio);
    this.choose(nucleus.label);
  }

  /** @param {"view" | "slide"} extent */
  segmentSlide(extent) {
    this.forgive();
    return this.queue.main(async (check) => {
      await this.chooseModel(check);
      await this.slide.segment(extent, check);
    });
  }

  /** @param {number} label */
  choose(label) {
    this.stage.show({ chosen: label });
    const words = this.results.choose(label);
    if (words) this.say(words);
  }

  #scaleBar() {
    const bar = byId("scale-bar");
    bar.hidden = this.mpp === 0 || this.stage.width === 0;
    if (bar.hidden) return;
    const perPixel = this.mpp / (this.stage.eye.scale() / this.stage.ratio);
    const most = 120 * perPixel;
    const unit = 10 ** Math.floor(Math.log10(most));
    const length = [5, 2, 1].map((n) => n * unit).find((l) => l <= most) ?? unit;
    bar.style.width = `${length / perPixel}px`;
    bar.textContent = `${Number(length.toPrecision(2))} µm`;
  }

  /** @param {number | undefined} value the model's own without one */
  setThreshold(value) {
    this.threshold = value;
    if (value !== undefined) this.#thresholdShown(value);
  }

  /** @param {number} value */
  #thresholdShown(value) {
    input("threshold").value = String(Math.round(value * 100));
    byId("threshold-text").textContent = value.toFixed(2);
  }

  moveThreshold() {
    this.threshold = Number(input("threshold").value) / 100;
    this.#thresholdShown(this.threshold);
    this.address.soon();
    if (this.slide.facts) {
      // Of a slide no probabilities are kept: the view is segmented again.
      this.later("threshold", 400, () => void this.run());
      return;
    }
    // What is being segmented is searched when it is whole.
    if (!this.stage.answers[0] || this.answers.running) return;
    this.stage.show({ preview: this.threshold });
    void this.answers.find();
  }

  layersChanged() {
    const of = (/** @type {string} */ id) => Number(input(id).value) / 100;
    const divider = this.comparing ? of("divider") : -1;
    this.stage.show({ outline: of("outline"), mask: of("mask"), heat: of("heat"), divider });
    this.address.soon();
  }

  /** @param {boolean} on */
  async compare(on) {
    this.comparing = on;
    byId("compare").setAttribute("aria-pressed", String(on));
    byId("divider").hidden = !on;
    byId("sides").hidden = !on;
    this.layersChanged();
    // A segmentation that runs does this at its end.
    if (!on || this.stage.width === 0 || (this.stage.answers[1] && !this.slide.facts) || this.answers.running) return;
    await this.queue.main((check) => this.answers.fillOther(check));
  }

}

/** @typedef {Page} PageType */

async function begin() {
  document.documentElement.dataset.state = "loading";
  const module = await Engine.module();
  const engine = Engine.start(module, read(new URL(location.href)).workers);
  await initWasm({ module_or_path: module });
  byId("version").textContent = version();
  engine.onfatal = (error) => {
    page.fail(error);
    page.busy(false);
    document.documentElement.dataset.state = "failed";
  };
  const page = new Page(engine);
  // For the console, and for tests.
  Object.assign(globalThis, { prunella: page });
  if (page.address.wish.device !== "cpu") await page.stage.attach();
  byId("painter").textContent = `Drawn by ${page.stage.painter}`;
  byId("painter").dataset.gpu = String(page.stage.eye.painted);
  wire(page, handle);
  await page.address.obey();
  document.documentElement.dataset.state = "idle";
  page.busy(false);
  // An address of `prunella serve` belongs to another program tomorrow.
  if (!single() && !page.address.wish.folder && "serviceWorker" in navigator && location.protocol.startsWith("http")) {
    navigator.serviceWorker.register("./sw.js").catch(() => {});
  }
}

begin().catch((e) => {
  const old = typeof WebAssembly !== "object" || typeof ResizeObserver !== "function";
  byId("alert").textContent = old ? "This browser is too old for the page; any of the last three years will do." : `The page could not start: ${e.message ?? e}`;
  byId("alert").hidden = false;
  document.documentElement.dataset.state = "failed";
});

