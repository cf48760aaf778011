// The page: what the person does, what the engine answers, and the address that says both.
import initWasm, { sha256, version } from "./prunella.js";
import { file, single } from "./assets.js";
import { Engine } from "./engine.js";
import { handle } from "./hands.js";
import { Models } from "./models.js";
import { Results } from "./results.js";
import { fragment, load, nameOf, read } from "./share.js";
import { ShareDialog } from "./dialog.js";
import { Stage } from "./stage.js";
import { Trial } from "./trial.js";
import { wire } from "./wire.js";

/** Shortest side of the view at which a chosen nucleus is shown, pixels of the screen for one of the image. */
const FIND_SCALE = 4;
/** Pauses, milliseconds: after the last move before the address changes, and before the table does. */
const ADDRESS_MS = 300;
const TABLE_MS = 200;

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
/** @param {string} id */
const input = (id) => /** @type {HTMLInputElement} */ (document.getElementById(id));

class Page {
  wish = read(new URL(location.href));
  /** @type {string} */
  imageName = "image";
  sample = false;
  comparing = false;
  /** @type {number | undefined} Threshold that was chosen; the model's own otherwise. */
  threshold;
  /** @type {string | undefined} The model as the address carries it. */
  link;
  /** @type {import("./models.js").Chosen | undefined} */
  chosen;
  /** @type {number[]} Finished and whole area of what runs, and when it began. */
  #progress = [0, 1, 0];
  #timers = new Map();
  #finding = false;

  /** @param {Engine} engine */
  constructor(engine) {
    this.engine = engine;
    this.models = new Models(engine);
    this.stage = new Stage(/** @type {HTMLCanvasElement} */ (byId("canvas")), engine);
    this.results = new Results((nucleus) => this.goTo(nucleus));
    this.trial = new Trial(this);
    this.share = new ShareDialog(this);
    engine.onevent = (event) => this.#event(event);
    this.stage.onmove = () => {
      this.#scaleBar();
      this.later("address", ADDRESS_MS, () => this.address());
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
    if (document.documentElement.dataset.state !== "loading") this.busy(false);
  }

  forgive() {
    byId("alert").hidden = true;
  }

  /** @param {boolean} on */
  busy(on) {
    document.documentElement.dataset.state = on ? "busy" : "idle";
    byId("progress-row").hidden = !on;
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

  // ---- images

  /** @param {Blob} blob @param {string} name */
  async openBlob(blob, name) {
    this.forgive();
    try {
      this.say("Reading the image…");
      this.busy(true);
      await this.engine.stop();
      const size = await this.engine.ask("openImage", new Uint8Array(await blob.arrayBuffer()));
      this.sample = false;
      await this.#opened(size, name);
    } catch (e) {
      this.say("");
      this.fail(e);
    }
  }

  async openSample() {
    this.forgive();
    try {
      this.busy(true);
      await this.engine.stop();
      const size = await this.engine.ask("openSample");
      this.sample = true;
      input("mpp").value = "0.25";
      await this.#opened(size, "sample");
    } catch (e) {
      this.fail(e);
    }
  }

  /** @param {{ width: number, height: number }} size @param {string} name */
  async #opened(size, name) {
    this.imageName = name.replace(/\.[^.]*$/, "") || "image";
    byId("image-facts").textContent = `${name}, ${size.width} × ${size.height} pixels`;
    byId("invite").hidden = true;
    this.results.clear();
    this.results.mpp = this.mpp;
    this.trial.clear();
    this.stage.start(size.width, size.height);
    await this.run();
  }

  // ---- models

  /** Takes over slider and switch; shows what model that is. */
  async chooseModel() {
    this.say("Preparing the model…");
    this.chosen = await this.models.choose(this.ratio, this.hiddenToo);
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
    if (this.threshold === undefined) this.#thresholdShown(facts.threshold);
    this.say("");
    return this.chosen;
  }

  /** Takes a model from outside. @param {() => Promise<any>} add gives its facts @param {string} [link] */
  async bringModel(add, link) {
    this.forgive();
    try {
      const facts = await add();
      this.models.bring(facts);
      this.link = link;
      this.threshold = undefined;
      input("ratio").value = "0";
      input("hidden-too").checked = false;
      byId("own-models").hidden = single();
      this.trial.clear();
      await this.chooseModel();
      await this.openDevice();
      return true;
    } catch (e) {
      this.fail(e);
      // A single file has no other model to offer.
      if (single() && !this.models.own) throw e;
      return false;
    }
  }

  async openDevice() {
    const { facts } = this.chosen ?? (await this.chooseModel());
    const device = await this.engine.open(this.wish.device, facts.id);
    const workers = this.engine.helpers === 1 ? "1 worker" : `${this.engine.helpers} workers`;
    const where = device.gpu ? `${device.name}${device.software ? ": a software adapter, slow" : ""}` : `the processor (${workers})`;
    byId("device").textContent = `Runs on ${where}`;
    byId("device").title = device.notes.join(" ");
    byId("device").dataset.gpu = String(device.gpu);
    if (device.notes.length > 0) this.say(device.notes.join(" "));
  }

  // ---- segmentation

  /** Segments the image with the chosen model, and with the unpruned one if they are compared. */
  async run() {
    if (this.stage.width === 0) return;
    this.forgive();
    try {
      const { facts } = await this.chooseModel();
      this.busy(true);
      this.stage.clear(0);
      this.stage.clear(1);
      byId("time").textContent = "…";
      const done = await this.#fill(0, facts.id);
      const perMpx = done.ms / ((this.stage.width * this.stage.height) / 1e6);
      byId("time").textContent = `${secs(done.ms)} (${secs(perMpx)} a megapixel)`;
      await this.find();
      if (this.comparing) await this.#fillOther();
      this.busy(false);
      if (this.trial.wanted) await this.trial.run();
      this.address();
    } catch (e) {
      this.fail(e);
    }
  }

  async #fillOther() {
    const whole = await this.models.unpruned();
    await this.#fill(1, whole.id);
    await this.engine.call("find", 1, -1);
    this.stage.changed(1);
  }

