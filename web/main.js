// The page: what the person does, what the engine answers, and the address that says both.
import initWasm, { sha256, version } from "./prunella.js";
import { file, single } from "./assets.js";
import { Engine } from "./engine.js";
import { handle } from "./hands.js";
import { Models } from "./models.js";
import { Results } from "./results.js";
import { MAX_IMAGE_BYTES, fragment, load, nameOf, read } from "./share.js";
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
  /** Whether the image and the model came from the address's query. */
  #linked = { image: false, model: false };
  /** Whether the pixel size is the sample's own. */
  #samplesMpp = false;
  comparing = false;
  /** @type {number | undefined} Threshold that was chosen; the model's own otherwise. */
  threshold;
  /** @type {string | undefined} The model as the address carries it. */
  link;
  /** @type {import("./models.js").Chosen | undefined} */
  chosen;
  /** Whether the image is being segmented. */
  segmenting = false;
  /** Whether only a part of the image was segmented. */
  #partial = false;
  /** @type {number[]} Finished and whole area of what runs, and when it began. */
  #progress = [0, 1, 0];
  #timers = new Map();
  #finding = false;
  /** The newest work of each kind; older ones give up. */
  #turns = { main: 0, trial: 0, share: 0 };
  /** @type {Promise<unknown>} All work, one after the other. */
  #chain = Promise.resolve();
  /** The fragment that this page wrote last. */
  #written = location.hash;

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
      this.addressSoon();
    };
    // Another link was put into the address of this tab.
    addEventListener("hashchange", () => {
      if (location.hash !== this.#written) location.reload();
    });
  }

  /** Runs `work` after a pause, once. @param {string} what @param {number} ms @param {() => void} work */
  later(what, ms, work) {
    clearTimeout(this.#timers.get(what));
    this.#timers.set(what, setTimeout(work, ms));
  }

  // ---- one thing at a time

  /**
   * The person's wish: ends what runs, waits for its end, then works. `check` throws once another wish has come.
   * @param {(check: () => void) => Promise<void>} work
   */
  async main(work) {
    const turn = (this.#turns.main += 1);
    this.busy(true);
    void this.engine.stop();
    try {
      await this.#queue(() => turn === this.#turns.main, work);
    } catch (e) {
      this.fail(e);
    } finally {
      if (turn === this.#turns.main) this.busy(false);
    }
  }

  /**
   * Work that can wait: begins when nothing else runs, and gives up when a wish or newer work of its kind comes. Gives false
   * if it gave up.
   * @param {"trial" | "share"} kind
   * @param {(check: () => void) => Promise<void>} work
   */
  async side(kind, work) {
    const [turn, main] = [(this.#turns[kind] += 1), this.#turns.main];
    try {
      await this.#queue(() => turn === this.#turns[kind] && main === this.#turns.main, work);
    } catch (e) {
      if (/** @type {Error} */ (e).name === "AbortError") return false;
      this.fail(e);
    }
    return true;
  }

  /** @param {() => boolean} live @param {(check: () => void) => Promise<void>} work */
  #queue(live, work) {
    const check = () => {
      if (!live()) throw Object.assign(new Error("Cancelled."), { name: "AbortError" });
    };
    const run = this.#chain.then(() => {
      check();
      return work(check);
    });
    this.#chain = run.catch(() => {});
    return run;
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

  // ---- images

  /** @param {Blob} blob @param {string} name @param {boolean} [linked] the address says where it is */
  openBlob(blob, name, linked = false) {
    this.forgive();
    return this.main(async (check) => {
      this.say("Reading the image…");
      try {
        if (blob.size > MAX_IMAGE_BYTES) throw new Error(`The image is larger than ${MAX_IMAGE_BYTES / 1e6} MB, the most this page takes.`);
        const content = new Uint8Array(await blob.arrayBuffer());
        check();
        const size = await this.engine.ask("openImage", content);
        this.sample = false;
        this.#linked.image = linked;
        if (this.#samplesMpp) input("mpp").value = "";
        this.#samplesMpp = false;
        this.#opened(size, name);
      } finally {
        this.say("");
      }
      await this.#segment(check);
    });
  }

  openSample() {
    this.forgive();
    return this.main(async (check) => {
      const size = await this.engine.ask("openSample");
      this.sample = true;
      this.#linked.image = false;
      if (this.mpp === 0) {
        input("mpp").value = "0.25";
        this.#samplesMpp = true;
      }
      this.#opened(size, "sample");
      await this.#segment(check);
    });
  }

  /** @param {{ width: number, height: number }} size @param {string} name */
  #opened(size, name) {
    this.imageName = name.replace(/\.[^.]*$/, "") || "image";
    byId("image-facts").textContent = `${name}, ${size.width} × ${size.height} pixels`;
    byId("invite").hidden = true;
    this.results.clear();
    this.results.mpp = this.mpp;
    this.trial.clear();
    this.stage.start(size.width, size.height);
    if (this.wish.view) {
      const [x, y, scale] = this.wish.view;
      this.stage.eye.setState(x, y, scale * this.stage.ratio);
      this.wish.view = undefined;
    }
  }

  // ---- models

  /** Takes over slider and switch and shows what model that is. On failure they go back. @param {() => void} check */
  async chooseModel(check) {
    this.say("Preparing the model…");
    try {
      const chosen = await this.models.choose(this.ratio, this.hiddenToo);
      check();
      this.chosen = chosen;
      this.at = { ratio: this.ratio, hiddenToo: this.hiddenToo };
    } catch (e) {
      if (/** @type {Error} */ (e).name !== "AbortError") {
        input("ratio").value = String(this.at.ratio);
        input("hidden-too").checked = this.at.hiddenToo;
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
    this.addressSoon();
    return this.chosen;
  }

  at = { ratio: 50, hiddenToo: false };

  /** Takes a model from outside, and segments the open image with it. @param {() => Promise<any>} add gives its facts @param {{ link?: string, linked?: boolean, ratio?: number, hiddenToo?: boolean }} [from] */
  async bringModel(add, { link, linked = false, ratio = 0, hiddenToo = false } = {}) {
    this.forgive();
    let done = false;
    await this.main(async (check) => {
      const facts = await add();
      this.models.bring(facts);
      this.link = link;
      this.#linked.model = linked;
      this.threshold = undefined;
      input("ratio").value = String(ratio);
      input("hidden-too").checked = hiddenToo;
      byId("own-models").hidden = single();
      this.trial.clear();
      await this.chooseModel(check);
      await this.openDevice();
      done = true;
      await this.#segment(check);
    });
    return done;
  }

  /** Back to the models that ship. */
  backToOwn() {
    this.models.back();
    this.link = undefined;
    this.#linked.model = false;
    this.threshold = undefined;
    input("ratio").value = "50";
    byId("own-models").hidden = true;
    this.trial.clear();
    return this.run();
  }

  async openDevice() {
    if (!this.chosen) return;
    const device = await this.engine.open(this.wish.device, this.chosen.facts.id);
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
    return this.main(async (check) => {
      await this.chooseModel(check);
      await this.#segment(check);
    });
  }

  /** Segments with the chosen model, and with the unpruned one if they are compared. @param {() => void} check */
  async #segment(check) {
    if (this.stage.width === 0) return;
    const { facts } = this.chosen ?? (await this.chooseModel(check));
    this.segmenting = true;
    this.#partial = true;
    try {
      this.stage.clear(0);
      this.stage.clear(1);
      byId("time").textContent = "…";
      const done = await this.#fill(0, facts.id);
      check();
      const perMpx = done.ms / ((this.stage.width * this.stage.height) / 1e6);
      byId("time").textContent = `${secs(done.ms)} (${secs(perMpx)} a megapixel)`;
      this.#partial = false;
      await this.find();
      check();
      if (this.comparing) await this.#fillOther(check);
    } finally {
      this.segmenting = false;
    }
    this.addressSoon();
    if (this.trial.wanted) void this.side("trial", (still) => this.trial.run(still));
  }

  /** @param {() => void} check */
  async #fillOther(check) {
    try {
      const whole = await this.models.unpruned();
      check();
      await this.#fill(1, whole.id);
      await this.engine.call("find", 1, this.threshold ?? -1);
      this.stage.changed(1);
    } catch (e) {
      this.stage.clear(1);
      throw e;
    }
  }

  /** @param {number} slot @param {number} model */
  async #fill(slot, model) {
    this.#progress = [0, this.stage.width * this.stage.height, performance.now()];
    this.#showProgress();
    const done = await this.engine.fill(slot, model);
    if (done.notes.length > 0) this.say(done.notes.join(" "));
    if (done.lost) await this.openDevice();
    document.documentElement.dataset.lost = String(done.lost);
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

  /** Ends what runs; what was finished is shown, and said to be a part. */
  cancel() {
    return this.main(async () => {
      if (this.stage.answers[0]) await this.find();
      else this.say("Cancelled.");
    });
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
      this.results.choose(0);
      this.stage.show({ preview: -1, chosen: 0 });
      this.stage.changed(0);
      const count = `${summary.count.toLocaleString("en")} nuclei`;
      this.say(this.#partial ? `Cancelled: ${count} in the part that was finished; files hold that part alone.` : `${count}.`);
      if (this.stage.answers[1] && !this.segmenting) {
        await this.engine.call("find", 1, this.threshold ?? -1);
        this.stage.changed(1);
      }
      this.later("table", TABLE_MS, async () => {
        // Blocks that came meanwhile make the list an old one; the next search makes it anew.
        const rows = await this.engine.call("table", 0).catch(() => undefined);
        if (rows) this.results.list(rows);
      });
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

  /** @param {number} value */
  #thresholdShown(value) {
    input("threshold").value = String(Math.round(value * 100));
    byId("threshold-text").textContent = value.toFixed(2);
  }

  moveThreshold() {
    this.threshold = Number(input("threshold").value) / 100;
    this.#thresholdShown(this.threshold);
    this.addressSoon();
    // What is being segmented is searched when it is whole.
    if (!this.stage.answers[0] || this.segmenting) return;
    this.stage.show({ preview: this.threshold });
    void this.find();
  }

  layersChanged() {
    const of = (/** @type {string} */ id) => Number(input(id).value) / 100;
    const divider = this.comparing ? of("divider") : -1;
    this.stage.show({ outline: of("outline"), mask: of("mask"), heat: of("heat"), divider });
    this.addressSoon();
  }

  /** @param {boolean} on */
  async compare(on) {
    this.comparing = on;
    byId("compare").setAttribute("aria-pressed", String(on));
    byId("divider").hidden = !on;
    byId("sides").hidden = !on;
    this.layersChanged();
    // A segmentation that runs does this at its end.
    if (!on || this.stage.width === 0 || this.stage.answers[1] || this.segmenting) return;
    await this.main((check) => this.#fillOther(check));
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

  /** Writes the address when nothing has moved for a moment. */
  addressSoon() {
    if (document.documentElement.dataset.state !== "loading") this.later("address", ADDRESS_MS, () => this.address());
  }

  address() {
    const url = new URL(location.href);
    url.hash = this.fragment();
    if (!this.#linked.image) url.searchParams.delete("image_url");
    if (!this.#linked.model) {
      url.searchParams.delete("model");
      url.searchParams.delete("sha256");
    }
    this.#written = url.hash;
    try {
      history.replaceState(null, "", url);
    } catch {
      // A page on the disk may change its fragment alone.
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
    if (wish.divider !== undefined) {
      input("divider").value = String(wish.divider);
      await this.compare(true);
    }
    this.layersChanged();
    let brought = await this.#wishedModel();
    if (!brought && single()) brought = await this.#ownModel();
    this.threshold = wish.threshold;
    if (wish.threshold !== undefined) this.#thresholdShown(wish.threshold);
    if (!brought) {
      await this.main(async (check) => {
        await this.chooseModel(check);
        await this.openDevice();
      });
    }
    await this.#wishedImage();
    if (wish.refused.length > 0) this.say(`In the link, ${wish.refused.join(", ")} made no sense and is left out.`);
  }

  /** The model of a single file. */
  async #ownModel() {
    const response = await file("models/model.safetensors");
    const { ratio = 0, hiddenToo } = this.wish;
    return this.bringModel(async () => this.engine.ask("addModel", new Uint8Array(await response.arrayBuffer())), { ratio, hiddenToo });
  }

  async #wishedModel() {
    const { link, modelUrl, sha256: wanted, ratio = 0, hiddenToo } = this.wish;
    if (link) return this.bringModel(() => this.engine.ask("addLink", link), { link, ratio, hiddenToo });
    if (!modelUrl || single()) return false;
    const add = async () => {
      const got = await load(modelUrl, "model");
      if (wanted && sha256(got) !== wanted) throw new Error("The model is not the one that the link means: its SHA-256 differs. It was not used.");
      return this.engine.ask("addModel", got);
    };
    return this.bringModel(add, { linked: true, ratio, hiddenToo });
  }

  async #wishedImage() {
    const { wish } = this;
    try {
      if (wish.imageUrl) {
        const got = await load(wish.imageUrl, "image", (share) => this.say(`Loading the image: ${Math.round(share * 100)} %`));
        await this.openBlob(new Blob([/** @type {BlobPart} */ (got)]), nameOf(wish.imageUrl), true);
      } else if (wish.sample) {
        await this.openSample();
      }
    } catch (e) {
      this.say("");
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
  engine.onfatal = (error) => {
    page.fail(error);
    page.busy(false);
    document.documentElement.dataset.state = "failed";
  };
  const page = new Page(engine);
  // For the console, and for tests.
  Object.assign(globalThis, { prunella: page });
  if (page.wish.device !== "cpu") await page.stage.attach();
  byId("painter").textContent = `Drawn by ${page.stage.painter}`;
  byId("painter").dataset.gpu = String(page.stage.eye.painted);
  wire(page, handle);
  await page.obey();
  document.documentElement.dataset.state = "idle";
  page.busy(false);
  // An address of `prunella serve` belongs to another program tomorrow.
  if (!single() && !page.wish.folder && "serviceWorker" in navigator && location.protocol.startsWith("http")) {
    navigator.serviceWorker.register("./sw.js").catch(() => {});
  }
}

begin().catch((e) => {
  const old = typeof WebAssembly !== "object" || typeof ResizeObserver !== "function";
  byId("alert").textContent = old ? "This browser is too old for the page; any of the last three years will do." : `The page could not start: ${e.message ?? e}`;
  byId("alert").hidden = false;
  document.documentElement.dataset.state = "failed";
});

