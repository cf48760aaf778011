// Tiles of the image view. Level 0 has the image's own pixels; each further level half as many.

/** Side of a tile without its apron, pixels, as in the crate's viewer. */
export const TILE_PX = 256;
/** Pixels around a block that its nuclei may change: the apron of a tile, and interpolation. */
const BLOCK_MARGIN_PX = 4;

/** @import { BlockRect } from "./worker-api.d.ts" */

/** @typedef {{ level: number, row: number, column: number }} Tile */

/** @param {Tile} tile */
export function tileName({ level, row, column }) {
  return `${level}/${row}/${column}`;
}

/** Whether a tile shows a part of a block. @param {string} name @param {BlockRect} block */
export function overlapsBlock(name, [blockRow, blockColumn, blockWidth, blockHeight]) {
  const [level, row, column] = name.split("/").map(Number);
  const side = TILE_PX * 2 ** level;
  const top = blockRow - BLOCK_MARGIN_PX;
  const left = blockColumn - BLOCK_MARGIN_PX;
  const bottom = blockRow + blockHeight + BLOCK_MARGIN_PX;
  const right = blockColumn + blockWidth + BLOCK_MARGIN_PX;
  return (
    bottom >= row * side &&
    top <= (row + 1) * side &&
    right >= column * side &&
    left <= (column + 1) * side
  );
}
