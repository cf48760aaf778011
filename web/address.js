// Keeps the page's address in step with its state, and applies the address when the page starts.
import { sha256 } from "./prunella.js";
import { fetchAsset, isStandalone } from "./assets.js";
import { elements } from "./elements.js";
import { fetchFile, fileNameOf } from "./fetch-file.js";
import { showBrokenLink, showReceived } from "./received.js";
import { formatFragment, readUrl } from "./url-state.js";

/** @import { Page } from "./page.js" */
/** @import { UrlState } from "./url-state.js" */
/** @import { ModelSetting } from "./worker-api.d.ts" */

/** Pause after the last change before the address is written, milliseconds. */
const WRITE_DELAY_MS = 300;
/** Parameters of the query that describe this visit or another model; a shared link omits them. */
const NOT_SHARED = ["model", "sha256", "device", "workers", "folder"];

/**
 * The model that ships in an address; `standard` if it names none. Without a name a share of
 * removed filters means the paper's network.
 * @param {UrlState} address
 * @param {ModelSetting} standard
 * @returns {ModelSetting}
 */
function addressedModel({ modelLink, modelUrl, shipped, ratio, pruneHidden }, standard) {
  if (modelLink !== undefined || modelUrl !== undefined) return standard;
  if (shipped !== undefined) return { shipped, ratio: ratio ?? 0, pruneHidden, loaded: null };
  if (ratio !== undefined) return { shipped: null, ratio, pruneHidden, loaded: null };
  return standard;
}

export class Address {
  urlState = readUrl(new URL(location.href));
  /** @type {string | undefined} The model as the address carries it, `m=…`. */
  modelLink;
  /** @type {string | undefined} Address of the open image, which the query then names. */
  imageUrl;
  /** Whether the model is the one that the query names. */
  hasModelUrl = false;
  /** The fragment that this page wrote last. */
  #written = location.hash;

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    // Another link was entered in this tab.
    addEventListener("hashchange", () => {
      if (location.hash !== this.#written) location.reload();
    });
  }

  /** The page's address with a model in its fragment. @param {string} modelLink */
  shareUrl(modelLink) {
    const url = new URL(location.href);
    for (const name of NOT_SHARED) url.searchParams.delete(name);
    url.hash = this.#fragment(modelLink);
    return url.protocol === "file:" ? url.hash : url.href;
  }

  /** Writes the address after a pause without changes. */
  scheduleWrite() {
    if (document.documentElement.dataset.state === "loading") return;
    this.page.debounce("address", WRITE_DELAY_MS, () => this.#write());
  }

  #write() {
    // Another link was entered, and the page is about to load it.
    if (location.hash !== this.#written) return;
    const url = new URL(location.href);
    url.hash = this.#fragment(this.modelLink);
    if (!this.imageUrl) url.searchParams.delete("image_url");
    else url.searchParams.set("image_url", this.imageUrl);
    // They are of the image that the address named first.
    if (this.imageUrl !== this.urlState.imageUrl) url.searchParams.delete("regions_url");
    if (!this.hasModelUrl) {
      url.searchParams.delete("model");
      url.searchParams.delete("sha256");
    }
    this.#written = url.hash;
    try {
      history.replaceState(null, "", url);
    } catch {
      // A page opened from a disk may change its fragment only.
      location.hash = url.hash;
    }
  }

  /** @param {string | undefined} modelLink */
  #fragment(modelLink) {
    const { page } = this;
    const { display, model } = page.store.state;
    // A new link holds the model as it is now, filters already removed.
    const alreadyPruned = modelLink !== undefined && modelLink !== this.modelLink;
    // For these the slider at 0 is the default.
    const isLoaded = this.modelLink !== undefined || page.models.loaded !== undefined;
    const isUnpruned = model.ratio === 0 && (isLoaded || model.shipped !== null);
    return formatFragment({
      modelLink,
      sample: page.opener.isSample,
      shipped: modelLink === undefined ? (model.shipped ?? undefined) : undefined,
      ratio: alreadyPruned || isUnpruned ? undefined : model.ratio,
      pruneHidden: !alreadyPruned && model.pruneHidden,
      threshold: page.threshold,
      view: page.canvasView.cssView(),
      layers: [display.outline, display.mask, display.heat].map((strength) => strength * 100),
      divider: page.comparing ? Number(elements.divider.value) : undefined,
      // A pixel size belongs to its image, which other addresses do not name.
      mpp: this.imageUrl || page.opener.isSample ? page.mpp : 0,
    });
  }

