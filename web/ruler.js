// The ruler: with it switched on, press and drag measures a distance in µm, or in pixels while the
// pixel size is unknown. By keyboard: the first point is the centre of the view, which then moves.
import { elements } from "./elements.js";

/** @import { Page } from "./page.js" */

/** @typedef {{ x: number, y: number }} ImagePoint Pixels of the image. */

/** Distance of the number from the line, CSS pixels. */
const TEXT_OFFSET_PX = 12;

/** A distance for people. @param {number} px pixels @param {number} mpp µm; 0 if unknown */
export function formatDistance(px, mpp) {
  if (mpp === 0) return `${px.toFixed(0)} px`;
  const um = px * mpp;
  return um < 1000 ? `${um.toFixed(1)} µm` : `${(um / 1000).toFixed(2)} mm`;
}

export class Ruler {
  #isOn = false;
  #isDragging = false;
  /** Whether the end follows the centre of the view: it is measured by keyboard. */
  #followsCentre = false;
  /** @type {{ start: ImagePoint, end: ImagePoint } | undefined} */
  #line;

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    elements.ruler.onclick = () => this.#setOn(!this.#isOn);
    // Before the picture's own listeners, so that a drag does not move it.
    const { viewer } = elements;
    viewer.addEventListener("pointerdown", (event) => this.#pointerDown(event), true);
    viewer.addEventListener("pointermove", (event) => this.#pointerMove(event), true);
    viewer.addEventListener("pointerup", (event) => this.#pointerUp(event), true);
    viewer.addEventListener("pointercancel", (event) => this.#pointerUp(event), true);
    viewer.addEventListener("keydown", (event) => this.#keyDown(event), true);
    page.canvasView.frameListeners.add(() => this.#draw());
  }

  /** Removes the line, as another image is shown. */
  clear() {
    this.#line = undefined;
    this.#followsCentre = false;
    this.#draw();
  }

  /** @param {boolean} isOn */
  #setOn(isOn) {
    this.#isOn = isOn;
    elements.ruler.setAttribute("aria-pressed", String(isOn));
    elements.viewer.classList.toggle("measuring", isOn);
    if (!isOn) this.clear();
    this.page.showStatus(
      isOn
        ? "Ruler: drag over the image; or press Enter at the cross-hair, move, and press Enter."
        : "",
    );
  }

  /** @param {MouseEvent} event @returns {ImagePoint} */
  #pointOf({ clientX, clientY }) {
    const { canvas, viewport } = this.page.canvasView;
    const box = canvas.getBoundingClientRect();
    const ratio = canvas.width / Math.max(1, box.width);
    const [x, y] = viewport.toImage((clientX - box.left) * ratio, (clientY - box.top) * ratio);
    return { x, y };
  }

  /** @returns {ImagePoint} */
  #centre() {
    const [x, y] = this.page.canvasView.viewport.state();
    return { x, y };
  }

  /** @param {PointerEvent} event */
  #pointerDown(event) {
    const { canvas } = this.page.canvasView;
    if (!this.#isOn || event.target !== canvas || !event.isPrimary) return;
    event.stopPropagation();
    canvas.setPointerCapture(event.pointerId);
    const start = this.#pointOf(event);
    this.#line = { start, end: start };
    this.#isDragging = true;
    this.#followsCentre = false;
  }

  /** @param {PointerEvent} event */
  #pointerMove(event) {
    if (!this.#isDragging || !this.#line || !event.isPrimary) return;
    event.stopPropagation();
    this.#line.end = this.#pointOf(event);
    this.#draw();
  }

  /** @param {PointerEvent} event */
  #pointerUp(event) {
    if (!this.#isDragging || !event.isPrimary) return;
    event.stopPropagation();
    this.#isDragging = false;
    this.#sayDistance();
  }

  /** @param {KeyboardEvent} event */
  #keyDown(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target instanceof HTMLInputElement) return;
    if (event.key === "m" || event.key === "M") this.#setOn(!this.#isOn);
    else if (event.key === "Escape" && this.#isOn) this.#setOn(false);
    else if (event.key === "Enter" && this.#isOn && event.target === this.page.canvasView.canvas) {
      this.#measureByKey();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** The first press sets the first point, the next one the second. */
  #measureByKey() {
    if (this.#followsCentre) {
      this.#followsCentre = false;
      this.#sayDistance();
    } else {
      const start = this.#centre();
      this.#line = { start, end: start };
      this.#followsCentre = true;
      this.page.showStatus("First point set. Move the image and press Enter again.");
    }
    this.#draw();
  }

  #distanceText() {
    if (!this.#line) return "";
    const { start, end } = this.#line;
    return formatDistance(Math.hypot(end.x - start.x, end.y - start.y), this.page.mpp);
  }

  /** For screen readers, too. */
  #sayDistance() {
    this.page.showStatus(`Distance: ${this.#distanceText()}.`);
  }

  #draw() {
    const { rulerDrawing } = elements;
    rulerDrawing.toggleAttribute("hidden", !this.#line);
    if (!this.#line) return;
    if (this.#followsCentre) this.#line.end = this.#centre();
    const { viewport, pixelRatio } = this.page.canvasView;
    const { start, end } = this.#line;
    const [x1, y1] = viewport.toScreen(start.x, start.y).map((value) => value / pixelRatio);
    const [x2, y2] = viewport.toScreen(end.x, end.y).map((value) => value / pixelRatio);
    for (const line of rulerDrawing.querySelectorAll("line")) {
      for (const [name, value] of Object.entries({ x1, y1, x2, y2 })) {
        line.setAttribute(name, String(value));
      }
    }
    const text = rulerDrawing.querySelector("text");
    if (!text) return;
    text.setAttribute("x", String((x1 + x2) / 2));
    text.setAttribute("y", String(Math.min(y1, y2) - TEXT_OFFSET_PX));
    text.textContent = this.#distanceText();
  }
}
