// Painting: strokes of a class, and erasing them. A stroke says what the pixels under it are.
import { alongStroke } from "./editing.js";
import { elements } from "./elements.js";
import { holds } from "./polygons.js";
import { hint } from "./tools.js";

/** @import { Page } from "./page.js" */
/** @import { NamedRegion, PaintedStroke, PointPair } from "./worker-api.d.ts" */

/** Widths of the brush, µm. */
const MIN_WIDTH_UM = 0.5;
const MAX_WIDTH_UM = 50;
/** Factor of a key. */
const WIDTH_STEP = 1.25;
/** Distance of two points of a stroke, as a share of its width. */
const SPACING = 0.2;
/** Pixel size where neither image nor model states one, µm. */
const USUAL_MPP = 0.25;
/** Class of a region in which every nucleus is marked. */
export const COMPLETE_CLASS = "Region*";
/** Places along a drag at which strokes are erased. */
const MOST_PROBES = 400;
export const BACKGROUND = "background";
export const NUCLEUS = "nucleus";

export class PaintTool {
  name = "paint";
  draws = true;
  /** Class that is painted. */
  class = NUCLEUS;
  /** Width of the brush, µm. */
  width = 2;

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
  }

  get hint() {
    const what = this.class === BACKGROUND ? "what is no nucleus" : `pixels of “${this.class}”`;
    const how = "draw, or press Enter for a dot. [ and ] set the width. Escape ends.";
    return hint(`Paint ${what}: ${how}`);
  }

  /** Width of the brush, pixels of the image. */
  get widthPx() {
    return this.width / (this.page.mpp || this.page.model?.facts.mpp || USUAL_MPP);
  }

  /** @param {number} um */
  setWidth(um) {
    if (!(um > 0)) return;
    this.width = Math.min(MAX_WIDTH_UM, Math.max(MIN_WIDTH_UM, Number(um.toPrecision(2))));
    elements.paintWidth.value = String(this.width);
    this.page.strokes.redraw();
  }

  /** @param {1 | -1} direction */
  stepWidth(direction) {
    this.setWidth(this.width * WIDTH_STEP ** direction);
    this.page.showStatus(`The brush is ${this.width} µm wide.`);
  }

  /** @param {number} x @param {number} y */
  click(x, y) {
    this.#add([[x, y]]);
  }

  /** @param {number} x @param {number} y */
  hover(x, y) {
    this.page.strokes.showBrush([x, y]);
  }

  leave() {
    this.page.strokes.showBrush(undefined);
  }

  /** @param {PointPair[]} stroke */
  drawing(stroke) {
    this.page.strokes.showDraft(stroke);
  }

  /** @param {PointPair[]} stroke */
  drawn(stroke) {
    this.page.strokes.showDraft([]);
    this.#add(this.#thinned(stroke));
  }

  /** Points that lie closer than the brush is fine are left out. @param {PointPair[]} stroke */
  #thinned(stroke) {
    const spacing = this.widthPx * SPACING;
    const kept = [stroke[0]];
    for (const point of stroke.slice(1)) {
      const last = kept[kept.length - 1];
      if (Math.hypot(point[0] - last[0], point[1] - last[1]) >= spacing) kept.push(point);
    }
    const end = stroke[stroke.length - 1];
    if (kept[kept.length - 1] !== end) kept.push(end);
    return kept;
  }

  /** @param {PointPair[]} points */
  #add(points) {
    const { page } = this;
    const { width, height } = page.canvasView;
    const reach = this.widthPx / 2;
    const isInside = points.some(
      ([x, y]) => x > -reach && y > -reach && x < width + reach && y < height + reach,
    );
    if (!isInside) {
      page.showStatus("The stroke lies outside the image.");
      return;
    }
    try {
      page.clearError();
      page.store.apply({ "add-stroke": { class: this.class, widthPx: this.widthPx, points } });
    } catch (error) {
      page.showError(error);
    }
  }

  end() {
    this.page.strokes.showDraft([]);
    this.page.strokes.showBrush(undefined);
  }
}

export class EraseTool {
  name = "erase";
  draws = true;
  hint = hint("Erase: click a stroke or a decision, or drag over them. Escape ends.");

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
  }

  /** @param {number} x @param {number} y */
  click(x, y) {
    void this.page.editing.inOrder(() => this.#eraseAt(x, y, true));
  }

  /** @param {PointPair[]} stroke */
  drawn(stroke) {
    void this.page.editing.inOrder(async () => {
      for (const [x, y] of alongStroke(stroke, MOST_PROBES)) this.#eraseStrokeAt(x, y);
      for (const [x, y] of stroke) await this.#eraseAt(x, y, false);
    });
  }

  /**
   * Removes the stroke or the decision at a position.
   * @param {number} x
   * @param {number} y
   * @param {boolean} says whether it says that there is none
   */
  async #eraseAt(x, y, says) {
    const { page } = this;
    try {
      if (this.#eraseStrokeAt(x, y)) {
        if (says) page.showStatus("Stroke erased. Undo brings it back.");
        return;
      }
      const object = page.canvasView.hasResult[0] ? await page.editing.objects.at(x, y) : undefined;
      if (object?.status) {
        await page.editing.apply({ forget: object }, "Taken back.");
        return;
      }
      if (!says) return;
      const isHit = (/** @type {NamedRegion} */ region) =>
        region.class === COMPLETE_CLASS && holds(region.polygons, x, y);
      const complete = page.store.state.regions.findLast(isHit);
      if (complete) page.store.apply({ "remove-region": complete.id });
      page.showStatus(
        complete
          ? `${complete.name}: what in it nobody marked is unknown again.`
          : "No stroke and no decision here.",
      );
    } catch (error) {
      page.showError(error);
    }
  }

  /** @param {number} x @param {number} y @returns whether there was a stroke */
  #eraseStrokeAt(x, y) {
    const { store } = this.page;
    const stroke = store.state.strokes.findLast((painted) => isOnStroke(painted, x, y));
    if (stroke) store.apply({ "remove-stroke": stroke.id });
    return stroke !== undefined;
  }

  end() {}
}

/**
 * Whether a stroke covers a position.
 * @param {PaintedStroke} stroke
 * @param {number} x
 * @param {number} y
 */
function isOnStroke({ points, widthPx }, x, y) {
  return points.some(([x1, y1], i) => {
    const [x0, y0] = points[Math.max(0, i - 1)];
    const [dx, dy] = [x1 - x0, y1 - y0];
    const squared = dx * dx + dy * dy;
    const part = squared > 0 ? ((x - x0) * dx + (y - y0) * dy) / squared : 0;
    const at = Math.max(0, Math.min(1, part));
    return Math.hypot(x - x0 - at * dx, y - y0 - at * dy) <= widthPx / 2;
  });
}
