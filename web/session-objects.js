// What the session knows of single objects.
import { MAIN } from "./slots.js";

/** @import { Page } from "./page.js" */
/** @import { ReviewObject } from "./worker-api.d.ts" */

/** @typedef {[number, number][]} Stroke Pixels of the image. */

export class SessionObjects {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.engine = page.engine;
  }

  /** @param {number} x pixels of the image @param {number} y */
  async at(x, y) {
    const object = await this.engine.callJson("objectAt", MAIN, x, y);
    return object ?? undefined;
  }

  /** @param {number} id */
  async byId(id) {
    const object = await this.engine.callJson("objectOf", MAIN, id);
    return object ?? undefined;
  }

  /** The nucleus that a click would add. @param {number} x @param {number} y */
  async propose(x, y) {
    const nucleus = await this.engine.callJson("propose", MAIN, x, y, this.page.mpp);
    return nucleus ?? undefined;
  }

  /** The nucleus inside a closed stroke. @param {Stroke} stroke */
  draw(stroke) {
    const points = new Float64Array(stroke.flat());
    return this.engine.callJson("drawNucleus", MAIN, points, this.page.mpp);
  }

  /** @param {ReviewObject} object @param {Stroke} stroke */
  split(object, stroke) {
    const points = new Float64Array(stroke.flat());
    const text = JSON.stringify(object);
    return this.engine.callJson("splitNucleus", MAIN, text, points, this.page.mpp);
  }

  /** @param {ReviewObject[]} objects */
  merge(objects) {
    return this.engine.callJson("mergeNuclei", MAIN, JSON.stringify(objects), this.page.mpp);
  }
}
