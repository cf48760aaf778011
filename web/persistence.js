// Keeps the state of the open image on this device, and brings it back: after a reload, and when
// an image is opened again. The page works in the same way without it.
import { DocumentLock, Tabs } from "./document-lock.js";
import { elements } from "./elements.js";
import { messageOf } from "./error-message.js";
import { SAMPLE_FINGERPRINT, fingerprintOfFile, fingerprintOfPieces } from "./fingerprint.js";
import { formatBytes, formatCount } from "./format.js";
import { chooseFiles } from "./incoming.js";
import { MAIN } from "./slots.js";
import { identityOf, isZarrAddress, isZarrName } from "./objects.js";
import { openUrl } from "./source.js";
import { hideStorageBar, showStorageBar } from "./storage-bar.js";
import { DeviceStorage, MAX_IMAGE_COPY_BYTES, StorageError } from "./storage.js";

/** @import { ImageSource } from "./opener.js" */
/** @import { Page } from "./page.js" */
/** @import { DocumentFacts, DocumentRecord, KeptImage, KeptVersion } from "./storage.js" */

/** Pause after the last change before the state is written, milliseconds. */
const SAVE_DELAY_MS = 500;
/** Pause before results of a slide that is being segmented are written, milliseconds. */
const SLIDE_RESULT_DELAY_MS = 30e3;
/** Longest time for the fingerprint of a slide of a server, milliseconds. */
const FINGERPRINT_MS = 5000;
/** Name of the entry of `sessionStorage`: fingerprint of the image of this tab. */
const TAB_KEY = "prunella open";
/** Name of the entry of `localStorage`: whether nothing is to be kept. */
const OFF_KEY = "prunella keeps nothing";
const ELSEWHERE = "This image is open in another tab; changes here are not kept.";
const TAKEN = "Another tab has taken this image; changes here are not kept.";
const START_ANEW = "Start anew";

/** @typedef {"localStorage" | "sessionStorage"} EntryArea */

/** An entry of a browser's storage; null where it is blocked. */
function readEntry(/** @type {EntryArea} */ area, /** @type {string} */ key) {
  try {
    return globalThis[area].getItem(key);
  } catch {
    return null;
  }
}

/**
 * @param {EntryArea} area
 * @param {string} key
 * @param {string | null} value null removes it
 */
function writeEntry(area, key, value) {
  try {
    if (value === null) globalThis[area].removeItem(key);
    else globalThis[area].setItem(key, value);
  } catch {
    // Blocked.
  }
}

/**
 * Whether a file may be read; browsers without these methods ask by themselves.
 * @param {FileSystemFileHandle} handle
 * @param {"query" | "request"} how `request` asks the person, after a click
 */
async function mayRead(handle, how) {
  /** @typedef {(options: { mode: "read" }) => Promise<PermissionState>} AskPermission */
  /** @typedef {{ queryPermission?: AskPermission, requestPermission?: AskPermission }} Asking */
  const asking = /** @type {Asking} */ (/** @type {unknown} */ (handle));
  const method = how === "query" ? asking.queryPermission : asking.requestPermission;
  if (!method) return true;
  return (await method.call(handle, { mode: "read" })) === "granted";
}

/** Numbers of nuclei and corrections, for people. */
function describeKept(/** @type {{ nuclei: number, marks: number }} */ { nuclei, marks }) {
  const parts = [];
  if (nuclei >= 0) parts.push(`${formatCount(nuclei)} ${nuclei === 1 ? "nucleus" : "nuclei"}`);
  if (marks > 0) parts.push(`${formatCount(marks)} ${marks === 1 ? "correction" : "corrections"}`);
  return parts.join(" and ");
}

/** A day, for people. @param {number} time milliseconds since 1970 */
function formatDay(time) {
  const day = new Date(time);
  if (day.toDateString() === new Date().toDateString()) return "today";
  return day.toLocaleDateString("en-GB", { day: "numeric", month: "long" });
}