  /** Sets the controls to the address's state and opens its model and image. */
  async applyUrl() {
    const { urlState, page } = this;
    await this.#applySettings();
    let hasModel = await this.openModel(urlState, true);
    const { loaded } = page.models;
    if (hasModel && urlState.modelLink && loaded) showReceived(loaded, urlState);
    else if (urlState.modelLink) showBrokenLink();
    if (!hasModel && isStandalone()) hasModel = await this.#openBundledModel();
    if (urlState.threshold !== undefined) page.applyQuietly({ threshold: urlState.threshold });
    if (!hasModel) {
      await page.tasks.runUserTask(async (check) => {
        await page.selectModel(check);
        await page.openDevice();
      });
    }
    await this.#openImage();
    if (urlState.rejected.length > 0) {
      const names = urlState.rejected.join(", ");
      page.showStatus(`Values in the link that are not valid were ignored: ${names}.`);
    }
  }

  async #applySettings() {
    const { urlState, page } = this;
    const { model, display } = page.store.state;
    page.applyQuietly({ model: addressedModel(urlState, model) });
    if (urlState.layers) {
      const [outline, mask, heat] = urlState.layers.map((percent) => percent / 100);
      page.store.apply({ display: { ...display, outline, mask, heat } });
    }
    if (urlState.divider !== undefined) {
      elements.divider.value = String(urlState.divider);
      await page.setComparing(true);
    }
  }

  /**
   * Opens the model in a link or at an address. Gives whether one was opened.
   * @param {Pick<UrlState, "modelLink" | "modelUrl" | "sha256" | "ratio" | "pruneHidden">} link
   * @param {boolean} [fromUrl] whether the page's address names it
   */
  async openModel({ modelLink, modelUrl, sha256: hash, ratio = 0, pruneHidden }, fromUrl = false) {
    const { page } = this;
    if (modelLink) {
      const load = () => page.engine.callJson("addLink", modelLink);
      return page.loadModel(load, { modelLink, ratio, pruneHidden });
    }
    if (!modelUrl || isStandalone()) return false;
    const load = () => this.#fetchModel(modelUrl, hash);
    return page.loadModel(load, { fromUrl, ratio, pruneHidden });
  }

  /** @param {string} modelUrl @param {string} [expected] SHA-256, hexadecimal */
  async #fetchModel(modelUrl, expected) {
    const content = await fetchFile(modelUrl, "model");
    if (expected && sha256(content) !== expected) {
      throw new Error(
        "The model is not the one in the link: its SHA-256 differs. It was not used.",
      );
    }
    return this.page.engine.callJson("addModel", content);
  }

  /** The model of a standalone page. */
  async #openBundledModel() {
    const response = await fetchAsset("models/model.safetensors");
    const content = new Uint8Array(await response.arrayBuffer());
    const { ratio = 0, pruneHidden } = this.urlState;
    const load = () => this.page.engine.callJson("addModel", content);
    return this.page.loadModel(load, { ratio, pruneHidden });
  }

  /** Whether the image of the last visit opens: not for a link with a model of someone else. */
  #mayReopen() {
    const { folder, modelLink, modelUrl } = this.urlState;
    const isLink = modelLink !== undefined || modelUrl !== undefined;
    return !folder && (!isLink || this.page.persistence.isOfThisTab);
  }

  async #openImage() {
    const { opener } = this.page;
    const { imageUrl, sample } = this.urlState;
    if (imageUrl) {
      const error = await opener.open({ name: fileNameOf(imageUrl), address: imageUrl, imageUrl });
      if (!error) await this.#openRegions();
    } else if (sample) {
      await opener.openSample();
    } else if (this.#mayReopen()) {
      await this.page.persistence.reopenLast();
    }
  }

  /** Opens the regions of the address, unless this device keeps regions of the image. */
  async #openRegions() {
    const { page } = this;
    const { regionsUrl } = this.urlState;
    if (!regionsUrl || page.store.state.regions.length > 0) return;
    try {
      const content = await fetchFile(regionsUrl, "list of regions");
      const parts = [/** @type {BlobPart} */ (content)];
      await page.regions.openFile(new File(parts, fileNameOf(regionsUrl)), "regions");
    } catch (error) {
      page.showError(error);
    }
  }
}
