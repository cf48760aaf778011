// The page's state, and the actions that change it.
import { Address } from "./address.js";
import { isStandalone } from "./assets.js";
import { CanvasView } from "./canvas-view.js";
import { Compare } from "./compare.js";
import { Continuing } from "./continuing.js";
import { elements } from "./elements.js";
import { FileList } from "./file-list.js";
import { formatBytes, formatCount } from "./format.js";
import { ImageSegmentation } from "./image-segmentation.js";
import { Look } from "./look.js";
import { ManyFiles } from "./many-files.js";
import { alertNumber, closeAlert, showAlert, showStatus } from "./messages.js";
import {
  controlledModel,
  describeShipped,
  licenceText,
  setModelControls,
  showModelStop,
} from "./model-stops.js";
import { Models } from "./models.js";
import { Opener } from "./opener.js";
import { OutlineCanvas } from "./outline-canvas.js";
import { OverviewMap } from "./overview-map.js";
import { EraseTool, PaintTool } from "./paint-tool.js";
import { Persistence } from "./persistence.js";
import { paletteOf } from "./palettes.js";
import { Preview } from "./preview.js";
import { Regions } from "./regions.js";
import { describeLoaded, hideReceived } from "./received.js";
import { Results } from "./results.js";
import { Ruler } from "./ruler.js";
import { showScaleBar } from "./scale-bar.js";
import { ShareDialog } from "./share-dialog.js";
import { DEFAULT_MODEL, shippedModel } from "./shipped-models.js";
import { SlideSegmentation } from "./slide-segmentation.js";
import { Store } from "./store.js";
import { StrokeLayer } from "./stroke-layer.js";
import { COMPARISON, MAIN } from "./slots.js";
import { showStainFacts } from "./stain-switch.js";
import { TaskQueue } from "./task-queue.js";
import { Teaching } from "./teaching.js";
import { Editing } from "./editing.js";
import { ObjectCard } from "./object-card.js";
import { ReviewQueue } from "./review-queue.js";
import { ReviewSync } from "./review-sync.js";
import { Tools } from "./tools.js";
import { Versions } from "./versions.js";

/** @import { Engine } from "./engine.js" */
/** @import { Model } from "./models.js" */
/** @import { Nucleus } from "./results.js" */
/**
 * @import { DocumentFacts, ModelFacts, ModelSetting, PageState, PixelSizeSetting, ReviewCommand,
 *   WorkerEvent } from "./worker-api.d.ts"
 */

/** Smallest scale at which a nucleus of the table is shown, CSS pixels for one of the image. */
const NUCLEUS_SCALE = 4;
/** Pause after the last change of the threshold before a slide is segmented again, milliseconds. */
const SLIDE_THRESHOLD_DELAY_MS = 400;
/** Threshold that the slider shows before there is a model. */
const DEFAULT_THRESHOLD = 0.5;
/** Pause after the last movement of the view before the state has it, milliseconds. */
const VIEW_DELAY_MS = 300;
/** Relative difference below which two pixel sizes are taken as equal, as in the engine. */
const SAME_SCALE = 0.05;

/** Largest factor between the pixels of an image and a model, as in the engine. */
const MAX_SCALE = 16;

/** Limits of a pixel size, µm. */
const MIN_MPP = 0.001;
const MAX_MPP = 1000;
const INVALID_MPP =
  "The pixel size must be a number of micrometres above 0, for example 0.25. It was not changed.";

/** A pixel size for the field, empty for 0. @param {number} mpp µm */
function mppText(mpp) {
  return mpp > 0 ? String(Number(mpp.toPrecision(6))) : "";
}

/** A pixel size that a person stated. @param {number} um @returns {PixelSizeSetting} */
function entered(um) {
  return { um, source: "person" };
}