  /** @param {number} slot @param {number} model */
  async #fill(slot, model) {
    this.#progress = [0, this.stage.width * this.stage.height, performance.now()];
    this.#showProgress();
    const done = await this.engine.fill(slot, model);
    if (done.notes.length > 0) this.say(done.notes.join(" "));
    if (done.lost) await this.openDevice();
    this.stage.changed(slot);
    return done;
  }

  /** @param {import("./engine.js").EngineEvent} event */
  #event(event) {
    if (event.slot > 1) return;
    if (event.restart) {
      this.#progress = [0, this.#progress[1], performance.now()];
      return;
    }
    if (!event.block) return;
    const [, , width, height] = event.block;
    this.#progress[0] += width * height;
    this.stage.changed(event.slot, event.block);
    const root = document.documentElement.dataset;
    root.firstBlock ??= String(Math.round(performance.now()));
    this.#showProgress();
  }

  #showProgress() {
    const [done, whole, begun] = this.#progress;
    const share = Math.min(1, done / whole);
    /** @type {HTMLProgressElement} */ (byId("progress")).value = share;
    const left = share > 0.02 ? ((performance.now() - begun) * (1 - share)) / share : NaN;
    byId("progress-text").textContent = `${Math.round(share * 100)} %${left > 1000 ? `, ${secs(left)} left` : ""}`;
  }

  async cancel() {
    await this.engine.stop();
    this.busy(false);
    this.say("Cancelled. What was finished is shown.");
    if (this.stage.answers[0]) await this.find();
  }

  /** Finds nuclei at the threshold; the last one asked for wins. */
  async find() {
    if (this.#finding) {
      this.later("find", 30, () => void this.find());
      return;
    }
    this.#finding = true;
    try {
      const summary = await this.engine.ask("find", 0, this.threshold ?? -1);
      this.results.summary(summary);
      this.stage.show({ preview: -1, chosen: 0 });
      this.stage.changed(0);
      this.say(`${summary.count.toLocaleString("en")} nuclei.`);
      this.later("table", TABLE_MS, async () => this.results.list(await this.engine.call("table", 0)));
    } catch (e) {
      this.fail(e);
    } finally {
      this.#finding = false;
    }
  }

  // ---- looking

  /** @param {import("./results.js").Nucleus} nucleus */
  goTo(nucleus) {
    this.stage.eye.goTo(nucleus.x, nucleus.y, FIND_SCALE * this.stage.ratio);
    this.choose(nucleus.label);
  }

  /** @param {number} label */
  choose(label) {
    this.stage.show({ chosen: label });
    this.results.choose(label);
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

  /** @param {number} value */
  #thresholdShown(value) {
    input("threshold").value = String(Math.round(value * 100));
    byId("threshold-text").textContent = value.toFixed(2);
  }

  moveThreshold() {
    this.threshold = Number(input("threshold").value) / 100;
    this.#thresholdShown(this.threshold);
    if (!this.stage.answers[0]) return;
    this.stage.show({ preview: this.threshold });
    void this.find();
    this.later("address", ADDRESS_MS, () => this.address());
  }

  layersChanged() {
    const of = (/** @type {string} */ id) => Number(input(id).value) / 100;
    const divider = this.comparing ? of("divider") : -1;
    this.stage.show({ outline: of("outline"), mask: of("mask"), heat: of("heat"), divider });
    this.later("address", ADDRESS_MS, () => this.address());
  }

  /** @param {boolean} on */
  async compare(on) {
    this.comparing = on;
    byId("compare").setAttribute("aria-pressed", String(on));
    byId("divider").hidden = !on;
    byId("sides").hidden = !on;
    byId("left-side").textContent = `${this.ratio} % removed`;
    byId("right-side").textContent = "unpruned";
    this.layersChanged();
    if (!on || this.stage.width === 0 || this.stage.answers[1]) return;
    try {
      this.busy(true);
      await this.#fillOther();
      this.busy(false);
    } catch (e) {
      this.fail(e);
    }
  }

  // ---- the address

  /** What the address says now. @param {string} [link] */
  fragment(link = this.link) {
    const view = this.stage.width > 0 ? [...this.stage.eye.state()] : undefined;
    if (view) view[2] /= this.stage.ratio;
    // A model that came from an address or a file is named by the query, or not at all.
    const ratio = this.link || this.models.own ? (this.ratio === 0 ? undefined : this.ratio) : this.ratio;
    return fragment({
      link,
      sample: this.sample,
      ratio: link && link !== this.link ? undefined : ratio,
      hiddenToo: link && link !== this.link ? false : this.hiddenToo,
      threshold: this.threshold,
      view,
      layers: ["outline", "mask", "heat"].map((id) => Number(input(id).value)),
      divider: this.comparing ? Number(input("divider").value) : undefined,
      mpp: this.mpp,
    });
  }

  address() {
    if (this.stage.width === 0) return;
    const url = new URL(location.href);
    url.hash = this.fragment();
    // A page on the disk may not change its address everywhere.
    try {
      history.replaceState(null, "", url);
    } catch {
      location.hash = url.hash;
    }
  }

  /** Does what the address asks for. */
  async obey() {
    const { wish } = this;
    if (wish.ratio !== undefined) input("ratio").value = String(wish.ratio);
    input("hidden-too").checked = wish.hiddenToo;
    if (wish.mpp !== undefined) input("mpp").value = String(wish.mpp);
    ["outline", "mask", "heat"].forEach((id, i) => {
      if (wish.layers) input(id).value = String(wish.layers[i]);
    });
    const brought = await this.#wishedModel();
    if (brought && wish.ratio !== undefined) input("ratio").value = String(wish.ratio);
    this.threshold = wish.threshold;
    if (wish.threshold !== undefined) this.#thresholdShown(wish.threshold);
    if (wish.divider !== undefined) {
      input("divider").value = String(wish.divider);
      await this.compare(true);
    }
    this.layersChanged();
    if (!brought) {
      await this.chooseModel();
      await this.openDevice();
    }
    await this.#wishedImage();
    if (wish.view && this.stage.width > 0) {
      const [x, y, scale] = wish.view;
      this.stage.eye.setState(x, y, scale * this.stage.ratio);
      this.stage.invalidate();
    }
    if (wish.refused.length > 0) this.say(`In the link, ${wish.refused.join(", ")} made no sense and is left out.`);
  }

  async #wishedModel() {
    const { wish } = this;
    if (wish.link) return this.bringModel(() => this.engine.ask("addLink", wish.link), wish.link);
    if (single()) {
      const response = await file("models/model.safetensors");
      return this.bringModel(async () => this.engine.ask("addModel", new Uint8Array(await response.arrayBuffer())));
    }
    if (!wish.modelUrl) return false;
    const address = wish.modelUrl;
    return this.bringModel(async () => {
      const got = await load(address, "model");
      if (wish.sha256 && sha256(got) !== wish.sha256) throw new Error("The model is not the one that the link means: its SHA-256 differs. It was not used.");
      return this.engine.ask("addModel", got);
    });
  }

  async #wishedImage() {
    const { wish } = this;
    try {
      if (wish.imageUrl) {
        const name = nameOf(new URL(wish.imageUrl, location.href).href);
        const got = await load(wish.imageUrl, "image", (share) => this.say(`Loading the image: ${Math.round(share * 100)} %`));
        await this.openBlob(new Blob([/** @type {BlobPart} */ (got)]), name);
      } else if (wish.sample) {
        await this.openSample();
      }
    } catch (e) {
      this.fail(e);
    }
  }
}

