// The list of files: several that were dropped, chosen or pasted, or those of a folder of
// `prunella serve`. A click opens one, and so do the buttons and keys for the previous and next.
import { elements } from "./elements.js";
import { formatCount } from "./format.js";
import { superseded } from "./opener.js";

/** @import { ImageSource } from "./opener.js" */
/** @import { FileResult } from "./many-files.js" */
/** @import { Page } from "./page.js" */

/** Largest number of files that are listed. */
const MAX_LISTED = 1000;

/**
 * @typedef {object} ListedFile
 * @property {string} name shown in the list, and of the image when it is open
 * @property {() => ImageSource | Promise<ImageSource>} find where its bytes are
 */

/**
 * @typedef {object} FileEntry
 * @property {ListedFile} file
 * @property {"waiting" | "done" | "left-out" | "failed"} status
 * @property {string} reason why it failed or was left out
 * @property {FileResult} [result] what was found in it
 * @property {HTMLButtonElement} button
 * @property {HTMLElement} note
 */

export class FileList {
  /** Number of the last request to open a file of the list. */
  #lastRequest = 0;
  /** @type {FileEntry[]} */
  entries = [];
  /** @type {FileEntry | undefined} The one that is shown. */
  current;

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    elements.previousFile.onclick = () => void this.step(-1);
    elements.nextFile.onclick = () => void this.step(1);
  }

  /**
   * Lists files as buttons that open them, in place of the earlier list.
   * @param {ListedFile[]} files
   * @param {string} [facts] a sentence about the list
   */
  show(files, facts = "") {
    const more = files.length > MAX_LISTED ? ` The first ${MAX_LISTED} are listed.` : "";
    elements.folderFacts.textContent = facts + more;
    this.current = undefined;
    this.entries = files.slice(0, MAX_LISTED).map((file) => this.#createEntry(file));
    const items = [];
    for (const { button, note } of this.entries) {
      const item = document.createElement("li");
      item.append(button, note);
      items.push(item);
    }
    elements.folder.replaceChildren(...items);
    elements.files.hidden = files.length === 0;
    this.#showPosition();
  }

  /** @param {ListedFile} file @returns {FileEntry} */
  #createEntry(file) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = file.name;
    const note = document.createElement("span");
    note.className = "small";
    /** @type {FileEntry} */
    const entry = { file, status: "waiting", reason: "", button, note };
    button.onclick = () => void this.open(entry);
    return entry;
  }

  /**
   * Opens a file of the list and segments it.
   * @param {FileEntry} entry
   * @returns {Promise<Error | undefined>} why it is not open and segmented
   */
  async open(entry) {
    /** @type {Error | undefined} */
    let error;
    const request = ++this.#lastRequest;
    try {
      const source = await entry.file.find();
      if (request !== this.#lastRequest) return superseded();
      error = await this.page.opener.open({ ...source, entry });
    } catch (reason) {
      error = reason instanceof Error ? reason : new Error(String(reason));
      this.page.showError(error);
    }
    if (!this.entries.includes(entry) || error?.name === "AbortError") return error;
    if (error) this.setState(entry, "failed", error.message);
    return error;
  }

  /** Opens the first file of the list. */
  openFirst() {
    if (this.entries.length > 0) void this.open(this.entries[0]);
  }

  /** Opens the file that many places further. @param {1 | -1} distance */
  async step(distance) {
    const { entries } = this;
    if (entries.length === 0) return;
    const at = this.current ? entries.indexOf(this.current) : -1;
    const next = at < 0 ? 0 : at + distance;
    if (next >= 0 && next < entries.length) await this.open(entries[next]);
  }

  /** Marks the file that is shown. @param {FileEntry | undefined} shown */
  markOpened(shown) {
    this.current = shown && this.entries.includes(shown) ? shown : undefined;
    for (const entry of this.entries) {
      entry.button.ariaCurrent = entry === this.current ? "true" : null;
    }
    this.current?.button.scrollIntoView({ block: "nearest" });
    this.#showPosition();
  }

  #showPosition() {
    const { entries } = this;
    const at = this.current ? entries.indexOf(this.current) : -1;
    const count = formatCount(entries.length);
    elements.filePosition.textContent =
      at < 0 ? `${count} ${entries.length === 1 ? "file" : "files"}` : `${at + 1} of ${count}`;
    elements.previousFile.disabled = at <= 0;
    elements.nextFile.disabled = at === entries.length - 1;
  }

  /**
   * @param {FileEntry} entry
   * @param {FileEntry["status"]} status
   * @param {string} [reason]
   */
  setState(entry, status, reason = "") {
    entry.status = status;
    entry.reason = reason;
    entry.note.textContent = describe(entry);
    entry.note.classList.toggle("failed", status === "failed");
  }

  /** @param {FileEntry} entry @param {FileResult} result */
  setResult(entry, result) {
    entry.result = result;
    this.setState(entry, "done");
  }
}

/** What is known of a file, beside its name. @param {FileEntry} entry */
function describe({ status, reason, result }) {
  if (status === "failed") return `Failed: ${reason}`;
  if (status === "left-out") return reason;
  if (!result) return "";
  const { nuclei, accepted, added, rejected } = result;
  const count = `${formatCount(nuclei)} ${nuclei === 1 ? "nucleus" : "nuclei"}`;
  const edited = accepted + added + rejected > 0 ? ", edited" : "";
  return `${count}${edited}`;
}

/**
 * Lists the images and slides of a folder of `prunella serve`.
 * @param {Page} page
 * @param {string} address
 */
export async function showFolder(page, address) {
  try {
    const base = new URL(address, location.href);
    // A link must not make the page list another host's files.
    if (base.origin !== location.origin) return;
    const response = await fetch(new URL("?list", base));
    /** @type {string[]} */
    const names = await response.json();
    const files = names.map((name) => {
      const path = name.split("/").map(encodeURIComponent).join("/");
      const url = new URL(path, base);
      return { name, find: () => ({ name, address: url.href }) };
    });
    page.files.show(files);
  } catch {
    page.showStatus("The folder cannot be listed.");
  }
}
