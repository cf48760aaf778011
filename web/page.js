// The page's state, and the actions that change it.
import { Address } from "./address.js";
import { isStandalone } from "./assets.js";
import { CanvasView } from "./canvas-view.js";
import { elements } from "./elements.js";
import { messageOf } from "./error-message.js";
import { FileList } from "./file-list.js";
import { formatBytes, formatCount } from "./format.js";
import { ImageSegmentation } from "./image-segmentation.js";
import { ManyFiles } from "./many-files.js";
import { Models } from "./models.js";
import { Opener } from "./opener.js";
import { Persistence } from "./persistence.js";
import { Preview } from "./preview.js";
import { Results } from "./results.js";
import { showScaleBar } from "./scale-bar.js";
import { ShareDialog } from "./share-dialog.js";
import { SlideSegmentation } from "./slide-segmentation.js";
import { COMPARISON, MAIN } from "./slots.js";
import { Store } from "./store.js";
import { TaskQueue } from "./task-queue.js";

/** @import { Engine } from "./engine.js" */
/** @import { Model } from "./models.js" */
/** @import { Nucleus } from "./results.js" */
/** @import { ModelFacts, PageState, WorkerEvent } from "./worker-api.d.ts" */

/** Smallest scale at which a nucleus of the table is shown, CSS pixels for one of the image. */
const NUCLEUS_SCALE = 4;
/** Pause after the last change of the threshold before a slide is segmented again, milliseconds. */
const SLIDE_THRESHOLD_DELAY_MS = 400;
const DEFAULT_RATIO = 50;
/** Threshold that is shown before a model is known. */
const DEFAULT_THRESHOLD = 0.5;
/** Pause after the last movement of the view before the state has it, milliseconds. */
const VIEW_DELAY_MS = 300;
/** Relative difference below which two pixel sizes are taken as equal, as in the engine. */
const SAME_SCALE = 0.05;

/** A pixel size for the field, empty for 0. @param {number} mpp µm */
function mppText(mpp) {
  return mpp > 0 ? String(Number(mpp.toPrecision(6))) : "";
}

/**
 * @typedef {object} ModelOrigin Where a loaded model comes from, and how it is pruned.
 * @property {string} [modelLink] the model as the address carries it
 * @property {boolean} [fromUrl] whether the address's query names it
 * @property {number} [ratio] filters to remove, per cent
 * @property {boolean} [pruneHidden] whether units of the hidden layer are removed too
 */

export class Page {
  /** Whether the unpruned model's result is shown right of the divider. */
  comparing = false;
  /** Whether an image or a slide is being segmented. */
  isSegmenting = false;
  /** Whether an image is being opened, whose settings come back. */
  isOpening = false;
  /** @type {Model | undefined} The selected model. */
  model;
  /** Settings of the selected model. */
  #modelSettings = { ratio: DEFAULT_RATIO, pruneHidden: false };
  /** Pixel size that the open file states, µm; 0 if it does not. */
  fileMpp = 0;
  /** @type {Map<string, ReturnType<typeof setTimeout>>} */
  #timers = new Map();

