// What the address asks for, and the address that says what is shown.
import { sha256 } from "./prunella.js";
import { file, single } from "./assets.js";
import { input } from "./dom.js";
import { fragment, load, nameOf, read } from "./share.js";

/** Pause after the last move before the address changes, milliseconds. */
const PAUSE_MS = 300;

export class Address {
  wish = read(new URL(location.href));
  /** @type {string | undefined} The model as the address carries it. */
  link;
  /** Whether the image and the model came from the address's query. */
  linked = { image: false, model: false };
  /** The fragment that this page wrote last. */
  #written = location.hash;

  /** @param {import("./main.js").PageType} page */
  constructor(page) {
    this.page = page;
    // Another link was put into the address of this tab.
    addEventListener("hashchange", () => {
      if (location.hash !== this.#written) location.reload();
    });
  }

  /** What the address says now. @param {string} [link] */
  fragment(link = this.link) {
    const { page } = this;
    const view = page.stage.width > 0 ? [...page.stage.eye.state()] : undefined;
    if (view) view[2] /= page.stage.ratio;
    // A model that came from an address or a file is named by the query, or not at all.
    const ratio = this.link || page.models.own ? (page.ratio === 0 ? undefined : page.ratio) : page.ratio;
    return fragment({
      link,
      sample: page.opening.sample,
      ratio: link && link !== this.link ? undefined : ratio,
      hiddenToo: link && link !== this.link ? false : page.hiddenToo,
      threshold: page.threshold,
      view,
      layers: ["outline", "mask", "heat"].map((id) => Number(input(id).value)),
      divider: page.comparing ? Number(input("divider").value) : undefined,
      mpp: page.mpp,
    });
  }

  /** Writes the address when nothing has moved for a moment. */
  soon() {
    if (document.documentElement.dataset.state !== "loading") this.page.later("address", PAUSE_MS, () => this.#write());
  }

  #write() {
    const url = new URL(location.href);
    url.hash = this.fragment();
    if (!this.linked.image) url.searchParams.delete("image_url");
    if (!this.linked.model) {
      url.searchParams.delete("model");
      url.searchParams.delete("sha256");
    }
    this.#written = url.hash;
    try {
      history.replaceState(null, "", url);
    } catch {
      // A page on the disk may change its fragment alone.
      location.hash = url.hash;
    }
  }

  /** Does what the address asks for. */
  async obey() {
    const { wish, page } = this;
    if (wish.ratio !== undefined) input("ratio").value = String(wish.ratio);
    input("hidden-too").checked = wish.hiddenToo;
    if (wish.mpp !== undefined) input("mpp").value = String(wish.mpp);
    ["outline", "mask", "heat"].forEach((id, i) => {
      if (wish.layers) input(id).value = String(wish.layers[i]);
    });
    if (wish.divider !== undefined) {
      input("divider").value = String(wish.divider);
      await page.compare(true);
    }
    page.layersChanged();
    let brought = await this.#model();
    if (!brought && single()) brought = await this.#ownModel();
    page.setThreshold(wish.threshold);
    if (!brought) {
      await page.queue.main(async (check) => {
        await page.chooseModel(check);
        await page.openDevice();
      });
    }
    await this.#image();
    if (wish.refused.length > 0) page.say(`In the link, ${wish.refused.join(", ")} made no sense and is left out.`);
  }

  /** The model of a single file. */
  async #ownModel() {
    const response = await file("models/model.safetensors");
    const { ratio = 0, hiddenToo } = this.wish;
    return this.page.bringModel(async () => this.page.engine.ask("addModel", new Uint8Array(await response.arrayBuffer())), { ratio, hiddenToo });
  }

  async #model() {
    const { page } = this;
    const { link, modelUrl, sha256: wanted, ratio = 0, hiddenToo } = this.wish;
    if (link) return page.bringModel(() => page.engine.ask("addLink", link), { link, ratio, hiddenToo });
    if (!modelUrl || single()) return false;
    const add = async () => {
      const got = await load(modelUrl, "model");
      if (wanted && sha256(got) !== wanted) throw new Error("The model is not the one that the link means: its SHA-256 differs. It was not used.");
      return page.engine.ask("addModel", got);
    };
    return page.bringModel(add, { linked: true, ratio, hiddenToo });
  }

  async #image() {
    const { wish, page } = this;
    try {
      if (wish.imageUrl) {
        if (await page.opening.address(new URL(wish.imageUrl, location.href).href, nameOf(wish.imageUrl))) return;
        const got = await load(wish.imageUrl, "image", (share) => page.say(`Loading the image: ${Math.round(share * 100)} %`));
        await page.opening.blob(new Blob([/** @type {BlobPart} */ (got)]), nameOf(wish.imageUrl), true);
      } else if (wish.sample) {
        await page.opening.takeSample();
      }
    } catch (e) {
      page.say("");
      page.fail(e);
    }
  }
}
