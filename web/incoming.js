// What is dropped, chosen or pasted: files, folders, addresses.
import { listFiles, openFirst } from "./file-list.js";
import { fileNameOf } from "./fetch-file.js";
import { formatCount } from "./format.js";
import { readUrl } from "./url-state.js";

/** @import { ListedFile } from "./file-list.js" */
/** @import { Page } from "./page.js" */

/** Names of files of a folder that may be images or slides. */
const PICTURE = /\.(svs|scn|bif|btf|tiff?|png|jp(e?g|e|2)|jfif|j2k|bmp|gif|webp|avif|hei[cf])$/i;
const MODEL = /\.safetensors$/i;
/** Names of files of outlines. */
const OUTLINES = /\.(geojson|json|xml|annotations)(\.gz)?$/i;
/** Largest number of files of a folder that are listed. */
const MAX_FOLDER_FILES = 20_000;
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
  for (const item of data.items) {
    const entry = item.webkitGetAsEntry?.();
    if (entry?.isDirectory) folders.push(/** @type {FileSystemDirectoryEntry} */ (entry));
  }
  try {
    if (folders.length > 0) await takeFolders(page, folders, files);
    else if (files.length > 0) takeFiles(page, files);
    else takeText(page, text);
  } catch (error) {
    page.showError(error);
  }
}

/** Opens the first of several files and lists them. @param {Page} page @param {File[]} files */
export function takeFiles(page, files) {
  const models = files.filter((file) => MODEL.test(file.name));
  if (models.length > 0) void openModelFile(page, models[0]);
  const outlines = files.filter((file) => OUTLINES.test(file.name));
  const pictures = files.filter((file) => !models.includes(file) && !outlines.includes(file));
  if (outlines.length > 0 && pictures.length === 0) void page.regions.openFile(outlines[0]);
  openAll(pictures.map((file) => listedFile(page, file)));
}

/** @param {Page} page @param {File} file @returns {ListedFile} */
function listedFile(page, file) {
  return { name: file.name, open: () => page.opener.openBlob(file, file.name) };
}

/** @param {ListedFile[]} files @param {string} [facts] a sentence about them */
function openAll(files, facts) {
  if (files.length === 1 && !facts) {
    files[0].open();
  } else if (files.length > 0) {
    listFiles(files, facts);
    openFirst();
  }
}

/**
 * Lists the images and slides of folders, after the files that were dropped beside them.
 * @param {Page} page
 * @param {FileSystemDirectoryEntry[]} folders
 * @param {File[]} files with one for each folder, which cannot be read
 */
async function takeFolders(page, folders, files) {
  const folderNames = folders.map((folder) => folder.name);
  const listed = files
    .filter((file) => !folderNames.includes(file.name))
    .map((file) => listedFile(page, file));
  /** @type {FileSystemFileEntry[]} */
  const entries = [];
  for (const folder of folders) await readFolder(folder, entries);
  const pictures = entries.filter((entry) => PICTURE.test(entry.name));
  pictures.sort((a, b) => a.fullPath.localeCompare(b.fullPath, undefined, { numeric: true }));
  for (const entry of pictures) {
    const name = entry.fullPath.slice(1);
    listed.push({ name, open: () => void openEntry(page, entry, name) });
  }
  const others = entries.length - pictures.length;
  const rest = others > 0 ? `, and ${counted(others, "other file", "other files")}` : "";
  const folder = `The folder ${folderNames.join(", ")}`;
  if (listed.length === 0) throw new Error(`${folder} holds no image or slide${rest}.`);
  const held = counted(pictures.length, "image or slide", "images or slides");
  openAll(listed, `${folder} holds ${held}${rest}.`);
}

/** @param {number} count @param {string} one @param {string} several */
function counted(count, one, several) {
  return `${formatCount(count)} ${count === 1 ? one : several}`;
}

/**
 * Appends the files of a folder and of the folders in it, without hidden ones.
 * @param {FileSystemDirectoryEntry} folder
 * @param {FileSystemFileEntry[]} files
 */
async function readFolder(folder, files) {
  const reader = folder.createReader();
  while (files.length < MAX_FOLDER_FILES) {
    /** @type {FileSystemEntry[]} */
    const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (batch.length === 0) return;
    for (const entry of batch) {
      if (entry.name.startsWith(".")) continue;
      if (entry.isFile) files.push(/** @type {FileSystemFileEntry} */ (entry));
      else await readFolder(/** @type {FileSystemDirectoryEntry} */ (entry), files);
    }
  }
}

/** @param {Page} page @param {FileSystemFileEntry} entry @param {string} name */
async function openEntry(page, entry, name) {
  try {
    /** @type {File} */
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    await page.opener.openBlob(file, name);
  } catch (error) {
    page.showError(error);
  }
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
  const listed = [];
  for (const address of addresses) {
    const name = fileNameOf(address);
    listed.push({ name, open: () => void openAddress(page, address, name) });
  }
  openAll(listed);
}

/**
 * Opens an image, a slide, a model, or what a link to this page holds.
 * @param {Page} page
 * @param {string} address
 * @param {string} name
 */
async function openAddress(page, address, name) {
  const url = new URL(address, location.href);
  const link = readUrl(url);
  if (MODEL.test(url.pathname)) link.modelUrl = url.href;
  const hasModel = await page.address.openModel(link);
  if (hasModel && !link.imageUrl) return;
  const imageUrl = new URL(link.imageUrl ?? "", url).href;
  await page.opener.openUrl(imageUrl, name, imageUrl);
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