  /** @param {Engine} engine */
  constructor(engine) {
    this.engine = engine;
    this.store = new Store();
    this.models = new Models(engine);
    this.canvasView = new CanvasView(elements.canvas, engine);
    this.results = new Results((nucleus) => this.#showNucleus(nucleus));
    this.preview = new Preview(this);
    this.shareDialog = new ShareDialog(this);
    this.address = new Address(this);
    this.tasks = new TaskQueue({
      setBusy: (busy) => this.setBusy(busy),
      cancelRunning: () => void engine.cancel(),
      showError: (error) => this.showError(error),
    });
    this.imageSegmentation = new ImageSegmentation(this);
    this.slideSegmentation = new SlideSegmentation(this);
    this.opener = new Opener(this);
    this.files = new FileList(this);
    this.manyFiles = new ManyFiles(this);
    this.persistence = new Persistence(this);
    this.results.onchange = () => {
      this.persistence.resultsChanged(this.isSegmenting ? "partial" : "finished");
    };
    this.store.subscribe((state, before) => this.#followState(state, before));
    engine.onevent = (event) => this.#handleEvent(event);
    this.canvasView.onerror = (error) => this.showError(error);
    this.canvasView.onframe = () => this.#viewDrawn();
  }

  /**
   * Runs `work` after a pause. A later call with the same name replaces this one.
   * @param {string} name
   * @param {number} ms pause, milliseconds
   * @param {() => void} work
   */
  debounce(name, ms, work) {
    clearTimeout(this.#timers.get(name));
    this.#timers.set(name, setTimeout(work, ms));
  }

  // ---- Messages

  /** @param {string} text */
  showStatus(text) {
    elements.status.textContent = text;
  }

  /** Shows an error, unless it is a cancellation. @param {unknown} error */
  showError(error) {
    if (error instanceof Error && error.name === "AbortError") return;
    elements.alert.textContent = messageOf(error);
    elements.alert.hidden = false;
  }

  clearError() {
    elements.alert.hidden = true;
  }

  /** @param {boolean} busy */
  setBusy(busy) {
    const { dataset } = document.documentElement;
    if (dataset.state !== "loading") dataset.state = busy ? "busy" : "idle";
    const hadFocus = document.activeElement === elements.cancel;
    elements.progressRow.hidden = !busy;
    // Hiding the button with the focus would lose it.
    if (hadFocus && !busy) this.canvasView.canvas.focus();
  }

  // ---- Settings

  /** Filters to remove, per cent. */
  get ratio() {
    return Number(elements.ratio.value);
  }

  /** Whether units of the hidden layer are removed too. */
  get pruneHidden() {
    return elements.pruneHidden.checked;
  }

  /** Pixel size, µm; 0 if unknown. */
  get mpp() {
    return this.store.state.pixelSize.um ?? 0;
  }

  /** Where the pixel size comes from. @returns {"file" | "entered" | "unknown"} */
  get mppSource() {
    const { source } = this.store.state.pixelSize;
    return source === "person" ? "entered" : source;
  }

  /** Threshold that was set; undefined for the model's own. */
  get threshold() {
    return this.store.state.threshold ?? undefined;
  }

  /** Shows the pixel size and where it comes from. */
  #showMpp() {
    elements.mpp.value = mppText(this.mpp);
    const { mppSource } = this;
    const modelMpp = this.model?.facts.mpp ?? 0;
    let source = "";
    if (mppSource === "file") source = "stated by the file";
    else if (mppSource === "entered") source = "entered by you";
    else if (modelMpp > 0 && !this.isSlide) source = `taken to be the model's, ${modelMpp} µm`;
    elements.mppSource.textContent = this.canvasView.width === 0 ? "" : source;
  }

  /** Pixels of the image to one of the model's, in each direction. @param {number} mpp */
  #scaleAt(mpp) {
    const scale = mpp > 0 ? (this.model?.facts.mpp ?? mpp) / mpp : 1;
    return Math.abs(scale - 1) < SAME_SCALE ? 1 : scale;
  }

  /** Uses the pixel size of the field; an empty field gives back that of the file. */
  mppChanged() {
    const { value } = elements.mpp;
    // The field shows a rounded number.
    const isOfFile = value === "" || value === mppText(this.fileMpp);
    const um = isOfFile ? this.fileMpp : Number(value);
    const source = isOfFile ? (um > 0 ? "file" : "unknown") : "person";
    try {
      this.store.apply({ "pixel-size": { um: um > 0 || !isOfFile ? um : null, source } });
    } catch (error) {
      this.showError(error);
    }
    this.#showMpp();
  }

  // ---- State

  /**
   * Controls and results follow the state, whoever changed it.
   * @param {PageState} state
   * @param {PageState} before
   */
  #followState(state, before) {
    this.address.scheduleWrite();
    if (state.threshold !== before.threshold) {
      this.#showThreshold(state.threshold ?? this.model?.facts.threshold ?? DEFAULT_THRESHOLD);
    }
    const isOtherSize = state.pixelSize.um !== before.pixelSize.um;
    if (isOtherSize || state.pixelSize.source !== before.pixelSize.source) {
      this.results.mpp = this.mpp;
      this.results.refresh();
      this.#showMpp();
      this.canvasView.requestFrame();
    }
    const { ratio, pruneHidden } = state.model;
    const isOtherModel = ratio !== before.model.ratio || pruneHidden !== before.model.pruneHidden;
    const showsModel = ratio === this.ratio && pruneHidden === this.pruneHidden;
    if (isOtherModel && !showsModel) {
      elements.ratio.value = String(ratio);
      elements.pruneHidden.checked = pruneHidden;
      elements.ratioText.textContent = `${this.ratio} %`;
    }
    // What opens an image segments it, too.
    if (this.isOpening || this.canvasView.width === 0) return;
    // At another pixel size the model reads other pixels, so its result changes.
    const isOtherScale =
      isOtherSize &&
      (this.isSlide || this.#scaleAt(this.mpp) !== this.#scaleAt(before.pixelSize.um ?? 0));
    if (isOtherScale || (isOtherModel && !showsModel)) void this.segmentWithSettings();
  }

  /**
   * Shows what was kept of an image that was opened: settings, view and results.
   * @param {Uint8Array[]} results by slot
   * @param {() => void} check
   * @returns {Promise<boolean>} whether there are results, so that nothing needs to be segmented
   */
  async showKept(results, check) {
    const { model, view } = this.store.state;
    if (model.loaded === (this.models.loaded?.fingerprint ?? null)) {
      elements.ratio.value = String(model.ratio);
      elements.pruneHidden.checked = model.pruneHidden;
    }
    await this.selectModel(check);
    if (view) this.canvasView.setCssView(view);
    return this.persistence.loadResults(results);
  }

  // ---- Models

  /**
   * Selects the model of slider and switch and shows its facts. After an error these are set back.
   * @param {() => void} check
   */
  async selectModel(check) {
    this.showStatus("Preparing the model…");
    try {
      const model = await this.models.version(this.ratio, this.pruneHidden);
      check();
      this.model = model;
      this.#modelSettings = { ratio: this.ratio, pruneHidden: this.pruneHidden };
    } catch (error) {
      const isCancelled = error instanceof Error && error.name === "AbortError";
      if (!isCancelled) this.#restoreModelSettings();
      throw error;
    } finally {
      this.showStatus("");
    }
    const loaded = this.models.loaded?.fingerprint ?? null;
    this.store.apply({ model: { ratio: this.ratio, pruneHidden: this.pruneHidden, loaded } });
    this.#showModel(this.model);
    this.address.scheduleWrite();
    return this.model;
  }

  #restoreModelSettings() {
    elements.ratio.value = String(this.#modelSettings.ratio);
    elements.pruneHidden.checked = this.#modelSettings.pruneHidden;
    elements.ratioText.textContent = `${this.ratio} %`;
  }

  /** @param {Model} model */
  #showModel({ facts, kind }) {
    elements.ratioText.textContent = `${this.ratio} %`;
    elements.modelKind.textContent = this.#describeModel(kind);
    elements.parameters.textContent = formatCount(facts.parameters);
    elements.bytes.textContent = formatBytes(facts.bytes);
    elements.licence.textContent = facts.licence ?? "licence not stated";
    elements.leftLabel.textContent = `${this.ratio} % removed`;
    elements.rightLabel.textContent = this.models.loaded ? "as loaded" : "unpruned";
    this.#showMpp();
    if (this.threshold === undefined) this.#showThreshold(facts.threshold);
  }

