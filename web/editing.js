// Selected objects, and the edits of them. Each edit is one command to the store.
import { SessionObjects } from "./session-objects.js";

/** @import { Page } from "./page.js" */
/** @import { NucleusFacts, ReviewCommand, ReviewObject } from "./worker-api.d.ts" */
/** @import { Stroke } from "./session-objects.js" */

/** How often a stroke is followed along to find the nucleus that it splits. */
const SPLIT_PROBES = 24;

/** @param {number} a @param {number} b @param {number} part 0 to 1 */
function between(a, b, part) {
  return a + (b - a) * part;
}

export class Editing {
  /** @type {ReviewObject[]} */
  selected = [];
  /** @type {ReviewObject | undefined} The object that the next stroke draws anew. */
  redrawn;
  /** @type {Set<() => void>} Called when the selection has changed. */
  listeners = new Set();
  /** Number of the last request, so that a late answer does not replace a later one. */
  #request = 0;
  /** @type {Promise<unknown>} Ends when all actions so far have ended. */
  #last = Promise.resolve();
  /** How many actions have not ended. */
  #unfinished = 0;

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.objects = new SessionObjects(page);
  }

  // ---- Order

  /**
   * Runs what a person does on nuclei after what was done before. A key or a click may come while
   * the worker still looks for the nucleus that the key before it selects, and is meant for that.
   * @template T
   * @param {() => T | Promise<T>} action must not wait for another action in order
   * @returns {Promise<T>}
   */
  inOrder(action) {
    this.#unfinished += 1;
    const run = this.#last.then(action).finally(() => {
      this.#unfinished -= 1;
    });
    this.#last = run.catch(() => {});
    return run;
  }

  /** Whether an action has not ended yet. */
  get isActing() {
    return this.#unfinished > 0;
  }

  // ---- Selection

  /** @param {ReviewObject[]} objects */
  select(objects) {
    this.#request += 1;
    this.selected = objects;
    this.redrawn = undefined;
    this.page.outlines.select(objects);
    this.page.results.markSelected(objects.map((object) => object.id));
    for (const listener of this.listeners) listener();
  }

  /**
   * Selects the object at a position.
   * @param {number} x pixels of the image
   * @param {number} y
   * @param {{ adds?: boolean, isQuiet?: boolean }} [options] whether those that are selected stay
   *   so; whether nothing is said
   * @returns {Promise<ReviewObject | undefined>}
   */
  async selectAt(x, y, { adds = false, isQuiet = false } = {}) {
    this.#request += 1;
    const request = this.#request;
    await this.#listObjects();
    const object = await this.objects.at(x, y).catch(() => undefined);
    if (request !== this.#request) return undefined;
    if (!object) {
      if (!adds) this.select([]);
      if (!isQuiet && this.page.canvasView.hasResult[0]) this.page.showStatus("No nucleus here.");
      return undefined;
    }
    const others = this.selected.filter((other) => other.id !== object.id);
    const isRemoved = adds && others.length < this.selected.length;
    this.select(adds ? [...others, ...(isRemoved ? [] : [object])] : [object]);
    if (!isQuiet) this.saySelection();
    return object;
  }

  /** Selects the object with a number. @param {number} id */
  async selectById(id) {
    this.#request += 1;
    const request = this.#request;
    await this.#listObjects();
    const object = await this.objects.byId(id).catch(() => undefined);
    if (request === this.#request) this.select(object ? [object] : []);
  }

  /** The session has all changes, and the page the list of its objects. */
  async #listObjects() {
    await this.page.reviewSync.update();
    await this.page.imageSegmentation.updateTable();
  }

  /** Says what is selected. */
  saySelection() {
    const [object, ...others] = this.selected;
    if (!object) this.page.showStatus("Nothing is selected.");
    else if (others.length > 0) {
      this.page.showStatus(`${others.length + 1} nuclei are selected. Merge (J) makes them one.`);
    } else this.page.showStatus(this.page.results.describe(object));
  }

  /** Numbers of nuclei mean others now: there is another result or another image. */
  nucleiChanged() {
    this.page.reviewQueue.clear();
    if (this.selected.length > 0) this.select([]);
  }

  // ---- Edits

  /**
   * Executes a command and says what then counts.
   * @param {ReviewCommand} command
   * @param {string} [done] what was done
   */
  async apply(command, done = "") {
    const { page } = this;
    try {
      page.store.apply(command);
    } catch (error) {
      page.showError(error);
      return false;
    }
    page.clearError();
    await page.reviewSync.update();
    page.showStatus(`${done} ${page.results.countText()}`.trim());
    return true;
  }

  /** Selects again what is where an object was. @param {ReviewObject} object */
  async #selectAgain({ nucleus: { centroid, polygons } }) {
    const found = await this.selectAt(...centroid, { isQuiet: true });
    // The centroid of a crescent lies outside of it.
    const corner = polygons[0]?.[0]?.[0];
    if (!found && corner) {
      const [x, y] = [0, 1].map((i) => between(corner[i], centroid[i], 0.05));
      await this.selectAt(x, y, { isQuiet: true });
    }
  }

  /** @param {"accept" | "reject" | "forget"} decision */
  async decide(decision) {
    const objects = this.selected;
    if (objects.length === 0) {
      this.page.showStatus("Select a nucleus first: click it, or Enter at the cross-hair.");
      return false;
    }
    const done = { accept: "Accepted.", reject: "Rejected.", forget: "Taken back." }[decision];
    for (const object of objects) {
      /** @type {ReviewCommand} */
      const command =
        decision === "accept"
          ? { accept: object }
          : decision === "reject"
            ? { reject: object }
            : { forget: object };
      if (!(await this.apply(command, done))) return false;
    }
    if (objects.length === 1) await this.#selectAgain(objects[0]);
    else this.select([]);
    return true;
  }

  /** @param {NucleusFacts} nucleus */
  async add(nucleus) {
    if (!(await this.apply({ add: nucleus }, "Added."))) return;
    await this.selectAt(...nucleus.centroid, { isQuiet: true });
  }

  /**
   * Puts nuclei in the place of objects.
   * @param {ReviewObject[]} old
   * @param {NucleusFacts[]} nuclei
   * @param {string} done
   */
  async replace(old, nuclei, done) {
    if (!(await this.apply({ replace: { old, new: nuclei } }, done))) return;
    const [first] = nuclei;
    if (first) await this.selectAt(...first.centroid, { isQuiet: true });
  }

  /**
   * Adds the nucleus at a position, as the probabilities propose it.
   * @param {number} x
   * @param {number} y
   */
  async addAt(x, y) {
    await this.#run(async () => {
      const nucleus = await this.objects.propose(x, y);
      if (nucleus) await this.add(nucleus);
      else this.page.showStatus("No nucleus is found here. Draw around it instead.");
    });
  }

  /** Adds the nucleus inside a stroke, or redraws one. @param {Stroke} stroke */
  async addDrawn(stroke) {
    await this.#run(async () => {
      const { redrawn } = this;
      const nucleus = await this.objects.draw(stroke);
      if (redrawn) await this.replace([redrawn], [nucleus], "Redrawn.");
      else await this.add(nucleus);
    });
  }

  /** Splits the nucleus that a stroke crosses. @param {Stroke} stroke */
  async splitAlong(stroke) {
    await this.#run(async () => {
      const object = await this.#crossedBy(stroke);
      if (!object) {
        this.page.showStatus("The stroke crosses no nucleus.");
        return;
      }
      const parts = await this.objects.split(object, stroke);
      await this.replace([object], parts, `Split into ${parts.length}.`);
    });
  }

  /** The selected object if a stroke crosses it, else that of which the stroke crosses most. */
  async #crossedBy(/** @type {Stroke} */ stroke) {
    await this.page.reviewSync.update();
    /** @type {Map<number, { object: ReviewObject, count: number }>} */
    const crossed = new Map();
    for (const [x, y] of alongStroke(stroke, SPLIT_PROBES)) {
      const object = await this.objects.at(x, y);
      if (!object || object.status === "rejected") continue;
      const entry = crossed.get(object.id) ?? { object, count: 0 };
      entry.count += 1;
      crossed.set(object.id, entry);
    }
    for (const { id } of this.selected) {
      const entry = crossed.get(id);
      if (entry) return entry.object;
    }
    return [...crossed.values()].sort((a, b) => b.count - a.count)[0]?.object;
  }

  /** Merges the selected objects. @returns whether they are one now */
  async merge() {
    const objects = this.selected;
    if (objects.length < 2) {
      this.page.showStatus("Select a nucleus first: click it, or Enter at the cross-hair.");
      return false;
    }
    let isMerged = false;
    await this.#run(async () => {
      const nucleus = await this.objects.merge(objects);
      await this.replace(objects, [nucleus], "Merged.");
      isMerged = true;
    });
    return isMerged;
  }

  /** @param {() => Promise<void>} work */
  async #run(work) {
    try {
      await this.page.reviewSync.update();
      await work();
    } catch (error) {
      this.page.showError(error);
    }
  }

  // ---- History

  /** @param {"undo" | "redo"} direction */
  async step(direction) {
    const { page } = this;
    const name = page.store[direction]();
    if (name === null) {
      page.showStatus(direction === "undo" ? "Nothing to undo." : "Nothing to do again.");
      return;
    }
    this.select([]);
    await page.reviewSync.update();
    const what = direction === "undo" ? "Undone" : "Done again";
    page.showStatus(`${what}: ${name}. ${page.results.countText()}`);
  }
}

/** Points along a stroke, evenly spaced. @param {Stroke} stroke @param {number} count */
export function alongStroke(stroke, count) {
  const lengths = [0];
  for (let i = 1; i < stroke.length; i++) {
    const [[x0, y0], [x1, y1]] = [stroke[i - 1], stroke[i]];
    lengths.push(lengths[i - 1] + Math.hypot(x1 - x0, y1 - y0));
  }
  const total = lengths[lengths.length - 1];
  /** @type {Stroke} */
  const points = [];
  let i = 1;
  for (let n = 0; n < count && stroke.length > 1; n++) {
    const at = (total * (n + 0.5)) / count;
    while (i < stroke.length - 1 && lengths[i] < at) i += 1;
    const part = (at - lengths[i - 1]) / (lengths[i] - lengths[i - 1] || 1);
    const [[x0, y0], [x1, y1]] = [stroke[i - 1], stroke[i]];
    points.push([between(x0, x1, part), between(y0, y1, part)]);
  }
  return points;
}
