// Compares the nuclei with those of a second model or with objects of a file: beside a divider that
// can be dragged, or linked side by side; with scores and differences.
import { isStandalone } from "./assets.js";
import { elements } from "./elements.js";
import { openModelBytes } from "./incoming.js";
import { formatCount, formatNuclei } from "./format.js";
import { paletteOf } from "./palettes.js";
import { boundsOf } from "./polygons.js";
import { removedPercent } from "./received.js";
import { modelName, PAPER_UNPRUNED, SHIPPED_MODELS, unprunedOf } from "./shipped-models.js";
import { COMPARISON, MAIN } from "./slots.js";

/** @import { Page } from "./page.js" */
/** @import { Bounds, ModelFacts, ScoreFacts } from "./worker-api.d.ts" */

/** Distance from the white line at which it is taken, CSS pixels: mouse, and fingers. */
const GRIP_PX = 8;
const TOUCH_GRIP_PX = 22;
/** Largest part in which scores are computed, pixels, as in the session. */
const MAX_SCORED_PX = 16e6;
/** Pause after a change before scores are computed again, milliseconds. */
const SCORE_DELAY_MS = 300;
const UNPRUNED = "unpruned";

/** @type {[keyof ScoreFacts, string][]} */
const SCORES = [
  ["dice", "Dice"],
  ["aji", "AJI"],
  ["pq", "PQ"],
  ["dq", "DQ"],
  ["sq", "SQ"],
  ["f1", "F1 at IoU 0.5"],
];

export class Compare {
  /** @type {string} Value of the list: file of a model that ships, or another word. */
  #with = UNPRUNED;
  /** @type {{ name: string, objects: number } | undefined} Objects of a file. */
  #reference;
  /** @type {{ name: string, facts: ModelFacts } | undefined} A model of a file. */
  #loaded;
  /** @type {{ name: string, facts: ModelFacts } | undefined} A taught model, not kept yet. */
  #taught;
  /** Changes when other scores are wanted: earlier ones are ignored. */
  #request = 0;
  #isDragging = false;
  /** What was compared with before a taught model was. */
  #earlier = UNPRUNED;
  #isTaught = false;

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.#renderChoices();
    elements.compareWith.onchange = () => void this.#chosen(elements.compareWith.value);
    elements.compareMode.onchange = () => this.#modeChanged();
    elements.openReference.onclick = () => elements.referenceFile.click();
    elements.referenceFile.onchange = () => {
      const [file] = elements.referenceFile.files ?? [];
      if (file) void this.#openReferenceFile(file);
      elements.referenceFile.value = "";
    };
    elements.secondModelFile.onchange = () => {
      const [file] = elements.secondModelFile.files ?? [];
      if (file) void this.#openModel(file);
      else elements.compareWith.value = this.#with;
      elements.secondModelFile.value = "";
    };
    elements.scoreButton.onclick = () => void this.score();
    elements.scorePlace.onchange = () => void this.score();
    elements.differences.onchange = () => void this.#differencesChanged();
    this.#bindDivider();
    page.canvasView.frameListeners.add(() => this.#placeLabels());
    page.store.subscribe((state, before) => {
      if (state.document !== before.document && state.document?.name !== before.document?.name) {
        this.#imageChanged();
      }
      if (state.revision !== before.revision) this.#scoreSoon();
      this.#showColours();
    });
    this.regionsChanged();
    this.#showColours();
  }

  // ---- What is compared with

  /** Whether objects of a file are compared with. */
  get hasReference() {
    return this.#with === "file" && this.#reference !== undefined;
  }

