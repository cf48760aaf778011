// Outlines of a tile as paths that are made once and drawn at any zoom.

import { REJECTED, statusOf } from "./object-status.js";

/** Numbers before the coordinates of a record: id, look, number of vertices. */
const HEAD = 3;
/** Length of the line that stands for a point, pixels of the image. */
const DOT_PX = 0.02;
/** Fewest vertices of a ring whose corners are rounded. */
const MIN_ROUNDED = 6;

/** @typedef {{ rings: Path2D, dots: Path2D, crosses: Path2D }} OutlinePaths */

/**
 * A smooth closed line through all points.
 * @param {Path2D} path
 * @param {[number, number][]} ring
 */
export function addRing(path, ring) {
  const count = ring.length;
  path.moveTo(...ring[0]);
  if (count < MIN_ROUNDED) {
    for (const point of ring.slice(1)) path.lineTo(...point);
    path.closePath();
    return;
  }
  // The direction at a point is that from the point before to the one after it.
  /** @type {[number, number][]} */
  const directions = ring.map((_, i) => {
    const [x0, y0] = ring[(i + count - 1) % count];
    const [x1, y1] = ring[(i + 1) % count];
    const length = Math.hypot(x1 - x0, y1 - y0) || 1;
    return [(x1 - x0) / length, (y1 - y0) / length];
  });
  for (let i = 0; i < count; i++) {
    const next = (i + 1) % count;
    const [x0, y0] = ring[i];
    const [x1, y1] = ring[next];
    // A third of the distance: the curve stays near the line, however long its neighbours are.
    const handle = Math.hypot(x1 - x0, y1 - y0) / 3;
    const [dx0, dy0] = directions[i];
    const [dx1, dy1] = directions[next];
    path.bezierCurveTo(
      x0 + dx0 * handle,
      y0 + dy0 * handle,
      x1 - dx1 * handle,
      y1 - dy1 * handle,
      x1,
      y1,
    );
  }
  path.closePath();
}

export class OutlineTile {
  /** @type {Map<number, OutlinePaths>[]} With corners, and rounded; made when they are drawn. */
  #paths = [];

  /**
   * @param {Float64Array} records as `Session.outlineTile` gives them
   * @param {number} left of the tile, pixels of the image
   * @param {number} top
   */
  constructor(records, left, top) {
    this.records = records;
    this.left = left;
    this.top = top;
  }

  /**
   * Paths by look, in pixels of the image from the tile's corner on.
   * @param {boolean} isRounded whether corners are rounded, which takes four times as long to draw
   */
  paths(isRounded) {
    const kind = Number(isRounded);
    this.#paths[kind] ??= this.#makePaths(isRounded ? addRing : addPolygon);
    return this.#paths[kind];
  }

  /** @param {typeof addPolygon} add */
  #makePaths(add) {
    const { records, left, top } = this;
    /** @type {Map<number, OutlinePaths>} */
    const byLook = new Map();
    for (let i = 0; i < records.length; ) {
      const look = records[i + 1];
      const vertices = records[i + 2];
      let paths = byLook.get(look);
      if (!paths) {
        paths = { rings: new Path2D(), dots: new Path2D(), crosses: new Path2D() };
        byLook.set(look, paths);
      }
      const at = i + HEAD;
      if (vertices === 0) {
        const [x, y] = [records[at] - left, records[at + 1] - top];
        paths.dots.moveTo(x, y);
        paths.dots.lineTo(x + DOT_PX, y);
        i = at + 2;
        continue;
      }
      /** @type {[number, number][]} */
      const ring = [];
      for (let v = 0; v < vertices; v++) {
        ring.push([records[at + 2 * v] - left, records[at + 2 * v + 1] - top]);
      }
      add(paths.rings, ring);
      if (statusOf(look) === REJECTED) addCross(paths.crosses, ring);
      i = at + 2 * vertices;
    }
    return byLook;
  }
}

/** @param {Path2D} path @param {[number, number][]} ring */
export function addPolygon(path, ring) {
  path.moveTo(...ring[0]);
  for (let i = 1; i < ring.length; i++) path.lineTo(...ring[i]);
  path.closePath();
}

/** A cross in the middle of a ring. @param {Path2D} path @param {[number, number][]} ring */
function addCross(path, ring) {
  const xs = ring.map(([x]) => x);
  const ys = ring.map(([, y]) => y);
  const [left, right] = [Math.min(...xs), Math.max(...xs)];
  const [top, bottom] = [Math.min(...ys), Math.max(...ys)];
  const half = Math.min(right - left, bottom - top) / 4;
  const [x, y] = [(left + right) / 2, (top + bottom) / 2];
  path.moveTo(x - half, y - half);
  path.lineTo(x + half, y + half);
  path.moveTo(x + half, y - half);
  path.lineTo(x - half, y + half);
}
