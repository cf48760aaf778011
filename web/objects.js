// The objects of an OME-Zarr: files of a folder that was dropped, or of a server. An object has a
// key such as `0/zarr.json`; that there is none under a key is an answer, not an error.
import { FinalError, request, responseError, withAttempts } from "./source.js";

/** Names of a Zarr's metadata, of version 3 and 2. */
const METADATA = ["zarr.json", ".zattrs", ".zgroup"];
/** Requests at a time: more would wait in the browser while their time runs. */
const MAX_REQUESTS = 12;
/** Largest number of files of a folder. */
const MAX_FILES = 500_000;

/**
 * Reads an object: all of it, the bytes from `start` to `end`, which is excluded, or the last
 * `start` bytes. Null if there is no such object.
 * @callback ReadObject
 * @param {string} key
 * @param {"whole" | "range" | "last"} part
 * @param {number} start
 * @param {number} end
 * @returns {Promise<Uint8Array | null>}
 */

/** @typedef {{ lengths: number[], reader: (signal: AbortSignal) => ReadObject }} ObjectSource */
/** @typedef {Map<string, File>} ObjectFiles files of a folder, by key */

/** Whether a folder is a Zarr by its name. @param {string} name */
export function isZarrName(name) {
  return name.toLowerCase().endsWith(".zarr");
}

/** Whether an address is of a Zarr, or of a part of one. @param {string} address */
export function isZarrAddress(address) {
  return new URL(address, location.href).pathname.split("/").some(isZarrName);
}

/** @param {FileSystemDirectoryEntry} folder */
export async function isZarrFolder(folder) {
  if (isZarrName(folder.name)) return true;
  const has = (/** @type {string} */ name) =>
    new Promise((resolve) => {
      folder.getFile(name, {}, () => resolve(true), () => resolve(false));
    });
  return (await Promise.all(METADATA.map(has))).includes(true);
}

/**
 * Files of a folder and of the folders in it, by key.
 * @param {FileSystemDirectoryEntry} folder
 * @param {string} [path] of the folder in the Zarr
 * @param {ObjectFiles} [files] takes the files
 */
export async function filesOf(folder, path = "", files = new Map()) {
  const reader = folder.createReader();
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (batch.length === 0) return files;
    for (const entry of batch) {
      const key = path + entry.name;
      if (entry.isDirectory) {
        await filesOf(/** @type {FileSystemDirectoryEntry} */ (entry), `${key}/`, files);
      } else {
        const { file } = /** @type {{ file: FileSystemFileEntry["file"] }} */ (
          /** @type {unknown} */ (entry)
        );
        files.set(key, await new Promise((resolve, reject) => file.call(entry, resolve, reject)));
      }
      if (files.size > MAX_FILES) {
        const held = `The folder ${folder.name} holds more than ${MAX_FILES} files.`;
        throw new Error(`${held} Put it on a server, and open its address.`);
      }
    }
  }
}

/** @param {ObjectFiles} files @returns {ObjectSource} */
export function openFiles(files) {
  /** @type {ObjectSource["reader"]} */
  const reader = (signal) => async (key, part, start, end) => {
    signal.throwIfAborted();
    const file = files.get(key);
    if (!file) return null;
    return new Uint8Array(await partOf(file, part, start, end).arrayBuffer());
  };
  return { lengths: [], reader };
}

/**
 * @param {File} file
 * @param {"whole" | "range" | "last"} part
 * @param {number} start
 * @param {number} end
 */
function partOf(file, part, start, end) {
  if (part === "range") return file.slice(start, end);
  return part === "last" ? file.slice(Math.max(0, file.size - start)) : file;
}

/** @param {string} address @returns {ObjectSource} */
export function openObjects(address) {
  const queue = new RequestQueue();
  /** @type {ObjectSource["reader"]} */
  const reader = (signal) => (key, part, start, end) => {
    const url = new URL(address);
    const path = key.split("/").map(encodeURIComponent).join("/");
    url.pathname = `${url.pathname.replace(/\/+$/, "")}/${path}`;
    return queue.run(() =>
      withAttempts(signal, () => fetchObject(url, part, start, end, signal)),
    );
  };
  return { lengths: [], reader };
}

/** Lets a number of tasks run at a time, in the order in which they came. */
class RequestQueue {
  #running = 0;
  /** @type {(() => void)[]} */
  #waiting = [];

  /**
   * @template T
   * @param {() => Promise<T>} task
   * @returns {Promise<T>}
   */
  async run(task) {
    if (this.#running >= MAX_REQUESTS) {
      await new Promise((resolve) => this.#waiting.push(() => resolve(undefined)));
    } else {
      this.#running += 1;
    }
    try {
      return await task();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#running -= 1;
    }
  }
}

/**
 * @param {URL} url
 * @param {"whole" | "range" | "last"} part
 * @param {number} start
 * @param {number} end
 * @param {AbortSignal} signal
 */
async function fetchObject(url, part, start, end, signal) {
  const range = part === "range" ? `${start}-${end - 1}` : `-${start}`;
  const response = await request(url, part === "whole" ? {} : { Range: `bytes=${range}` }, signal);
  if (response.status === 404) return null;
  // Object stores that list nothing say 403 where there is nothing. Of pixels it may as well mean
  // that the permission ended.
  if (response.status === 403 && isMetadata(url)) return null;
  if (!response.ok) {
    const sentence = `${url.host} sends no part of the slide (${response.status}).`;
    throw responseError(response, sentence);
  }
  if (part !== "whole" && response.status !== 206) {
    throw new FinalError(
      `${url.host} sends only whole files. Put the slide on a server that answers range requests.`,
    );
  }
  return new Uint8Array(await response.arrayBuffer());
}

/** Whether an object is looked for by its name. @param {URL} url */
function isMetadata({ pathname }) {
  const name = pathname.slice(pathname.lastIndexOf("/") + 1);
  return name === "zarr.json" || name.startsWith(".z");
}

/**
 * Bytes that tell slides apart: the metadata, and of files their keys and sizes.
 * @param {{ files?: ObjectFiles, address?: string }} slide
 * @param {AbortSignal} signal
 */
export async function identityOf({ files, address = "" }, signal) {
  const read = (files ? openFiles(files) : openObjects(address)).reader(signal);
  const metadata = await Promise.all(METADATA.map((name) => read(name, "whole", 0, 0)));
  const sizes = [...(files ?? [])].map(([key, { size }]) => `${key} ${size}`).sort();
  const parts = [address, ...sizes.map((line) => `\n${line}`), ...metadata.map((m) => m ?? "")];
  return new Uint8Array(await new Blob(/** @type {BlobPart[]} */ (parts)).arrayBuffer());
}
