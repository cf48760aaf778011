// Teaching: what a person marked is learned by the network in use. The result is shown beside the
// present one and replaces it only when it is kept.
import { BACKGROUND, COMPLETE_CLASS, NUCLEUS } from "./paint-tool.js";
import { elements } from "./elements.js";
import { formatCount, formatNuclei } from "./format.js";
import { boundsOf } from "./polygons.js";
import { remainingMs, showProgress } from "./progress.js";
import { saveFile } from "./save-file.js";
import { NO_MPP } from "./slide-segmentation.js";
import { COMPARISON, MAIN } from "./slots.js";
import { teachInWorkers, teachModule, teachTissue } from "./teach-workers.js";
import { visibleRectangle } from "./region-tools.js";

/** @import { Page } from "./page.js" */
/**
 * @import { MarkAgreement, ModelFacts, ModelSetting, TeachOutcome,
 *   TeachStep } from "./worker-api.d.ts"
 */

/** Share of the marks that are kept aside for checking. */
const KEPT_ASIDE = 0.2;
/** Marks from which on some can be kept aside. */
const LEAST_MARKS_TO_KEEP_ASIDE = 10;
const NEW_TYPE = "\n";
/** Names that mean something else than a type of nuclei. */
const RESERVED = ["background", "other", "border", "nuclei", "ignore", "region", ""];
/** Largest view that can be complete, pixels. */
const MAX_COMPLETE_PX = 12e6;

/**
 * @typedef {object} Taught
 * @property {ModelFacts} facts
 * @property {TeachOutcome} outcome
 * @property {ModelSetting} base what was taught
 * @property {number} marks
 * @property {number} ms time that it took
 */

