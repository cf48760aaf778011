// A list of files that open at a click: several that were dropped, chosen or pasted, or those of a
// folder of `prunella serve`.
import { elements } from "./elements.js";

/** @import { Page } from "./page.js" */

/** Largest number of files that are listed. */
const MAX_LISTED = 1000;

/**
 * @typedef {object} ListedFile
 * @property {string} name shown in the list, and of the image when it is open
 * @property {() => unknown} open
 */

/**
 * Lists files as buttons that open them, in place of the earlier list.
 * @param {ListedFile[]} files
 * @param {string} [facts] a sentence about the list
 */
export function listFiles(files, facts = "") {
  const more = files.length > MAX_LISTED ? ` The first ${MAX_LISTED} are listed.` : "";
  elements.folderFacts.textContent = facts + more;
  elements.folder.replaceChildren(...files.slice(0, MAX_LISTED).map(listItem));
  elements.folder.hidden = files.length === 0;
}

/** Opens the first file of the list. */
export function openFirst() {
  elements.folder.querySelector("button")?.click();
}

/** Marks the file that is shown. @param {string} name */
export function markOpened(name) {
  for (const button of elements.folder.querySelectorAll("button")) {
    button.ariaCurrent = button.textContent === name ? "true" : null;
  }
}

/** @param {ListedFile} file */
function listItem({ name, open }) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = name;
  button.onclick = open;
  const item = document.createElement("li");
  item.append(button);
  return item;
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
      return { name, open: () => page.opener.openUrl(url.href, name) };
    });
    listFiles(files);
  } catch {
    page.showStatus("The folder cannot be listed.");
  }
}
