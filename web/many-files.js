// Works on all files of the list: segments them, shows one summary, saves all results.
import { elements } from "./elements.js";
import { messageOf } from "./error-message.js";
import { formatArea, formatCount, formatDuration } from "./format.js";
import { NUMBERS_PER_OBJECT } from "./results.js";
import { saveFile } from "./save-file.js";
import { shippedModel } from "./shipped-models.js";
import { MAIN } from "./slots.js";
import { zipFiles } from "./zip.js";

/** @import { FileEntry } from "./file-list.js" */
/** @import { Model } from "./models.js" */
/** @import { Page } from "./page.js" */
/** @import { PixelSizeSetting } from "./worker-api.d.ts" */

/** Largest slide that is segmented as a whole without a request for it, pixels. */
const MAX_SLIDE_PX = 36e6;
const TOO_LARGE = "A slide of more than 36 megapixels: open it and segment what you need.";
/** Places among the numbers of an object: its area, and its number in files, 0 for none. */
const AREA_AT = 3;
const COUNTED_AT = 7;
/** Square micrometres of a square millimetre. */
const UM2_PER_MM2 = 1e6;

/**
 * @typedef {object} FileResult What was found in a file.
 * @property {number} mpp pixel size, µm; 0 if unknown
 * @property {PixelSizeSetting["source"]} mppSource who stated it
 * @property {number} nuclei that count
 * @property {number | undefined} segmentedPx segmented area in which they count, pixels; unknown if
 *   they count inside regions that overlap
 * @property {number | undefined} areaShare share of it that is nuclei, 0 to 1
 * @property {number} insideRegions regions inside of which alone they count; 0 for everywhere
 * @property {number} medianPx median area of the nuclei, pixels; 0 without nuclei
 * @property {number} accepted
 * @property {number} added
 * @property {number} rejected
 * @property {string} model
 * @property {string} modelFingerprint
 * @property {number} threshold
 * @property {Blob} [geojson] files of the result, made before another file is opened
 * @property {Blob} [csv]
 */

/** Who stated the pixel size, for people. @type {Record<PixelSizeSetting["source"], string>} */
const PIXEL_SIZE_SOURCES = { file: "file", person: "entered", unknown: "unknown" };

/** Nuclei per square millimetre; undefined if the pixel size is unknown. */
function densityOf(/** @type {FileResult} */ { nuclei, segmentedPx, mpp }) {
  const mm2 = ((segmentedPx ?? 0) * mpp * mpp) / UM2_PER_MM2;
  return mm2 > 0 ? nuclei / mm2 : undefined;
}

/**
 * Columns of the summary. `cell` is for people; `values` are those of the CSV, by name.
 * @type {{ title: string, cell: (result: FileResult) => string,
 *   values: Record<string, (result: FileResult) => string | number | undefined> }[]}
 */
const COLUMNS = [
  {
    title: "Pixel size",
    cell: ({ mpp, mppSource }) => {
      const size = mpp > 0 ? `${Number(mpp.toPrecision(4))} µm, ` : "";
      return size + PIXEL_SIZE_SOURCES[mppSource];
    },
    values: {
      pixel_size_um: ({ mpp }) => (mpp > 0 ? mpp : undefined),
      pixel_size_source: ({ mppSource }) => mppSource,
    },
  },
  {
    title: "Nuclei",
    cell: ({ nuclei, insideRegions }) =>
      formatCount(nuclei) + (insideRegions > 0 ? " inside regions" : ""),
    values: { nuclei: ({ nuclei }) => nuclei },
  },
  {
    title: "Per mm²",
    cell: (result) => {
      const density = densityOf(result);
      return density === undefined ? "–" : formatCount(Math.round(density));
    },
    values: {
      density_per_mm2: (result) => densityOf(result)?.toFixed(2),
      segmented_px: ({ segmentedPx }) => segmentedPx && Math.round(segmentedPx),
    },
  },
  {
    title: "Area share",
    cell: ({ areaShare }) => (areaShare === undefined ? "–" : `${(areaShare * 100).toFixed(1)} %`),
    values: { area_share: ({ areaShare }) => areaShare?.toFixed(6) },
  },
  {
    title: "Median area",
    cell: ({ medianPx, mpp }) => (medianPx > 0 ? formatArea(medianPx, mpp) : "–"),
    values: {
      median_area_px: ({ medianPx }) => (medianPx > 0 ? medianPx : undefined),
      median_area_um2: ({ medianPx, mpp }) =>
        medianPx > 0 && mpp > 0 ? (medianPx * mpp * mpp).toFixed(3) : undefined,
    },
  },
  {
    title: "Accepted, added, rejected",
    cell: ({ accepted, added, rejected }) => `${accepted}, ${added}, ${rejected}`,
    values: {
      accepted: ({ accepted }) => accepted,
      added: ({ added }) => added,
      rejected: ({ rejected }) => rejected,
    },
  },
  {
    title: "Model",
    cell: ({ model }) => model,
    values: {
      model: ({ model }) => model,
      model_fingerprint: ({ modelFingerprint }) => modelFingerprint,
    },
  },
  {
    title: "Threshold",
    cell: ({ threshold }) => threshold.toFixed(2),
    values: { threshold: ({ threshold }) => threshold },
  },
];

