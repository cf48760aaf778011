// What is dropped, chosen or pasted: files, folders, addresses.
import { groupDicom, mayBeDicom, sourceOf } from "./dicom-files.js";
import { elements } from "./elements.js";
import { fileNameOf } from "./fetch-file.js";
import { formatCount } from "./format.js";
import { filesOf, isZarrFolder } from "./objects.js";
import { readUrl } from "./url-state.js";

/** @import { DicomSlide } from "./dicom-files.js" */
/** @import { ListedFile } from "./file-list.js" */
/** @import { ImageSource } from "./opener.js" */
/** @import { Page } from "./page.js" */
/** @import { UrlState } from "./url-state.js" */

/** Names of files of a folder that may be images or slides. */
const PICTURE =
  /\.(svs|ndpi|scn|bif|btf|qptiff|tiff?|png|jp(e?g|e|2)|jfif|j2k|bmp|gif|webp|avif|hei[cf])$/i;
const MODEL = /\.safetensors$/i;
/** Names of files of outlines. */
const OUTLINES = /\.(geojson|json|xml|annotations)(\.gz)?$/i;
/** Largest number of files of a folder that are listed. */
const MAX_FOLDER_FILES = 20_000;
/** Number of the last drop or choice: an earlier one that reads its files still opens nothing. */
let lastRequest = 0;
const NO_ADDRESS =
  "The text is no address of an image, a slide or a model. Addresses begin with https://.";
const LOCAL_PATH =
  "A page cannot open files of this device by their path. Drop the file, or choose it.";

/**
 * Opens what was dropped or pasted.
 * @param {Page} page
 * @param {DataTransfer | null} data
 */
export async function takeData(page, data) {
  if (!data) return;
  // All of this must be taken before the event ends.
  const files = [...data.files];
  const text = data.getData("text/uri-list") || data.getData("text/plain");
  /** @type {FileSystemDirectoryEntry[]} */
  const folders = [];
  /** @type {HandleRequest[]} */
  const handles = [];
  for (const item of data.items) {
    const entry = item.webkitGetAsEntry?.();
    if (entry?.isDirectory) folders.push(/** @type {FileSystemDirectoryEntry} */ (entry));
    else if (item.kind === "file") handles.push(requestHandle(item));
  }
  try {
    if (folders.length > 0) await takeFolders(page, folders, files);
    else if (files.length > 0) await takeFiles(page, files, await Promise.all(handles));
    else takeText(page, text);
  } catch (error) {
    page.showError(error);
  }
}

/** @typedef {Promise<FileSystemFileHandle | undefined>} HandleRequest */

/**
 * A handle of a dropped file, by which it can be opened again after a reload.
 * @param {DataTransferItem} item
 * @returns {HandleRequest}
 */
async function requestHandle(item) {
  /** @typedef {{ getAsFileSystemHandle?: () => Promise<FileSystemHandle | null> }} GivesHandle */
  const giver = /** @type {GivesHandle} */ (item);
  const handle = await giver.getAsFileSystemHandle?.().catch(() => null);
  return handle?.kind === "file" ? /** @type {FileSystemFileHandle} */ (handle) : undefined;
}

/** Lets a person choose files. @param {Page} page */
export async function chooseFiles(page) {
  /** @typedef {(options: { multiple: boolean }) => Promise<FileSystemFileHandle[]>} FilePicker */
  const { showOpenFilePicker } = /** @type {{ showOpenFilePicker?: FilePicker }} */ (globalThis);
  if (!showOpenFilePicker) {
    elements.file.click();
    return;
  }
  let handles;
  let files;
  try {
    // Unlike those of an input, these files can be opened again after a reload.
    handles = await showOpenFilePicker({ multiple: true });
    files = await Promise.all(handles.map((handle) => handle.getFile()));
  } catch (error) {
    if (error instanceof Error && error.name === "AbortError") return;
    elements.file.click();
    return;
  }
  await takeFiles(page, files, handles);
}

