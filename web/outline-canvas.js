// Outlines over the picture, drawn in screen pixels, so that they are as thick at every zoom. A
// worker draws them; the canvas is larger than the picture and is moved and stretched with it until
// the next drawing is there. What follows the pointer is drawn at once, on a second canvas.
import { elements } from "./elements.js";
import { OF_MODEL, STATUS_NAMES } from "./object-status.js";
import { LINE, ROUNDED_SCALE, THICK_LINE } from "./outline-painter.js";
import { placeAt, strokePaths, styleOf } from "./outline-painter.js";
import { addPolygon, addRing } from "./outline-tile.js";
import { paletteOf } from "./palettes.js";
import { COMPARISON, MAIN } from "./slots.js";
import { TILE_PX, overlapsBlock, tileName } from "./tiles.js";

/** @import { DrawnView, LineStyle, OutlineScene, SceneLayer } from "./outline-painter.js" */
/** @import { Page } from "./page.js" */
/** @import { Tile } from "./tiles.js" */
/** @import { BlockRect, NucleusFacts, ReviewObject } from "./worker-api.d.ts" */

/** Part of the picture's width and height that is drawn beyond each side. */
const MARGIN = 0.2;
/** How far nuclei reach out of the tile of their centroid, pixels of the image. */
const REACH_PX = 64;
/** Pause between two drawings, in times of what one takes: other work needs the processor too. */
const PAUSE_FACTOR = 4;
/** Pause after which the view rests, milliseconds. */
const REST_MS = 90;
/** Scale between the drawn and the present view up to which the drawing is only stretched. */
const MAX_STRETCH = 1.25;
/** Part of the margin that is left when the next drawing begins. */
const SPARE = 0.3;
const MAX_REQUESTS = 4;
/** Tiles that are kept, for each result. */
const MAX_TILES = 400;
const SELECTED_LINE = 7;
/** Around what is selected. */
const HALO = "#ffffff";
const PROPOSAL_DASH = [5, 4];

/** @typedef {{ isStale: boolean, lastUse: number }} TileState */

export class OutlineCanvas {
  /** @type {[Map<string, TileState>, Map<string, TileState>]} Tiles by slot and name. */
  #tiles = [new Map(), new Map()];
  /** @type {Set<string>} Requests that run, by slot and name. */
  #pending = new Set();
  /** Changes with another image: earlier requests are ignored. */
  #generation = 0;
  /** @type {OutlineScene | undefined} What the canvas shows. */
  #drawn;
  #isDrawing = false;
  /** Time before which nothing more is drawn, milliseconds. */
  #pauseUntil = 0;
  #isDirty = true;
  /** @type {DrawnView | undefined} Of the last frame. */
  #last;
  /** Time from which the view rests, milliseconds. */
  #restsAt = 0;
  #frame = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {ReviewObject[]} Objects that are drawn thicker. */
  #selected = [];
  /** @type {NucleusFacts | undefined} What a click would add. */
  #proposal;
  /** @type {[number, number][]} A stroke in progress, pixels of the image. */
  #stroke = [];
  #hasOverlay = false;

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.canvas = elements.outlineCanvas;
    this.worker = page.engine.startOutlineWorker();
    page.canvasView.outlines = this;
    page.canvasView.frameListeners.add(() => this.#drawFrame());
  }

  // ---- What is drawn

  /** @param {ReviewObject[]} objects */
  select(objects) {
    this.#selected = objects;
    this.page.canvasView.requestFrame();
  }

  /** @param {NucleusFacts | undefined} nucleus */
  propose(nucleus) {
    this.#proposal = nucleus;
    this.page.canvasView.requestFrame();
  }

  /** @param {[number, number][]} stroke pixels of the image; empty for none */
  showStroke(stroke) {
    this.#stroke = stroke;
    this.page.canvasView.requestFrame();
  }

  /** Another image is shown. */
  clear() {
    this.#generation += 1;
    this.#pending.clear();
    this.clearSlot(MAIN);
    this.clearSlot(COMPARISON);
    this.#selected = [];
    this.#proposal = undefined;
    this.#stroke = [];
    this.canvas.hidden = true;
  }

