// Outlines as the session gives them.

/** @import { Polygons } from "./worker-api.d.ts" */

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