/** Whether two values without functions differ. @param {unknown} a @param {unknown} b */
function isDifferent(a, b) {
  return JSON.stringify(a) !== JSON.stringify(b);
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
  /** Everything that is set, saved and undone. */
  store = new Store();
  /** @type {number | undefined} Threshold at the slider while it is moved. */
  #movingThreshold;
  /** @type {Model | undefined} The selected model. */
  model;
  /** Whether the model of the state that was restored last is not here. */
  lostModel = false;
  /** @type {ModelSetting} Setting of the model that was selected last without an error. */
  #usableModel = DEFAULT_MODEL;
  /** Pixel size that the file states, µm; 0 if it does not. */
  #fileMpp = 0;
  /** Whether changes of the state are applied by the one who made them. */
  #isQuiet = false;
  /** @type {Map<string, ReturnType<typeof setTimeout>>} */
  #timers = new Map();

  /** @param {Engine} engine */
  constructor(engine) {
    this.engine = engine;
    this.models = new Models(engine);
    this.canvasView = new CanvasView(elements.canvas, engine);
    this.results = new Results(
      (nucleus) => void this.editing.inOrder(() => this.showNucleus(nucleus)),
    );
    this.preview = new Preview(this);
    this.shareDialog = new ShareDialog(this);
    this.address = new Address(this);
    this.tasks = new TaskQueue({
      setBusy: (busy) => this.setBusy(busy),
      cancelRunning: () => {
        this.teaching?.stop();
        void engine.cancel();
      },
      showError: (error) => this.showError(error),
      alertNumber,
      closeAlert: (number) => {
        // What fails while the page starts stays in sight when the rest succeeds.
        if (document.documentElement.dataset.state !== "loading") closeAlert(number);
      },
    });
    this.continuing = new Continuing(this);
    this.imageSegmentation = new ImageSegmentation(this);
    this.slideSegmentation = new SlideSegmentation(this);
    this.opener = new Opener(this);
    this.files = new FileList(this);
    this.manyFiles = new ManyFiles(this);
    this.persistence = new Persistence(this);
    this.overview = new OverviewMap(this);
    this.ruler = new Ruler(this);
    this.look = new Look(this);
    this.outlines = new OutlineCanvas(this);
    this.reviewSync = new ReviewSync(this);
    this.editing = new Editing(this);
    this.reviewQueue = new ReviewQueue(this);
    this.paintTool = new PaintTool(this);
    this.eraseTool = new EraseTool(this);
    this.strokes = new StrokeLayer(this);
    this.tools = new Tools(this);
    this.objectCard = new ObjectCard(this);
    this.regions = new Regions(this);
    this.compare = new Compare(this);
    this.versions = new Versions(this);
    this.teaching = new Teaching(this);
    this.store.apply({ model: this.#usableModel });
    this.#showState(this.store.state);
    this.store.subscribe((state, before) => this.#stateChanged(state, before));
    engine.onevent = (event) => this.#handleEvent(event);
    this.canvasView.onerror = (error) => this.showError(error);
    this.canvasView.onframe = () => this.#viewDrawn();
    this.results.onchange = () => {
      this.persistence.resultsChanged(this.isSegmenting ? "partial" : "finished");
    };
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
    showStatus(text);
  }

  /** Shows an error, unless it is a cancellation. @param {unknown} error */
  showError(error) {
    if (error instanceof Error && error.name === "AbortError") return;
    showAlert(error);
  }

  /** Removes the error. An action that succeeds does it by itself: see `TaskQueue`. */
  clearError() {
    closeAlert();
  }

  /** @param {boolean} busy */
  setBusy(busy) {
    const { dataset } = document.documentElement;
    if (dataset.state !== "loading") dataset.state = busy ? "busy" : "idle";
    if (busy) this.continuing.withdraw();
    const hadFocus = document.activeElement === elements.cancel;
    elements.progressRow.hidden = !busy;
    // Hiding the button with the focus would lose it.
    if (hadFocus && !busy) this.canvasView.canvas.focus();
  }

  // ---- Settings

  /** The model in use, and the filters to remove. */
  get modelSetting() {
    return this.store.state.model;
  }

  /** Of `model`, which is another one while the slider moves. */
  get selectedSetting() {
    return this.#usableModel;
  }

  /** Pixel size, µm; 0 if unknown. */
  get mpp() {
    return this.store.state.pixelSize.um ?? 0;
  }

  /** Threshold that was set; undefined for the model's own. */
  get threshold() {
    return this.#movingThreshold ?? this.store.state.threshold ?? undefined;
  }

  /** Changes the state without the effects of `#stateChanged`. @param {ReviewCommand} command */
  applyQuietly(command) {
    this.#isQuiet = true;
    try {
      this.store.apply(command);
    } finally {
      this.#isQuiet = false;
    }
  }

  /**
   * Makes the controls, the address, the worker and the results follow the state.
   * @param {PageState} state
   * @param {PageState} before
   */
  #stateChanged(state, before) {
    this.#showState(state, before);
    if (isDifferent(state.document, before.document)) this.editing.nucleiChanged();
    this.canvasView.requestFrame();
    this.address.scheduleWrite();
    if (this.#isQuiet) return;
    if (isDifferent(state.model, before.model)) {
      void this.segmentWithSettings();
    } else if (isDifferent(state.pixelSize, before.pixelSize)) {
      const isSame = this.#scaleAt(state.pixelSize.um) === this.#scaleAt(before.pixelSize.um);
      // At another pixel size the model reads other pixels, so its result changes.
      if (this.isSlide || !isSame) void this.segmentWithSettings();
    } else if (state.threshold !== before.threshold) {
      this.#useThreshold();
    }
  }

  /**
   * Shows what has changed.
   * @param {PageState} state
   * @param {PageState} [before] without it everything is shown
   */
  #showState(state, before) {
    const { model, pixelSize, threshold, display } = state;
    if (isDifferent(model, before?.model)) {
      setModelControls(model);
      showModelStop(this);
    }
    if (isDifferent(pixelSize, before?.pixelSize)) {
      elements.mpp.value = mppText(pixelSize.um ?? 0);
      this.results.mpp = this.mpp;
      this.results.refresh();
    }
    this.#showMppSource();
    if (threshold !== before?.threshold) {
      this.#showThreshold(threshold ?? this.model?.facts.threshold ?? DEFAULT_THRESHOLD);
    }
    if (isDifferent(display, before?.display)) {
      const { outline, mask, heat } = display;
      for (const [name, strength] of Object.entries({ outline, mask, heat })) {
        const input = elements[/** @type {"outline" | "mask" | "heat"} */ (name)];
        input.value = String(Math.round(strength * 100));
      }
      this.look.show(display);
      elements.palette.value = display.palette;
      const { model: left, added: right } = paletteOf(display.palette);
      elements.leftLabel.style.borderLeftColor = left;
      elements.rightLabel.style.borderLeftColor = right;
      this.canvasView.setLayers({ mask, heat });
    }
  }

  /**
   * Starts anew with another image.
   * @param {DocumentFacts} document
   * @param {number} fileMpp pixel size as the file states it, µm; 0 if it does not
   * @param {number} [enteredMpp] as entered for this image
   */
  openDocument(document, fileMpp, enteredMpp) {
    this.#fileMpp = fileMpp;
    const pixel_size = enteredMpp ? entered(enteredMpp) : this.#fileMppSetting();
    this.#movingThreshold = undefined;
    this.reviewSync.imageOpened();
    this.applyQuietly({ open: { document, pixel_size } });
  }

  /** @returns {PixelSizeSetting} */
  #fileMppSetting() {
    return this.#fileMpp > 0
      ? { um: this.#fileMpp, source: "file" }
      : { um: null, source: "unknown" };
  }

  /** Who stated the pixel size. */
  get mppSource() {
    return this.store.state.pixelSize.source;
  }

  /**
   * Takes the state that was kept of the open image in place of the present one.
   * @param {Uint8Array} state
   */
  restoreState(state) {
    const { model: present } = this.store.state;
    this.#isQuiet = true;
    try {
      this.store.load(state);
    } finally {
      this.#isQuiet = false;
    }
    const { model, view } = this.store.state;
    // A model that was loaded from a file is there only in the visit in which it was loaded. One
    // that came with the address is what the visitor came to use.
    const { modelLink, hasModelUrl } = this.address;
    const isReceived = present.loaded !== null && (modelLink !== undefined || hasModelUrl);
    const isReplaced = isReceived && model.loaded === null;
    this.lostModel = !this.models.isKnown(model);
    if (isReplaced || this.lostModel) this.applyQuietly({ model: present });
    // So is a threshold that came with it.
    const { threshold } = this.address.urlState;
    if (isReceived && threshold !== undefined) this.applyQuietly({ threshold });
    if (view) this.canvasView.setCssView(view);
  }

  /**
   * Shows the results that were kept of the open image; without them it is segmented.
   * @param {Uint8Array[] | undefined} results by slot; undefined if nothing was kept
   * @param {() => void} check
   */
  async showKept(results, check) {
    if (results) {
      await this.selectModel(check);
      const extent = await this.persistence.loadResults(results);
      check();
      if (extent === "whole") return;
      if (extent === "partial") {
        await this.imageSegmentation.resume(check);
        return;
      }
    }
    await this.segment(check);
  }

  /** Shows where the pixel size comes from. */
  #showMppSource() {
    const { source } = this.store.state.pixelSize;
    const modelMpp = this.model?.facts.mpp ?? 0;
    let text = "";
    if (source === "file") text = "stated by the file";
    else if (source === "person") text = "entered by you";
    else if (modelMpp > 0 && !this.isSlide) text = `taken to be the model's, ${modelMpp} µm`;
    elements.mppSource.textContent = this.canvasView.width === 0 ? "" : text;
  }

  /** Whether the field is empty or holds a pixel size. @param {string} value */
  #isValidMpp(value) {
    return value === "" || (Number(value) >= MIN_MPP && Number(value) <= MAX_MPP);
  }

  /**
   * Whether the model can read pixels of that size.
   * @param {number} mpp µm; anything else passes
   */
  #isUsableMpp(mpp) {
    const modelMpp = this.model?.facts.mpp ?? 0;
    if (!(mpp >= MIN_MPP && mpp <= MAX_MPP && modelMpp > 0)) return true;
    return Math.max(mpp / modelMpp, modelMpp / mpp) <= MAX_SCALE;
  }

  /** Pixels of the image to one of the model's, in each direction. @param {number | null} mpp */
  #scaleAt(mpp) {
    const scale = mpp ? (this.model?.facts.mpp ?? mpp) / mpp : 1;
    return Math.abs(scale - 1) < SAME_SCALE ? 1 : scale;
  }

  /** Uses the pixel size of the field; that of the file if the field was emptied. */
  mppChanged() {
    // A field for numbers leaves the comma out where the language has a point: 0,25 became 25.
    const value = elements.mpp.value.trim().replace(",", ".");
    try {
      if (!this.#isUsableMpp(Number(value))) {
        throw new Error(
          `Pixels of ${value} µm are too far from the model's of ${this.model?.facts.mpp} µm. ` +
            "The pixel size was not changed.",
        );
      }
      if (!this.#isValidMpp(value)) throw new Error(INVALID_MPP);
      const isFile = value === "" || value === mppText(this.#fileMpp);
      this.store.apply({ "pixel-size": isFile ? this.#fileMppSetting() : entered(Number(value)) });
      this.clearError();
    } catch (error) {
      this.showError(error);
    }
    this.#showState(this.store.state);
  }

  // ---- Models

  /**
   * Selects a model and shows its facts. After an error the setting is set back.
   * @param {() => void} check
   * @param {ModelSetting} [setting]
   */
  async selectModel(check, setting = this.store.state.model) {
    this.showStatus("Preparing the model…");
    try {
      const model = await this.models.use(setting);
      check();
      this.model = model;
      this.#usableModel = setting;
    } catch (error) {
      const isCancelled = error instanceof Error && error.name === "AbortError";
      if (!isCancelled) this.applyQuietly({ model: this.#usableModel });
      throw error;
    } finally {
      this.showStatus("");
    }
    this.#showModel(this.model, setting);
    this.address.scheduleWrite();
    return this.model;
  }

  /** The model that the controls show. */
  shownModel() {
    return controlledModel(this.store.state.model.loaded);
  }

  /** Uses a model. @param {ModelSetting} model */
  chooseModel(model) {
    // While the slider moved, another one may have been selected for the preview.
    if (isDifferent(model, this.store.state.model)) this.store.apply({ model });
    else void this.segmentWithSettings();
  }

  /** @param {Model} model @param {ModelSetting} setting */
  #showModel({ facts, kind }, setting) {
    showModelStop(this);
    elements.modelKind.textContent = this.#describeModel(facts, kind, setting);
    elements.parameters.textContent = formatCount(facts.parameters);
    elements.bytes.textContent = formatBytes(facts.bytes);
    elements.licence.textContent = licenceText(facts, kind);
    void this.compare.showLabels();
    this.#showMppSource();
    if (this.threshold === undefined) this.#showThreshold(facts.threshold);
  }

  /** @param {ModelFacts} facts @param {Model["kind"]} kind @param {ModelSetting} setting */
  #describeModel(facts, kind, setting) {
    switch (kind) {
      case "shipped":
        return describeShipped(shippedModel(setting));
      case "pruned":
        return "Pruned here, without fine-tuning: the numbers can be far off.";
      case "loaded": {
        const version = this.versions?.nameOf(setting);
        const taught = version ? `Taught here: ${version}. ` : "";
        return taught + describeLoaded(facts);
      }
    }
  }

  /**
   * Uses a model from outside, and segments the open image with it.
   * @param {() => Promise<ModelFacts>} load
   * @param {ModelOrigin} [origin]
   * @returns {Promise<boolean>} whether the model could be used
   */
  async loadModel(load, { modelLink, fromUrl = false, ratio = 0, pruneHidden = false } = {}) {
    let isLoaded = false;
    await this.tasks.runUserTask(async (check) => {
      const facts = await load();
      this.models.keep(facts);
      hideReceived();
      this.#replaceModel({ shipped: null, ratio, pruneHidden, loaded: facts.fingerprint });
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
    this.#replaceModel(DEFAULT_MODEL);
    this.address.modelLink = undefined;
    this.address.hasModelUrl = false;
    elements.shippedModels.hidden = true;
    hideReceived();
    return this.segmentWithSettings();
  }

  /** @param {ModelSetting} model */
  #replaceModel(model) {
    this.applyQuietly({ threshold: null });
    this.applyQuietly({ model });
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
  async segmentWithSettings() {
    // A file that is being read is segmented with the settings that there are then.
    if (this.opener.isReading) return undefined;
    return this.tasks.runUserTask(async (check) => {
      await this.selectModel(check);
      await this.segment(check);
    });
  }

  /** Segments what is open; a slide only if its view is small. @param {() => void} check */
  async segment(check) {
    if (this.canvasView.width === 0) return;
    if (isDifferent(this.#usableModel, this.store.state.model)) await this.selectModel(check);
    if (this.isSlide) await this.slideSegmentation.segmentSmallView(check);
    else await this.imageSegmentation.segment(check);
    void showStainFacts(this);
  }

  /** @param {"view" | "slide"} extent */
  segmentSlide(extent) {
    return this.tasks.runUserTask(async (check) => {
      await this.selectModel(check);
      await this.slideSegmentation.segment(extent, check);
      void showStainFacts(this);
    });
  }

  /** Cancels the segmentation that runs and shows what is finished. */
  cancel() {
    const wasTeaching = this.teaching.isRunning;
    return this.tasks.runUserTask(async () => {
      if (wasTeaching) this.showStatus("Teaching was stopped. The network is as it was.");
      else if (this.isSlide) await this.slideSegmentation.cancelled();
      else await this.imageSegmentation.cancelled();
    });
  }

  /** @param {WorkerEvent} event */
  #handleEvent(event) {
    this.#noteSegmented(event);
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

  /** Notes what of the image is segmented. @param {WorkerEvent} event */
  #noteSegmented(event) {
    const { segmentedArea } = this.canvasView;
    if (event.type === "restart" && event.slot === MAIN) segmentedArea.clear();
    if (event.type === "block" && event.slot === MAIN) {
      const [top, left, width, height] = event.block;
      segmentedArea.add([left, top, left + width, top + height]);
    }
    if (event.type === "slide-progress" && event.progress.slot === MAIN && event.progress.block) {
      segmentedArea.add(event.progress.block.bounds);
    }
  }

  // ---- View

  #viewDrawn() {
    const { viewport, pixelRatio } = this.canvasView;
    showScaleBar(this.mpp, viewport.scale() / pixelRatio);
    this.address.scheduleWrite();
    this.debounce("view", VIEW_DELAY_MS, () => this.#noteView());
  }

  /** Puts the view into the state. */
  #noteView() {
    const view = this.canvasView.cssView();
    const { document, view: before } = this.store.state;
    if (!view || !document || !isDifferent(view, before)) return;
    const [x, y, scale] = view;
    this.applyQuietly({ view: [x, y, scale] });
  }

  /** Moves the view to a nucleus and selects it. @param {Nucleus} nucleus */
  async showNucleus({ label, x, y }) {
    const { viewport, pixelRatio } = this.canvasView;
    viewport.goTo(x, y, NUCLEUS_SCALE * pixelRatio);
    this.canvasView.requestFrame();
    await this.imageSegmentation.updateTable();
    // Since it was listed nuclei may have been found anew, which have other numbers.
    const isListed = this.results.nuclei.some(
      (nucleus) => nucleus.label === label && nucleus.x === x && nucleus.y === y,
    );
    if (isListed) await this.editing.selectById(label);
    else await this.editing.selectAt(x, y, { isQuiet: true });
  }

  /** @param {number} value */
  #showThreshold(value) {
    if (this.#movingThreshold !== undefined) return;
    elements.threshold.value = String(Math.round(value * 100));
    elements.thresholdText.textContent = value.toFixed(2);
  }

  /** The slider is being moved: an image's nuclei follow at once. */
  thresholdMoving() {
    const value = Number(elements.threshold.value) / 100;
    elements.thresholdText.textContent = value.toFixed(2);
    this.#movingThreshold = value;
    if (!this.isSlide) this.#useThreshold();
  }

  /** The slider was released. */
  thresholdMoved() {
    this.#movingThreshold = undefined;
    this.store.apply({ threshold: Number(elements.threshold.value) / 100 });
  }

  /** Finds the nuclei at the threshold. */
  #useThreshold() {
    if (this.isSlide) {
      // Blocks whose probabilities are kept are done again, and a small view is completed.
      this.debounce("threshold", SLIDE_THRESHOLD_DELAY_MS, () => void this.segmentWithSettings());
      return;
    }
    // A segmentation that runs uses the threshold at its end.
    if (!this.canvasView.hasResult[MAIN] || this.isSegmenting) return;
    this.canvasView.setLayers({ preview: this.threshold });
    void this.imageSegmentation.findNuclei();
  }

  /** Uses the strengths of the layers of the sliders. */
  layersMoved() {
    const [outline, mask, heat] = [elements.outline, elements.mask, elements.heat].map(
      (input) => Number(input.value) / 100,
    );
    this.store.apply({ display: { ...this.store.state.display, outline, mask, heat } });
  }

  /** Uses the palette of the list. */
  paletteChosen() {
    const { display } = this.store.state;
    this.store.apply({ display: { ...display, palette: elements.palette.value } });
  }

  /** Uses the position of the divider. */
  dividerMoved() {
    const divider = this.comparing ? Number(elements.divider.value) / 100 : -1;
    this.canvasView.setLayers({ divider });
    this.address.scheduleWrite();
  }

  /**
   * Shows what is compared with too, or no longer.
   * @param {boolean} comparing
   * @param {() => void} [task] check of the task that this is a part of
   */
  async setComparing(comparing, task) {
    this.comparing = comparing;
    elements.compare.setAttribute("aria-pressed", String(comparing));
    this.compare.comparingChanged();
    void this.compare.showLabels();
    // A segmentation that runs segments the comparison at its end.
    if (!comparing || this.canvasView.width === 0 || this.isSegmenting) return;
    if (this.compare.hasReference) {
      this.canvasView.resultChanged(COMPARISON);
      this.compare.resultChanged();
      return;
    }
    if (!this.isSlide && this.canvasView.hasResult[COMPARISON]) return;
    const { slideSegmentation, imageSegmentation } = this;
    const segmentation = this.isSlide ? slideSegmentation : imageSegmentation;
    const segment = (/** @type {() => void} */ check) => segmentation.segmentComparison(check);
    if (task) await segment(task);
    else await this.tasks.runUserTask(segment);
  }
}
