// Strokes over the picture: those of the state, the one in progress, and the brush.
import { elements } from "./elements.js";
import { BACKGROUND, NUCLEUS } from "./paint-tool.js";

/** @import { Page } from "./page.js" */
/** @import { PaintedStroke, PointPair } from "./worker-api.d.ts" */

/** Colours of classes; those of further types are the palette's of the model. */
const NUCLEUS_COLOUR = "#0fd08c";
const BACKGROUND_COLOUR = "#ff9ac1";
const TYPE_COLOURS = ["#ffd24a", "#7ab8ff", "#d59bff", "#ff8f5a", "#9be36b"];
const OPACITY = 0.55;

/** @typedef {{ stroke: PaintedStroke, path: Path2D, left: number, top: number, right: number,
 *   bottom: number }} StrokePath */

/** @param {string} name class @param {string[]} types further classes in order */
export function colourOfClass(name, types) {
  if (name === BACKGROUND) return BACKGROUND_COLOUR;
  if (name === NUCLEUS) return NUCLEUS_COLOUR;
  return TYPE_COLOURS[Math.max(0, types.indexOf(name)) % TYPE_COLOURS.length];
}

/** A line relative to its first point. @param {PointPair[]} points */
function pathOf(points) {
  const [x, y] = points[0];
  const path = new Path2D();
  for (const [px, py] of points) path.lineTo(px - x, py - y);
  // A dot.
  if (points.length === 1) path.lineTo(0.001, 0);
  return path;
}

export class StrokeLayer {
  /** @type {Map<number, StrokePath>} By number of the stroke. */
  #paths = new Map();
  /** @type {PointPair[]} */
  #draft = [];
  /** @type {PointPair | undefined} Where the brush is. */
  #brush;
  #isEmpty = true;

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.canvas = elements.strokeCanvas;
    page.canvasView.frameListeners.add(() => this.#draw());
    page.store.subscribe((state, before) => {
      if (state.strokes.length !== before.strokes.length || state.revision !== before.revision) {
        this.redraw();
      }
    });
  }

  redraw() {
    this.page.canvasView.requestFrame();
  }

  /** @param {PointPair[]} points of the stroke in progress; empty for none */
  showDraft(points) {
    this.#draft = points;
    this.redraw();
  }

  /** @param {PointPair | undefined} place pixels of the image */
  showBrush(place) {
    this.#brush = place;
    this.redraw();
  }

  /** @param {PaintedStroke} stroke @returns {StrokePath} */
  #pathOf(stroke) {
    const known = this.#paths.get(stroke.id);
    if (known && known.stroke.points.length === stroke.points.length) return known;
    const xs = stroke.points.map(([x]) => x);
    const ys = stroke.points.map(([, y]) => y);
    const reach = stroke.widthPx / 2;
    const made = {
      stroke,
      path: pathOf(stroke.points),
      left: Math.min(...xs) - reach,
      top: Math.min(...ys) - reach,
      right: Math.max(...xs) + reach,
      bottom: Math.max(...ys) + reach,
    };
    this.#paths.set(stroke.id, made);
    return made;
  }

  #draw() {
    const { canvasView, store, paintTool } = this.page;
    const { canvas, viewport, pixelRatio } = canvasView;
    const context = this.canvas.getContext("2d");
    if (!context) return;
    const { strokes } = store.state;
    const brush = this.page.tools.isPainting ? this.#brush : undefined;
    const isEmpty = strokes.length === 0 && this.#draft.length === 0 && !brush;
    if (isEmpty && this.#isEmpty) return;
    this.#isEmpty = isEmpty;
    if (this.canvas.width !== canvas.width || this.canvas.height !== canvas.height) {
      this.canvas.width = canvas.width;
      this.canvas.height = canvas.height;
    }
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (isEmpty) return;
    const [left, top] = viewport.toImage(0, 0);
    const [right, bottom] = viewport.toImage(canvas.width, canvas.height);
    const types = this.page.teaching.types;
    const scale = viewport.scale();
    context.lineJoin = "round";
    context.lineCap = "round";
    for (const pane of canvasView.panes()) {
      context.save();
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.beginPath();
      context.rect(pane.left, 0, pane.right - pane.left, canvas.height);
      context.clip();
      const paint = (
        /** @type {Path2D} */ path,
        /** @type {PointPair} */ [x, y],
        /** @type {string} */ name,
        /** @type {number} */ width,
      ) => {
        const [screenX, screenY] = viewport.toScreen(x, y);
        context.setTransform(scale, 0, 0, scale, screenX + pane.shift, screenY);
        context.globalAlpha = OPACITY;
        context.strokeStyle = colourOfClass(name, types);
        context.lineWidth = Math.max(width, pixelRatio / scale);
        context.stroke(path);
      };
      for (const stroke of strokes) {
        const made = this.#pathOf(stroke);
        const isSeen =
          made.right > left && made.left < right && made.bottom > top && made.top < bottom;
        if (isSeen) paint(made.path, stroke.points[0], stroke.class, stroke.widthPx);
      }
      if (this.#draft.length > 0) {
        paint(pathOf(this.#draft), this.#draft[0], paintTool.class, paintTool.widthPx);
      }
      if (brush) {
        const [x, y] = viewport.toScreen(...brush);
        context.setTransform(1, 0, 0, 1, 0, 0);
        context.globalAlpha = 1;
        context.strokeStyle = colourOfClass(paintTool.class, types);
        context.lineWidth = 1.5 * pixelRatio;
        context.beginPath();
        context.arc(x + pane.shift, y, (paintTool.widthPx / 2) * scale, 0, 2 * Math.PI);
        context.stroke();
      }
      context.restore();
    }
    this.#forget(strokes);
  }

  /** Paths of strokes that are gone take memory. @param {PaintedStroke[]} strokes */
  #forget(strokes) {
    if (this.#paths.size <= 2 * strokes.length + 100) return;
    const ids = new Set(strokes.map(({ id }) => id));
    for (const id of this.#paths.keys()) if (!ids.has(id)) this.#paths.delete(id);
  }
}