  /** A result no longer exists. @param {number} slot */
  clearSlot(slot) {
    this.worker.drop([...this.#tiles[slot].keys()].map((name) => `${slot}:${name}`));
    this.#tiles[slot].clear();
    this.redraw();
  }

  /**
   * The outlines of a result have changed; those that are here stay until the new ones are.
   * @param {number} slot
   * @param {BlockRect} [block] only those of this part of the image
   */
  markStale(slot, block) {
    for (const [name, tile] of this.#tiles[slot]) {
      if (!block || overlapsBlock(name, block)) tile.isStale = true;
    }
    this.page.canvasView.requestFrame();
  }

  /** Marks have changed. */
  markAllStale() {
    this.markStale(MAIN);
    this.markStale(COMPARISON);
  }

  /** Draws anew, for instance with other colours. */
  redraw() {
    this.#isDirty = true;
    // What the canvas shows may be of another half or in another colour: it does not wait.
    this.#pauseUntil = 0;
    this.page.canvasView.requestFrame();
  }

  // ---- Tiles

  /** Tiles of a level around the view. @param {number} level @returns {Tile[]} */
  #around(level) {
    const { viewport, canvas, width, height } = this.page.canvasView;
    const [marginX, marginY] = this.#margins();
    const [left, top] = viewport.toImage(-marginX, -marginY);
    const [right, bottom] = viewport.toImage(canvas.width + marginX, canvas.height + marginY);
    const side = TILE_PX * 2 ** level;
    const first = (/** @type {number} */ at) => Math.max(0, Math.floor((at - REACH_PX) / side));
    const last = (/** @type {number} */ at, /** @type {number} */ length) =>
      Math.min(Math.ceil(length / side) - 1, Math.floor((at + REACH_PX) / side));
    const tiles = [];
    for (let row = first(top); row <= last(bottom, height); row++) {
      for (let column = first(left); column <= last(right, width); column++) {
        tiles.push({ level, row, column });
      }
    }
    return tiles;
  }

  /** Slots that are shown. */
  get #slots() {
    return this.page.canvasView.split < 1 ? [MAIN, COMPARISON] : [MAIN];
  }