  /** @param {Model["kind"]} kind */
  #describeModel(kind) {
    switch (kind) {
      case "shipped":
        return this.ratio === 0 ? "The unpruned network." : "Fine-tuned after pruning.";
      case "pruned":
        return "Pruned here, without fine-tuning: expect lower accuracy.";
      case "loaded":
        return "The loaded model, unchanged.";
    }
  }

  /**
   * Uses a model from outside, and segments the open image with it.
   * @param {() => Promise<ModelFacts>} load
   * @param {ModelOrigin} [origin]
   * @returns {Promise<boolean>} whether the model could be used
   */
  async loadModel(load, { modelLink, fromUrl = false, ratio = 0, pruneHidden = false } = {}) {
    this.clearError();
    let isLoaded = false;
    await this.tasks.runUserTask(async (check) => {
      this.models.useLoaded(await load());
      this.#modelReplaced(ratio, pruneHidden);
      this.address.modelLink = modelLink;
      this.address.hasModelUrl = fromUrl;
      elements.shippedModels.hidden = isStandalone();
      await this.selectModel(check);
      await this.openDevice();
      isLoaded = true;
      await this.segment(check);
    });
    return isLoaded;
  }

  /** Uses the models that ship again. */
  useShippedModels() {
    this.models.useShipped();
    this.#modelReplaced(DEFAULT_RATIO, false);
    this.address.modelLink = undefined;
    this.address.hasModelUrl = false;
    elements.shippedModels.hidden = true;
    return this.segmentWithSettings();
  }

  /** @param {number} ratio @param {boolean} pruneHidden */
  #modelReplaced(ratio, pruneHidden) {
    this.setThreshold(undefined);
    elements.ratio.value = String(ratio);
    elements.pruneHidden.checked = pruneHidden;
    this.preview.clear();
  }

  /** Opens the device that the address states, tested with the selected model. */
  async openDevice() {
    if (!this.model) return;
    const device = await this.engine.openDevice(this.address.urlState.device, this.model.facts.id);
    const count = this.engine.blockWorkers;
    const cpu = `the CPU (${count === 1 ? "1 worker" : `${count} workers`})`;
    const gpu = device.software ? `${device.name}: a software adapter, slow` : device.name;
    elements.device.textContent = `Runs on ${device.gpu ? gpu : cpu}`;
    elements.device.title = device.notes.join(" ");
    elements.device.dataset.gpu = String(device.gpu);
    if (device.notes.length > 0) this.showStatus(device.notes.join(" "));
  }

  // ---- Segmentation

  /** Whether a slide is open, not an image. */
  get isSlide() {
    return this.slideSegmentation.slide !== undefined;
  }

  /** Selects the model of slider and switch and segments what is open. */
  segmentWithSettings() {
    this.clearError();
    return this.tasks.runUserTask(async (check) => {
      await this.selectModel(check);
      await this.segment(check);
    });
  }

  /** Segments what is open; a slide only if its view is small. @param {() => void} check */
  async segment(check) {
    if (this.canvasView.width === 0) return;
    if (this.isSlide) await this.slideSegmentation.segmentSmallView(check);
    else await this.imageSegmentation.segment(check);
  }

  /** @param {"view" | "slide"} extent */
  segmentSlide(extent) {
    this.clearError();
    return this.tasks.runUserTask(async (check) => {
      await this.selectModel(check);
      await this.slideSegmentation.segment(extent, check);
    });
  }

  /** Cancels the segmentation that runs and shows what is finished. */
  cancel() {
    return this.tasks.runUserTask(async () => {
      if (this.isSlide) await this.slideSegmentation.cancelled();
      else await this.imageSegmentation.cancelled();
    });
  }

  /** @param {WorkerEvent} event */
  #handleEvent(event) {
    switch (event.type) {
      case "slide-progress":
        this.slideSegmentation.showProgress(event.progress);
        break;
      case "block":
        if (event.slot <= COMPARISON) this.imageSegmentation.blockFinished(event.slot, event.block);
        break;
      case "restart":
        if (event.slot <= COMPARISON) this.imageSegmentation.restarted();
        break;
    }
  }

  // ---- View

  #viewDrawn() {
    const { viewport, pixelRatio } = this.canvasView;
    showScaleBar(this.mpp, viewport.scale() / pixelRatio);
    this.address.scheduleWrite();
    this.debounce("view", VIEW_DELAY_MS, () => this.#noteView());
  }

  #noteView() {
    const view = this.canvasView.cssView();
    if (!view || !this.store.state.document) return;
    const [x, y, scale] = view;
    const before = this.store.state.view;
    if (before?.[0] === x && before[1] === y && before[2] === scale) return;
    this.store.apply({ view: [x, y, scale] });
  }

  /** Moves the view to a nucleus. @param {Nucleus} nucleus */
  #showNucleus({ x, y, label }) {
    const { viewport, pixelRatio } = this.canvasView;
    viewport.goTo(x, y, NUCLEUS_SCALE * pixelRatio);
    this.selectNucleus(label);
  }

  /** @param {number} label 0 for none */
  selectNucleus(label) {
    this.canvasView.setLayers({ selected: label });
    const description = this.results.select(label);
    if (description) this.showStatus(description);
  }

  /** @param {number | undefined} value undefined for the model's own */
  setThreshold(value) {
    const threshold = value ?? null;
    if (threshold !== this.store.state.threshold) this.store.apply({ threshold });
  }

  /** @param {number} value */
  #showThreshold(value) {
    elements.threshold.value = String(Math.round(value * 100));
    elements.thresholdText.textContent = value.toFixed(2);
  }

  /** Uses the threshold of the slider. */
  thresholdMoved() {
    this.setThreshold(Number(elements.threshold.value) / 100);
    this.address.scheduleWrite();
    if (this.isSlide) {
      // Probabilities of a slide are not kept: the view is segmented again.
      this.debounce("threshold", SLIDE_THRESHOLD_DELAY_MS, () => void this.segmentWithSettings());
      return;
    }
    // A segmentation that runs uses the threshold at its end.
    if (!this.canvasView.hasResult[MAIN] || this.isSegmenting) return;
    this.canvasView.setLayers({ preview: this.threshold });
    void this.imageSegmentation.findNuclei();
  }

  /** Uses the strengths of the layers and the divider of the sliders. */
  updateLayers() {
    this.canvasView.setLayers({
      outline: Number(elements.outline.value) / 100,
      mask: Number(elements.mask.value) / 100,
      heat: Number(elements.heat.value) / 100,
      divider: this.comparing ? Number(elements.divider.value) / 100 : -1,
    });
    this.address.scheduleWrite();
  }

  /** Shows the unpruned model's result too, or no longer. @param {boolean} comparing */
  async setComparing(comparing) {
    this.comparing = comparing;
    elements.compare.setAttribute("aria-pressed", String(comparing));
    elements.divider.hidden = !comparing;
    elements.sideLabels.hidden = !comparing;
    this.updateLayers();
    // A segmentation that runs segments the comparison at its end.
    if (!comparing || this.canvasView.width === 0 || this.isSegmenting) return;
    if (this.isSlide) {
      await this.tasks.runUserTask((check) => this.slideSegmentation.segmentComparison(check));
    } else if (!this.canvasView.hasResult[COMPARISON]) {
      await this.tasks.runUserTask((check) => this.imageSegmentation.segmentComparison(check));
    }
  }
}
