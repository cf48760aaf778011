// Tools that draw regions: a rectangle, a polygon of corners, a line by hand.
import { regionOfStroke } from "./prunella.js";
import { messageOf } from "./error-message.js";

/** @import { Page } from "./page.js" */
/** @import { PointPair, Polygons } from "./worker-api.d.ts" */

/** Largest time and distance between the clicks of a double click, milliseconds and CSS pixels. */
const DOUBLE_CLICK_MS = 400;
const DOUBLE_CLICK_PX = 8;
/** Smallest side of a rectangle, CSS pixels. */
const MIN_SIDE_PX = 4;

/** @typedef {"rectangle" | "polygon" | "freehand"} RegionToolName */

/** @type {Record<RegionToolName, string>} */
const HINTS = {
  rectangle: "Rectangle: drag from corner to corner. Escape ends.",
  polygon: "Polygon: click the corners; a double click or Enter closes it. Escape ends.",
  freehand: "By hand: draw around the region; a straight line closes it. Escape ends.",
};

/** @param {PointPair} from @param {PointPair} to @returns {PointPair[]} */
function rectangle([x0, y0], [x1, y1]) {
  const [left, right] = [Math.min(x0, x1), Math.max(x0, x1)];
  const [top, bottom] = [Math.min(y0, y1), Math.max(y0, y1)];
  return [
    [left, top],
    [right, top],
    [right, bottom],
    [left, bottom],
  ];
}

/**
 * The outline inside corners or a stroke; it is valid.
 * @param {PointPair[]} points
 * @returns {Polygons}
 */
export function closedRegion(points) {
  return JSON.parse(regionOfStroke(new Float64Array(points.flat())));
}

export class RegionTool {
  /** @type {PointPair[]} Corners of the polygon so far. */
  #corners = [];
  #lastClickAt = 0;

  /**
   * @param {Page} page
   * @param {RegionToolName} name
   */
  constructor(page, name) {
    this.page = page;
    this.name = name;
    this.hint = HINTS[name];
    this.draws = true;
  }

  /** Nothing is drawn any more. */
  end() {
    this.#corners = [];
    this.page.regions.showDraft([]);
    this.page.regions.toolEnded();
  }

  /** Pixels of the image for one of the screen, CSS pixels. */
  get #unit() {
    const { viewport, pixelRatio } = this.page.canvasView;
    return pixelRatio / viewport.scale();
  }

  /** @param {number} x @param {number} y @param {MouseEvent | KeyboardEvent} event */
  click(x, y, event) {
    if (this.name !== "polygon") return;
    if (event instanceof KeyboardEvent) {
      this.#finish(this.#corners);
      return;
    }
    const last = this.#corners.at(-1);
    const isNear = last && Math.hypot(x - last[0], y - last[1]) < DOUBLE_CLICK_PX * this.#unit;
    const isDouble = isNear && event.timeStamp - this.#lastClickAt < DOUBLE_CLICK_MS;
    this.#lastClickAt = event.timeStamp;
    if (isDouble) {
      this.#finish(this.#corners);
      return;
    }
    this.#corners.push([x, y]);
    this.page.regions.showDraft(this.#corners);
  }

  /** The line to the pointer is shown. @param {number} x @param {number} y */
  hover(x, y) {
    if (this.#corners.length > 0) this.page.regions.showDraft([...this.#corners, [x, y]]);
  }

  /** @param {PointPair[]} stroke */
  drawing(stroke) {
    if (stroke.length === 0) this.page.regions.showDraft(this.#corners);
    else if (this.name === "rectangle") this.page.regions.showDraft(this.#rectangle(stroke));
    else if (this.name === "freehand") this.page.regions.showDraft(stroke);
  }

  /** @param {PointPair[]} stroke */
  drawn(stroke) {
    const last = /** @type {PointPair} */ (stroke.at(-1));
    if (this.name === "polygon") {
      // A click that moved a little.
      this.#corners.push(last);
      this.page.regions.showDraft(this.#corners);
      return;
    }
    this.#finish(this.name === "rectangle" ? this.#rectangle(stroke) : stroke);
  }

  /** @param {PointPair[]} stroke */
  #rectangle(stroke) {
    return rectangle(stroke[0], /** @type {PointPair} */ (stroke.at(-1)));
  }

  /** @param {PointPair[]} points */
  #finish(points) {
    const { page } = this;
    const xs = points.map(([x]) => x);
    const ys = points.map(([, y]) => y);
    const side = Math.max(Math.max(...xs) - Math.min(...xs), Math.max(...ys) - Math.min(...ys));
    if (points.length < 3 || !(side > MIN_SIDE_PX * this.#unit)) {
      page.showStatus(this.hint);
      return;
    }
    try {
      const polygons = closedRegion(points);
      page.tools.use("look");
      page.regions.add(polygons);
    } catch (error) {
      page.showStatus(messageOf(error));
    }
  }
}

/** The part of the image in view. @param {Page} page @returns {PointPair[]} */
export function visibleRectangle({ canvasView }) {
  const { viewport, canvas, width, height } = canvasView;
  const margin = canvasView.isLinked ? canvas.width / 4 : 0;
  const [left, top] = viewport.toImage(margin, 0);
  const [right, bottom] = viewport.toImage(canvas.width - margin, canvas.height);
  const inside = (/** @type {number} */ at, /** @type {number} */ end) =>
    Math.round(Math.max(0, Math.min(end, at)));
  return rectangle(
    [inside(left, width), inside(top, height)],
    [inside(right, width), inside(bottom, height)],
  );
}
