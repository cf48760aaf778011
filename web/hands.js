// Mouse, touch and keyboard on the picture. One finger or button moves it, two fingers or the wheel zoom, a click chooses.

/** Movement below which a press is a click, pixels of the page. */
const CLICK_PX = 5;
/** What one notch of a wheel zooms by. */
const WHEEL = 1.0015;

/**
 * @param {import("./stage.js").Stage} stage
 * @param {(x: number, y: number) => void} choose a pixel of the image was clicked
 */
export function handle(stage, choose) {
  const { canvas, eye } = stage;
  /** @type {Map<number, { x: number, y: number }>} */
  const fingers = new Map();
  let moved = 0;
  let lastTap = 0;

  /** Device pixels of the canvas. @param {{ clientX: number, clientY: number }} e */
  const at = (e) => {
    const box = canvas.getBoundingClientRect();
    const ratio = canvas.width / Math.max(1, box.width);
    return { x: (e.clientX - box.left) * ratio, y: (e.clientY - box.top) * ratio };
  };
  const spread = () => {
    const [a, b] = [...fingers.values()];
    return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, apart: Math.max(1, Math.hypot(a.x - b.x, a.y - b.y)) };
  };

  canvas.addEventListener("pointerdown", (e) => {
    canvas.setPointerCapture(e.pointerId);
    if (fingers.size === 0) moved = 0;
    fingers.set(e.pointerId, at(e));
  });
  canvas.addEventListener("pointermove", (e) => {
    const before = fingers.get(e.pointerId);
    if (!before) return;
    const now = at(e);
    const old = fingers.size === 2 ? spread() : undefined;
    fingers.set(e.pointerId, now);
    if (old) {
      const next = spread();
      eye.pan(next.x - old.x, next.y - old.y);
      eye.zoom(next.x, next.y, next.apart / old.apart);
      eye.settle();
      moved = CLICK_PX * 2;
    } else {
      moved += Math.hypot(now.x - before.x, now.y - before.y) / stage.ratio;
      if (moved > CLICK_PX) eye.pan(now.x - before.x, now.y - before.y);
    }
    stage.invalidate();
  });
  const up = (/** @type {PointerEvent} */ e) => {
    if (!fingers.delete(e.pointerId) || fingers.size > 0 || e.type === "pointercancel" || moved > CLICK_PX) return;
    const place = at(e);
    if (e.timeStamp - lastTap < 300) eye.zoom(place.x, place.y, 2);
    else {
      const [x, y] = eye.toImage(place.x, place.y);
      choose(x, y);
    }
    lastTap = e.timeStamp;
    stage.invalidate();
  };
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener(
    "wheel",
    (e) => {
      e.preventDefault();
      const place = at(e);
      const lines = e.deltaMode === 1 ? 33 : 1;
      eye.zoom(place.x, place.y, WHEEL ** -(e.deltaY * lines));
      stage.invalidate();
    },
    { passive: false },
  );
  canvas.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const middle = [canvas.width / 2, canvas.height / 2];
    const step = e.shiftKey ? 0.5 : 0.15;
    /** @type {Record<string, () => void>} */
    const keys = {
      ArrowLeft: () => eye.glide(-step, 0),
      ArrowRight: () => eye.glide(step, 0),
      ArrowUp: () => eye.glide(0, -step),
      ArrowDown: () => eye.glide(0, step),
      "+": () => eye.zoom(middle[0], middle[1], 1.5),
      "=": () => eye.zoom(middle[0], middle[1], 1.5),
      "-": () => eye.zoom(middle[0], middle[1], 1 / 1.5),
      0: () => eye.fit(),
      Home: () => eye.fit(),
      Enter: () => {
        const [x, y] = eye.toImage(middle[0], middle[1]);
        choose(x, y);
      },
    };
    const act = keys[e.key];
    if (!act) return;
    e.preventDefault();
    act();
    stage.invalidate();
  });
}
