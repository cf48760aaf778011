// The image view: size of the canvas, layers, the frame loop, and drawing by WebGPU or in 2D.
import { CanvasViewport } from "./prunella.js";
import { Canvas2dRenderer } from "./canvas-2d.js";
import { elements } from "./elements.js";
import { SegmentedArea } from "./segmented-area.js";
import { COMPARISON, MAIN } from "./slots.js";
import { TileLoader } from "./tile-loader.js";

/** @import { Engine } from "./engine.js" */
/** @import { OutlineCanvas } from "./outline-canvas.js" */
/** @import { BlockRect } from "./worker-api.d.ts" */

/** Larger ratios of device pixels cost time and show nothing more. */
const MAX_PIXEL_RATIO = 2;
/** Limits of the time from frame to frame that animations use, seconds. */
const MIN_FRAME_SECS = 0.001;
const MAX_FRAME_SECS = 0.05;
/** Colours behind the image, as --stage of the style sheet. */
const DARK_BACKGROUND = [0.09, 0.09, 0.11];
const LIGHT_BACKGROUND = [0.91, 0.9, 0.93];

/**
 * @typedef {object} Layers
 * @property {number} mask strength, 0 to 1, as of heat
 * @property {number} heat
 * @property {number} preview threshold that is being chosen, below 0 for none
 * @property {number} divider share of the width left of it, below 0 for none
 */

export class CanvasView {
  /** @type {Layers} */
  layers = { mask: 0, heat: 0, preview: -1, divider: -1 };
  /** Size of the image, pixels; 0 if there is none. */
  width = 0;
  height = 0;
  /** Whether the image is a slide, whose tiles are read as needed. */
  isSlide = false;
  /** Whether the main result and the comparison exist. */
  hasResult = [false, false];
  /** Counts the changes of results; marks do not change them. */
  resultRevision = 0;
  /** What draws, for people. */
  renderer = "2D canvas";

  /** @type {OutlineCanvas | undefined} Outlines over the image. */
  outlines;
  /** What of the image the main result covers. */
  segmentedArea = new SegmentedArea();

  /** Called for every frame. */
  onframe = () => {};
  /** @type {Set<() => void>} Called for every frame too. */
  frameListeners = new Set();
  /** Called when another canvas took the place of `canvas`. */
  onreplaced = () => {};
  /** Called when a tile of a slide cannot be read. @type {(error: unknown) => void} */
  onerror = () => {};

  #isFrameScheduled = false;
  #lastFrameAt = 0;
  #reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

  /** @param {HTMLCanvasElement} canvas @param {Engine} engine */
  constructor(canvas, engine) {
    this.canvas = canvas;
    this.viewport = new CanvasViewport(1, 1);
    this.canvas2d = new Canvas2dRenderer(this);
    this.tiles = new TileLoader(this, engine);
    new ResizeObserver(() => this.#resize()).observe(elements.viewer);
    this.#watchPixelRatio();
  }

  /** Adapts the canvas to the ratio of device pixels, now and whenever it changes. */
  #watchPixelRatio() {
    this.#resize();
    // The query is for the present ratio: it changes once, and the next ratio needs another one.
    const query = matchMedia(`(resolution: ${devicePixelRatio}dppx)`);
    query.addEventListener("change", () => this.#watchPixelRatio(), { once: true });
  }

  /** Device pixels for one CSS pixel. */
  get pixelRatio() {
    return Math.min(devicePixelRatio || 1, MAX_PIXEL_RATIO);
  }

  #resize() {
    const width = Math.max(1, Math.round(this.canvas.clientWidth * this.pixelRatio));
    const height = Math.max(1, Math.round(this.canvas.clientHeight * this.pixelRatio));
    if (this.canvas.width === width && this.canvas.height === height) return;
    this.canvas.width = width;
    this.canvas.height = height;
    this.viewport.resize(width, height);
    this.requestFrame();
  }

  /** Draws by WebGPU if it is available. */
  async useWebGpu() {
    try {
      /** @type {{ name: string }} */
      const adapter = JSON.parse(await this.viewport.attach(this.canvas));
      this.renderer = adapter.name ? `WebGPU (${adapter.name})` : "WebGPU";
    } catch {
      this.#useCanvas2d();
    }
    this.#reload();
  }