/** @param {number} n */
export const bytes = (n) => (n < 1e6 ? `${(n / 1000).toFixed(n < 1e5 ? 1 : 0)} KB` : `${(n / 1e6).toFixed(1)} MB`);
/** @param {number} ms */
export const secs = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : ms < 60e3 ? `${(ms / 1000).toFixed(1)} s` : `${Math.floor(ms / 60e3)} min ${Math.round((ms % 60e3) / 1000)} s`);

/** @typedef {Page} PageType */

async function begin() {
  document.documentElement.dataset.state = "loading";
  const module = await Engine.module();
  const engine = Engine.start(module, read(new URL(location.href)).workers);
  await initWasm({ module_or_path: module });
  byId("version").textContent = version();
  const page = new Page(engine);
  // For the console, and for tests.
  Object.assign(globalThis, { prunella: page });
  if (page.wish.device !== "cpu") await page.stage.attach();
  byId("painter").textContent = `Drawn by ${page.stage.painter}`;
  byId("painter").dataset.gpu = String(page.stage.eye.painted);
  wire(page, handle);
  await page.obey();
  if (document.documentElement.dataset.state === "loading") page.busy(false);
  if (!single() && "serviceWorker" in navigator && location.protocol.startsWith("http")) {
    navigator.serviceWorker.register("./sw.js").catch(() => {});
  }
}

begin().catch((e) => {
  const old = typeof WebAssembly !== "object" || typeof ResizeObserver !== "function";
  byId("alert").textContent = old ? "This browser is too old for the page; any of the last three years will do." : `The page could not start: ${e.message ?? e}`;
  byId("alert").hidden = false;
  document.documentElement.dataset.state = "failed";
});