/**
 * Opens the first of several files and lists them. Files of a DICOM series are one.
 * @param {Page} page
 * @param {File[]} files
 * @param {(FileSystemFileHandle | undefined)[]} [handles] of the files, as far as there are any
 */
export async function takeFiles(page, files, handles = []) {
  const request = ++lastRequest;
  const models = files.filter((file) => MODEL.test(file.name));
  if (models.length > 0) void openModelFile(page, models[0]);
  const outlines = files.filter((file) => OUTLINES.test(file.name));
  const pictures = files.filter((file) => !models.includes(file) && !outlines.includes(file));
  const found = pictures.map((file) => {
    const handle = handles[files.indexOf(file)];
    return { name: file.name, find: async () => file, listed: listedFile(file, handle) };
  });
  const grouped = await groupDicom(found);
  if (request !== lastRequest) return;
  const listed = grouped.map((one) => ("files" in one ? listedSlide(one) : one.listed));
  const [outline] = outlines;
  if (outline && listed.length === 1) void openWithOutlines(page, listed[0], outline);
  else if (outline && listed.length === 0) void page.regions.openFile(outline);
  else openAll(page, listed);
}

/** @param {File} file @param {FileSystemFileHandle} [handle] @returns {ListedFile} */
function listedFile(file, handle) {
  const { name } = file;
  return { name, find: () => ({ name, blob: file, handle }) };
}

/** @param {FileSystemDirectoryEntry} folder @returns {ListedFile} */
function listedZarr(folder) {
  const name = folder.fullPath.slice(1);
  return { name, find: async () => ({ name, files: await filesOf(folder) }) };
}

/** @param {DicomSlide} slide @returns {ListedFile} */
function listedSlide(slide) {
  return { name: slide.name, find: () => sourceOf(slide) };
}

/**
 * @param {Page} page
 * @param {ListedFile[]} files
 * @param {string} [facts] a sentence about them
 */
function openAll(page, files, facts) {
  if (files.length === 1 && !facts) {
    void openOne(page, files[0]);
  } else if (files.length > 0) {
    page.files.show(files, facts);
    page.files.openFirst();
  }
}

/**
 * Opens an image and the outlines that were dropped with it.
 * @param {Page} page
 * @param {ListedFile} image
 * @param {File} outlines
 */
async function openWithOutlines(page, image, outlines) {
  await openOne(page, image);
  await page.regions.openFile(outlines);
}

/** @param {Page} page @param {ListedFile} file */
async function openOne(page, file) {
  try {
    await page.opener.open(await file.find());
  } catch (error) {
    page.showError(error);
  }
}

/**
 * Lists the images and slides of folders, after the files that were dropped beside them.
 * @param {Page} page
 * @param {FileSystemDirectoryEntry[]} folders
 * @param {File[]} files with one for each folder, which cannot be read
 */
async function takeFolders(page, folders, files) {
  const request = ++lastRequest;
  const zarrs = [];
  for (const folder of folders) if (await isZarrFolder(folder)) zarrs.push(folder);
  const folderNames = folders.map((folder) => folder.name);
  const listed = files
    .filter((file) => !folderNames.includes(file.name))
    .map((file) => listedFile(file));
  /** @type {FileSystemFileEntry[]} */
  const entries = [];
  for (const folder of folders) {
    if (!zarrs.includes(folder)) await readFolder(folder, entries, zarrs);
  }
  entries.sort((a, b) => a.fullPath.localeCompare(b.fullPath, undefined, { numeric: true }));
  const candidates = entries.filter(({ name }) => PICTURE.test(name) || mayBeDicom(name));
  const grouped = await groupDicom(
    candidates.map((entry) => ({ name: entry.fullPath.slice(1), find: () => fileOf(entry) })),
  );
  if (request !== lastRequest) return;
  const pictures = zarrs.map(listedZarr);
  let others = entries.length;
  for (const one of grouped) {
    const { name } = one;
    if ("files" in one) {
      pictures.push(listedSlide(one));
      others -= one.files.length;
    } else if (PICTURE.test(name)) {
      pictures.push({ name, find: async () => ({ name, blob: await one.find() }) });
      others -= 1;
    }
  }
  listed.push(...pictures);
  const rest = others > 0 ? `, and ${counted(others, "other file", "other files")}` : "";
  const folder = `The folder ${folderNames.join(", ")}`;
  if (listed.length === 0) throw new Error(`${folder} holds no image or slide${rest}.`);
  const held = counted(pictures.length, "image or slide", "images or slides");
  openAll(page, listed, `${folder} holds ${held}${rest}.`);
}