export class Teaching {
  /** @type {Taught | undefined} What was taught last and is neither kept nor discarded. */
  taught;
  /** Whether workers are teaching. */
  isRunning = false;
  /** @type {string[]} Types of nuclei that a person named here. */
  #named = [];
  #stop = new AbortController();

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    elements.teach.onclick = () => void this.teach();
    elements.saveMarks.onclick = () => void this.#saveMarks();
    elements.completeView.onclick = () => void this.#completeView();
    elements.keepTaught.onclick = () => void this.keep();
    elements.discardTaught.onclick = () => void this.discard();
    elements.paintClass.onchange = () => this.#classChosen();
    elements.paintWidth.onchange = () => {
      page.paintTool.setWidth(Number(elements.paintWidth.value.replace(",", ".")));
      elements.paintWidth.value = String(page.paintTool.width);
    };
    elements.addType.onclick = () => this.#addType();
    elements.typeName.onkeydown = (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      this.#addType();
    };
    page.store.subscribe((state, before) => {
      if (state.revision !== before.revision || state.document !== before.document) this.show();
      if (state.document?.hash !== before.document?.hash) this.#imageChanged();
      const isOther = JSON.stringify(state.model) !== JSON.stringify(before.model);
      if (isOther && this.taught) void this.#drop("What was taught belongs to another network.");
    });
    this.show();
    this.#showClasses();
  }

  // ---- Marks

  /** Types of nuclei that can be painted besides the plain one. */
  get types() {
    const painted = this.page.store.state.strokes.map((stroke) => stroke.class);
    const known = (this.page.results.types ?? []).map(({ name }) => name);
    const all = new Set([...known, ...this.#named, ...painted]);
    return [...all].filter((name) => name !== NUCLEUS && name !== BACKGROUND);
  }

  /** Numbers of marks, by what they are. */
  get #counts() {
    const { marks, strokes, regions } = this.page.store.state;
    const complete = regions.filter((region) => region.class === COMPLETE_CLASS).length;
    const nuclei = marks.accepted + marks.added;
    const { rejected, replaced } = marks;
    const all = nuclei + rejected + strokes.length + complete;
    return { nuclei, rejected, replaced, strokes: strokes.length, complete, all };
  }

  /** Says how many marks there are, and what can be done with them. */
  show() {
    const { nuclei, rejected, replaced, strokes, complete, all } = this.#counts;
    const parts = [];
    if (nuclei > 0) parts.push(`${formatCount(nuclei)} accepted or added`);
    if (rejected > 0) parts.push(`${formatCount(rejected)} rejected`);
    if (replaced > 0) parts.push(`${formatCount(replaced)} split or redrawn`);
    if (strokes > 0) parts.push(`${formatCount(strokes)} painted`);
    if (complete > 0) parts.push(`${formatCount(complete)} complete`);
    const marks = all === 1 ? "1 mark" : `${formatCount(all)} marks`;
    const text = all === 0 ? "No marks yet." : `${marks}: ${parts.join(", ")}.`;
    elements.markCounts.textContent = text;
    elements.teach.disabled = all === 0;
    elements.saveMarks.disabled = all === 0;
    elements.keepAside.disabled = all < LEAST_MARKS_TO_KEEP_ASIDE;
    this.#showClasses();
  }

  #showClasses() {
    const { paintTool } = this.page;
    const names = [NUCLEUS, BACKGROUND, ...this.types];
    const options = [...names, NEW_TYPE].map((name) => {
      const option = document.createElement("option");
      option.value = name;
      option.textContent =
        name === NEW_TYPE
          ? "New type of nuclei…"
          : name === NUCLEUS
            ? "Nucleus"
            : name === BACKGROUND
              ? "No nucleus"
              : name;
      return option;
    });
    elements.paintClass.replaceChildren(...options);
    // The list says what is painted, except while a name is being written.
    if (!names.includes(paintTool.class)) paintTool.class = NUCLEUS;
    elements.paintClass.value = elements.newType.hidden ? paintTool.class : NEW_TYPE;
  }

  #classChosen() {
    const { value } = elements.paintClass;
    elements.newType.hidden = value !== NEW_TYPE;
    if (value === NEW_TYPE) {
      elements.typeName.focus();
      return;
    }
    this.setClass(value);
  }

  /** Paints another class from now on. @param {string} name */
  setClass(name) {
    const { paintTool, tools } = this.page;
    paintTool.class = name;
    elements.newType.hidden = true;
    this.#showClasses();
    tools.useGuest(paintTool);
  }

  /** Nucleus and background in turn. */
  switchClass() {
    this.setClass(this.page.paintTool.class === BACKGROUND ? NUCLEUS : BACKGROUND);
  }

  #addType() {
    const name = elements.typeName.value.trim();
    if (RESERVED.includes(name.toLowerCase()) || name.endsWith("*")) {
      this.page.showStatus("Write the name of a type of nuclei, for example lymphocyte.");
      return;
    }
    const known = this.types.find((type) => type.toLowerCase() === name.toLowerCase());
    if (!known && name.toLowerCase() !== NUCLEUS) this.#named.push(name);
    elements.typeName.value = "";
    this.setClass(name.toLowerCase() === NUCLEUS ? NUCLEUS : (known ?? name));
  }

  /** Accepts all nuclei in the view; the rest of it is background. */
  async #completeView() {
    const { page } = this;
    try {
      page.clearError();
      await page.reviewSync.update();
      const ring = visibleRectangle(page);
      const { left, top, right, bottom } = boundsOf([[ring]]);
      if ((right - left) * (bottom - top) > MAX_COMPLETE_PX) {
        page.showStatus("Zoom in: a view of at most 12 megapixels can be complete.");
        return;
      }
      const { regions } = page.store.state;
      const known = JSON.stringify([[ring]]);
      if (regions.some(({ polygons }) => JSON.stringify(polygons) === known)) {
        page.showStatus("This view is complete already.");
        return;
      }
      const nuclei = await page.engine.callJson("undecidedIn", MAIN, left, top, right, bottom);
      const region = { name: `Complete ${this.#counts.complete + 1}`, polygons: [[ring]] };
      page.store.apply({ "add-complete": { region, nuclei } });
      const accepted = `${formatNuclei(nuclei.length)} accepted`;
      page.showStatus(`${accepted}; the rest of the view is background now. Undo takes it back.`);
    } catch (error) {
      page.showError(error);
    }
  }

  async #saveMarks() {
    const { page } = this;
    try {
      page.clearError();
      await page.reviewSync.update();
      const { id } = await this.#model();
      const bytes = await page.engine.call("marksFile", MAIN, id, page.mpp);
      saveFile(bytes, `${page.opener.name}.marks.geojson`, "application/geo+json");
    } catch (error) {
      page.showError(error);
    }
  }

  // ---- Teaching

  /** The model in use. */
  async #model() {
    const { facts } = await this.page.models.version(this.page.selectedSetting);
    return facts;
  }

  /** Teaches the model in use what was marked. */
  async teach() {
    const { page } = this;
    await page.tasks.runUserTask(async (check) => {
      this.isRunning = true;
      this.#stop = new AbortController();
      try {
        await this.#run(check);
      } finally {
        this.isRunning = false;
      }
    });
  }

  /** Ends the workers that teach. */
  stop() {
    this.#stop.abort();
  }

  /** @param {() => void} check */
  async #run(check) {
    const { page } = this;
    if (page.canvasView.width === 0) throw new Error("Open an image and mark something first.");
    if (page.isSlide && page.mpp === 0) throw new Error(NO_MPP);
    const startedAt = performance.now();
    await this.#drop();
    showProgress(0, "Looking at the marks…");
    await page.reviewSync.update();
    // It downloads while the marks are read.
    const loading = teachModule();
    loading.catch(() => {});
    // The result before is compared with: it must be whole, and of this model.
    if (!page.isSlide && !(await this.#isWhole())) await page.segment(check);
    this.#checkTypes();
    const base = page.selectedSetting;
    const task = await this.#task(check);
    check();
    await loading;
    showProgress(0, "Teaching…");
    const learningAt = performance.now();
    const onStep = (/** @type {TeachStep} */ { done, total, loss }) => {
      check();
      const fraction = done / total;
      const text = `Teaching: step ${done} of ${total}, loss ${loss.toFixed(3)}`;
      showProgress(fraction, text, remainingMs(learningAt, fraction));
    };
    const marks = this.#counts.all;
    const workers = page.engine.blockWorkers;
    const { signal } = this.#stop;
    const { weights, outcome } = await teachInWorkers(task, workers, onStep, signal);
    check();
    const facts = await page.engine.callJson("addTaught", weights, outcome);
    const ms = performance.now() - startedAt;
    showProgress(0, "Looking at the result…");
    try {
      await page.compare.showTaught("taught", facts, check);
      check();
    } catch (error) {
      await page.compare.closeTaught();
      await page.engine.call("dropModel", facts.id);
      throw error;
    }
    this.taught = { facts, outcome: JSON.parse(outcome), base, marks, ms };
    await this.#showTaught(this.taught);
  }

  /** Whether the image is segmented by the model in use. */
  async #isWhole() {
    const { page } = this;
    if (!page.canvasView.hasResult[MAIN]) return false;
    const { id, fingerprint } = await this.#model();
    const summary = await page.engine.callJson("summary", MAIN);
    const { width, height } = page.canvasView;
    const isWhole = await page.engine.call("isSegmented", MAIN, 0, 0, width, height);
    const isOfModel = id === page.model?.facts.id && summary.fingerprint === fingerprint;
    return isWhole && isOfModel;
  }

  /** A type can be told apart from others only where both are marked. */
  #checkTypes() {
    const { strokes, marks } = this.page.store.state;
    const known = this.page.results.types.map(({ name }) => name);
    const painted = new Set(strokes.map((stroke) => stroke.class));
    painted.delete(BACKGROUND);
    const unknown = [...painted].filter((name) => name !== NUCLEUS && !known.includes(name));
    const hasOthers = painted.size > 1 || marks.accepted + marks.added > 0;
    if (unknown.length === 0 || hasOthers) return;
    throw new Error(
      `Mark other nuclei too (paint some as Nucleus, or accept some): of “${unknown[0]}” alone ` +
        "the network would take every nucleus for one.",
    );
  }

  /** Everything that workers need. @param {() => void} check */
  async #task(check) {
    const { page } = this;
    if (!(await page.engine.call("hasTissue"))) {
      const pictures = await teachTissue();
      check();
      for (const picture of pictures) await page.engine.call("addTissue", picture);
    }
    const { id } = await this.#model();
    const isKept = elements.keepAside.checked && !elements.keepAside.disabled;
    const settings = {
      name: page.opener.name,
      sha256: "",
      heldBack: isKept ? KEPT_ASIDE : 0,
    };
    return page.engine.call("prepareTask", MAIN, id, page.mpp, JSON.stringify(settings));
  }

  /** What was taught, in numbers. @param {Taught} taught */
  async #showTaught({ outcome, ms }) {
    const { page } = this;
    const { learned, held_back: keptAside } = outcome;
    const sentences = [agreementText("Your marks", learned)];
    if (keptAside.marks > 0) sentences.push(agreementText("Marks kept aside", keptAside));
    const before = await this.#ownNuclei(MAIN);
    const after = await this.#ownNuclei(COMPARISON);
    if (before !== undefined && after !== undefined) {
      const where = page.isSlide ? " in the view" : "";
      sentences.push(`It finds ${formatNuclei(after)}${where}, before ${formatCount(before)}.`);
    }
    const isWorseAside = keptAside.after < keptAside.before;
    const isWorse = isWorseAside || learned.after < learned.before;
    if (isWorseAside) sentences.push("It is worse on the marks kept aside: better discard it.");
    else if (isWorse) sentences.push("It is worse on your marks: better discard it.");
    else if (learned.after === learned.before && learned.after < learned.marks) {
      sentences.push("It did not learn what you marked; mark more of it.");
    }
    sentences.push(`Taught in ${Math.max(1, Math.round(ms / 1000))} s.`);
    elements.taughtText.textContent = sentences.join(" ");
    elements.taught.hidden = false;
    elements.keepTaught.classList.toggle("primary", !isWorse);
    elements.discardTaught.classList.toggle("primary", isWorse);
    page.showStatus(
      page.canvasView.hasResult[COMPARISON]
        ? "Left of the line: before. Right: taught. Keep or discard it under Teach."
        : "Taught. Zoom in on a mark to see the result; keep or discard it under Teach.",
    );
    // Not from what a person is doing meanwhile.
    const { activeElement } = document;
    if (activeElement === document.body || activeElement === elements.teach) {
      (isWorse ? elements.discardTaught : elements.keepTaught).focus({ preventScroll: true });
    }
    elements.taught.scrollIntoView({ block: "nearest" });
  }

  /** Nuclei of the network alone in what is compared, where all of it is segmented. */
  async #ownNuclei(/** @type {number} */ slot) {
    const { canvasView, engine, isSlide } = this.page;
    const { width, height } = canvasView;
    const ring = isSlide ? visibleRectangle(this.page) : undefined;
    const { left, top, right, bottom } = ring
      ? boundsOf([[ring]])
      : { left: 0, top: 0, right: width, bottom: height };
    if (!(await engine.call("isSegmented", slot, left, top, right, bottom))) return undefined;
    return engine.call("ownNucleiIn", slot, left, top, right, bottom);
  }

  /** Uses what was taught from now on, as a version. */
  async keep() {
    const { page, taught } = this;
    if (!taught) return;
    try {
      page.clearError();
      const version = await page.versions.add(taught);
      this.taught = undefined;
      elements.taught.hidden = true;
      await page.compare.closeTaught();
      await page.versions.useKept(version);
    } catch (error) {
      page.showError(error);
    }
    elements.teach.focus();
  }

  /** Stays with the network as it was. */
  async discard() {
    await this.#drop("Discarded. The network is as it was, and the marks are still there.");
    elements.teach.focus();
  }

  /** @param {string} [said] */
  async #drop(said) {
    const { page, taught } = this;
    if (!taught) return;
    this.taught = undefined;
    elements.taught.hidden = true;
    try {
      await page.compare.closeTaught();
      await page.engine.call("dropModel", taught.facts.id);
      if (said) page.showStatus(said);
    } catch (error) {
      page.showError(error);
    }
  }

  #imageChanged() {
    this.#named = [];
    this.page.paintTool.class = NUCLEUS;
    void this.#drop();
    this.#showClasses();
  }
}

/**
 * Large marks are looked at in parts, so that there are more places than marks.
 * @param {string} which
 * @param {MarkAgreement} agreement
 */
function agreementText(which, { marks, before, after }) {
  const places = marks === 1 ? "1 place" : `${formatCount(marks)} places`;
  return `${which}: right at ${after} of ${places}, before at ${before}.`;
}
