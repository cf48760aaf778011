// Numbers as text for people.

/** @param {number} count */
export function formatCount(count) {
  return count.toLocaleString("en");
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
