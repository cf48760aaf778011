// How much a pruned model agrees with the unpruned one, on a window in the middle of the view.

/** Side of the window, pixels: small enough to answer while the slider moves. */
const SIDE = { gpu: 256, cpu: 128 };
/** Slots of the session that belong to the window. */
const HERE = 2;
const WHOLE = 3;

const note = () => /** @type {HTMLElement} */ (document.getElementById("agreement"));

/** Compares models on a window. */
export class Trial {
  /** Whether anyone asked for it yet. */
  wanted = false;
  /** What the unpruned answer in the window belongs to. */
  #known = "";

  /** @param {import("./main.js").PageType} page */
  constructor(page) {
    this.page = page;
  }

  /** Forgets what it knows. */
  clear() {
    this.#known = "";
    note().textContent = "–";
  }

  /** Cuts the window where the view is. */
  async #place() {
    const { stage, engine } = this.page;
    const [x, y] = stage.eye.state();
    const side = engine.device.gpu && !engine.device.software ? SIDE.gpu : SIDE.cpu;
    const key = [x, y].map((v) => Math.round(v / 32)).join();
    if (this.#known.startsWith(`${key}:`)) return key;
    const { mpp, slide, chosen } = this.page;
    if (slide.facts) await engine.call("slideTrial", x, y, side, chosen?.facts.id, mpp);
    else await engine.call("setTrial", x, y, side);
    this.#known = "";
    return key;
  }

  /** Dice of one model with another, on the window. @param {number} model @param {number} other @param {() => void} check */
  async agreement(model, other, check) {
    const { engine, threshold = -1 } = this.page;
    const key = await this.#place();
    check();
    const whole = `${key}:${other}`;
    if (this.#known !== whole) {
      this.#known = "";
      await engine.fill(WHOLE, other);
      check();
      this.#known = whole;
    }
    await engine.fill(HERE, model);
    check();
    await engine.call("find", WHOLE, threshold);
    await engine.call("find", HERE, threshold);
    return /** @type {number} */ (await engine.call("dice", HERE, WHOLE));
  }

  /** Shows the agreement of the chosen model with the unpruned one. @param {() => void} check */
  async run(check) {
    const { page } = this;
    if (page.stage.width === 0 || !page.chosen) return;
    const { facts } = page.chosen;
    const whole = await page.models.unpruned();
    check();
    if (whole.id === facts.id) {
      note().textContent = "1 (itself)";
      return;
    }
    note().textContent = "…";
    try {
      note().textContent = (await this.agreement(facts.id, whole.id, check)).toFixed(3);
    } catch (e) {
      note().textContent = "–";
      throw e;
    }
  }
}
