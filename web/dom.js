// The page's elements by name, and numbers in words.

/** @param {string} id */
export const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
/** @param {string} id */
export const input = (id) => /** @type {HTMLInputElement} */ (document.getElementById(id));

/** @param {number} n */
export const bytes = (n) => (n < 1e6 ? `${(n / 1000).toFixed(n < 1e5 ? 1 : 0)} KB` : `${(n / 1e6).toFixed(1)} MB`);
/** @param {number} ms */
export const secs = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : ms < 60e3 ? `${(ms / 1000).toFixed(1)} s` : `${Math.floor(ms / 60e3)} min ${Math.round((ms % 60e3) / 1000)} s`);
