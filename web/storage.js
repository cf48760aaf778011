// What the page keeps on this device: of each image its state, its results and, where that is
// possible, the image itself. An IndexedDB database of this page alone; nothing leaves the device.

/** @import { MarkAgreement, ModelSetting } from "./worker-api.d.ts" */

/** Tells this page from others of the same origin. */
export const PAGE_PATH = new URL("./", location.href).pathname;
/** Version of the records below. Records of another version are not read. */
const FORMAT = 1;
/** Version of the database: its object stores. */
const DATABASE = 2;
/** Largest total, bytes; also at most this share of what the browser grants. */
const MAX_TOTAL_BYTES = 1e9;
const MAX_QUOTA_SHARE = 0.5;
/** Largest image that is copied, bytes. Of a larger one only a handle of its file is kept. */
export const MAX_IMAGE_COPY_BYTES = 64e6;

/** Object stores. Keys are fingerprints, those of `page` names. */
const DOCUMENTS = "documents";
const STATES = "states";
const RESULTS = "results";
const IMAGES = "images";
/** Taught versions of a network; keys are fingerprint and number. */
const VERSIONS = "versions";
const PAGE = "page";
const ALL_STORES = [DOCUMENTS, STATES, RESULTS, IMAGES, VERSIONS, PAGE];
/** Key in `page`: fingerprint of the image that was opened last. */
const LAST = "last";

/** Sentences, by what failed. */
const UNAVAILABLE =
  "This browser keeps nothing for this page (a private window, or site data is blocked), so a " +
  "reload loses the image and its corrections. Save the results as files.";
const FULL =
  "This device has no room for the latest changes, so a reload loses them. Save the results as " +
  "files, or remove what is kept of other images.";
const TAKEN_OVER = "This image is open in another tab; changes here are not kept.";
const OTHER_VERSION =
  "What is kept of this image was written by another version of this page, which this one " +
  "cannot read. The image starts anew.";

/**
 * An error with a sentence for people.
 * @typedef {"unavailable" | "full" | "taken-over" | "other-version" | "failed"} StorageProblem
 */
export class StorageError extends Error {
  /** @param {StorageProblem} problem @param {string} message @param {unknown} [cause] */
  constructor(problem, message, cause) {
    super(message, { cause });
    this.name = "StorageError";
    this.problem = problem;
  }
}

/**
 * @typedef {object} DocumentFacts What the list of documents says of one.
 * @property {string} name of the image's file
 * @property {number} fileBytes size of the file, 0 if it is not known
 * @property {number} fileModified its last change, milliseconds since 1970, 0 if it is not known
 * @property {string} [address] where it was loaded from
 * @property {number} nuclei that count; below 0 while the image is not segmented
 * @property {number} marks corrections
 */

/**
 * @typedef {DocumentFacts & {
 *   fingerprint: string,
 *   format: number,
 *   owner: string,
 *   savedAt: number,
 *   usedAt: number,
 *   bytes: { state: number, results: number, image: number },
 * }} DocumentRecord `owner` is the tab that may write, `savedAt` the time of the last change of
 *   the state, `usedAt` that of the last opening or change, milliseconds since 1970.
 */

/**
 * @typedef {object} DocumentParts What a call of `saveDocument` replaces; the rest stays.
 * @property {Partial<DocumentFacts>} [facts]
 * @property {Uint8Array} [state]
 * @property {Uint8Array[]} [results] by slot
 */

/**
 * @typedef {{ blob: Blob, lengths?: number[] } | { handle: FileSystemFileHandle }} KeptImage
 *   `lengths` of several files that the blob holds
 */

/**
 * @typedef {object} KeptVersion A network that was taught on an image.
 * @property {number} number from 1
 * @property {string} fingerprint of the network
 * @property {ModelSetting} base what was taught
 * @property {number} marks that it was taught
 * @property {MarkAgreement} learned
 * @property {number} at time, milliseconds since 1970
 * @property {string} image name of the image that it was taught on
 * @property {Uint8Array} model its file
 */

