// Reads an image file in the session worker: PNG, JPEG, TIFF and JPEG 2000 by the engine, other
// formats (WebP, BMP, GIF, AVIF, in Safari HEIC) by the browser.

/** @import { Session } from "./prunella.js" */

/** First bytes of PNG, JPEG, TIFF and JPEG 2000. */
const OWN_FORMATS = ["\x89PNG", "\xff\xd8", "II", "MM", "\0\0\0\x0cjP", "\xff\x4f"];
/** Largest image, pixels, as the engine has it. */
const MAX_PIXELS = 36e6;

/**
 * Opens an image and gives its facts as JSON.
 * @param {Session} session
 * @param {Uint8Array} content
 * @param {string} name
 */
export async function openImage(session, content, name) {
  const first = String.fromCharCode(...content.subarray(0, 8));
  if (OWN_FORMATS.some((format) => first.startsWith(format))) {
    return session.openImage(content, name);
  }
  const image = await decodeByBrowser(content);
  // Without one the engine states what the file is.
  if (!image) return session.openImage(content, name);
  return session.openPixels(image.width, image.height, image.rgba, name);
}

/** Pixels of an image that the browser decodes. @param {Uint8Array} content */
async function decodeByBrowser(content) {
  const blob = new Blob([/** @type {BlobPart} */ (content)]);
  // The values of the file, without conversion to the screen's colours.
  const bitmap = await createImageBitmap(blob, {
    colorSpaceConversion: "none",
    imageOrientation: "from-image",
    premultiplyAlpha: "none",
  }).catch(() => undefined);
  if (!bitmap) return undefined;
  const { width, height } = bitmap;
  try {
    const context = new OffscreenCanvas(width, height).getContext("2d");
    // Too many pixels are not read; the engine then refuses the picture.
    if (!context || width * height > MAX_PIXELS) return { width, height, rgba: new Uint8Array() };
    // As the engine does: transparent pixels are blended with white.
    context.fillStyle = "#fff";
    context.fillRect(0, 0, width, height);
    context.drawImage(bitmap, 0, 0);
    const { data } = context.getImageData(0, 0, width, height);
    return { width, height, rgba: new Uint8Array(data.buffer) };
  } finally {
    bitmap.close();
  }
}
