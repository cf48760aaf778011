// Outlines over the picture, drawn in screen pixels, so that they are as thick at every zoom. The
// canvas is larger than the picture and is moved with it; it is drawn anew when the view rests, or
// when its margin or its sharpness no longer do.
import { elements } from "./elements.js";
import { ACCEPTED, ADDED, OF_MODEL, OLDER, REJECTED, STATUS_NAMES } from "./object-status.js";
import { OutlineTile, addRing } from "./outline-tile.js";
import { paletteOf } from "./palettes.js";
import { COMPARISON, MAIN } from "./slots.js";
import { TILE_PX, overlapsBlock, tileName } from "./tiles.js";

/** @import { OutlinePaths } from "./outline-tile.js" */
/** @import { Page } from "./page.js" */
/** @import { Palette } from "./palettes.js" */
/** @import { Tile } from "./tiles.js" */
/** @import { BlockRect, NucleusFacts, ReviewObject } from "./worker-api.d.ts" */

/** Part of the picture's width and height that is drawn beyond each side. */
const MARGIN = 0.2;
/** How far nuclei reach out of the tile of their centroid, pixels of the image. */
const REACH_PX = 64;
/** Scale between the drawn and the present view up to which the drawing is only stretched. */
const MAX_STRETCH = 1.3;
/** Pause after which the view rests, milliseconds. */
const REST_MS = 90;
/** Shortest time between two drawings while new outlines arrive, milliseconds. */
const REDRAW_MS = 60;
const MAX_REQUESTS = 4;
/** Tiles that are kept, for each result. */
const MAX_TILES = 400;
/** Scale from which corners are rounded, device pixels for one of the image. */
const ROUNDED_SCALE = 1.5;

/** Widths, CSS pixels. */
const LINE = 1.75;
const THICK_LINE = 2.5;
const SELECTED_LINE = 7;
/** Around what is selected. */
const HALO = "#ffffff";
/** Width of the casing on each side of a line. */
const CASING = 1;
const DOT = 2.6;
/** Scale below which lines become thinner, CSS pixels for one of the image. */
const THIN_BELOW_SCALE = 0.6;
const MIN_THINNESS = 0.55;
/** Lengths of dashes and gaps, CSS pixels. */
const REJECTED_DASH = [4, 3];
const COMPARISON_DASH = [7, 3];
const OLDER_DASH = [2.5, 3.5];
const OLDER_OPACITY = 0.7;

/** @typedef {{ x: number, y: number, scale: number }} DrawnView Device pixels of the image's corner. */

/**
 * @typedef {object} LineStyle
 * @property {string} colour
 * @property {number} width CSS pixels
 * @property {number[]} dash CSS pixels
 * @property {number} opacity
 */

export class OutlineCanvas {
  /** Tiles by slot and name. */
  #tiles = [new Map(), new Map()].map((map) => /** @type {Map<string, OutlineTile>} */ (map));
  /** @type {Set<string>} Requests that run, by slot and name. */
  #pending = new Set();
  /** Changes with another image: earlier requests are ignored. */
  #generation = 0;
  /** @type {DrawnView | undefined} What the canvas shows. */
  #drawn;
  #drawnAt = 0;
  /** @type {DrawnView | undefined} Of the last frame. */
  #last;
  #movedAt = 0;
  #isDirty = true;
  #frame = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {ReviewObject[]} Objects that are drawn thicker. */
  #selected = [];
  /** @type {NucleusFacts | undefined} What a click would add. */
  #proposal;
  /** @type {[number, number][]} A stroke in progress, pixels of the image. */
  #stroke = [];

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.canvas = elements.outlineCanvas;
    page.canvasView.outlines = this;
    page.canvasView.frameListeners.add(() => this.#drawFrame());
  }

  // ---- What is drawn

  /** @param {ReviewObject[]} objects */
  select(objects) {
    this.#selected = objects;
    this.#changed();
  }