/** What is said of a file without a result. @param {FileEntry} entry */
function statusText({ status, reason }) {
  if (status === "failed") return `failed: ${reason}`;
  return status === "left-out" ? reason : "not segmented yet";
}

/**
 * A field of a CSV file (RFC 4180). A text that a spreadsheet would take for a formula gets an
 * apostrophe, as in the table of regions.
 * @param {string | number | undefined} value
 */
function csvField(value = "") {
  const isFormula = typeof value === "string" && /^[=+\-@\t]/.test(value);
  const text = isFormula ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export class ManyFiles {
  /** Number of the last run over all files; an earlier run ends. */
  #run = 0;
  #isRunning = false;

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    elements.segmentAll.onclick = () => void this.segmentAll();
    elements.stopAll.onclick = () => this.stop();
    elements.showSummary.onclick = () => void this.showSummary();
    elements.saveSummary.onclick = () => void this.saveSummary();
    elements.saveAll.onclick = () => void this.saveAll();
  }

  /** Whether files are being segmented one after the other. */
  get isRunning() {
    return this.#isRunning;
  }

  /** Ends the run after the last finished file, and cancels the one that is computed. */
  stop() {
    this.#run += 1;
    void this.page.cancel();
  }

  /** Opens and segments the files that have no result. A file that fails does not end the rest. */
  async segmentAll() {
    const { page } = this;
    const run = ++this.#run;
    const { entries } = page.files;
    const startedAt = performance.now();
    const wasFocused = document.activeElement === elements.segmentAll;
    // At once, so that a second click does not begin another run.
    this.#setRunning(true);
    elements.filesProgressText.textContent = "";
    if (wasFocused) elements.stopAll.focus();
    let finished = 0;
    let isCancelled = false;
    try {
      await this.captureCurrent();
      const missing = entries.filter((entry) => entry.status !== "done");
      isCancelled = run !== this.#run;
      for (const entry of missing) {
        if (isCancelled || page.files.entries !== entries) break;
        this.#showProgress(finished, missing.length, startedAt);
        const error = await this.#segmentEntry(entry);
        // Another list, another run, Cancel, or an image that a person opened.
        isCancelled = run !== this.#run || error?.name === "AbortError";
        finished += 1;
      }
    } finally {
      if (run === this.#run || isCancelled) {
        const hadFocus = document.activeElement === elements.stopAll;
        this.#setRunning(false);
        if (hadFocus) elements.segmentAll.focus();
        this.#showOutcome(entries, isCancelled);
      }
    }
  }

  /** @param {FileEntry} entry @returns {Promise<Error | undefined>} why it has no result */
  async #segmentEntry(entry) {
    const { page } = this;
    const error = await page.files.open(entry);
    if (error) return error;
    if (page.isSlide && !page.canvasView.hasResult[MAIN]) {
      const { width, height } = page.canvasView;
      if (width * height > MAX_SLIDE_PX) {
        page.files.setState(entry, "left-out", TOO_LARGE);
        return undefined;
      }
      const slideError = await page.segmentSlide("slide");
      if (slideError) {
        if (slideError.name !== "AbortError") {
          page.files.setState(entry, "failed", slideError.message);
        }
        return slideError;
      }
    }
    return this.#capture(entry);
  }

  /** @param {boolean} isRunning */
  #setRunning(isRunning) {
    this.#isRunning = isRunning;
    elements.segmentAll.hidden = isRunning;
    elements.stopAll.hidden = !isRunning;
    elements.filesProgress.hidden = !isRunning;
  }

  /** @param {number} finished @param {number} total @param {number} startedAt milliseconds */
  #showProgress(finished, total, startedAt) {
    const elapsed = performance.now() - startedAt;
    const left = finished > 0 ? (elapsed / finished) * (total - finished) : 0;
    const time = left > 0 ? `, about ${formatDuration(left)} left` : "";
    elements.filesProgress.value = finished / total;
    elements.filesProgressText.textContent = `File ${finished + 1} of ${total}${time}`;
  }

  /** @param {FileEntry[]} entries @param {boolean} isCancelled */
  #showOutcome(entries, isCancelled) {
    /** @param {FileEntry["status"]} status */
    const count = (status) => entries.filter((entry) => entry.status === status).length;
    const parts = [`${count("done")} of ${entries.length} segmented`];
    if (count("failed") > 0) parts.push(`${count("failed")} failed`);
    if (count("left-out") > 0) parts.push(`${count("left-out")} left out`);
    const stopped = isCancelled ? "Stopped: " : "";
    elements.filesProgressText.textContent = `${stopped}${parts.join(", ")}.`;
  }

  /** Notes what is found in the open file, if it is one of the list. */
  async captureCurrent() {
    const { current } = this.page.files;
    if (current) await this.#capture(current);
  }

  /** Notes what is found in the open file and makes its files, before another one opens. */
  async leave() {
    const { current } = this.page.files;
    if (!current) return;
    await this.#capture(current);
    const { page } = this;
    const { result } = current;
    if (!result || !this.#hasResult()) return;
    try {
      const geojson = await page.engine.call("file", MAIN, "geojson", page.mpp);
      const csv = await page.engine.call("file", MAIN, "csv", page.mpp);
      result.geojson = new Blob([/** @type {BlobPart} */ (geojson)]);
      result.csv = new Blob([/** @type {BlobPart} */ (csv)]);
    } catch (error) {
      page.files.setState(current, "failed", messageOf(error));
    }
  }

  /** Whether the open file is segmented, not only a part of it. */
  #hasResult() {
    const { page } = this;
    const isPartial = !page.isSlide && page.imageSegmentation.isPartial;
    return page.canvasView.hasResult[MAIN] && !page.isSegmenting && !isPartial;
  }

  /** @param {FileEntry} entry that is open @returns {Promise<Error | undefined>} */
  async #capture(entry) {
    if (!this.#hasResult()) return undefined;
    try {
      const result = await this.#measure();
      if (result) this.page.files.setResult(entry, result);
      return undefined;
    } catch (error) {
      this.page.files.setState(entry, "failed", messageOf(error));
      return error instanceof Error ? error : new Error(String(error));
    }
  }

  /** What is found in the open file. @returns {Promise<FileResult | undefined>} */
  async #measure() {
    const { page } = this;
    const { model } = page;
    if (!model) return undefined;
    await page.reviewSync.update();
    const summary = await page.engine.callJson("summary", MAIN);
    const { nuclei, coveredPx, segmentedPx, accepted, added, rejected } = summary;
    const inside = page.store.state.insideOnly ? page.regions.insideScope(summary) : undefined;
    const areaPx = inside ? inside.areaPx : segmentedPx;
    const numbers = await page.engine.call("objects", MAIN);
    const areas = [];
    for (let i = 0; i < numbers.length; i += NUMBERS_PER_OBJECT) {
      if (numbers[i + COUNTED_AT] > 0) areas.push(numbers[i + AREA_AT]);
    }
    areas.sort((a, b) => a - b);
    return {
      mpp: page.mpp,
      mppSource: page.mppSource,
      nuclei,
      segmentedPx: areaPx,
      areaShare: areaPx === undefined ? undefined : areaPx > 0 ? coveredPx / areaPx : 0,
      insideRegions: inside?.regions ?? 0,
      medianPx: areas[areas.length >> 1] ?? 0,
      accepted,
      added,
      rejected,
      model: this.#modelName(model),
      modelFingerprint: model.facts.fingerprint,
      threshold: summary.threshold ?? page.threshold ?? model.facts.threshold,
    };
  }

  /** As the panel has it. @param {Model} model */
  #modelName({ facts: { family, ratio } }) {
    const shipped = shippedModel(this.page.selectedSetting);
    if (shipped) return `${shipped.name} (${shipped.file})`;
    return `${family}-${Math.round(ratio * 100)}`;
  }

  async showSummary() {
    await this.captureCurrent();
    elements.summaryTable.replaceChildren(this.#createTable());
    elements.summaryDialog.showModal();
  }

  #createTable() {
    const table = document.createElement("table");
    const head = table.createTHead().insertRow();
    for (const title of ["File", ...COLUMNS.map((column) => column.title)]) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = title;
      head.append(cell);
    }
    const body = table.createTBody();
    for (const entry of this.page.files.entries) {
      const row = body.insertRow();
      row.insertCell().textContent = entry.file.name;
      const { result } = entry;
      if (result) {
        for (const { cell } of COLUMNS) row.insertCell().textContent = cell(result);
      } else {
        const cell = row.insertCell();
        cell.colSpan = COLUMNS.length;
        cell.textContent = statusText(entry);
      }
    }
    return table;
  }

  /** The summary as CSV, a row for each file. */
  #summaryCsv() {
    const values = COLUMNS.flatMap((column) => Object.entries(column.values));
    const rows = [["file", ...values.map(([name]) => name), "note"]];
    for (const entry of this.page.files.entries) {
      const { result } = entry;
      const fields = values.map(([, value]) => csvField(result && value(result)));
      const inside = result?.insideRegions ? `inside regions only: ${result.insideRegions}` : "";
      const note = result ? inside : statusText(entry);
      rows.push([csvField(entry.file.name), ...fields, csvField(note)]);
    }
    return `${rows.map((row) => row.join(",")).join("\r\n")}\r\n`;
  }

  async saveSummary() {
    await this.captureCurrent();
    saveFile(new TextEncoder().encode(this.#summaryCsv()), "summary.csv", "text/csv");
  }

  /** Saves GeoJSON and CSV of every segmented file, and the summary, as one ZIP. */
  async saveAll() {
    const { page } = this;
    page.clearError();
    try {
      await this.leave();
      const summary = new Blob([this.#summaryCsv()]);
      const files = [{ name: "summary.csv", content: summary }];
      /** @type {Set<string>} */
      const taken = new Set(["summary"]);
      for (const { file, result } of page.files.entries) {
        if (!result?.geojson || !result.csv) continue;
        const base = uniqueName(file.name, taken);
        files.push({ name: `${base}.geojson`, content: result.geojson });
        files.push({ name: `${base}.csv`, content: result.csv });
      }
      if (files.length === 1) throw new Error("No file of the list is segmented yet.");
      saveFile(await zipFiles(files), "results.zip", "application/zip");
    } catch (error) {
      page.showError(error);
    }
  }
}

/**
 * A path for a ZIP: without the ending, without places outside the folder, and not taken.
 * @param {string} name
 * @param {Set<string>} taken takes the path, in small letters
 */
function uniqueName(name, taken) {
  const parts = name.split(/[/\\]/).filter((part) => !/^\.*$/.test(part));
  const path = parts.join("/").replace(/(\.ome)?\.[^./]*$/, "") || "image";
  let unique = path;
  for (let i = 2; taken.has(unique.toLowerCase()); i++) unique = `${path} (${i})`;
  taken.add(unique.toLowerCase());
  return unique;
}
