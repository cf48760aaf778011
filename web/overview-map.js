// The overview map: the whole image at a coarse level, what of it is segmented, and the view as a
// rectangle. A press or a drag moves the view there.
import { elements } from "./elements.js";
import { TILE_PX } from "./tiles.js";

/** @import { Page } from "./page.js" */

/** Longest side of the map, CSS pixels. */
const MAP_PX = 150;
/** Pixels around a tile, and the side of a tile with them, as in the crate's viewer. */
const APRON_PX = 2;
const TEXTURE_PX = TILE_PX + 2 * APRON_PX;
/** Share of the image in view from which the map is not needed. */
const WHOLE = 0.98;
/** Smallest side of the rectangle, CSS pixels. */
const MIN_VIEW_PX = 4;

/** Level at which the image is one tile. @param {number} longest side, pixels */
function coarsestLevel(longest) {
  return Math.max(0, Math.ceil(Math.log2(longest / TILE_PX)));
}

export class OverviewMap {
  /** @type {ImageBitmap | undefined} The image. */
  #picture;
  /** Number of the last request for a picture; an older one is not used. */
  #request = 0;
  #canvas = elements.overviewMap;

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    elements.overviewFold.onclick = () => this.#fold();
    // On a phone the map would cover much of the picture.
    if (matchMedia("(max-width: 700px)").matches) this.#fold();
    this.#canvas.addEventListener("pointerdown", (event) => {
      this.#canvas.setPointerCapture(event.pointerId);
      this.#moveTo(event);
    });
    this.#canvas.addEventListener("pointermove", (event) => {
      if (event.buttons > 0) this.#moveTo(event);
    });
    page.canvasView.frameListeners.add(() => this.#show());
  }

  /** Another image, or another way to show it. */
  async reload() {
    const { canvasView, engine } = this.page;
    const { width, height, isSlide } = canvasView;
    this.#picture?.close();
    this.#picture = undefined;
    this.#request += 1;
    const request = this.#request;
    const level = coarsestLevel(Math.max(width, height));
    try {
      const rgba = isSlide
        ? await engine.call("readSlideTile", "overview", [level, 0, 0])
        : await engine.call("imageTile", level, 0, 0);
      const pixels = new Uint8ClampedArray(/** @type {ArrayBuffer} */ (rgba.buffer));
      const step = 2 ** level;
      const picture = await createImageBitmap(
        new ImageData(pixels, TEXTURE_PX, TEXTURE_PX),
        APRON_PX,
        APRON_PX,
        Math.min(TILE_PX, Math.max(1, Math.round(width / step))),
        Math.min(TILE_PX, Math.max(1, Math.round(height / step))),
      );
      if (request !== this.#request) picture.close();
      else this.#picture = picture;
    } catch {
      // Without the picture the map shows the rectangles alone.
    }
    canvasView.requestFrame();
  }

  #fold() {
    const isOpen = elements.overviewFold.getAttribute("aria-expanded") === "true";
    elements.overviewFold.setAttribute("aria-expanded", String(!isOpen));
    this.page.canvasView.requestFrame();
  }

  /** Left, top, width and height of the view, as shares of the image. */
  #view() {
    const { viewport, canvas, width, height } = this.page.canvasView;
    const [left, top] = viewport.toImage(0, 0);
    const [right, bottom] = viewport.toImage(canvas.width, canvas.height);
    return [left / width, top / height, (right - left) / width, (bottom - top) / height];
  }

  #show() {
    const { width } = this.page.canvasView;
    const view = this.#view();
    const isWhole = view[2] >= WHOLE && view[3] >= WHOLE;
    elements.overview.hidden = width === 0 || isWhole;
    const isOpen = elements.overviewFold.getAttribute("aria-expanded") === "true";
    if (!elements.overview.hidden && isOpen) this.#draw(view);
  }

  /** @param {number[]} view as `#view` gives it */
  #draw([left, top, viewWidth, viewHeight]) {
    const { canvasView } = this.page;
    const { width, height, pixelRatio } = canvasView;
    const scale = MAP_PX / Math.max(width, height);
    const cssWidth = Math.max(1, Math.round(width * scale));
    const cssHeight = Math.max(1, Math.round(height * scale));
    this.#resize(cssWidth, cssHeight, pixelRatio);
    const context = this.#canvas.getContext("2d");
    if (!context) return;
    context.setTransform(pixelRatio, 0, 0, pixelRatio, 0, 0);
    context.clearRect(0, 0, cssWidth, cssHeight);
    if (this.#picture) context.drawImage(this.#picture, 0, 0, cssWidth, cssHeight);
    this.#veilUnsegmented(context, scale);
    const w = Math.max(MIN_VIEW_PX, viewWidth * cssWidth);
    const h = Math.max(MIN_VIEW_PX, viewHeight * cssHeight);
    const x = (left + viewWidth / 2) * cssWidth - w / 2;
    const y = (top + viewHeight / 2) * cssHeight - h / 2;
    context.strokeStyle = "#fff";
    context.lineWidth = 4;
    context.strokeRect(x, y, w, h);
    context.strokeStyle = "#000";
    context.lineWidth = 2;
    context.strokeRect(x, y, w, h);
  }

  /**
   * Makes paler what is not segmented, once something is.
   * @param {CanvasRenderingContext2D} context
   * @param {number} scale CSS pixels of the map for one of the image
   */
  #veilUnsegmented(context, scale) {
    const { segmentedArea, width, height } = this.page.canvasView;
    const { blocks } = segmentedArea;
    if (blocks.length === 0) return;
    context.beginPath();
    context.rect(0, 0, width * scale, height * scale);
    for (const [x0, y0, x1, y1] of blocks) {
      context.rect(x0 * scale, y0 * scale, (x1 - x0) * scale, (y1 - y0) * scale);
    }
    context.fillStyle = "rgb(255 255 255 / 60%)";
    // Blocks do not overlap, so they are holes in the veil.
    context.fill("evenodd");
  }

  /** @param {number} cssWidth @param {number} cssHeight @param {number} pixelRatio */
  #resize(cssWidth, cssHeight, pixelRatio) {
    const width = Math.round(cssWidth * pixelRatio);
    const height = Math.round(cssHeight * pixelRatio);
    if (this.#canvas.width === width && this.#canvas.height === height) return;
    this.#canvas.width = width;
    this.#canvas.height = height;
    this.#canvas.style.width = `${cssWidth}px`;
    this.#canvas.style.height = `${cssHeight}px`;
  }

  /** Moves the centre of the view. @param {PointerEvent} event */
  #moveTo({ clientX, clientY }) {
    const { canvasView } = this.page;
    const box = this.#canvas.getBoundingClientRect();
    const x = ((clientX - box.left) / box.width) * canvasView.width;
    const y = ((clientY - box.top) / box.height) * canvasView.height;
    const [, , scale] = canvasView.viewport.state();
    canvasView.viewport.setState(x, y, scale);
    canvasView.requestFrame();
  }
}
