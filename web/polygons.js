// Outlines as the session gives them.

/** @import { Polygons } from "./worker-api.d.ts" */

/**
 * Whether a point lies inside polygons, by the even-odd rule.
 * @param {Polygons} polygons
 * @param {number} x
 * @param {number} y
 */
export function holds(polygons, x, y) {
  let isInside = false;
  for (const ring of polygons.flat()) {
    for (const [i, [x1, y1]] of ring.entries()) {
      const [x0, y0] = ring[(i || ring.length) - 1];
      const crosses = y0 > y !== y1 > y && x < x0 + ((y - y0) / (y1 - y0)) * (x1 - x0);
      if (crosses) isInside = !isInside;
    }
  }
  return isInside;
}

/**
 * The smallest rectangle around polygons, however many vertices they have.
 * @param {Polygons} polygons
 */
export function boundsOf(polygons) {
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [x, y] of polygons.flat(2)) {
    [left, right] = [Math.min(left, x), Math.max(right, x)];
    [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
  }
  return { left, top, right, bottom };
}