  /** @param {NucleusFacts | undefined} nucleus */
  propose(nucleus) {
    if (nucleus === this.#proposal) return;
    this.#proposal = nucleus;
    this.#changed();
  }

  /** @param {[number, number][]} stroke pixels of the image; empty for none */
  showStroke(stroke) {
    this.#stroke = stroke;
    this.#changed();
  }

  /** Another image is shown. */
  clear() {
    this.#generation += 1;
    this.#pending.clear();
    for (const tiles of this.#tiles) tiles.clear();
    this.#selected = [];
    this.#proposal = undefined;
    this.#stroke = [];
    this.#changed();
  }

  /** A result no longer exists. @param {number} slot */
  clearSlot(slot) {
    this.#tiles[slot].clear();
    this.#changed();
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
    this.#changed();
  }

  #changed() {
    this.#isDirty = true;
    this.page.canvasView.requestFrame();
  }

  // ---- Tiles

  /** Tiles of a level around the view. @param {number} level @returns {Tile[]} */
  #around(level) {
    const { viewport, canvas, width, height } = this.page.canvasView;
    const [marginX, marginY] = [canvas.width * MARGIN, canvas.height * MARGIN];
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
    const { canvasView } = this.page;
    return canvasView.split < 1 ? [MAIN, COMPARISON] : [MAIN];
  }

  #loadVisible() {
    const { canvasView } = this.page;
    const needed = this.#around(canvasView.viewport.level());
    for (const slot of this.#slots) {
      if (!canvasView.hasResult[slot] && slot !== MAIN) continue;
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
    const before = this.#tiles[slot].get(name);
    if (before) before.isStale = false;
    const { level, row, column } = tile;
    const { engine, canvasView } = this.page;
    // A result that is gone has no outlines.
    const records = await engine
      .call("outlineTile", slot, level, row, column)
      .catch(() => new Float64Array(0));
    if (generation !== this.#generation) return;
    this.#pending.delete(request);
    const side = TILE_PX * 2 ** level;
    const isRounded = level === 0;
    const loaded = new OutlineTile(records, column * side, row * side, isRounded);
    loaded.isStale = before?.isStale ?? false;
    loaded.lastUse = this.#frame;
    this.#tiles[slot].set(name, loaded);
    this.#dropOld(this.#tiles[slot]);
    this.#isDirty = true;
    canvasView.requestFrame();
  }

  /** @param {Map<string, OutlineTile>} tiles */
  #dropOld(tiles) {
    if (tiles.size <= MAX_TILES) return;
    const oldest = [...tiles].sort(([, a], [, b]) => a.lastUse - b.lastUse);
    for (const [name] of oldest.slice(0, tiles.size - MAX_TILES)) tiles.delete(name);
  }

