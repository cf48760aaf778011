// The answers: segments the open image with the chosen model, and with the unpruned one if they are compared.
import { byId, secs } from "./dom.js";
import { Progress } from "./progress.js";
import { MATCHED } from "./slide.js";

/** Pause after the last move before the table changes, milliseconds. */
const TABLE_MS = 200;

export class Answers {
  /** Whether the image is being segmented. */
  running = false;
  /** Whether only a part of the image was segmented. */
  #partial = false;
  #progress = new Progress();
  #finding = false;

  /** @param {import("./main.js").PageType} page */
  constructor(page) {
    this.page = page;
  }

  /** Segments the whole image. @param {() => void} check */
  async segment(check) {
    if (this.page.stage.width === 0) return;
    if (this.page.slide.facts) {
      await this.page.slide.unasked(check);
      return;
    }
    const { facts } = this.page.chosen ?? (await this.page.chooseModel(check));
    this.running = true;
    this.#partial = true;
    try {
      this.page.stage.clear(0);
      this.page.stage.clear(1);
      byId("time").textContent = "…";
      const done = await this.#fill(0, facts.id);
      check();
      const perMpx = done.ms / ((this.page.stage.width * this.page.stage.height) / 1e6);
      byId("time").textContent = `${secs(done.ms)} (${secs(perMpx)} a megapixel)`;
      this.#partial = false;
      await this.find();
      check();
      if (this.page.comparing) await this.fillOther(check);
    } finally {
      this.running = false;
    }
    this.page.address.soon();
    if (this.page.trial.wanted) void this.page.queue.side("trial", (still) => this.page.trial.run(still));
  }

  /** @param {() => void} check */
  async fillOther(check) {
    if (this.page.slide.facts) {
      await this.page.slide.other(undefined, check);
      return;
    }
    try {
      const whole = await this.page.models.unpruned();
      check();
      await this.#fill(1, whole.id);
      await this.page.engine.call("find", 1, this.page.threshold ?? -1);
      this.page.stage.changed(1);
    } catch (e) {
      this.page.stage.clear(1);
      throw e;
    }
  }

  /** @param {number} slot @param {number} model */
  async #fill(slot, model) {
    this.#progress.start(this.page.stage.width * this.page.stage.height);
    const done = await this.page.engine.fill(slot, model);
    if (done.notes.length > 0) this.page.say(done.notes.join(" "));
    if (done.lost) await this.page.openDevice();
    document.documentElement.dataset.lost = String(done.lost);
    this.page.stage.changed(slot);
    return done;
  }

  /** @param {import("./engine.js").EngineEvent} event */
  show(event) {
    if (event.slide) {
      this.page.slide.show(event.slide);
      return;
    }
    if (event.slot > 1) return;
    if (event.restart) {
      this.#progress.restart();
      return;
    }
    if (!event.block) return;
    const [, , width, height] = event.block;
    this.page.stage.changed(event.slot, event.block);
    const root = document.documentElement.dataset;
    root.firstBlock ??= String(Math.round(performance.now()));
    this.#progress.add(width * height);
  }

  /** What to know of an image's answer. */
  #remarks() {
    const { mpp, chosen, opening } = this.page;
    const said = opening.matched ? [MATCHED] : [];
    const own = chosen?.facts.mpp ?? 0;
    if (mpp > 0 && own > 0 && Math.abs(own / mpp - 1) > 0.05) {
      said.push(`The model expects ${own} µm a pixel and sees the image as it is; prunella segment --mpp ${mpp} resamples.`);
    }
    return said;
  }

  /** Ends what runs; what was finished is shown, and said to be a part. */
  cancel() {
    return this.page.queue.main(async () => {
      if (this.page.slide.facts) await this.page.slide.cancelled();
      else if (this.page.stage.answers[0]) await this.find();
      else this.page.say("Cancelled.");
    });
  }

  /** Finds nuclei at the threshold; the last one asked for wins. */
  async find() {
    // Of a slide no probabilities are kept.
    if (this.page.slide.facts) return;
    if (this.#finding) {
      this.page.later("find", 30, () => void this.find());
      return;
    }
    this.#finding = true;
    try {
      const summary = await this.page.engine.ask("find", 0, this.page.threshold ?? -1);
      this.page.results.summary(summary);
      this.page.results.choose(0);
      this.page.stage.show({ preview: -1, chosen: 0 });
      this.page.stage.changed(0);
      const count = `${summary.count.toLocaleString("en")} nuclei`;
      this.page.say(this.#partial ? `Cancelled: ${count} in the part that was finished; files hold that part alone.` : [`${count}.`, ...this.#remarks()].join(" "));
      if (this.page.stage.answers[1] && !this.running) {
        await this.page.engine.call("find", 1, this.page.threshold ?? -1);
        this.page.stage.changed(1);
      }
      this.page.later("table", TABLE_MS, async () => {
        // Blocks that came meanwhile make the list an old one; the next search makes it anew.
        const rows = await this.page.engine.call("table", 0).catch(() => undefined);
        if (rows) this.page.results.list(rows);
      });
    } catch (e) {
      this.page.fail(e);
    } finally {
      this.#finding = false;
    }
  }
}
