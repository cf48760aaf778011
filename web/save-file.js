// Saves a file through the browser's download.

/** Time that the browser has to begin the download, milliseconds. */
const URL_LIFETIME_MS = 60e3;

/**
 * @param {Uint8Array | Blob} content
 * @param {string} name
 * @param {string} type media type
 */
export function saveFile(content, name, type) {
  const url = URL.createObjectURL(new Blob([/** @type {BlobPart} */ (content)], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), URL_LIFETIME_MS);
}
