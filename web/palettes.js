// Colours of outlines. Each has a dark casing, which separates it from bright tissue, and is bright
// itself, which separates it from dark nuclei. `tests/e2e/palettes.test.mjs` computes the contrasts
// and how far the colours lie apart for eyes without red or green cones.

/**
 * @typedef {object} Palette
 * @property {string} name for people
 * @property {string} model nuclei of a model, and accepted ones
 * @property {string} added nuclei that a person added, and those of the model right of the divider
 * @property {string} rejected
 * @property {string} casing
 */

const CASING = "#14121c";
const REJECTED = "#bab7c2";

/** By `display.palette`. @type {Record<string, Palette>} */
export const PALETTES = {
  blue: {
    name: "Blue and yellow",
    model: "#4cc9ff",
    added: "#ffe14a",
    rejected: REJECTED,
    casing: CASING,
  },
  white: {
    name: "White and orange",
    model: "#ffffff",
    added: "#ffa028",
    rejected: REJECTED,
    casing: CASING,
  },
};

/** @param {string} name @returns {Palette} */
export function paletteOf(name) {
  return PALETTES[name] ?? PALETTES.blue;
}