export class Persistence {
  /** @type {Promise<DeviceStorage | undefined> | undefined} */
  #storage;
  /** Name of this tab as owner of documents. */
  #tab = String(crypto.getRandomValues(new Uint32Array(4)));
  #tabs = new Tabs();
  /** @type {string} Fingerprint of the open image; empty if it is not kept. */
  #fingerprint = "";
  /** @type {DocumentLock | undefined} Of the open image, while this tab may write. */
  #lock;
  /** @type {ImageSource | undefined} The open image. */
  #source;
  /** Whether state and results have changed since they were written. */
  #dirty = { state: false, results: false };
  /** @type {Promise<void>} Ends when all writes so far have ended. */
  #writing = Promise.resolve();
  /** Of the results that were noted as changed last. */
  #resultRevision = 0;
  /** Problems that were said once. @type {Set<string>} */
  #said = new Set();
  /** Whether changes are the restoring of a state. */
  #isRestoring = false;

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    page.store.subscribe(() => this.#stateChanged());
    this.#tabs.listen((message) => void this.#heard(message));
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "hidden") void this.flush();
    });
    addEventListener("pagehide", () => void this.flush());
    addEventListener("beforeunload", (event) => {
      void this.flush();
      // A result that is not finished would be lost, and changes that are not kept.
      const isComputing = page.isSegmenting || page.manyFiles.isRunning;
      const { document: open, undo } = page.store.state;
      const isLosing = open !== null && undo !== null && !this.#lock;
      const isTeaching = page.teaching.isRunning || page.teaching.taught !== undefined;
      if (isComputing || isLosing || isTeaching) event.preventDefault();
    });
    this.#bindPrivacy();
  }

  // ---- What is kept at all

  /** Whether the person wants images to be kept. */
  get isOn() {
    return readEntry("localStorage", OFF_KEY) === null;
  }

  /** The database; undefined if nothing can be or is to be kept. */
  async storage() {
    // All pages that are opened from a disk share what they keep.
    if (!this.isOn || location.protocol === "file:") return undefined;
    this.#storage ??= DeviceStorage.open().catch((error) => {
      this.#showProblem(error);
      return undefined;
    });
    const storage = await this.#storage;
    if (storage) storage.onlost = (error) => this.#showProblem(error);
    return storage;
  }

  /** Says that something is not kept. @param {unknown} error */
  #showProblem(error) {
    const sentence = messageOf(error);
    // Each change could fail in the same way; that a state cannot be used is said of each image.
    const isOfImage = error instanceof StorageError && error.problem === "other-version";
    if (this.#said.has(sentence) && !isOfImage) return;
    this.#said.add(sentence);
    elements.privacyState.textContent = sentence;
    // A browser that keeps nothing is no reason for a message at every visit.
    if (error instanceof StorageError && error.problem === "unavailable") return;
    showStorageBar(sentence);
  }

  #bindPrivacy() {
    elements.keep.checked = this.isOn;
    elements.keep.onchange = () => void this.#setOn(elements.keep.checked);
    elements.forgetAll.onclick = () => elements.forgetDialog.showModal();
    elements.forgetConfirm.onclick = () => void this.forgetAll();
    elements.privacy.ontoggle = () => void this.#showUsage();
  }

  /** @param {boolean} isOn */
  async #setOn(isOn) {
    if (!isOn) {
      await this.flush();
      this.#lock?.release();
      this.#lock = undefined;
    }
    writeEntry("localStorage", OFF_KEY, isOn ? null : "1");
    if (!isOn) return;
    await this.#claim(false);
    this.#stateChanged();
  }

  async #showUsage() {
    if (!elements.privacy.open) return;
    if (location.protocol === "file:") {
      elements.privacyState.textContent = "A page that is opened from a disk keeps nothing.";
      return;
    }
    const storage = await this.storage();
    if (!storage) return;
    const { documents, bytes } = await storage.usage();
    elements.privacyState.textContent =
      documents === 0
        ? "Nothing is kept."
        : `${formatCount(documents)} ${documents === 1 ? "image is" : "images are"} kept, ` +
          `${formatBytes(bytes)}.`;
  }

  /** Removes everything that the page keeps on this device. The open image stays open. */
  async forgetAll() {
    try {
      await this.#writing;
      const storage = await this.storage();
      this.#lock?.release();
      this.#lock = undefined;
      this.#fingerprint = "";
      await storage?.clearAll();
      writeEntry("sessionStorage", TAB_KEY, null);
      this.#tabs.post({ type: "forgotten" });
      this.page.showStatus("Everything was removed. The open image is kept no more.");
      elements.privacyState.textContent = "Nothing is kept.";
    } catch (error) {
      this.page.showError(error);
    }
  }

  // ---- Opening

  /**
   * The fingerprint of an image that is being opened; empty if it cannot be had.
   * @param {ImageSource} source
   */
  async fingerprintOf({ blob, files, address }) {
    try {
      if (blob) return await fingerprintOfFile(blob);
      if (!address && !files) return SAMPLE_FINGERPRINT;
      const signal = AbortSignal.timeout(FINGERPRINT_MS);
      if (!address || isZarrAddress(address)) {
        const identity = await identityOf({ files, address }, signal);
        return await fingerprintOfFile(new Blob([/** @type {BlobPart} */ (identity)]));
      }
      const remote = await openUrl(new URL(address, location.href).href, signal);
      if (remote === "whole") return "";
      return await fingerprintOfPieces(remote.length, remote.reader(signal));
    } catch {
      return "";
    }
  }

  /**
   * Takes up an image that was opened: its state comes back, if there is one.
   * @param {ImageSource} source
   * @param {string} fingerprint
   * @returns {Promise<{ results: Uint8Array[] } | undefined>} what was kept of it
   */
  async opened(source, fingerprint) {
    hideStorageBar();
    this.#lock?.release();
    this.#lock = undefined;
    this.#source = source;
    this.#fingerprint = fingerprint;
    this.#dirty = { state: false, results: false };
    await this.page.versions.open([]);
    this.page.versions.adopt();
    if (!fingerprint) return undefined;
    writeEntry("sessionStorage", TAB_KEY, fingerprint);
    const storage = await this.storage();
    if (!storage) return undefined;
    let restored;
    try {
      await this.page.versions.open(await storage.loadVersions(fingerprint));
      const kept = await storage.loadDocument(fingerprint);
      if (kept?.state) {
        this.#loadState(kept.state);
        this.#showRestored(kept.record.savedAt);
        restored = { results: kept.results };
      }
    } catch (error) {
      this.#showProblem(error);
    }
    this.page.versions.adopt();
    await this.#claim(false);
    return restored;
  }

  /** @param {Uint8Array} state */
  #loadState(state) {
    this.#isRestoring = true;
    try {
      this.page.restoreState(state);
    } catch (error) {
      const reason = messageOf(error);
      throw new StorageError(
        "other-version",
        `What is kept of this image cannot be used: ${reason}. The image starts anew.`,
        error,
      );
    } finally {
      this.#isRestoring = false;
    }
  }

  /** Says what came back. @param {number} savedAt milliseconds since 1970 */
  #showRestored(savedAt) {
    const { marks, regions, strokes, pixelSize } = this.page.store.state;
    const corrections = marks.accepted + marks.added + marks.rejected;
    const parts = [];
    if (corrections > 0) parts.push(describeKept({ nuclei: -1, marks: corrections }));
    if (strokes.length > 0) {
      parts.push(`${formatCount(strokes.length)} ${strokes.length === 1 ? "stroke" : "strokes"}`);
    }
    if (regions.length > 0) {
      parts.push(`${formatCount(regions.length)} ${regions.length === 1 ? "region" : "regions"}`);
    }
    if (pixelSize.source === "person") parts.push(`the pixel size of ${pixelSize.um} µm`);
    const lost = this.page.lostModel
      ? "The model of the last visit, from a file or a link, is not here: another one counts."
      : "";
    if (parts.length === 0) {
      if (lost) showStorageBar(lost);
      return;
    }
    const last = parts.pop();
    const what = parts.length > 0 ? `${parts.join(", ")} and ${last}` : last;
    const run = () => void this.startAnew();
    const restored = `Restored: ${what} from ${formatDay(savedAt)}.`;
    showStorageBar(`${restored} ${lost}`.trim(), { text: START_ANEW, run });
  }

  /** Removes what is kept of the open image and opens it again. */
  async startAnew() {
    const source = this.#source;
    const fingerprint = this.#fingerprint;
    try {
      await this.#leave();
      const storage = await this.storage();
      await storage?.removeDocuments([fingerprint]);
      if (source) await this.page.opener.reopen(source);
    } catch (error) {
      this.page.showError(error);
    }
  }

  /**
   * Makes this tab the one that may write the open image.
   * @param {boolean} steal whether another tab loses it
   */
  async #claim(steal) {
    const fingerprint = this.#fingerprint;
    const source = this.#source;
    const storage = await this.storage();
    if (!storage || !source || !fingerprint) return;
    const lock = await DocumentLock.take(fingerprint, {
      steal,
      onstolen: () => {
        if (this.#fingerprint !== fingerprint) return;
        this.#lock = undefined;
        this.#showElsewhere(TAKEN);
      },
    });
    if (this.#fingerprint !== fingerprint) {
      lock?.release();
      return;
    }
    if (!lock) {
      this.#showElsewhere(ELSEWHERE);
      return;
    }
    this.#lock = lock;
    try {
      await storage.claim(fingerprint, this.#tab, factsOf(source));
      await this.#keepImage(storage, source, fingerprint);
      await this.page.versions.saveRest();
    } catch (error) {
      this.#showProblem(error);
    }
  }

  /**
   * @param {DeviceStorage} storage
   * @param {ImageSource} source
   * @param {string} fingerprint
   */
  async #keepImage(storage, { blob, lengths, handle, address }, fingerprint) {
    /** @type {KeptImage | undefined} */
    let image;
    // The address of `prunella serve` may belong to another program later.
    if (address || this.page.address.urlState.folder) return;
    if (blob && blob.size <= MAX_IMAGE_COPY_BYTES) image = { blob, lengths };
    else if (handle) image = { handle };
    if (!image || (await storage.loadImage(fingerprint))) return;
    await storage.saveImage(fingerprint, this.#tab, image);
  }

  /** @param {string} sentence */
  #showElsewhere(sentence) {
    showStorageBar(sentence, { text: "Use it here", run: () => this.takeOver() });
  }

  /** Takes the open image from another tab, with the changes that were made there. */
  async takeOver() {
    const { page } = this;
    const fingerprint = this.#fingerprint;
    await this.#tabs.requestHandOver(fingerprint);
    await this.#claim(true);
    const storage = await this.storage();
    try {
      const kept = await storage?.loadDocument(fingerprint);
      if (storage && kept?.state && this.#fingerprint === fingerprint) {
        await page.versions.open(await storage.loadVersions(fingerprint));
        this.#loadState(kept.state);
        await page.tasks.runUserTask(async (check) => {
          await page.showKept(kept.results, check);
        });
      }
    } catch (error) {
      this.#showProblem(error);
    }
  }

  /** @param {import("./document-lock.js").TabMessage} message */
  async #heard(message) {
    if (message.type === "forgotten") {
      this.#lock?.release();
      this.#lock = undefined;
      this.#fingerprint = "";
      return;
    }
    const isOwn = message.fingerprint === this.#fingerprint && this.#lock !== undefined;
    if (message.type !== "hand-over" || !isOwn) return;
    await this.flush();
    this.#tabs.post({ type: "handed-over", fingerprint: message.fingerprint });
  }

  // ---- After a reload

  /** Whether this tab had an image open before it was loaded again. */
  get isOfThisTab() {
    return readEntry("sessionStorage", TAB_KEY) !== null;
  }

  /** Opens the image that was open last, if its address does not name another one. */
  async reopenLast() {
    const storage = await this.storage();
    if (!storage) return;
    try {
      const ofTab = readEntry("sessionStorage", TAB_KEY);
      const fingerprint = ofTab ?? (await storage.lastOpened());
      if (!fingerprint) return;
      // Another tab works on it.
      if (!ofTab && (await DocumentLock.isTaken(fingerprint))) return;
      const kept = await storage.loadDocument(fingerprint);
      if (kept) await this.#reopen(storage, kept.record);
    } catch (error) {
      this.#showProblem(error);
    }
  }

  /** @param {DeviceStorage} storage @param {DocumentRecord} record */
  async #reopen(storage, record) {
    const { opener } = this.page;
    const { name, fingerprint, address } = record;
    if (fingerprint === SAMPLE_FINGERPRINT) {
      await opener.openSample();
      return;
    }
    if (address) {
      await opener.open({ name, address });
      return;
    }
    const image = await storage.loadImage(fingerprint);
    if (image && "blob" in image) {
      await opener.open({ name, ...image });
      return;
    }
    if (image && (await mayRead(image.handle, "query"))) {
      const blob = await image.handle.getFile().catch(() => undefined);
      if (blob) {
        await opener.open({ name, blob, handle: image.handle });
        return;
      }
    }
    const what = describeKept(record) || "its settings";
    const isOne = /^1 \w+$/.test(what);
    const kept = `again to go on: ${what} ${isOne ? "is" : "are"} kept.`;
    if (isZarrName(name)) {
      // A page can choose files, but a folder is dropped.
      showStorageBar(`Drop the folder ${name} ${kept}`);
      return;
    }
    const all = /\.(dcm|dicom)$/i.test(name) ? "all files of the slide of " : "";
    const run = () => this.#reopenByHand(record, image);
    showStorageBar(`Open ${all}${name} ${kept}`, { text: "Open", run });
  }

  /**
   * Opens a file again after a click, which the browser wants to see.
   * @param {DocumentRecord} record
   * @param {KeptImage} [image]
   */
  async #reopenByHand({ name }, image) {
    const { opener } = this.page;
    try {
      if (image && "handle" in image) {
        const { handle } = image;
        if (await mayRead(handle, "request")) {
          await opener.open({ name, blob: await handle.getFile(), handle });
          return;
        }
      }
    } catch {
      // The file was moved; the person knows where it is.
    }
    await chooseFiles(this.page);
  }

  // ---- Writing

  /**
   * Keeps a taught version of the open image.
   * @param {KeptVersion} version
   * @returns {Promise<boolean>} whether it is kept
   */
  saveVersion(version) {
    return this.#withVersions((storage) =>
      storage.saveVersion(this.#fingerprint, this.#tab, version),
    );
  }

  /** @param {number} number of a version of the open image */
  async removeVersion(number) {
    await this.#withVersions((storage) => storage.removeVersion(this.#fingerprint, number));
  }

  /** @param {(storage: DeviceStorage) => Promise<void>} work */
  async #withVersions(work) {
    const storage = await this.storage();
    if (!storage || !this.#fingerprint || !this.#lock) return false;
    try {
      await work(storage);
      return true;
    } catch (error) {
      this.#showProblem(error);
      return false;
    }
  }

  #stateChanged() {
    if (this.#isRestoring || !this.#fingerprint) return;
    this.#dirty.state = true;
    this.page.debounce("save", SAVE_DELAY_MS, () => void this.flush());
  }

  /** The nuclei of the open image have changed. @param {"finished" | "partial"} extent */
  resultsChanged(extent) {
    const { resultRevision } = this.page.canvasView;
    if (!this.#fingerprint || resultRevision === this.#resultRevision) return;
    this.#resultRevision = resultRevision;
    this.#dirty.results = true;
    this.#dirty.state = true;
    const delay = extent === "partial" ? SLIDE_RESULT_DELAY_MS : SAVE_DELAY_MS;
    if (extent === "finished") this.page.debounce("save", delay, () => void this.flush());
    else this.#saveLater(delay);
  }

  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #laterTimer;

  /** Writes at the latest after a time. @param {number} ms */
  #saveLater(ms) {
    this.#laterTimer ??= setTimeout(() => {
      this.#laterTimer = undefined;
      void this.flush();
    }, ms);
  }

  /** Writes what has changed. */
  flush() {
    this.#writing = this.#writing.then(() => this.#write());
    return this.#writing;
  }

  async #write() {
    const { page } = this;
    const fingerprint = this.#fingerprint;
    const { state: stateChanged, results: resultsChanged } = this.#dirty;
    if (!fingerprint || !this.#lock || !(stateChanged || resultsChanged)) return;
    this.#dirty = { state: false, results: false };
    try {
      const state = page.store.save();
      const facts = this.#facts();
      const results = resultsChanged ? await this.#savedResults() : undefined;
      if (this.#fingerprint !== fingerprint) return;
      const storage = await this.storage();
      await storage?.saveDocument(fingerprint, this.#tab, { facts, state, results });
    } catch (error) {
      if (error instanceof StorageError && error.problem === "taken-over") {
        this.#lock?.release();
        this.#lock = undefined;
        if (this.#fingerprint === fingerprint) this.#showElsewhere(TAKEN);
        return;
      }
      this.#dirty.state = true;
      this.#dirty.results ||= resultsChanged;
      this.#showProblem(error);
    }
  }

  /** @returns {Partial<DocumentFacts>} */
  #facts() {
    const { page } = this;
    const { marks } = page.store.state;
    return {
      nuclei: page.canvasView.hasResult[MAIN] ? page.results.count : -1,
      marks: marks.accepted + marks.added + marks.rejected,
    };
  }

  /** Results as bytes, by slot. */
  async #savedResults() {
    const { page } = this;
    if (!page.canvasView.hasResult[MAIN]) return [];
    const main = await page.engine.call("saveResult", MAIN).catch(() => undefined);
    return main ? [main] : [];
  }

  /**
   * Shows results that were kept.
   * @param {Uint8Array[]} kept by slot
   * @returns {Promise<"none" | "partial" | "whole">} `partial` for an image that was not finished
   */
  async loadResults([main]) {
    const { page } = this;
    const { engine, canvasView, reviewSync, model } = page;
    if (!main || !model) return "none";
    try {
      await engine.call("loadResult", MAIN, main, model.facts.id);
    } catch {
      // Of another model or version: the image is segmented again.
      return "none";
    }
    canvasView.resultChanged(MAIN);
    await reviewSync.update();
    await reviewSync.count();
    const { segmentedPx } = await engine.callJson("summary", MAIN);
    const isWhole = page.isSlide || segmentedPx >= canvasView.width * canvasView.height;
    return isWhole ? "whole" : "partial";
  }

  /** Writes the latest changes and gives the open image to other tabs. */
  async #leave() {
    await this.flush();
    this.#lock?.release();
    this.#lock = undefined;
    this.#fingerprint = "";
  }
}

/** @param {ImageSource} source */
function factsOf({ name, blob, address }) {
  return {
    name,
    fileBytes: blob?.size ?? 0,
    fileModified: blob instanceof File ? blob.lastModified : 0,
    address,
  };
}
