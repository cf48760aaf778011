// Names of objects for people.

/** Set in the ids of marks. */
const MARK_BIT = 2 ** 31;

/** @param {number} id of the object in the session */
export function nameOf(id) {
  return id >= MARK_BIT ? `Mark ${id - MARK_BIT}` : `Nucleus ${id}`;
}