  /** Draws in 2D from now on. A canvas keeps the kind of its context, so it is replaced. */
  #useCanvas2d() {
    this.viewport.detach();
    this.renderer = "2D canvas";
    const replacement = /** @type {HTMLCanvasElement} */ (this.canvas.cloneNode(false));
    this.canvas.replaceWith(replacement);
    this.canvas = replacement;
    this.onreplaced();
  }

  /** Shows another image. @param {number} width @param {number} height @param {boolean} isSlide */
  setImage(width, height, isSlide) {
    this.width = width;
    this.height = height;
    this.isSlide = isSlide;
    this.viewport.setImage(width, height);
    this.hasResult = [false, false];
    this.segmentedArea.clear();
    this.outlines?.clear();
    this.#reload();
  }

  /** The tiles of the image are made anew, for instance in another stain. */
  reloadTiles() {
    this.viewport.clearTiles();
    this.#reload();
  }

  #reload() {
    this.tiles.clear();
    this.canvas2d.clear();
    this.requestFrame();
  }

  /** Centre x, centre y and scale in CSS pixels; undefined without an image. */
  cssView() {
    if (this.width === 0) return undefined;
    const [x, y, scale] = this.viewport.state();
    return [x, y, scale / this.pixelRatio];
  }

  /** @param {number[]} view as `cssView` gives it */
  setCssView([x, y, scale]) {
    this.viewport.setState(x, y, scale * this.pixelRatio);
  }

  /**
   * A result has changed, as a whole or in a block.
   * @param {number} slot
   * @param {BlockRect} [block]
   */
  resultChanged(slot, block) {
    this.hasResult[slot] = true;
    this.resultRevision += 1;
    this.tiles.markStale(slot, block);
    this.outlines?.markStale(slot, block);
    this.requestFrame();
  }

  /** A result no longer exists. @param {number} slot */
  clearResult(slot) {
    this.hasResult[slot] = false;
    if (slot === MAIN) this.segmentedArea.clear();
    this.viewport.clearData(slot);
    this.outlines?.clearSlot(slot);
    if (this.viewport.usesWebGpu) this.tiles.markStale(slot);
    else this.tiles.markAllStale();
    this.requestFrame();
  }

  /** @param {Partial<Layers>} change */
  setLayers(change) {
    Object.assign(this.layers, change);
    this.outlines?.redraw();
    // Tiles for the 2D canvas contain the layers, but not the divider.
    const inTiles = Object.keys(change).some((name) => name !== "divider");
    if (!this.viewport.usesWebGpu && inTiles) this.tiles.markAllStale();
    this.requestFrame();
  }

  /** Share of the width that shows the main result; the comparison is right of it. */
  get split() {
    const { divider } = this.layers;
    if (!this.hasResult[COMPARISON] || divider < 0) return 1;
    return this.isLinked ? 0.5 : divider;
  }

  /** Whether both halves show the same place, each with its result. */
  isLinked = false;

  /** @param {boolean} isLinked */
  setLinked(isLinked) {
    if (this.isLinked === isLinked) return;
    this.isLinked = isLinked;
    this.outlines?.redraw();
    this.requestFrame();
  }

  /** Whether two halves are shown now. */
  get hasHalves() {
    return this.isLinked && this.split < 1;
  }

  /**
   * Parts of the canvas from left to right, device pixels: the result that each shows, and how far
   * the image is shifted there.
   * @returns {{ slot: number, left: number, right: number, shift: number }[]}
   */
  panes() {
    const { width } = this.canvas;
    if (this.split === 1) return [{ slot: MAIN, left: 0, right: width, shift: 0 }];
    const middle = this.split * width;
    const shift = this.hasHalves ? width / 4 : 0;
    return [
      { slot: MAIN, left: 0, right: middle, shift: -shift },
      { slot: COMPARISON, left: middle, right: width, shift },
    ];
  }

  /** How far the image is shifted at a column of the canvas, device pixels. @param {number} x */
  shiftAt(x) {
    return this.panes().find(({ right }) => x < right)?.shift ?? this.panes().at(-1)?.shift ?? 0;
  }

  /** Draws before the next repaint. */
  requestFrame() {
    if (this.#isFrameScheduled) return;
    this.#isFrameScheduled = true;
    requestAnimationFrame((now) => this.#drawFrame(now));
  }

  /** @param {number} now milliseconds */
  #drawFrame(now) {
    this.#isFrameScheduled = false;
    if (this.width === 0) return;
    const secs = (now - this.#lastFrameAt) / 1000;
    this.#lastFrameAt = now;
    if (this.#reducedMotion.matches) this.viewport.settle();
    const step = Math.min(MAX_FRAME_SECS, Math.max(MIN_FRAME_SECS, secs));
    const isMoving = this.viewport.step(step);
    this.tiles.loadVisible();
    if (this.viewport.usesWebGpu) this.#drawByWebGpu();
    else this.canvas2d.draw();
    this.onframe();
    for (const listener of this.frameListeners) listener();
    if (isMoving) this.requestFrame();
  }

  #drawByWebGpu() {
    const { mask, heat, preview } = this.layers;
    const dividerColumn = this.split < 1 ? this.split * this.canvas.width : -1;
    this.viewport.setLinked(this.hasHalves);
    this.viewport.setLayers(mask, heat, preview, dividerColumn);
    const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
    const [red, green, blue] = isDark ? DARK_BACKGROUND : LIGHT_BACKGROUND;
    this.viewport.setBackground(red, green, blue);
    if (this.viewport.draw()) return;
    console.warn(`WebGPU stopped drawing: ${this.viewport.failure ?? "the surface was lost"}`);
    this.#useCanvas2d();
    this.#reload();
  }
}