  /** The second model. @returns {Promise<ModelFacts>} */
  async model() {
    if (this.#with === "loaded" && this.#loaded) return this.#loaded.facts;
    if (this.#with === "taught" && this.#taught) return this.#taught.facts;
    const { facts } = await this.page.models.version(this.#setting);
    return facts;
  }

  /** The version that is compared with, if it is one. */
  get #version() {
    return this.page.versions?.choices.find(({ value }) => value === this.#with);
  }

  /** There are other versions to choose from. */
  choicesChanged() {
    const isGone = this.#with.startsWith("version ") && !this.#version;
    if (isGone) this.#with = UNPRUNED;
    this.#renderChoices();
  }

  /** Of the second model, unless it is one of a file. */
  get #setting() {
    const shipped = SHIPPED_MODELS.find(({ file }) => file === this.#with);
    if (shipped) return shipped.setting;
    const version = this.#version;
    if (version) return version.setting;
    const { modelSetting } = this.page;
    // Of a model that ships nothing was removed here: that would be the same one.
    if (modelSetting.shipped !== null && modelSetting.ratio === 0) return PAPER_UNPRUNED;
    return unprunedOf(modelSetting);
  }

  /** Name of what is compared with, for people. */
  get name() {
    if (this.hasReference) return this.#reference?.name ?? "";
    if (this.#with === "loaded") return this.#loaded?.name ?? "";
    if (this.#with === "taught") return this.#taught?.name ?? "";
    if (this.#version) return this.#version.text;
    return modelName(this.#setting);
  }

  #renderChoices() {
    const options = [{ value: UNPRUNED, text: "The unpruned model" }];
    // One HTML file has no other model.
    const others = isStandalone() ? [] : SHIPPED_MODELS;
    for (const { file, name } of others) options.push({ value: file, text: name });
    for (const { value, text } of this.page.versions?.choices ?? []) options.push({ value, text });
    if (this.#taught) options.push({ value: "taught", text: "What was taught" });
    if (this.#loaded) options.push({ value: "loaded", text: this.#loaded.name });
    options.push({ value: "open", text: "A model from a file…" });
    if (this.#reference) options.push({ value: "file", text: this.#reference.name });
    const elementsOf = options.map(({ value, text }) => {
      const option = document.createElement("option");
      [option.value, option.textContent] = [value, text];
      return option;
    });
    elements.compareWith.replaceChildren(...elementsOf);
    elements.compareWith.value = this.#with;
  }

  /** @param {string} value */
  async #chosen(value) {
    if (value === "open") {
      elements.compareWith.value = this.#with;
      elements.secondModelFile.click();
      return;
    }
    if (this.#with === "file" && value !== "file") await this.#dropReference();
    // It may name what was compared with before.
    this.page.showStatus("");
    this.#with = value;
    this.#renderChoices();
    await this.#useChoice();
  }

  /**
   * Shows the result of a taught model right of the line.
   * @param {string} name
   * @param {ModelFacts} facts
   * @param {() => void} check
   */
  async showTaught(name, facts, check) {
    const { page } = this;
    if (this.hasReference) await this.#dropReference();
    if (!this.#isTaught) this.#earlier = this.#with;
    this.#isTaught = true;
    this.#taught = { name, facts };
    this.#with = "taught";
    this.#renderChoices();
    page.canvasView.clearResult(COMPARISON);
    this.#clearScores();
    await page.setComparing(true, check);
  }

  /** Shows the present model alone again. */
  async closeTaught() {
    if (!this.#isTaught) return;
    this.#isTaught = false;
    this.#taught = undefined;
    if (this.#with !== "taught") {
      this.#renderChoices();
      return;
    }
    this.#with = this.#earlier;
    this.#renderChoices();
    this.page.canvasView.clearResult(COMPARISON);
    await this.page.setComparing(false);
  }

  /** Shows the second result anew. */
  async #useChoice() {
    const { page } = this;
    page.canvasView.clearResult(COMPARISON);
    this.#clearScores();
    if (this.hasReference) page.canvasView.resultChanged(COMPARISON);
    await page.setComparing(true);
    this.#scoreSoon();
  }

  /** @param {File} file */
  async #openModel(file) {
    const { page } = this;
    page.clearError();
    try {
      const facts = await openModelBytes(page, file);
      this.#loaded = { name: file.name, facts };
      await this.#chosen("loaded");
    } catch (error) {
      page.showError(error);
    }
  }

  // ---- Objects of a file

  /** @param {File} file */
  async #openReferenceFile(file) {
    try {
      this.page.clearError();
      await this.openReference(new Uint8Array(await file.arrayBuffer()), file.name);
    } catch (error) {
      this.page.showError(error);
    }
  }

  /**
   * Compares the nuclei with the objects of a file. Throws a sentence if it is of another image.
   * @param {Uint8Array} bytes
   * @param {string} name
   */
  async openReference(bytes, name) {
    const { page } = this;
    if (page.canvasView.width === 0) throw new Error("Open the image of these objects first.");
    const { objects, notes } = await page.engine.callJson("setReference", bytes, name);
    this.#reference = { name, objects };
    this.#with = "file";
    this.#renderChoices();
    elements.referenceNotes.textContent = notes.join(". ");
    elements.closeReference.hidden = false;
    elements.closeReference.onclick = () => void this.closeReference();
    await this.#useChoice();
    const count = objects === 1 ? "1 object" : `${formatCount(objects)} objects`;
    page.showStatus(`${count} of ${name} are compared with.`);
  }

  /** Goes back to the unpruned model. */
  async closeReference() {
    // Hiding the button with the focus would lose it.
    if (document.activeElement === elements.closeReference) elements.openReference.focus();
    await this.#dropReference();
    this.page.showStatus("");
    this.#renderChoices();
    await this.page.setComparing(false);
  }

  async #dropReference() {
    const { page } = this;
    this.#reference = undefined;
    this.#with = UNPRUNED;
    elements.closeReference.hidden = true;
    elements.referenceNotes.textContent = "";
    page.canvasView.clearResult(COMPARISON);
    this.#clearScores();
    await page.engine.call("clearReference");
  }

  #imageChanged() {
    if (this.#reference) {
      this.#reference = undefined;
      this.#with = UNPRUNED;
      elements.closeReference.hidden = true;
      elements.referenceNotes.textContent = "";
      this.#renderChoices();
      void this.page.setComparing(false);
    }
    this.#clearScores();
    this.regionsChanged();
  }

  // ---- Divider and halves

  /** Comparing began or ended. */
  comparingChanged() {
    elements.compareSettings.hidden = !this.page.comparing;
    this.#modeChanged();
  }

  get #isLinked() {
    return this.page.comparing && elements.compareMode.value === "linked";
  }

  #modeChanged() {
    const { canvasView, comparing } = this.page;
    canvasView.setLinked(this.#isLinked);
    elements.divider.hidden = !comparing || this.#isLinked;
    this.page.dividerMoved();
  }

  #bindDivider() {
    const { viewer, divider } = elements;
    // Before the picture sees them.
    const options = { capture: true };
    viewer.addEventListener("pointerdown", (event) => this.#grip(event), options);
    viewer.addEventListener("pointermove", (event) => this.#dragDivider(event), options);
    for (const name of /** @type {const} */ (["pointerup", "pointercancel"])) {
      viewer.addEventListener(name, (event) => this.#release(event), options);
    }
    divider.addEventListener("input", () => this.page.canvasView.requestFrame());
  }

  /** Whether a pointer is on the white line. @param {PointerEvent} event */
  #isOnLine(event) {
    const { page } = this;
    const { canvas, split } = page.canvasView;
    if (event.target !== canvas || !page.comparing || this.#isLinked || split === 1) return false;
    const { left, width } = canvas.getBoundingClientRect();
    const grip = event.pointerType === "mouse" ? GRIP_PX : TOUCH_GRIP_PX;
    return Math.abs(event.clientX - left - split * width) <= grip;
  }

  /** @param {PointerEvent} event */
  #grip(event) {
    if (event.button !== 0 || !this.#isOnLine(event)) return;
    this.#isDragging = true;
    elements.viewer.setPointerCapture(event.pointerId);
    event.stopPropagation();
    event.preventDefault();
  }

  /** @param {PointerEvent} event */
  #dragDivider(event) {
    if (!this.#isDragging) {
      elements.viewer.classList.toggle("on-divider", this.#isOnLine(event));
      return;
    }
    event.stopPropagation();
    const { left, width } = elements.viewer.getBoundingClientRect();
    const share = Math.max(0.02, Math.min(0.98, (event.clientX - left) / width));
    elements.divider.value = String(share * 100);
    this.page.dividerMoved();
  }

  /** @param {PointerEvent} event */
  #release(event) {
    if (!this.#isDragging) return;
    this.#isDragging = false;
    event.stopPropagation();
  }

  /** The names of both sides lie beside the line, and only where there is something to name. */
  #placeLabels() {
    const { page } = this;
    const { hasResult, split } = page.canvasView;
    const { sideLabels, leftLabel, rightLabel } = elements;
    const isShown = page.comparing && split < 1 && hasResult[MAIN];
    if (sideLabels.hidden === isShown) sideLabels.hidden = !isShown;
    leftLabel.style.right = `${100 * (1 - split)}%`;
    rightLabel.style.left = `${100 * split}%`;
  }

  #showColours() {
    const palette = paletteOf(this.page.store.state.display.palette);
    elements.leftLabel.style.borderColor = palette.model;
    elements.rightLabel.style.borderColor = palette.added;
  }

  /** Both counts. */
  async showLabels() {
    const { page } = this;
    const { hasResult } = page.canvasView;
    const { loaded } = page.models;
    const { modelSetting } = page;
    const { ratio } = modelSetting;
    const percent = loaded ? removedPercent(loaded, ratio) : ratio;
    const left = page.versions?.nameOf(modelSetting) ?? modelName(modelSetting, percent);
    const counts = await Promise.all(
      [MAIN, COMPARISON].map(async (slot) => {
        // What was taught shows nuclei of the network alone, and another part of a slide.
        if (!hasResult[slot] || this.#with === "taught") return "";
        const summary = await page.engine.callJson("summary", slot).catch(() => undefined);
        return summary ? `: ${formatNuclei(summary.nuclei)}` : "";
      }),
    );
    elements.leftLabel.textContent = left + counts[0];
    elements.rightLabel.textContent = this.name + counts[1];
    page.canvasView.requestFrame();
  }

  // ---- Scores

  /** The list of regions in which scores can be computed. */
  regionsChanged() {
    const { regions } = this.page.store.state;
    const { value } = elements.scorePlace;
    const { width, height } = this.page.canvasView;
    const isSmall = width * height <= MAX_SCORED_PX;
    const places = [{ value: "", text: isSmall ? "the whole image" : "the view" }];
    for (const { id, name } of regions) places.push({ value: String(id), text: name });
    const options = places.map(({ value: place, text }) => {
      const option = document.createElement("option");
      [option.value, option.textContent] = [place, text];
      return option;
    });
    elements.scorePlace.replaceChildren(...options);
    elements.scorePlace.value = places.some((place) => place.value === value) ? value : "";
  }

  /** Results have changed. */
  resultChanged() {
    void this.showLabels();
    this.#scoreSoon();
  }

  #scoreSoon() {
    const { page } = this;
    if (!page.comparing) return;
    page.debounce("scores", SCORE_DELAY_MS, () => {
      const { width, height, hasResult } = page.canvasView;
      const isComplete = hasResult[MAIN] && hasResult[COMPARISON] && !page.isSegmenting;
      // Of a slide scores are computed when they are asked for.
      if (isComplete && width * height <= MAX_SCORED_PX) void this.score({ isAsked: false });
      else this.#clearScores();
    });
  }

  #clearScores() {
    this.#request += 1;
    elements.scores.replaceChildren();
    elements.scoreNote.textContent = "";
  }

  /**
   * What is scored: its bounds, the polygons inside of which, as JSON, and its name for people.
   * @returns {{ bounds: Bounds, polygons: string, text: string }}
   */
  #place() {
    const { canvasView, store } = this.page;
    const { width, height, viewport, canvas } = canvasView;
    const region = store.state.regions.find(({ id }) => String(id) === elements.scorePlace.value);
    if (region) {
      const { left, top, right, bottom } = boundsOf(region.polygons);
      /** @type {Bounds} */
      const bounds = [left, top, right, bottom];
      return { bounds, polygons: JSON.stringify(region.polygons), text: `in ${region.name}` };
    }
    if (width * height <= MAX_SCORED_PX) {
      return { bounds: [0, 0, width, height], polygons: "", text: "in the whole image" };
    }
    const [left, top] = viewport.toImage(0, 0);
    const [right, bottom] = viewport.toImage(canvas.width, canvas.height);
    return { bounds: [left, top, right, bottom], polygons: "", text: "in the view" };
  }

  /** Computes scores and shows them. @param {{ isAsked: boolean }} [options] */
  async score({ isAsked } = { isAsked: true }) {
    const { page } = this;
    this.#request += 1;
    const request = this.#request;
    try {
      await page.reviewSync.update();
      const { bounds, polygons, text } = this.#place();
      const isShown = elements.differences.checked;
      const facts = await page.engine.callJson("scores", ...bounds, polygons, isShown);
      if (request !== this.#request) return;
      this.#showScores(facts, text);
      if (isShown) page.outlines.markAllStale();
    } catch (error) {
      if (request !== this.#request) return;
      this.#clearScores();
      if (isAsked) page.showError(error);
    }
  }

  /** @param {ScoreFacts} facts @param {string} place */
  #showScores(facts, place) {
    const rows = SCORES.map(([key, name]) => {
      const [row, term, value] = ["div", "dt", "dd"].map((tag) => document.createElement(tag));
      term.textContent = name;
      const score = facts[key];
      value.textContent = typeof score === "number" ? score.toFixed(3) : "–";
      value.dataset.score = key;
      row.append(term, value);
      return row;
    });
    elements.scores.replaceChildren(...rows);
    const { matched, missed, extra } = facts;
    const truth = this.hasReference ? this.name : `the model “${this.name}”`;
    elements.scoreNote.textContent =
      `Against ${truth}, ${place}: ${formatCount(matched)} matched, ` +
      `${formatCount(missed)} missed, ${formatCount(extra)} extra. ` +
      "Objects at its edge are cut there.";
  }

  async #differencesChanged() {
    const { page } = this;
    elements.differenceKey.hidden = !elements.differences.checked;
    if (elements.differences.checked) {
      await this.score();
      return;
    }
    await page.engine.call("hideDifferences");
    page.outlines.markAllStale();
  }
}
