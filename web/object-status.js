// Statuses of objects, by the numbers that the session gives them.
export const STATUS_NAMES = ["model", "accepted", "added", "rejected", "older"];
export const OF_MODEL = 0;
export const ACCEPTED = 1;
export const ADDED = 2;
export const REJECTED = 3;
export const OLDER = 4;
/** Of two results that are compared: in both, in the second alone, in the first alone. */
export const MATCHED = 5;
export const MISSED = 6;
export const EXTRA = 7;

/** A look is a status and so many times one more than the colour of a type of nuclei. */
const STATUSES = 8;

/** @param {number} look as `Session.outlineTile` gives it */
export function statusOf(look) {
  return look % STATUSES;
}

/** Colour of the type, for CSS; none without one. @param {number} look */
export function typeColourOf(look) {
  return look < STATUSES ? undefined : cssColour(Math.floor(look / STATUSES) - 1);
}

/** @param {number} number 0xRRGGBB */
function cssColour(number) {
  return `#${number.toString(16).padStart(6, "0")}`;
}

/** @param {number[]} channels red, green, blue */
export function cssColourOf([red, green, blue]) {
  return cssColour((red << 16) | (green << 8) | blue);
}
