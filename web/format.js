// Numbers as text for people.

/** @param {number} count */
export function formatCount(count) {
  return count.toLocaleString("en");
}

/** @param {number} count */
export function formatNuclei(count) {
  return count === 1 ? "1 nucleus" : `${formatCount(count)} nuclei`;
}

/** @param {number} count */
export function formatBlocks(count) {
  return count === 1 ? "1 block" : `${formatCount(count)} blocks`;
}

/** @param {number} bytes */
export function formatBytes(bytes) {
  if (bytes < 1e6) return `${(bytes / 1000).toFixed(bytes < 1e5 ? 1 : 0)} KB`;
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

/** @param {number} ms milliseconds */
export function formatDuration(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60e3) return `${(ms / 1000).toFixed(1)} s`;
  return `${Math.floor(ms / 60e3)} min ${Math.round((ms % 60e3) / 1000)} s`;
}

/**
 * An area in µm², or in pixels when the pixel size is unknown.
 * @param {number} px area, pixels
 * @param {number} mpp pixel size, µm; 0 if unknown
 */
export function formatArea(px, mpp) {
  return mpp > 0 ? `${(px * mpp * mpp).toFixed(1)} µm²` : `${px.toFixed(0)} px`;
}

/**
 * A large area in mm² or µm², or in megapixels when the pixel size is unknown.
 * @param {number} px area, pixels
 * @param {number} mpp pixel size, µm; 0 if unknown
 */
export function formatLargeArea(px, mpp) {
  if (mpp === 0) return `${(px / 1e6).toPrecision(2)} megapixels`;
  const um2 = px * mpp * mpp;
  if (um2 < 1e4) return `${um2.toFixed(0)} µm²`;
  return `${Number((um2 / 1e6).toPrecision(2))} mm²`;
}
