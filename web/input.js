// Mouse, touch and keyboard on the image view. A drag pans, two fingers or the wheel zoom, a click
// selects a nucleus, a double click zooms in.

/** @import { CanvasView } from "./canvas-view.js" */

/** Movement up to which a press is a click, CSS pixels. */
const CLICK_PX = 5;
const DOUBLE_CLICK_MS = 300;
/** Zoom per pixel of wheel movement, and pixels per line. */
const ZOOM_PER_WHEEL_PX = 1.0015;
const WHEEL_LINE_PX = 33;
/** Zoom of a key or a button. */
export const ZOOM_STEP = 1.5;
/** Zoom of a double click. */
const DOUBLE_CLICK_ZOOM = 2;
/** Movement of an arrow key, as a share of the screen, without and with Shift. */
const KEY_STEP = 0.15;
const KEY_STEP_SHIFT = 0.5;

/** @typedef {{ x: number, y: number }} ScreenPoint Device pixels of the canvas. */

/**
 * @param {CanvasView} view
 * @param {(x: number, y: number) => void} select called with a position in the image, pixels
 */
export function bindCanvasInput(view, select) {
  const input = new CanvasInput(view, select);
  const { canvas } = view;
  canvas.addEventListener("pointerdown", (event) => input.pointerDown(event));
  canvas.addEventListener("pointermove", (event) => input.pointerMove(event));
  canvas.addEventListener("pointerup", (event) => input.pointerUp(event));
  canvas.addEventListener("pointercancel", (event) => input.pointerCancel(event));
  canvas.addEventListener("wheel", (event) => input.wheel(event), { passive: false });
  canvas.addEventListener("keydown", (event) => input.keyDown(event));
}

class CanvasInput {
  /** @type {Map<number, ScreenPoint>} Pointers that are pressed, by their number. */
  #pointers = new Map();
  /** Movement since the first pointer was pressed, CSS pixels. */
  #travel = 0;
  #lastClickAt = 0;

  /** @param {CanvasView} view @param {(x: number, y: number) => void} select */
  constructor(view, select) {
    this.view = view;
    this.canvas = view.canvas;
    this.viewport = view.viewport;
    this.select = select;
  }

  /** @param {MouseEvent} event @returns {ScreenPoint} */
  #pointOf({ clientX, clientY }) {
    const box = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / Math.max(1, box.width);
    return { x: (clientX - box.left) * ratio, y: (clientY - box.top) * ratio };
  }

  /** @param {PointerEvent} event */
  pointerDown(event) {
    this.canvas.setPointerCapture(event.pointerId);
    if (this.#pointers.size === 0) this.#travel = 0;
    this.#pointers.set(event.pointerId, this.#pointOf(event));
  }

  /** @param {PointerEvent} event */
  pointerMove(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    const now = this.#pointOf(event);
    if (this.#pointers.size === 2) this.#pinch(event.pointerId, now);
    else this.#drag(event.pointerId, before, now);
    this.view.requestFrame();
  }

  /** @param {number} pointer @param {ScreenPoint} before @param {ScreenPoint} now */
  #drag(pointer, before, now) {
    this.#pointers.set(pointer, now);
    const dx = now.x - before.x;
    const dy = now.y - before.y;
    this.#travel += Math.hypot(dx, dy) / this.view.pixelRatio;
    if (this.#travel > CLICK_PX) this.viewport.pan(dx, dy);
  }

  /** @param {number} pointer @param {ScreenPoint} now */
  #pinch(pointer, now) {
    const before = this.#fingers();
    this.#pointers.set(pointer, now);
    const after = this.#fingers();
    this.viewport.pan(after.x - before.x, after.y - before.y);
    this.viewport.zoom(after.x, after.y, after.distance / before.distance);
    this.viewport.settle();
    // Not a click.
    this.#travel = CLICK_PX * 2;
  }

  /** Middle of two fingers and their distance, device pixels. */
  #fingers() {
    const [a, b] = this.#pointers.values();
    const distance = Math.max(1, Math.hypot(a.x - b.x, a.y - b.y));
    return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, distance };
  }

  /** @param {PointerEvent} event */
  pointerUp(event) {
    const wasPressed = this.#pointers.delete(event.pointerId);
    if (!wasPressed || this.#pointers.size > 0 || this.#travel > CLICK_PX) return;
    const point = this.#pointOf(event);
    if (event.timeStamp - this.#lastClickAt < DOUBLE_CLICK_MS) {
      this.viewport.zoom(point.x, point.y, DOUBLE_CLICK_ZOOM);
    } else {
      this.#selectAt(point);
    }
    this.#lastClickAt = event.timeStamp;
    this.view.requestFrame();
  }

  /** @param {PointerEvent} event */
  pointerCancel(event) {
    this.#pointers.delete(event.pointerId);
  }

  /** @param {ScreenPoint} point */
  #selectAt(point) {
    const [x, y] = this.viewport.toImage(point.x, point.y);
    this.select(x, y);
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    event.preventDefault();
    const point = this.#pointOf(event);
    const unit = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? WHEEL_LINE_PX : 1;
    this.viewport.zoom(point.x, point.y, ZOOM_PER_WHEEL_PX ** -(event.deltaY * unit));
    this.view.requestFrame();
  }

  /** @param {KeyboardEvent} event */
  keyDown(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { viewport } = this;
    const centre = { x: this.canvas.width / 2, y: this.canvas.height / 2 };
    const step = event.shiftKey ? KEY_STEP_SHIFT : KEY_STEP;
    switch (event.key) {
      case "ArrowLeft":
        viewport.glide(-step, 0);
        break;
      case "ArrowRight":
        viewport.glide(step, 0);
        break;
      case "ArrowUp":
        viewport.glide(0, -step);
        break;
      case "ArrowDown":
        viewport.glide(0, step);
        break;
      case "+":
      case "=":
        viewport.zoom(centre.x, centre.y, ZOOM_STEP);
        break;
      case "-":
        viewport.zoom(centre.x, centre.y, 1 / ZOOM_STEP);
        break;
      case "0":
      case "Home":
        viewport.fit();
        break;
      case "Enter":
        this.#selectAt(centre);
        break;
      default:
        return;
    }
    event.preventDefault();
    this.view.requestFrame();
  }
}
