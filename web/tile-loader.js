// Requests the tiles of the view from the worker. Each view change cancels requests for tiles of a
// slide that are no longer visible.
import { COMPARISON, MAIN } from "./slots.js";
import { TILE_PX, overlapsBlock, tileName } from "./tiles.js";

/** @import { CanvasView } from "./canvas-view.js" */
/** @import { Engine } from "./engine.js" */
/** @import { Tile } from "./tiles.js" */
/** @import { BlockRect, TileIndex } from "./worker-api.d.ts" */

/** Largest number of requests at a time. Further tiles are requested in later frames. */
const MAX_REQUESTS = 6;
/** Levels by which the tiles of a slide that are read first are coarser than the screen. */
const COARSE_FIRST_LEVELS = 2;
/** Stands for the image itself where a slot stands for a result. */
const IMAGE = -1;

/** @param {number} slot @param {Tile} tile */
function requestName(slot, tile) {
  return `${slot}:${tileName(tile)}`;
}

/** @param {string} request */
function tileNameOf(request) {
  return request.slice(request.indexOf(":") + 1);
}

export class TileLoader {
  /** Names of tiles that are up to date or requested, for each result. */
  #upToDate = [new Set(), new Set()];
  /** @type {Set<string>} Names of tiles of the image that cannot be read. */
  #failed = new Set();
  /** @type {Set<string>} Names of the requests that run. */
  #pending = new Set();
  /** Changes with `clear`: outcomes of earlier requests are ignored. */
  #generation = 0;

  /** @param {CanvasView} view @param {Engine} engine */
  constructor(view, engine) {
    this.view = view;
    this.engine = engine;
  }

  /** Another image, or another way of drawing: every tile is needed again. */
  clear() {
    this.#generation += 1;
    this.markAllStale();
    this.#pending.clear();
    this.#failed.clear();
  }

  /**
   * Requests the tiles of a result again.
   * @param {number} slot
   * @param {BlockRect} [block] only those that show this part of the image
   */
  markStale(slot, block) {
    const upToDate = this.#upToDate[slot];
    if (!block) {
      upToDate.clear();
      return;
    }
    for (const name of upToDate) {
      if (overlapsBlock(name, block)) upToDate.delete(name);
    }
  }

  markAllStale() {
    for (const upToDate of this.#upToDate) upToDate.clear();
  }

  /** Tiles of a level that the screen shows, those in the middle first. @param {number} level */
  visible(level) {
    const numbers = this.view.viewport.visible(level);
    /** @type {Tile[]} */
    const tiles = [];
    for (let i = 0; i < numbers.length; i += 2) {
      tiles.push({ level, row: numbers[i], column: numbers[i + 1] });
    }
    return tiles;
  }

  /** Tiles that the view needs. For a slide coarse tiles come first, as fine ones take longer. */
  #needed() {
    const { viewport, isSlide, width, height } = this.view;
    const level = viewport.level();
    const tiles = this.visible(level);
    if (!isSlide) return tiles;
    const coarsest = Math.max(0, Math.ceil(Math.log2(Math.max(width, height) / TILE_PX)));
    return [...this.visible(Math.min(level + COARSE_FIRST_LEVELS, coarsest)), ...tiles];
  }

  /** Requests what the view needs and does not have. */
  loadVisible() {
    const { view } = this;
    const needed = this.#needed();
    if (view.isSlide) this.#cancelInvisible(needed);
    const slots = view.split < 1 ? [MAIN, COMPARISON] : [MAIN];
    for (const tile of needed) {
      if (view.viewport.usesWebGpu) this.#loadForWebGpu(tile, slots);
      else this.#loadForCanvas2d(tile, slots);
    }
  }

