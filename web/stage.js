// The picture: tiles asked for as the view needs them, drawn by WebGPU or, without it, on a 2D canvas.
import { Eye } from "./prunella.js";

/** Side of a tile without its apron, as the crate's viewer has it. */
const TILE = 256;
/** Tiles asked for at a time; the rest wait, and are forgotten when they leave the view. */
const AT_ONCE = 6;
/** Bitmaps kept where WebGPU does not draw: at most about 50 MB. */
const MAX_BITMAPS = 192;

/**
 * @typedef {{ outline: number, mask: number, heat: number, preview: number, chosen: number, divider: number }} LayerState
 * Strengths 0 to 1; preview threshold and divider (a share of the width) are below 0 for none.
 * @typedef {{ level: number, row: number, column: number }} Key
 */

/** @param {Key} k */
const name = (k) => `${k.level}/${k.row}/${k.column}`;

/** The canvas and what it shows. */
export class Stage {
  /** @type {LayerState} */
  layers = { outline: 1, mask: 0, heat: 0, preview: -1, chosen: 0, divider: -1 };
  width = 0;
  height = 0;
  /** Whether it is a slide: its tiles are read when they are needed, coarse ones first. */
  slide = false;
  /** Which answers there are. */
  answers = [false, false];
  /** How the canvas is drawn on, in words. */
  painter = "2D canvas";
  onmove = () => {};

  /** @type {Set<string>[]} Data that is here and not outdated, for each answer. */
  #fresh = [new Set(), new Set()];
  /** @type {Set<string>} Tiles of the image that cannot be had. */
  #failed = new Set();
  /** @type {Set<string>} Asked for at this moment. */
  #asked = new Set();
  /** @type {Map<string, ImageBitmap>} */
  #bitmaps = new Map();
  #generation = 0;
  #scheduled = false;
  #last = 0;
  #still = matchMedia("(prefers-reduced-motion: reduce)");

  /** @param {HTMLCanvasElement} canvas @param {import("./engine.js").Engine} engine */
  constructor(canvas, engine) {
    this.canvas = canvas;
    this.engine = engine;
    this.eye = new Eye(1, 1);
    // The frame stays when the canvas must be replaced.
    new ResizeObserver(() => this.#resize()).observe(/** @type {HTMLElement} */ (canvas.parentElement));
    const watch = () => {
      this.#resize();
      // A query of one ratio is true once; the next asks for the next.
      matchMedia(`(resolution: ${devicePixelRatio}dppx)`).addEventListener("change", watch, { once: true });
    };
    watch();
  }

  /** Draws by WebGPU if there is any. */
  async attach() {
    try {
      const facts = JSON.parse(await this.eye.attach(this.canvas));
      this.painter = `WebGPU${facts.name ? ` (${facts.name})` : ""}`;
    } catch {
      this.#withoutGpu();
    }
    this.#forget();
  }

  /** Draws by itself from now on. A canvas keeps its kind for life, so another one takes its place. */
  #withoutGpu() {
    this.eye.detach();
    this.painter = "2D canvas";
    const fresh = /** @type {HTMLCanvasElement} */ (this.canvas.cloneNode(false));
    this.canvas.replaceWith(fresh);
    this.canvas = fresh;
    this.onreplaced();
  }

  /** Device pixels for one of the page. */
  get ratio() {
    return Math.min(devicePixelRatio || 1, 2);
  }