/** @param {unknown} error @returns {StorageError} */
function storageError(error) {
  if (error instanceof StorageError) return error;
  const name = error instanceof Error ? error.name : "";
  if (name === "QuotaExceededError") return new StorageError("full", FULL, error);
  if (name === "SecurityError" || name === "InvalidStateError") {
    return new StorageError("unavailable", UNAVAILABLE, error);
  }
  const reason = error instanceof Error ? error.message : String(error);
  return new StorageError("failed", `The latest changes are not kept: ${reason}`, error);
}

/**
 * The result of a request.
 * @template T
 * @param {IDBRequest<T>} request
 * @returns {Promise<T>}
 */
function resultOf(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** Keys of all versions of an image. @param {string} fingerprint */
function versionsOf(fingerprint) {
  return IDBKeyRange.bound([fingerprint, 0], [fingerprint, Infinity]);
}

/** @param {DocumentRecord} record */
function totalBytes({ bytes }) {
  return bytes.state + bytes.results + bytes.image;
}

export class DeviceStorage {
  /** @type {IDBDatabase} */
  #database;
  /** Largest total, bytes. */
  #limit = MAX_TOTAL_BYTES;
  /** @type {(error: StorageError) => void} Called when the browser closes the database. */
  onlost = () => {};

  /** @param {IDBDatabase} database */
  constructor(database) {
    this.#database = database;
    // A newer version of the page in another tab waits for this.
    database.onversionchange = () => database.close();
    database.onclose = () => this.onlost(new StorageError("unavailable", UNAVAILABLE));
  }

  /**
   * Opens the database of this page. Fails with a `StorageError`.
   * @param {string} [name]
   */
  static async open(name = `prunella ${PAGE_PATH}`) {
    try {
      const request = indexedDB.open(name, DATABASE);
      request.onupgradeneeded = () => {
        const { objectStoreNames } = request.result;
        for (const store of ALL_STORES) {
          if (!objectStoreNames.contains(store)) request.result.createObjectStore(store);
        }
      };
      const storage = new DeviceStorage(await resultOf(request));
      const { quota = Infinity } = (await navigator.storage?.estimate?.()) ?? {};
      storage.#limit = Math.min(MAX_TOTAL_BYTES, quota * MAX_QUOTA_SHARE);
      return storage;
    } catch (error) {
      throw new StorageError("unavailable", UNAVAILABLE, error);
    }
  }

  /**
   * Runs requests in one transaction: all of them have an effect or none.
   * @template T
   * @param {IDBTransactionMode} mode
   * @param {string[]} stores
   * @param {(store: (name: string) => IDBObjectStore) => Promise<T>} work awaits requests only
   * @returns {Promise<T>}
   */
  async #transaction(mode, stores, work) {
    try {
      // A crash of the system may lose what was written in the last seconds; this is faster.
      const transaction = this.#database.transaction(stores, mode, { durability: "relaxed" });
      const finished = new Promise((resolve, reject) => {
        transaction.oncomplete = resolve;
        transaction.onabort = () => reject(transaction.error);
      });
      // Its error may come after that of the work.
      finished.catch(() => {});
      try {
        const value = await work((name) => transaction.objectStore(name));
        await finished;
        return value;
      } catch (error) {
        try {
          transaction.abort();
        } catch {
          // It has ended already.
        }
        throw error;
      }
    } catch (error) {
      throw storageError(error);
    }
  }

  /**
   * Makes a tab the only one that may write a document, which is made if there is none.
   * @param {string} fingerprint
   * @param {string} owner name of the tab
   * @param {Omit<DocumentFacts, "nuclei" | "marks">} facts
   * @returns {Promise<DocumentRecord>}
   */
  claim(fingerprint, owner, facts) {
    return this.#transaction("readwrite", [DOCUMENTS, PAGE], async (store) => {
      /** @type {DocumentRecord | undefined} */
      const known = await resultOf(store(DOCUMENTS).get(fingerprint));
      const now = Date.now();
      /** @type {DocumentRecord} */
      const record = {
        fingerprint,
        format: FORMAT,
        savedAt: 0,
        nuclei: -1,
        marks: 0,
        bytes: { state: 0, results: 0, image: 0 },
        ...(known?.format === FORMAT ? known : {}),
        ...facts,
        owner,
        usedAt: now,
      };
      await resultOf(store(DOCUMENTS).put(record, fingerprint));
      await resultOf(store(PAGE).put(fingerprint, LAST));
      return record;
    });
  }

  /**
   * Replaces parts of a document. Fails if another tab has claimed it, or if it was removed.
   * @param {string} fingerprint
   * @param {string} owner name of this tab
   * @param {DocumentParts} parts
   */
  async saveDocument(fingerprint, owner, parts) {
    await this.#withRoom(fingerprint, () =>
      this.#transaction("readwrite", [DOCUMENTS, STATES, RESULTS], async (store) => {
        const record = await this.#ownRecord(store(DOCUMENTS), fingerprint, owner);
        const { facts, state, results } = parts;
        Object.assign(record, facts);
        record.usedAt = Date.now();
        if (state) {
          record.savedAt = record.usedAt;
          record.bytes.state = state.length;
          store(STATES).put(state, fingerprint);
        }
        if (results) {
          record.bytes.results = results.reduce((sum, result) => sum + result.length, 0);
          store(RESULTS).put(results, fingerprint);
        }
        await resultOf(store(DOCUMENTS).put(record, fingerprint));
      }),
    );
  }

  /**
   * Keeps an image: a copy of it, or a handle of its file.
   * @param {string} fingerprint
   * @param {string} owner name of this tab
   * @param {KeptImage} image
   */
  async saveImage(fingerprint, owner, image) {
    await this.#withRoom(fingerprint, () =>
      this.#transaction("readwrite", [DOCUMENTS, IMAGES], async (store) => {
        const record = await this.#ownRecord(store(DOCUMENTS), fingerprint, owner);
        record.bytes.image = "blob" in image ? image.blob.size : 0;
        store(IMAGES).put(image, fingerprint);
        await resultOf(store(DOCUMENTS).put(record, fingerprint));
      }),
    );
  }

  /**
   * @param {IDBObjectStore} documents
   * @param {string} fingerprint
   * @param {string} owner
   * @returns {Promise<DocumentRecord>}
   */
  async #ownRecord(documents, fingerprint, owner) {
    /** @type {DocumentRecord | undefined} */
    const record = await resultOf(documents.get(fingerprint));
    if (record?.owner !== owner) throw new StorageError("taken-over", TAKEN_OVER);
    return record;
  }

  /**
   * State and results of a document. Fails if another version of the page wrote them.
   * @param {string} fingerprint
   * @returns {Promise<{ record: DocumentRecord, state?: Uint8Array, results: Uint8Array[] }
   *   | undefined>}
   */
  loadDocument(fingerprint) {
    return this.#transaction("readonly", [DOCUMENTS, STATES, RESULTS], async (store) => {
      /** @type {DocumentRecord | undefined} */
      const record = await resultOf(store(DOCUMENTS).get(fingerprint));
      if (!record) return undefined;
      if (record.format !== FORMAT) throw new StorageError("other-version", OTHER_VERSION);
      /** @type {Uint8Array | undefined} */
      const state = await resultOf(store(STATES).get(fingerprint));
      /** @type {Uint8Array[] | undefined} */
      const results = await resultOf(store(RESULTS).get(fingerprint));
      return { record, state, results: results ?? [] };
    });
  }

  /** @param {string} fingerprint @returns {Promise<KeptImage | undefined>} */
  loadImage(fingerprint) {
    return this.#transaction("readonly", [IMAGES], (store) =>
      resultOf(store(IMAGES).get(fingerprint)),
    );
  }

  /**
   * Keeps a taught version. Fails if another tab has claimed the image, or if it was removed.
   * @param {string} fingerprint of the image
   * @param {string} owner name of this tab
   * @param {KeptVersion} version
   */
  saveVersion(fingerprint, owner, version) {
    return this.#withRoom(fingerprint, () =>
      this.#transaction("readwrite", [DOCUMENTS, VERSIONS], async (store) => {
        await this.#ownRecord(store(DOCUMENTS), fingerprint, owner);
        await resultOf(store(VERSIONS).put(version, [fingerprint, version.number]));
      }),
    );
  }

  /** @param {string} fingerprint of the image @param {number} number */
  removeVersion(fingerprint, number) {
    return this.#transaction("readwrite", [VERSIONS], async (store) => {
      await resultOf(store(VERSIONS).delete([fingerprint, number]));
    });
  }

  /** @param {string} fingerprint of the image @returns {Promise<KeptVersion[]>} */
  loadVersions(fingerprint) {
    return this.#transaction("readonly", [VERSIONS], (store) =>
      resultOf(store(VERSIONS).getAll(versionsOf(fingerprint))),
    );
  }

  /** All documents, the one that was used last first. @returns {Promise<DocumentRecord[]>} */
  async listDocuments() {
    /** @type {DocumentRecord[]} */
    const records = await this.#transaction("readonly", [DOCUMENTS], (store) =>
      resultOf(store(DOCUMENTS).getAll()),
    );
    const readable = records.filter(({ format }) => format === FORMAT);
    return readable.sort((a, b) => b.usedAt - a.usedAt);
  }

  /** Fingerprint of the image that was opened last. @returns {Promise<string | undefined>} */
  lastOpened() {
    return this.#transaction("readonly", [PAGE], (store) => resultOf(store(PAGE).get(LAST)));
  }

  /** @param {string[]} fingerprints */
  removeDocuments(fingerprints) {
    return this.#transaction("readwrite", ALL_STORES, async (store) => {
      for (const name of [DOCUMENTS, STATES, RESULTS, IMAGES]) {
        for (const fingerprint of fingerprints) store(name).delete(fingerprint);
      }
      for (const fingerprint of fingerprints) store(VERSIONS).delete(versionsOf(fingerprint));
    });
  }

  /** Removes everything. Tabs that have an image open cannot write it any more. */
  clearAll() {
    return this.#transaction("readwrite", ALL_STORES, async (store) => {
      for (const name of ALL_STORES) store(name).clear();
    });
  }

  /**
   * Runs a write, and keeps the total below the limit by removing documents that were not used for
   * longest. If the device is full, half of the other documents make room for another attempt.
   * @param {string} fingerprint of the open document, which stays
   * @param {() => Promise<void>} write
   */
  async #withRoom(fingerprint, write) {
    try {
      await write();
    } catch (error) {
      if (!(error instanceof StorageError) || error.problem !== "full") throw error;
      const others = await this.#removable(fingerprint);
      if (others.length === 0) throw error;
      const oldest = others.slice(Math.floor(others.length / 2));
      await this.removeDocuments(oldest.map((record) => record.fingerprint));
      await write();
    }
    await this.#enforceLimit(fingerprint);
  }

  /** Documents that no tab has open, the one that was used last first. @param {string} open */
  async #removable(open) {
    const { held = [] } = (await navigator.locks?.query()) ?? {};
    const heldNames = held.map(({ name }) => name);
    const records = await this.listDocuments();
    return records.filter(
      (record) =>
        record.fingerprint !== open && !heldNames.includes(lockName(record.fingerprint)),
    );
  }

  /** @param {string} open fingerprint of the open document */
  async #enforceLimit(open) {
    const records = await this.listDocuments();
    let total = records.reduce((sum, record) => sum + totalBytes(record), 0);
    if (total <= this.#limit) return;
    const others = await this.#removable(open);
    /** @type {string[]} */
    const dropped = [];
    while (total > this.#limit && others.length > 0) {
      const oldest = /** @type {DocumentRecord} */ (others.pop());
      dropped.push(oldest.fingerprint);
      total -= totalBytes(oldest);
    }
    await this.removeDocuments(dropped);
  }

  /** Number and size of what is kept. */
  async usage() {
    const records = await this.listDocuments();
    const bytes = records.reduce((sum, record) => sum + totalBytes(record), 0);
    return { documents: records.length, bytes };
  }

  /** For tests: another limit. @param {number} bytes */
  setLimit(bytes) {
    this.#limit = bytes;
  }
}

/** Name of the lock that the tab holds in which a document is open. @param {string} fingerprint */
export function lockName(fingerprint) {
  return `prunella ${PAGE_PATH} document ${fingerprint}`;
}
