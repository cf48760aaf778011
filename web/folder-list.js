// The images of a folder that `prunella serve` offers.
import { elements } from "./elements.js";

/** @import { Page } from "./page.js" */

/**
 * Lists the folder's images as buttons that open them.
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
    for (const name of names) elements.folder.append(listItem(page, base, name));
    elements.folder.hidden = names.length === 0;
  } catch {
    page.showStatus("The folder cannot be listed.");
  }
}

/** @param {Page} page @param {URL} base @param {string} name path in the folder */
function listItem(page, base, name) {
  const path = name.split("/").map(encodeURIComponent).join("/");
  const url = new URL(path, base);
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = name;
  button.onclick = () => void openListed(page, url, name);
  const item = document.createElement("li");
  item.append(button);
  return item;
}

/** @param {Page} page @param {URL} url @param {string} name */
async function openListed(page, url, name) {
  if (await page.opener.openSlideUrl(url.href, name, false)) return;
  const response = await fetch(url).catch(() => undefined);
  if (response?.ok) await page.opener.openBlob(await response.blob(), name);
  else page.showError(new Error(`${name} cannot be loaded.`));
}
