// Draws tiles on a 2D canvas, where WebGPU is not available. The tiles contain the layers already.
import { TILE_PX, tileName } from "./tiles.js";

/** @import { CanvasView } from "./canvas-view.js" */
/** @import { Tile } from "./tiles.js" */

/** Largest number of bitmaps, about 50 MB. */
const MAX_BITMAPS = 192;
/** Scale from which pixels are shown as squares, screen pixels for one of the image. */
const SQUARE_PIXELS_SCALE = 3;
/** Coarser levels that are drawn where finer tiles are missing. */
const COARSER_LEVELS = 4;
const MAX_LEVEL = 16;

/** @typedef {{ slot: number, name: string, bitmap: ImageBitmap }} TileBitmap */

export class Canvas2dRenderer {
  /** @type {Map<string, TileBitmap>} By slot and name of the tile, oldest first. */
  #bitmaps = new Map();

  /** @param {CanvasView} view */
  constructor(view) {
    this.view = view;
  }

  clear() {
    for (const { bitmap } of this.#bitmaps.values()) bitmap.close();
    this.#bitmaps.clear();
  }

  /**
   * Takes a tile. Gives those that were removed to make room.
   * @param {number} slot
   * @param {Tile} tile
   * @param {ImageBitmap} bitmap
   * @returns {TileBitmap[]}
   */
  put(slot, tile, bitmap) {
    const name = tileName(tile);
    const key = `${slot}:${name}`;
    this.#bitmaps.get(key)?.bitmap.close();
    this.#bitmaps.delete(key);
    this.#bitmaps.set(key, { slot, name, bitmap });
    const removed = [];
    for (const [oldestKey, oldest] of this.#bitmaps) {
      if (this.#bitmaps.size <= MAX_BITMAPS) break;
      oldest.bitmap.close();
      this.#bitmaps.delete(oldestKey);
      removed.push(oldest);
    }
    return removed;
  }

  draw() {
    const { canvas, viewport, split } = this.view;
    const context = canvas.getContext("2d");
    if (!context) return;
    const { width, height } = canvas;
    const dividerColumn = split * width;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    context.imageSmoothingEnabled = viewport.scale() < SQUARE_PIXELS_SCALE;
    for (const pane of this.view.panes()) this.#drawResult(context, pane);
    if (dividerColumn < width) {
      context.fillStyle = "#fff";
      context.fillRect(dividerColumn - 1, 0, 2, height);
    }
  }

  /**
   * Draws the tiles of a result between two columns of the screen.
   * @param {CanvasRenderingContext2D} context
   * @param {{ slot: number, left: number, right: number, shift: number }} pane
   */
  #drawResult(context, { slot, left, right, shift }) {
    const { view } = this;
    context.save();
    context.beginPath();
    context.rect(left, 0, right - left, view.canvas.height);
    context.clip();
    context.translate(shift, 0);
    const finest = view.viewport.level();
    // Coarse tiles come first, so that finer ones cover them.
    for (let level = Math.min(finest + COARSER_LEVELS, MAX_LEVEL); level >= finest; level--) {
      for (const tile of view.tiles.visible(level)) {
        const found = this.#bitmaps.get(`${slot}:${tileName(tile)}`);
        if (found) this.#drawTile(context, tile, found.bitmap);
      }
    }
    context.restore();
  }

  /** @param {CanvasRenderingContext2D} context @param {Tile} tile @param {ImageBitmap} bitmap */
  #drawTile(context, { level, row, column }, bitmap) {
    const { viewport, width, height } = this.view;
    const step = 2 ** level;
    const left = column * TILE_PX;
    const top = row * TILE_PX;
    // At the right and the lower edge only a part of the tile is image.
    const tileWidth = Math.min(TILE_PX, Math.ceil(width / step) - left);
    const tileHeight = Math.min(TILE_PX, Math.ceil(height / step) - top);
    const [x0, y0] = viewport.toScreen(left * step, top * step);
    const [x1, y1] = viewport.toScreen((left + tileWidth) * step, (top + tileHeight) * step);
    context.drawImage(bitmap, 0, 0, tileWidth, tileHeight, x0, y0, x1 - x0, y1 - y0);
  }
}