  /** Tiles to draw: those of the view's level; where they are missing, what other levels have. */
  #drawable(/** @type {number} */ slot) {
    const tiles = this.#tiles[slot];
    const level = this.page.canvasView.viewport.level();
    const found = [];
    let isComplete = true;
    for (const tile of this.#around(level)) {
      const here = tiles.get(tileName(tile));
      if (here) found.push(here);
      else isComplete = false;
    }
    if (isComplete) return found;
    for (const step of [1, -1, 2]) {
      if (level + step < 0) continue;
      const others = this.#around(level + step).map((tile) => tiles.get(tileName(tile)));
      if (others.some(Boolean)) return others.filter((tile) => tile !== undefined);
    }
    return found;
  }

  // ---- Frames

  /** @returns {DrawnView} */
  #view() {
    const { viewport } = this.page.canvasView;
    const [x, y] = viewport.toScreen(0, 0);
    return { x, y, scale: viewport.scale() };
  }

  #drawFrame() {
    this.#frame += 1;
    this.#loadVisible();
    const now = performance.now();
    const view = this.#view();
    const last = this.#last ?? view;
    if (view.x !== last.x || view.y !== last.y || view.scale !== last.scale) this.#movedAt = now;
    this.#last = view;
    this.canvas.style.opacity = String(this.page.store.state.display.outline);
    const isMoving = now - this.#movedAt < REST_MS;
    if (!isMoving) {
      if (this.#isDirty || !this.#isExact(view)) this.#draw(view);
      return;
    }
    const mustDraw = !this.#isCovered(view) || (this.#isDirty && now - this.#drawnAt > REDRAW_MS);
    // The divider stays where it is, so the drawing cannot be moved past it.
    if (mustDraw || this.page.canvasView.split < 1) this.#draw(view);
    else this.#move(view);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.page.canvasView.requestFrame(), REST_MS + 10);
  }

  /** @param {DrawnView} view */
  #isExact({ x, y, scale }) {
    const drawn = this.#drawn;
    return drawn !== undefined && drawn.x === x && drawn.y === y && drawn.scale === scale;
  }

  /** Whether the drawing, moved, covers the picture and is sharp enough. @param {DrawnView} view */
  #isCovered(view) {
    const { canvas } = this.page.canvasView;
    if (!this.#drawn || this.#isResized()) return false;
    const stretch = view.scale / this.#drawn.scale;
    if (stretch > MAX_STRETCH || stretch < 1 / MAX_STRETCH) return false;
    const { left, top } = this.#offset(view);
    const [marginX, marginY] = this.#margins();
    return (
      left <= 0 &&
      top <= 0 &&
      left + (canvas.width + 2 * marginX) * stretch >= canvas.width &&
      top + (canvas.height + 2 * marginY) * stretch >= canvas.height
    );
  }

  /** Device pixels beyond each side. */
  #margins() {
    const { canvas } = this.page.canvasView;
    return [Math.round(canvas.width * MARGIN), Math.round(canvas.height * MARGIN)];
  }

  #isResized() {
    const { canvas } = this.page.canvasView;
    const [marginX, marginY] = this.#margins();
    return (
      this.canvas.width !== canvas.width + 2 * marginX ||
      this.canvas.height !== canvas.height + 2 * marginY
    );
  }

  /** Where the drawing's corner lies in the present view, device pixels. @param {DrawnView} view */
  #offset(view) {
    const drawn = /** @type {DrawnView} */ (this.#drawn);
    const stretch = view.scale / drawn.scale;
    const [marginX, marginY] = this.#margins();
    const left = view.x - (drawn.x + marginX) * stretch;
    const top = view.y - (drawn.y + marginY) * stretch;
    // Whole pixels stay sharp.
    return stretch === 1 ? { left: Math.round(left), top: Math.round(top), stretch } : { left, top, stretch };
  }

  /** Moves the drawing to the present view. @param {DrawnView} view */
  #move(view) {
    const { left, top, stretch } = this.#offset(view);
    const { pixelRatio } = this.page.canvasView;
    const [x, y] = [left / pixelRatio, top / pixelRatio];
    this.canvas.style.transform = `translate(${x}px, ${y}px) scale(${stretch})`;
  }

  // ---- Drawing

  /** @param {DrawnView} view */
  #draw(view) {
    const { canvasView } = this.page;
    const { canvas, pixelRatio } = canvasView;
    const context = this.canvas.getContext("2d");
    if (!context) return;
    const [marginX, marginY] = this.#margins();
    if (this.#isResized()) {
      this.canvas.width = canvas.width + 2 * marginX;
      this.canvas.height = canvas.height + 2 * marginY;
      this.canvas.style.width = `${this.canvas.width / pixelRatio}px`;
      this.canvas.style.height = `${this.canvas.height / pixelRatio}px`;
    } else {
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    }
    this.#drawn = view;
    this.#drawnAt = performance.now();
    this.#isDirty = false;
    this.#move(view);
    context.lineJoin = "round";
    context.lineCap = "round";
    const dividerColumn = canvasView.split < 1 ? canvasView.split * canvas.width + marginX : Infinity;
    for (const slot of this.#slots) {
      context.save();
      context.beginPath();
      const [left, right] = slot === MAIN ? [0, dividerColumn] : [dividerColumn, this.canvas.width];
      context.rect(left, 0, Math.min(right, this.canvas.width) - left, this.canvas.height);
      context.clip();
      this.#drawSlot(context, slot, view);
      context.restore();
    }
    this.#drawOverlay(context, view);
  }

  get #palette() {
    return paletteOf(this.page.store.state.display.palette);
  }

  /** @param {CanvasRenderingContext2D} context @param {number} slot @param {DrawnView} view */
  #drawSlot(context, slot, view) {
    const tiles = this.#drawable(slot);
    const thinness = this.#thinness(view.scale);
    // Casings first, so that none lies over a neighbour's line.
    for (const isCasing of [true, false]) {
      for (const tile of tiles) {
        tile.lastUse = this.#frame;
        this.#place(context, view, tile.left, tile.top);
        for (const [status, paths] of tile.paths) {
          this.#drawPaths(context, paths, this.#style(slot, status), { isCasing, thinness, view });
        }
      }
    }
  }

  /** Thinner lines where nuclei are small on the screen. @param {number} scale */
  #thinness(scale) {
    const cssScale = scale / this.page.canvasView.pixelRatio;
    return Math.max(MIN_THINNESS, Math.min(1, cssScale / THIN_BELOW_SCALE));
  }

  /** @param {number} slot @param {number} status @returns {LineStyle} */
  #style(slot, status) {
    /** @type {Palette} */
    const palette = this.#palette;
    const isMain = slot === MAIN;
    const plain = {
      colour: isMain ? palette.model : palette.added,
      width: LINE,
      dash: isMain ? [] : COMPARISON_DASH,
      opacity: 1,
    };
    switch (status) {
      case ACCEPTED:
        return { ...plain, width: THICK_LINE };
      case ADDED:
        return { ...plain, colour: palette.added, dash: [] };
      case REJECTED:
        return { ...plain, colour: palette.rejected, dash: REJECTED_DASH };
      case OLDER:
        return { ...plain, dash: OLDER_DASH, opacity: OLDER_OPACITY };
      default:
        return plain;
    }
  }

  /**
   * Coordinates in pixels of the image from a point on.
   * @param {CanvasRenderingContext2D} context
   * @param {DrawnView} view
   * @param {number} left
   * @param {number} top
   */
  #place(context, { x, y, scale }, left, top) {
    const [marginX, marginY] = this.#margins();
    const [dx, dy] = [x + marginX + left * scale, y + marginY + top * scale];
    context.setTransform(scale, 0, 0, scale, dx, dy);
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {OutlinePaths} paths
   * @param {LineStyle} style
   * @param {{ isCasing: boolean, thinness: number, view: DrawnView }} pass
   */
  #drawPaths(context, paths, style, { isCasing, thinness, view }) {
    // Pixels of the image for one of CSS.
    const unit = this.page.canvasView.pixelRatio / view.scale;
    const casing = isCasing ? 2 * CASING * thinness : 0;
    context.globalAlpha = style.opacity * (isCasing ? 0.85 : 1);
    context.strokeStyle = isCasing ? this.#palette.casing : style.colour;
    context.lineWidth = (style.width * thinness + casing) * unit;
    // A dashed casing would be filled by its round ends.
    context.setLineDash(isCasing ? [] : style.dash.map((length) => length * unit));
    context.stroke(paths.rings);
    context.setLineDash([]);
    context.stroke(paths.crosses);
    context.lineWidth = (DOT + casing) * unit;
    context.stroke(paths.dots);
  }

  /** Selection, proposal and stroke. @param {CanvasRenderingContext2D} context @param {DrawnView} view */
  #drawOverlay(context, view) {
    const palette = this.#palette;
    const pass = (/** @type {boolean} */ isCasing) => ({ isCasing, thinness: 1, view });
    const draw = (
      /** @type {Path2D} */ rings,
      /** @type {LineStyle} */ style,
      /** @type {number} */ left,
      /** @type {number} */ top,
    ) => {
      const paths = { rings, dots: new Path2D(), crosses: new Path2D() };
      this.#place(context, view, left, top);
      for (const isCasing of [true, false]) this.#drawPaths(context, paths, style, pass(isCasing));
    };
    const isRounded = view.scale > ROUNDED_SCALE;
    for (const { nucleus, status } of this.#selected) {
      const [left, top] = nucleus.centroid;
      const path = pathOf(nucleus, isRounded);
      draw(path, { colour: HALO, width: SELECTED_LINE, dash: [], opacity: 1 }, left, top);
      const own = this.#style(MAIN, status === null ? OF_MODEL : STATUS_NAMES.indexOf(status));
      draw(path, { ...own, width: THICK_LINE }, left, top);
    }
    if (this.#proposal) {
      const [left, top] = this.#proposal.centroid;
      const style = { colour: palette.added, width: LINE, dash: [5, 4], opacity: 1 };
      draw(pathOf(this.#proposal, isRounded), style, left, top);
    }
    if (this.#stroke.length > 1) {
      const [left, top] = this.#stroke[0];
      const path = new Path2D();
      for (const [x, y] of this.#stroke) path.lineTo(x - left, y - top);
      draw(path, { colour: palette.added, width: THICK_LINE, dash: [], opacity: 1 }, left, top);
    }
    context.globalAlpha = 1;
  }
}

/** The outline around its centroid. @param {NucleusFacts} nucleus @param {boolean} isRounded */
function pathOf({ polygons, centroid: [left, top] }, isRounded) {
  const path = new Path2D();
  for (const ring of polygons.flat()) {
    /** @type {[number, number][]} */
    const placed = ring.map(([x, y]) => [x - left, y - top]);
    if (isRounded) {
      addRing(path, placed);
      continue;
    }
    path.moveTo(...placed[0]);
    for (const point of placed.slice(1)) path.lineTo(...point);
    path.closePath();
  }
  return path;
}
