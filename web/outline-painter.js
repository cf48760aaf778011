// Draws outlines on a canvas, in the page or in a worker.
import { ACCEPTED, ADDED, EXTRA, MATCHED, MISSED, OLDER, REJECTED } from "./object-status.js";
import { statusOf, typeColourOf } from "./object-status.js";
import { OutlineTile } from "./outline-tile.js";
import { MAIN } from "./slots.js";

/** @import { OutlinePaths } from "./outline-tile.js" */
/** @import { Palette } from "./palettes.js" */

/** @typedef {CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D} Context2d */

/**
 * @typedef {object} DrawnView Which part of the image a canvas shows.
 * @property {number} x of the image's corner on the screen, device pixels
 * @property {number} y
 * @property {number} scale device pixels for one of the image
 */

/**
 * @typedef {object} OutlineScene What is drawn.
 * @property {number} width of the canvas, device pixels
 * @property {number} height
 * @property {DrawnView} view from the canvas's corner on
 * @property {number} pixelRatio device pixels for one of CSS
 * @property {Palette} palette
 * @property {SceneLayer[]} layers
 */

/**
 * @typedef {object} SceneLayer A result between two columns of the canvas.
 * @property {number} slot
 * @property {string[]} tiles their names
 * @property {number} left device pixels
 * @property {number} right
 * @property {number} shift of the image, device pixels
 */

/**
 * @typedef {object} LineStyle
 * @property {string} colour
 * @property {number} width CSS pixels
 * @property {number[]} dash CSS pixels
 * @property {number} opacity
 */

/** Scale from which corners would show and are rounded, device pixels for one of the image. */
export const ROUNDED_SCALE = 2;

/** Widths, CSS pixels. */
export const LINE = 1.75;
export const THICK_LINE = 2.5;
/** Width of the casing on each side of a line. */
const CASING = 1;
const DOT = 2.6;
const CASING_OPACITY = 0.85;
/** Scale below which lines become thinner, CSS pixels for one of the image. */
const THIN_BELOW_SCALE = 0.6;
const MIN_THINNESS = 0.55;
/** Lengths of dashes and gaps, CSS pixels. */
const REJECTED_DASH = [4, 3];
const COMPARISON_DASH = [7, 3];
const EXTRA_DASH = [3, 3];
const OLDER_DASH = [2.5, 3.5];
const OLDER_OPACITY = 0.7;
/** Of added nuclei in the colour of their type: without types their colour tells them apart. */
const ADDED_DASH = [0.5, 3.5];

/**
 * @param {Palette} palette
 * @param {number} slot
 * @param {number} status
 * @param {string} [colour] of the type of nuclei
 * @returns {LineStyle}
 */
export function styleOf(palette, slot, status, colour) {
  const isMain = slot === MAIN;
  const plain = {
    colour: colour ?? (isMain ? palette.model : palette.added),
    width: LINE,
    dash: isMain ? [] : COMPARISON_DASH,
    opacity: 1,
  };
  switch (status) {
    case ACCEPTED:
      return { ...plain, width: THICK_LINE };
    case ADDED:
      return colour
        ? { ...plain, dash: ADDED_DASH }
        : { ...plain, colour: palette.added, dash: [] };
    case REJECTED:
      return { ...plain, colour: palette.rejected, dash: REJECTED_DASH };
    case MATCHED:
      return { ...plain, colour: palette.matched, dash: [] };
    case MISSED:
      return { ...plain, colour: palette.missed, width: THICK_LINE, dash: [] };
    case EXTRA:
      return { ...plain, colour: palette.extra, width: THICK_LINE, dash: EXTRA_DASH };
    case OLDER:
      return { ...plain, dash: OLDER_DASH, opacity: OLDER_OPACITY };
    default:
      return plain;
  }
}

/**
 * Coordinates in pixels of the image from a point on.
 * @param {Context2d} context
 * @param {DrawnView} view
 * @param {number} left
 * @param {number} top
 */
export function placeAt(context, { x, y, scale }, left, top) {
  context.setTransform(scale, 0, 0, scale, x + left * scale, y + top * scale);
}

/**
 * Draws the casings of paths, or their lines.
 * @param {Context2d} context
 * @param {OutlinePaths} paths
 * @param {LineStyle} style
 * @param {object} pass
 * @param {string | undefined} pass.casing colour of the casings; without it lines are drawn
 * @param {number} pass.thinness factor of all widths
 * @param {number} pass.unit pixels of the image for one of CSS
 */
export function strokePaths(context, paths, style, { casing, thinness, unit }) {
  const extra = casing ? 2 * CASING * thinness : 0;
  context.globalAlpha = style.opacity * (casing ? CASING_OPACITY : 1);
  context.strokeStyle = casing ?? style.colour;
  context.lineWidth = (style.width * thinness + extra) * unit;
  // The round ends of a dashed casing would fill its gaps.
  context.setLineDash(casing ? [] : style.dash.map((length) => length * unit));
  context.stroke(paths.rings);
  context.setLineDash([]);
  context.stroke(paths.crosses);
  context.lineWidth = (DOT + extra) * unit;
  context.stroke(paths.dots);
}

export class OutlinePainter {
  /** @type {Map<string, OutlineTile>} */
  #tiles = new Map();

  /**
   * @param {string} name
   * @param {Float64Array} records as `Session.outlineTile` gives them
   * @param {number} left of the tile, pixels of the image
   * @param {number} top
   */
  put(name, records, left, top) {
    this.#tiles.set(name, new OutlineTile(records, left, top));
  }

  /** @param {string[]} names */
  drop(names) {
    for (const name of names) this.#tiles.delete(name);
  }

  /** @param {Context2d} context of an empty canvas @param {OutlineScene} scene */
  paint(context, scene) {
    context.lineJoin = "round";
    context.lineCap = "round";
    for (const layer of scene.layers) {
      context.save();
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.beginPath();
      context.rect(layer.left, 0, layer.right - layer.left, scene.height);
      context.clip();
      this.#paintLayer(context, scene, layer);
      context.restore();
    }
  }

  /** @param {Context2d} context @param {OutlineScene} scene @param {SceneLayer} layer */
  #paintLayer(context, { view: whole, pixelRatio, palette }, { slot, tiles, shift }) {
    const view = { ...whole, x: whole.x + shift };
    const unit = pixelRatio / view.scale;
    // Thinner lines where nuclei are small on the screen.
    const thinness = Math.max(MIN_THINNESS, Math.min(1, 1 / (unit * THIN_BELOW_SCALE)));
    const isRounded = view.scale > ROUNDED_SCALE;
    // Casings first, so that none lies over a neighbour's line.
    for (const casing of [palette.casing, undefined]) {
      for (const name of tiles) {
        const tile = this.#tiles.get(name);
        if (!tile) continue;
        placeAt(context, view, tile.left, tile.top);
        for (const [look, paths] of tile.paths(isRounded)) {
          const style = styleOf(palette, slot, statusOf(look), typeColourOf(look));
          strokePaths(context, paths, style, { casing, thinness, unit });
        }
      }
    }
  }
}
