// What is looked at: an image in memory, a slide that is read as it is needed, or the sample.
import { byId, input } from "./dom.js";
import { MAX_IMAGE_BYTES } from "./share.js";

export class Opening {
  /** Of the image, without ending: what files are named after. */
  name = "image";
  sample = false;
  /** Whether the image's colours are matched for the model. */
  matched = false;
  /** Whether the pixel size is the sample's own. */
  #samplesMpp = false;

  /** @param {import("./main.js").PageType} page */
  constructor(page) {
    this.page = page;
  }

  /** @param {Blob} blob @param {string} name @param {boolean} [linked] the address says where it is */
  blob(blob, name, linked = false) {
    const { page } = this;
    page.forgive();
    return page.queue.main(async (check) => {
      page.say("Reading the image…");
      try {
        const slide = await page.engine.call("openSlide", { blob });
        check();
        if (slide) {
          this.#slide(slide, name, linked);
        } else {
          if (blob.size > MAX_IMAGE_BYTES) throw new Error(`The image is larger than ${MAX_IMAGE_BYTES / 1e6} MB, the most this page takes.`);
          const content = new Uint8Array(await blob.arrayBuffer());
          check();
          const size = await page.engine.ask("openImage", content);
          this.#fromOutside(linked);
          this.#opened(size, name);
        }
      } finally {
        page.say("");
      }
      await page.answers.segment(check);
    });
  }

  /**
   * Opens a slide of a server range by range. False when it is an image, or its server sends only whole files: then it must be
   * loaded whole; true also when it failed and that was told.
   * @param {string} address @param {string} name @param {boolean} [linked] the page's own address says so
   */
  async address(address, name, linked = true) {
    const { page } = this;
    page.forgive();
    let settled = true;
    await page.queue.main(async (check) => {
      const slide = await page.engine.call("openSlide", { address });
      check();
      settled = slide !== null && slide !== "whole";
      if (!settled) return;
      this.#slide(slide, name, linked);
      await page.answers.segment(check);
    });
    return settled;
  }

  takeSample() {
    const { page } = this;
    page.forgive();
    return page.queue.main(async (check) => {
      const size = await page.engine.ask("openSample");
      this.sample = true;
      page.address.linked.image = false;
      if (page.mpp === 0) {
        input("mpp").value = "0.25";
        this.#samplesMpp = true;
      }
      this.#opened(size, "sample");
      await page.answers.segment(check);
    });
  }

  /** @param {boolean} linked */
  #fromOutside(linked) {
    this.sample = false;
    this.page.address.linked.image = linked;
    if (this.#samplesMpp) input("mpp").value = "";
    this.#samplesMpp = false;
  }

  /** @param {import("./slide.js").SlideFacts} facts @param {string} name @param {boolean} linked */
  #slide(facts, name, linked) {
    this.#fromOutside(linked);
    if (facts.mpp) input("mpp").value = String(Number(facts.mpp.toPrecision(6)));
    // One that the address states is meant for the image of the address.
    else if (!linked || this.page.address.wish.mpp === undefined) input("mpp").value = "";
    this.#opened(facts, name, facts);
  }

  /** @param {{ width: number, height: number, matched?: boolean }} size @param {string} name @param {import("./slide.js").SlideFacts} [slide] */
  #opened(size, name, slide) {
    const { page } = this;
    this.name = name.replace(/(\.ome)?\.[^.]*$/, "") || "image";
    const levels = slide ? `, ${slide.levels} ${slide.levels === 1 ? "level" : "levels"}` : "";
    this.matched = Boolean(size.matched);
    byId("image-facts").textContent = `${name}, ${size.width} × ${size.height} pixels${levels}`;
    byId("invite").hidden = true;
    page.slide.opened(slide);
    page.results.clear();
    page.results.mpp = page.mpp;
    page.trial.clear();
    page.stage.start(size.width, size.height, slide !== undefined);
    const { wish } = page.address;
    if (wish.view) {
      const [x, y, scale] = wish.view;
      page.stage.eye.setState(x, y, scale * page.stage.ratio);
      wish.view = undefined;
    }
  }
}