  #loadVisible() {
    const needed = this.#around(this.page.canvasView.viewport.level());
    for (const slot of this.#slots) {
      for (const tile of needed) {
        const found = this.#tiles[slot].get(tileName(tile));
        if (!found || found.isStale) void this.#load(slot, tile);
      }
    }
  }

  /** @param {number} slot @param {Tile} tile */
  async #load(slot, tile) {
    const name = tileName(tile);
    const request = `${slot}:${name}`;
    if (this.#pending.size >= MAX_REQUESTS || this.#pending.has(request)) return;
    const generation = this.#generation;
    this.#pending.add(request);
    // Before the outlines are here, so that a change in the meantime marks them as stale.
    const state = this.#tiles[slot].get(name) ?? { isStale: false, lastUse: 0 };
    state.isStale = false;
    const { level, row, column } = tile;
    const { engine, canvasView } = this.page;
    // A result that is gone has no outlines.
    const records = await engine
      .call("outlineTile", slot, level, row, column)
      .catch(() => new Float64Array(0));
    if (generation !== this.#generation) return;
    this.#pending.delete(request);
    const side = TILE_PX * 2 ** level;
    this.worker.put(request, records, column * side, row * side);
    state.lastUse = this.#frame;
    this.#tiles[slot].set(name, state);
    this.#dropOld(slot);
    this.#isDirty = true;
    canvasView.requestFrame();
  }

  /** @param {number} slot */
  #dropOld(slot) {
    const tiles = this.#tiles[slot];
    if (tiles.size <= MAX_TILES) return;
    const oldest = [...tiles].sort(([, a], [, b]) => a.lastUse - b.lastUse);
    const dropped = oldest.slice(0, tiles.size - MAX_TILES).map(([name]) => name);
    for (const name of dropped) tiles.delete(name);
    this.worker.drop(dropped.map((name) => `${slot}:${name}`));
  }

  /** Names of tiles to draw: those of the view's level, or of another one until they are here. */
  #drawable(/** @type {number} */ slot) {
    const level = this.page.canvasView.viewport.level();
    const found = this.#present(slot, level);
    if (found.length === this.#around(level).length) return found;
    for (const step of [1, -1, 2]) {
      const others = level + step < 0 ? [] : this.#present(slot, level + step);
      if (others.length > 0) return others;
    }
    return found;
  }

  /** @param {number} slot @param {number} level */
  #present(slot, level) {
    const names = [];
    for (const tile of this.#around(level)) {
      const state = this.#tiles[slot].get(tileName(tile));
      if (!state) continue;
      state.lastUse = this.#frame;
      names.push(`${slot}:${tileName(tile)}`);
    }
    return names;
  }

  // ---- Frames

  /** @returns {DrawnView} */
  #view() {
    const { viewport } = this.page.canvasView;
    const [x, y] = viewport.toScreen(0, 0);
    return { x, y, scale: viewport.scale() };
  }

  get #palette() {
    return paletteOf(this.page.store.state.display.palette);
  }

  #drawFrame() {
    this.#frame += 1;
    this.#loadVisible();
    this.canvas.style.opacity = String(this.page.store.state.display.outline);
    const view = this.#view();
    const now = performance.now();
    const { x, y, scale } = this.#last ?? view;
    if (view.x !== x || view.y !== y || view.scale !== scale) this.#restsAt = now + REST_MS;
    this.#last = view;
    const isMoving = now < this.#restsAt;
    // While the view moves, the drawing is moved as long as it covers the picture.
    const isEnough = isMoving ? this.#covers(view) : this.#isExact(view);
    if (this.#isDirty || !isEnough) void this.#draw(view);
    else if (isMoving) this.#wakeIn(this.#restsAt - now + 1);
    this.#move(view);
    this.#drawOverlay(view);
  }

  /** Draws a frame after a pause. @param {number} ms */
  #wakeIn(ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.page.canvasView.requestFrame(), ms);
  }

  /** Whether the drawing, moved, covers a view and is sharp enough. @param {DrawnView} view */
  #covers(view) {
    // The divider stays where it is.
    if (!this.#drawn || this.page.canvasView.split < 1) return false;
    const { canvas } = this.page.canvasView;
    const { view: drawn, width, height } = this.#drawn;
    const stretch = view.scale / drawn.scale;
    const left = view.x - drawn.x * stretch;
    const top = view.y - drawn.y * stretch;
    // The next drawing begins before an edge is in sight.
    const [spareX, spareY] = this.#margins().map((margin) => margin * SPARE);
    return (
      stretch < MAX_STRETCH &&
      stretch > 1 / MAX_STRETCH &&
      left <= -spareX &&
      top <= -spareY &&
      left + width * stretch >= canvas.width + spareX &&
      top + height * stretch >= canvas.height + spareY
    );
  }

  /** Device pixels beyond each side. */
  #margins() {
    const { canvas } = this.page.canvasView;
    return [Math.round(canvas.width * MARGIN), Math.round(canvas.height * MARGIN)];
  }

  /** Whether the canvas shows just this view. @param {DrawnView} view */
  #isExact({ x, y, scale }) {
    if (!this.#drawn) return false;
    const { view, width, height } = this.#drawn;
    const { canvas } = this.page.canvasView;
    const [marginX, marginY] = this.#margins();
    return (
      view.x === x + marginX &&
      view.y === y + marginY &&
      view.scale === scale &&
      width === canvas.width + 2 * marginX &&
      height === canvas.height + 2 * marginY
    );
  }

  /** Moves the drawing to the present view. @param {DrawnView} view */
  #move(view) {
    if (!this.#drawn) return;
    const { view: drawn, width, height, pixelRatio } = this.#drawn;
    const stretch = view.scale / drawn.scale;
    let [left, top] = [view.x - drawn.x * stretch, view.y - drawn.y * stretch];
    // Whole pixels stay sharp.
    if (stretch === 1) [left, top] = [Math.round(left), Math.round(top)];
    const { style } = this.canvas;
    style.width = `${width / pixelRatio}px`;
    style.height = `${height / pixelRatio}px`;
    style.transform = `translate(${left / pixelRatio}px, ${top / pixelRatio}px) scale(${stretch})`;
  }

  // ---- Drawing

  /** Has the worker draw a view, unless it draws already. @param {DrawnView} view */
  async #draw(view) {
    if (this.#isDrawing) return;
    const startedAt = performance.now();
    if (startedAt < this.#pauseUntil) {
      this.#wakeIn(this.#pauseUntil - startedAt);
      return;
    }
    this.#isDrawing = true;
    this.#isDirty = false;
    const generation = this.#generation;
    const scene = this.#scene(view);
    const bitmap = await this.worker.paint(scene);
    this.#isDrawing = false;
    const now = performance.now();
    this.#pauseUntil = now + PAUSE_FACTOR * (now - startedAt);
    this.page.canvasView.requestFrame();
    if (generation !== this.#generation) {
      bitmap.close();
      return;
    }
    this.canvas.getContext("bitmaprenderer")?.transferFromImageBitmap(bitmap);
    this.canvas.hidden = false;
    this.#drawn = scene;
    this.#move(this.#view());
  }

  /** @param {DrawnView} view @returns {OutlineScene} */
  #scene(view) {
    const { canvas, pixelRatio } = this.page.canvasView;
    const [marginX, marginY] = this.#margins();
    const width = canvas.width + 2 * marginX;
    const panes = this.page.canvasView.panes();
    /** @type {SceneLayer[]} */
    const layers = [];
    for (const [index, { slot, left, right, shift }] of panes.entries()) {
      // The outer ones reach into the margins.
      const isLast = index === panes.length - 1;
      layers.push({
        slot,
        tiles: this.#drawable(slot),
        left: index === 0 ? 0 : left + marginX,
        right: isLast ? width : right + marginX,
        shift,
      });
    }
    return {
      width,
      height: canvas.height + 2 * marginY,
      view: { x: view.x + marginX, y: view.y + marginY, scale: view.scale },
      pixelRatio,
      palette: this.#palette,
      layers,
    };
  }

  /** Draws selection, proposal and stroke. @param {DrawnView} view */
  #drawOverlay(view) {
    const hasOverlay =
      this.#selected.length > 0 || this.#proposal !== undefined || this.#stroke.length > 1;
    if (!hasOverlay && !this.#hasOverlay) return;
    this.#hasOverlay = hasOverlay;
    const { overlayCanvas } = elements;
    const { canvas } = this.page.canvasView;
    const context = overlayCanvas.getContext("2d");
    if (!context) return;
    // This empties it, too.
    overlayCanvas.width = canvas.width;
    overlayCanvas.height = canvas.height;
    context.lineJoin = "round";
    context.lineCap = "round";
    for (const { left, right, shift } of this.page.canvasView.panes()) {
      context.save();
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.beginPath();
      // Beside a line what belongs to the pointer is drawn across it.
      const isHalf = this.page.canvasView.hasHalves;
      context.rect(isHalf ? left : 0, 0, isHalf ? right - left : canvas.width, canvas.height);
      context.clip();
      this.#drawOverlayAt(context, { ...view, x: view.x + shift });
      context.restore();
      if (!isHalf) break;
    }
  }

  /** @param {CanvasRenderingContext2D} context @param {DrawnView} view */
  #drawOverlayAt(context, view) {
    const palette = this.#palette;
    for (const { nucleus, status } of this.#selected) {
      const path = pathOf(nucleus, view.scale);
      const halo = { colour: HALO, width: SELECTED_LINE, dash: [], opacity: 1 };
      const number = status === null ? OF_MODEL : STATUS_NAMES.indexOf(status);
      const colour = this.page.results.typeOf(nucleus)?.css;
      const own = { ...styleOf(palette, MAIN, number, colour), width: THICK_LINE };
      this.#strokeCased(context, view, path, halo, nucleus.centroid);
      this.#strokeCased(context, view, path, own, nucleus.centroid);
    }
    if (this.#proposal) {
      const style = { colour: palette.added, width: LINE, dash: PROPOSAL_DASH, opacity: 1 };
      const path = pathOf(this.#proposal, view.scale);
      this.#strokeCased(context, view, path, style, this.#proposal.centroid);
    }
    if (this.#stroke.length > 1) {
      const [left, top] = this.#stroke[0];
      const path = new Path2D();
      for (const [x, y] of this.#stroke) path.lineTo(x - left, y - top);
      const style = { colour: palette.added, width: THICK_LINE, dash: [], opacity: 1 };
      this.#strokeCased(context, view, path, style, this.#stroke[0]);
    }
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {DrawnView} view
   * @param {Path2D} rings
   * @param {LineStyle} style
   * @param {[number, number]} origin of the path, pixels of the image
   */
  #strokeCased(context, view, rings, style, [left, top]) {
    const paths = { rings, dots: new Path2D(), crosses: new Path2D() };
    const unit = this.page.canvasView.pixelRatio / view.scale;
    placeAt(context, view, left, top);
    for (const casing of [this.#palette.casing, undefined]) {
      strokePaths(context, paths, style, { casing, thinness: 1, unit });
    }
  }
}

/** The outline around its centroid. @param {NucleusFacts} nucleus @param {number} scale */
function pathOf({ polygons, centroid: [left, top] }, scale) {
  const path = new Path2D();
  const add = scale > ROUNDED_SCALE ? addRing : addPolygon;
  for (const ring of polygons.flat()) {
    add(
      path,
      ring.map(([x, y]) => [x - left, y - top]),
    );
  }
  return path;
}
