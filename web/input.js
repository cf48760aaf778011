// Mouse, touch and keyboard on the image view. A drag pans, two fingers or the wheel zoom, a click
// selects a nucleus, a double click zooms in. While a tool draws, a drag with one finger or the
// left button is a stroke; two fingers, Space or another button still move the image.

/** @import { CanvasView } from "./canvas-view.js" */

/** Movement up to which a press is a click, CSS pixels. */
const CLICK_PX = 5;
const DOUBLE_CLICK_MS = 300;
/** Distance of the presses of a double click, CSS pixels: a finger is less exact than a mouse. */
const DOUBLE_CLICK_PX = 24;
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
 * @typedef {object} CanvasTool What clicks and drags on the image do. Positions are in pixels of
 *   the image.
 * @property {boolean} draws whether a drag draws; otherwise it moves the image
 * @property {(x: number, y: number, event: MouseEvent | KeyboardEvent) => void} click
 * @property {(x: number, y: number) => void} [hover] the mouse moved, no button pressed
 * @property {() => void} [leave] the mouse left the image
 * @property {(stroke: [number, number][]) => void} [drawing] a stroke has grown; empty if it ended
 * @property {(stroke: [number, number][]) => void} [drawn] a stroke is complete
 */

/**
 * @param {CanvasView} view
 * @param {() => CanvasTool} tool gives the tool in use
 */
export function bindCanvasInput(view, tool) {
  const input = new CanvasInput(view, tool);
  const { canvas } = view;
  canvas.addEventListener("pointerdown", (event) => input.pointerDown(event));
  canvas.addEventListener("pointermove", (event) => input.pointerMove(event));
  canvas.addEventListener("pointerup", (event) => input.pointerUp(event));
  canvas.addEventListener("pointercancel", (event) => input.pointerCancel(event));
  canvas.addEventListener("wheel", (event) => input.wheel(event), { passive: false });
  canvas.addEventListener("pointerleave", () => tool().leave?.());
  canvas.addEventListener("keydown", (event) => input.keyDown(event));
  canvas.addEventListener("keyup", (event) => input.keyUp(event));
  canvas.addEventListener("blur", () => input.spaceReleased());
}

class CanvasInput {
  /** @type {Map<number, ScreenPoint>} Pointers that are pressed, by their number. */
  #pointers = new Map();
  /** Movement since the first pointer was pressed, CSS pixels. */
  #travel = 0;
  #lastClickAt = 0;
  /** @type {ScreenPoint} */
  #lastClick = { x: 0, y: 0 };
  /** @type {[number, number][] | undefined} The stroke in progress, pixels of the image. */
  #stroke;
  #isSpacePressed = false;
  /** How far the image is shifted under the pointers, device pixels. */
  #shift = 0;

  /** @param {CanvasView} view @param {() => CanvasTool} tool */
  constructor(view, tool) {
    this.view = view;
    this.canvas = view.canvas;
    this.viewport = view.viewport;
    this.tool = tool;
  }

  /** @param {MouseEvent} event @returns {ScreenPoint} */
  #pointOf({ clientX, clientY }) {
    const box = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / Math.max(1, box.width);
    const x = (clientX - box.left) * ratio;
    // A drag may leave the half in which it began.
    if (this.#pointers.size === 0) this.#shift = this.view.shiftAt(x);
    return { x: x - this.#shift, y: (clientY - box.top) * ratio };
  }

  /** @param {PointerEvent} event */
  pointerDown(event) {
    this.canvas.setPointerCapture(event.pointerId);
    const point = this.#pointOf(event);
    if (this.#pointers.size === 0) {
      this.#travel = 0;
      const draws = this.tool().draws && event.button === 0 && !this.#isSpacePressed;
      this.#stroke = draws ? [this.#imagePoint(point)] : undefined;
    } else {
      // A second finger: the image is moved.
      this.#endStroke();
    }
    this.#pointers.set(event.pointerId, point);
  }

  /** @param {ScreenPoint} point @returns {[number, number]} pixels of the image */
  #imagePoint({ x, y }) {
    const [imageX, imageY] = this.viewport.toImage(x, y);
    return [imageX, imageY];
  }

  #endStroke() {
    const stroke = this.#stroke;
    this.#stroke = undefined;
    if (stroke) this.tool().drawing?.([]);
    return stroke;
  }

  /** @param {PointerEvent} event */
  pointerMove(event) {
    const before = this.#pointers.get(event.pointerId);
    const now = this.#pointOf(event);
    if (!before) {
      if (event.pointerType === "mouse") this.tool().hover?.(...this.#imagePoint(now));
      return;
    }
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
    if (this.#travel <= CLICK_PX) return;
    if (!this.#stroke) {
      this.viewport.pan(dx, dy);
      return;
    }
    this.#stroke.push(this.#imagePoint(now));
    this.tool().drawing?.(this.#stroke);
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
    if (!wasPressed || this.#pointers.size > 0) return;
    const stroke = this.#endStroke();
    if (this.#travel > CLICK_PX) {
      if (stroke) this.tool().drawn?.(stroke);
      return;
    }
    if (event.button > 0) return;
    const point = this.#pointOf(event);
    const distance = Math.hypot(point.x - this.#lastClick.x, point.y - this.#lastClick.y);
    const isDouble =
      event.timeStamp - this.#lastClickAt < DOUBLE_CLICK_MS &&
      distance < DOUBLE_CLICK_PX * this.view.pixelRatio;
    this.#lastClick = point;
    if (isDouble && !this.tool().draws && !event.shiftKey) {
      this.viewport.zoom(point.x, point.y, DOUBLE_CLICK_ZOOM);
    } else {
      this.tool().click(...this.#imagePoint(point), event);
    }
    this.#lastClickAt = event.timeStamp;
    this.view.requestFrame();
  }

  /** @param {PointerEvent} event */
  pointerCancel(event) {
    this.#pointers.delete(event.pointerId);
    this.#endStroke();
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
        this.tool().click(...this.#imagePoint(centre), event);
        break;
      case " ":
        this.#isSpacePressed = true;
        break;
      default:
        return;
    }
    event.preventDefault();
    this.view.requestFrame();
  }

  /** @param {KeyboardEvent} event */
  keyUp(event) {
    if (event.key === " ") this.spaceReleased();
  }

  spaceReleased() {
    this.#isSpacePressed = false;
  }
}