  #resize() {
    const { clientWidth, clientHeight } = this.canvas;
    const [w, h] = [clientWidth, clientHeight].map((v) => Math.max(1, Math.round(v * this.ratio)));
    if (this.canvas.width === w && this.canvas.height === h) return;
    [this.canvas.width, this.canvas.height] = [w, h];
    this.eye.resize(w, h);
    this.invalidate();
  }

  /** Another image. @param {number} width @param {number} height @param {boolean} [slide] */
  start(width, height, slide = false) {
    [this.width, this.height, this.slide] = [width, height, slide];
    this.eye.start(width, height);
    this.answers = [false, false];
    this.layers.chosen = 0;
    this.#forget();
  }

  #forget() {
    this.#generation += 1;
    this.#fresh.forEach((set) => set.clear());
    this.#asked.clear();
    this.#failed.clear();
    for (const bitmap of this.#bitmaps.values()) bitmap.close();
    this.#bitmaps.clear();
    this.invalidate();
  }

  /**
   * An answer changed, wholly or in a block of the image (row, column, width, height).
   * @param {number} answer
   * @param {number[]} [block]
   */
  changed(answer, block) {
    const fresh = this.#fresh[answer];
    this.answers[answer] = true;
    if (!block) fresh.clear();
    else {
      const [row, column, width, height] = block;
      for (const key of fresh) {
        const [level, r, c] = key.split("/").map(Number);
        const side = TILE * 2 ** level;
        const apart = (/** @type {number} */ at, /** @type {number} */ from, /** @type {number} */ len) =>
          from + len + 4 < at * side || from - 4 > (at + 1) * side;
        if (!apart(r, row, height) && !apart(c, column, width)) fresh.delete(key);
      }
    }
    this.invalidate();
  }

  /** Forgets an answer. @param {number} answer */
  clear(answer) {
    this.answers[answer] = false;
    this.#fresh[answer].clear();
    this.eye.clearData(answer);
    if (!this.eye.painted) this.#fresh.forEach((set) => set.clear());
    this.invalidate();
  }

  /** Changes layers. @param {Partial<LayerState>} change */
  show(change) {
    Object.assign(this.layers, change);
    // Without WebGPU the layers are in the tiles; the divider is not.
    if (!this.eye.painted && Object.keys(change).some((k) => k !== "divider")) this.#fresh.forEach((set) => set.clear());
    this.invalidate();
  }

  /** Draws soon. */
  invalidate() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame((now) => this.#frame(now));
  }

  /** @param {number} now */
  #frame(now) {
    this.#scheduled = false;
    if (this.width === 0) return;
    const secs = Math.min(0.05, Math.max(0.001, (now - this.#last) / 1000));
    this.#last = now;
    if (this.#still.matches) this.eye.settle();
    const moving = this.eye.step(secs);
    this.#request();
    if (this.eye.painted) this.#paint();
    else this.#drawTiles();
    this.onmove();
    if (moving) this.invalidate();
  }

  #paint() {
    const { outline, mask, heat, preview, chosen, divider } = this.layers;
    const both = this.answers[1] && divider >= 0;
    this.eye.setLayers(outline, mask, heat, preview, chosen, both ? divider * this.canvas.width : -1);
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const [r, g, b] = dark ? [0.09, 0.09, 0.11] : [0.91, 0.9, 0.93];
    this.eye.setBackground(r, g, b);
    if (!this.eye.draw()) {
      console.warn(`WebGPU stopped drawing: ${this.eye.fault ?? "the surface was lost"}`);
      this.#withoutGpu();
      this.#forget();
    }
  }

  onreplaced = () => {};
  /** A tile of a slide cannot be had. @type {(error: Error) => void} */
  onfail = () => {};

  /** Tiles that the view needs, middle first. @param {number} level @returns {Key[]} */
  #visible(level) {
    const numbers = this.eye.visible(level);
    const keys = [];
    for (let i = 0; i < numbers.length; i += 2) keys.push({ level, row: numbers[i], column: numbers[i + 1] });
    return keys;
  }

  /** Tiles that are wanted now. Of a slide coarse ones come first, for fine ones take a while. */
  #wanted() {
    const level = this.eye.level();
    const keys = this.#visible(level);
    if (!this.slide) return keys;
    const far = Math.max(0, Math.ceil(Math.log2(Math.max(this.width, this.height) / TILE)));
    return [...this.#visible(Math.min(level + 2, far)), ...keys];
  }

  #request() {
    const keys = this.#wanted();
    if (this.slide) this.#giveUp(keys);
    const shown = this.layers.divider >= 0 && this.answers[1] ? [0, 1] : [0];
    for (const key of keys) {
      if (this.eye.painted) {
        if (!this.eye.hasTile(key.level, key.row, key.column)) {
          // Its data went with it.
          this.#fresh.forEach((set) => set.delete(name(key)));
          this.#fetch(key, -1);
        }
        for (const answer of shown) if (this.answers[answer] && !this.#fresh[answer].has(name(key))) this.#fetch(key, answer);
      } else {
        for (const answer of shown) if (!this.#fresh[answer].has(name(key))) this.#fetch(key, answer);
      }
    }
  }

  /** Of a slide, tiles that left the view are not read any more. @param {Key[]} keys */
  #giveUp(keys) {
    const wanted = new Set(keys.map(name));
    const marks = [...this.#asked].filter((mark) => !wanted.has(mark.slice(mark.indexOf(":") + 1)));
    if (marks.length > 0) void this.engine.call("slideGiveUp", marks);
  }

  /** Asks for a tile: of the image (-1), of an answer, or drawn. @param {Key} key @param {number} answer */
  async #fetch(key, answer) {
    const mark = `${answer}:${name(key)}`;
    if (this.#asked.size >= AT_ONCE || this.#asked.has(mark) || (answer < 0 && this.#failed.has(name(key)))) return;
    const generation = this.#generation;
    const { level, row, column } = key;
    this.#asked.add(mark);
    if (answer >= 0) this.#fresh[answer].add(name(key));
    try {
      if (answer < 0) {
        const tile = this.slide ? await this.engine.call("slideTile", mark, [level, row, column]) : await this.engine.call("imageTile", level, row, column);
        if (generation === this.#generation) this.eye.putTile(level, row, column, tile);
      } else if (this.eye.painted) {
        const tile = await this.engine.call("dataTile", answer, level, row, column);
        if (generation === this.#generation && this.answers[answer]) this.eye.putData(answer, level, row, column, tile);
      } else {
        const { outline, mask, heat, preview, chosen } = this.layers;
        const rgba = this.slide
          ? await this.engine.call("slideDrawn", mark, answer, [level, row, column], [outline, mask, heat], chosen)
          : await this.engine.call("drawnTile", answer, level, row, column, outline, mask, heat, preview, chosen);
        const bitmap = await createImageBitmap(new ImageData(new Uint8ClampedArray(rgba.buffer), TILE, TILE));
        if (generation === this.#generation) this.#keep(`${answer}:${name(key)}`, bitmap);
      }
    } catch (e) {
      // The answer or the image went away meanwhile; what takes its place asks anew.
      if (/** @type {Error} */ (e).name === "AbortError") {
        if (answer >= 0 && generation === this.#generation) this.#fresh[answer].delete(name(key));
      } else {
        if (answer < 0 && generation === this.#generation) this.#failed.add(name(key));
        if (this.slide && generation === this.#generation) this.onfail(/** @type {Error} */ (e));
      }
    } finally {
      if (generation === this.#generation) {
        this.#asked.delete(mark);
        this.invalidate();
      }
    }
  }

  /** @param {string} key @param {ImageBitmap} bitmap */
  #keep(key, bitmap) {
    this.#bitmaps.get(key)?.close();
    this.#bitmaps.delete(key);
    this.#bitmaps.set(key, bitmap);
    for (const [oldest, old] of this.#bitmaps) {
      if (this.#bitmaps.size <= MAX_BITMAPS) break;
      old.close();
      this.#bitmaps.delete(oldest);
      this.#fresh[Number(oldest[0])].delete(oldest.slice(2));
    }
  }

  #drawTiles() {
    const context = this.canvas.getContext("2d");
    if (!context) return;
    const { width, height } = this.canvas;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    context.imageSmoothingEnabled = this.eye.scale() < 3;
    const split = this.answers[1] && this.layers.divider >= 0 ? this.layers.divider * width : width;
    this.#drawAnswer(context, 0, 0, split);
    if (split < width) {
      this.#drawAnswer(context, 1, split, width);
      context.fillStyle = "#fff";
      context.fillRect(split - 1, 0, 2, height);
    }
  }

  /** @param {CanvasRenderingContext2D} context @param {number} answer @param {number} left @param {number} right */
  #drawAnswer(context, answer, left, right) {
    context.save();
    context.beginPath();
    context.rect(left, 0, right - left, this.canvas.height);
    context.clip();
    const finest = this.eye.level();
    // Coarse tiles first, so that finer ones lie over them.
    for (let level = Math.min(finest + 4, 16); level >= finest; level--) {
      for (const key of this.#visible(level)) {
        const bitmap = this.#bitmaps.get(`${answer}:${name(key)}`);
        if (!bitmap) continue;
        const step = 2 ** level;
        const w = Math.min(TILE, Math.ceil(this.width / step) - key.column * TILE);
        const h = Math.min(TILE, Math.ceil(this.height / step) - key.row * TILE);
        const [x0, y0] = this.eye.toScreen(key.column * TILE * step, key.row * TILE * step);
        const [x1, y1] = this.eye.toScreen((key.column * TILE + w) * step, (key.row * TILE + h) * step);
        context.drawImage(bitmap, 0, 0, w, h, x0, y0, x1 - x0, y1 - y0);
      }
    }
    context.restore();
  }
}