  /** The image and the results are separate tiles. @param {Tile} tile @param {number[]} slots */
  #loadForWebGpu(tile, slots) {
    const { view } = this;
    const name = tileName(tile);
    if (!view.viewport.hasTile(tile.level, tile.row, tile.column)) {
      // The painter has dropped the tile, and its data with it.
      for (const upToDate of this.#upToDate) upToDate.delete(name);
      void this.#load(IMAGE, tile);
    }
    for (const slot of slots) {
      if (view.hasResult[slot] && !this.#upToDate[slot].has(name)) void this.#load(slot, tile);
    }
  }

  /** The worker composes image and result. @param {Tile} tile @param {number[]} slots */
  #loadForCanvas2d(tile, slots) {
    for (const slot of slots) {
      if (!this.#upToDate[slot].has(tileName(tile))) void this.#load(slot, tile);
    }
  }

  /** Cancels requests for tiles of a slide that are no longer needed. @param {Tile[]} needed */
  #cancelInvisible(needed) {
    const names = new Set(needed.map(tileName));
    const requests = [...this.#pending].filter((request) => !names.has(tileNameOf(request)));
    if (requests.length > 0) void this.engine.call("cancelSlideTiles", requests);
  }

  /** Requests a tile of the image or of a result. @param {number} slot @param {Tile} tile */
  async #load(slot, tile) {
    const name = tileName(tile);
    const request = requestName(slot, tile);
    if (this.#pending.size >= MAX_REQUESTS || this.#pending.has(request)) return;
    if (slot === IMAGE && this.#failed.has(name)) return;
    const generation = this.#generation;
    const isCurrent = () => generation === this.#generation;
    this.#pending.add(request);
    // Before the tile is here, so that a change in the meantime marks it as stale.
    if (slot !== IMAGE) this.#upToDate[slot].add(name);
    try {
      if (slot === IMAGE) await this.#loadImage(tile, isCurrent);
      else if (this.view.viewport.usesWebGpu) await this.#loadData(slot, tile, isCurrent);
      else await this.#loadDrawn(slot, tile, isCurrent);
    } catch (error) {
      if (isCurrent()) this.#handleError(slot, name, error);
    } finally {
      if (isCurrent()) {
        this.#pending.delete(request);
        this.view.requestFrame();
      }
    }
  }

  /** @param {Tile} tile @param {() => boolean} isCurrent */
  async #loadImage(tile, isCurrent) {
    const { level, row, column } = tile;
    const rgba = this.view.isSlide
      ? await this.engine.call("readSlideTile", requestName(IMAGE, tile), [level, row, column])
      : await this.engine.call("imageTile", level, row, column);
    if (isCurrent()) this.view.viewport.putTile(level, row, column, rgba);
  }

  /** @param {number} slot @param {Tile} tile @param {() => boolean} isCurrent */
  async #loadData(slot, { level, row, column }, isCurrent) {
    const data = await this.engine.call("dataTile", slot, level, row, column);
    if (isCurrent() && this.view.hasResult[slot]) {
      this.view.viewport.putData(slot, level, row, column, data);
    }
  }

  /** @param {number} slot @param {Tile} tile @param {() => boolean} isCurrent */
  async #loadDrawn(slot, tile, isCurrent) {
    const rgba = await this.#drawTile(slot, tile);
    const pixels = new Uint8ClampedArray(/** @type {ArrayBuffer} */ (rgba.buffer));
    const bitmap = await createImageBitmap(new ImageData(pixels, TILE_PX, TILE_PX));
    if (!isCurrent()) return;
    for (const removed of this.view.canvas2d.put(slot, tile, bitmap)) {
      this.#upToDate[removed.slot].delete(removed.name);
    }
  }

  /** RGBA of a tile with the layers, without apron. @param {number} slot @param {Tile} tile */
  #drawTile(slot, tile) {
    const { level, row, column } = tile;
    const { mask, heat, preview } = this.view.layers;
    if (this.view.isSlide) {
      const request = requestName(slot, tile);
      /** @type {TileIndex} */
      const index = [level, row, column];
      return this.engine.call("drawSlideTile", request, slot, index, mask, heat);
    }
    return this.engine.call("drawnTile", slot, level, row, column, mask, heat, preview);
  }

  /** @param {number} slot @param {string} name of the tile @param {unknown} error */
  #handleError(slot, name, error) {
    if (error instanceof Error && error.name === "AbortError") {
      // If the tile is visible again, it is requested again.
      if (slot !== IMAGE) this.#upToDate[slot].delete(name);
      return;
    }
    // A result that is gone is no error. A tile of a slide that cannot be read is one.
    if (slot === IMAGE) this.#failed.add(name);
    if (this.view.isSlide) this.view.onerror(error);
  }
}