/** @param {number} count @param {string} one @param {string} several */
function counted(count, one, several) {
  return `${formatCount(count)} ${count === 1 ? one : several}`;
}

/**
 * Appends the files of a folder and of the folders in it, without hidden ones; folders that are a
 * Zarr as such.
 * @param {FileSystemDirectoryEntry} folder
 * @param {FileSystemFileEntry[]} files
 * @param {FileSystemDirectoryEntry[]} zarrs
 */
async function readFolder(folder, files, zarrs) {
  const reader = folder.createReader();
  while (files.length < MAX_FOLDER_FILES) {
    /** @type {FileSystemEntry[]} */
    const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (batch.length === 0) return;
    for (const entry of batch) {
      if (entry.name.startsWith(".")) continue;
      if (entry.isFile) {
        files.push(/** @type {FileSystemFileEntry} */ (entry));
        continue;
      }
      const inner = /** @type {FileSystemDirectoryEntry} */ (entry);
      if (await isZarrFolder(inner)) zarrs.push(inner);
      else await readFolder(inner, files, zarrs);
    }
  }
}

/** @param {FileSystemFileEntry} entry @returns {Promise<File>} */
function fileOf(entry) {
  return new Promise((resolve, reject) => entry.file(resolve, reject));
}

/** Opens addresses, one a line. @param {Page} page @param {string} text */
function takeText(page, text) {
  const lines = text.split("\n").map((line) => line.trim());
  // A line of `text/uri-list` that begins with # is a comment.
  const addresses = lines.filter((line) => /^([^#]|#m=)/.test(line));
  if (addresses.length === 0) return;
  if (/^(file:|[a-z]:[\\/]|\\\\|[/~])/i.test(addresses[0])) throw new Error(LOCAL_PATH);
  if (!addresses.every((address) => /^(https?:\/\/|#m=)\S+$/i.test(address))) {
    throw new Error(NO_ADDRESS);
  }
  /** @type {ListedFile[]} */
  const listed = [];
  for (const address of addresses) {
    const url = new URL(address, location.href);
    const link = readUrl(url);
    if (MODEL.test(url.pathname)) link.modelUrl = url.href;
    const isModel = Boolean(link.modelLink || link.modelUrl) && !link.imageUrl;
    if (isModel) void page.address.openModel(link);
    else listed.push({ name: fileNameOf(address), find: () => findAddress(page, url, link) });
  }
  openAll(page, listed);
}

/**
 * The image or slide of an address. If it is a link to this page, the model in it is used.
 * @param {Page} page
 * @param {URL} url
 * @param {UrlState} link what is in the address, if it is a link to this page
 * @returns {Promise<ImageSource>}
 */
async function findAddress(page, url, link) {
  await page.address.openModel(link);
  const address = new URL(link.imageUrl ?? "", url).href;
  return { name: fileNameOf(address), address, imageUrl: address };
}

/** Adds the model of a file to the session. @param {Page} page @param {File} file */
export async function openModelBytes(page, file) {
  const content = new Uint8Array(await file.arrayBuffer());
  return page.engine.callJson("addModel", content);
}

/** @param {Page} page @param {File} file */
export async function openModelFile(page, file) {
  await page.loadModel(() => openModelBytes(page, file));
}
