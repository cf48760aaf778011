// Which button does what.
import { single } from "./assets.js";
import { byId, input } from "./dom.js";

/** Files of a result: ending after the image's name, and type. */
const FILES = /** @type {Record<string, [string, string]>} */ ({
  geojson: ["geojson", "application/geo+json"],
  csv: ["csv", "text/csv"],
  labels: ["labels.png", "image/png"],
  overlay: ["overlay.png", "image/png"],
  probability: ["probability.png", "image/png"],
});

/** @param {Uint8Array} content @param {string} name @param {string} type */
function save(content, name, type) {
  const url = URL.createObjectURL(new Blob([/** @type {BlobPart} */ (content)], { type }));
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60e3);
}

/**
 * @param {import("./main.js").PageType} page
 * @param {typeof import("./hands.js").handle} handle
 */
export function wire(page, handle) {
  images(page);
  models(page);
  results(page);
  const hold = () =>
    handle(page.stage, async (x, y) => {
      page.choose(x < 0 || y < 0 ? 0 : await page.engine.call("labelAt", 0, Math.floor(x), Math.floor(y)));
    });
  hold();
  page.stage.onreplaced = hold;
  const middle = (/** @type {number} */ factor) => {
    const { canvas, eye } = page.stage;
    eye.zoom(canvas.width / 2, canvas.height / 2, factor);
    page.stage.invalidate();
  };
  byId("zoom-in").onclick = () => middle(1.5);
  byId("zoom-out").onclick = () => middle(1 / 1.5);
  byId("zoom-fit").onclick = () => {
    page.stage.eye.fit();
    page.stage.invalidate();
  };
  byId("segment-view").onclick = () => void page.segmentSlide("view");
  byId("segment-slide").onclick = () => void page.segmentSlide("slide");
  byId("cancel").onclick = () => void page.answers.cancel();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => page.stage.invalidate());
}

/** @param {import("./main.js").PageType} page */
function images(page) {
  const choose = () => input("file").click();
  byId("choose").onclick = choose;
  byId("open").onclick = choose;
  byId("sample").onclick = () => void page.opening.takeSample();
  byId("sample-again").onclick = () => void page.opening.takeSample();
  input("file").onchange = () => {
    const [chosen] = input("file").files ?? [];
    if (chosen) void page.opening.blob(chosen, chosen.name);
    // The same file may be chosen again.
    input("file").value = "";
  };
  const take = (/** @type {DataTransfer | null} */ data) => {
    const dropped = data?.files[0];
    if (!dropped) return;
    if (dropped.name.endsWith(".safetensors")) void bring(page, dropped);
    else void page.opening.blob(dropped, dropped.name);
  };
  document.addEventListener("dragover", (e) => {
    e.preventDefault();
    byId("viewer").classList.add("over");
  });
  document.addEventListener("dragleave", () => byId("viewer").classList.remove("over"));
  document.addEventListener("drop", (e) => {
    e.preventDefault();
    byId("viewer").classList.remove("over");
    take(e.dataTransfer);
  });
  document.addEventListener("paste", (e) => take(e.clipboardData));
  input("mpp").onchange = () => {
    page.results.mpp = page.mpp;
    page.results.refresh();
    page.stage.invalidate();
    page.address.soon();
    // The model sees a slide at its own pixel size, so another one is another segmentation.
    if (page.slide.facts) void page.run();
  };
  if (page.address.wish.folder && !single()) void folder(page, page.address.wish.folder);
}

/** Images beside the page, as `prunella serve` lists them. @param {import("./main.js").PageType} page @param {string} address */
async function folder(page, address) {
  try {
    const base = new URL(address, location.href);
    if (base.origin !== location.origin) return;
    const names = await (await fetch(new URL("?list", base))).json();
    const list = byId("folder");
    for (const name of names) {
      const url = new URL(name.split("/").map(encodeURIComponent).join("/"), base);
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: name });
      button.onclick = async () => {
        if (await page.opening.address(url.href, name, false)) return;
        const got = await fetch(url).catch(() => undefined);
        if (got?.ok) void page.opening.blob(await got.blob(), name);
        else page.fail(new Error(`${name} cannot be loaded.`));
      };
      const item = document.createElement("li");
      item.append(button);
      list.append(item);
    }
    list.hidden = names.length === 0;
  } catch {
    page.say("The folder cannot be listed.");
  }
}

/** @param {import("./main.js").PageType} page @param {File} chosen */
async function bring(page, chosen) {
  const content = new Uint8Array(await chosen.arrayBuffer());
  await page.bringModel(() => page.engine.ask("addModel", content));
}

/** @param {import("./main.js").PageType} page */
function models(page) {
  input("ratio").oninput = () => {
    byId("ratio-text").textContent = `${input("ratio").value} %`;
    page.trial.wanted = true;
    page.later("slider", 120, () => {
      void page.queue.side("trial", async (check) => {
        await page.chooseModel(check);
        await page.trial.run(check);
      });
    });
  };
  const settled = () => {
    page.trial.wanted = true;
    page.later("slider", 150, () => void page.run());
  };
  input("ratio").onchange = settled;
  input("hidden-too").onchange = settled;
  byId("compare").onclick = () => void page.compare(!page.comparing);
  byId("load-model").onclick = () => input("model-file").click();
  input("model-file").onchange = () => {
    const [chosen] = input("model-file").files ?? [];
    input("model-file").value = "";
    if (chosen) void bring(page, chosen);
  };
  byId("own-models").onclick = () => void page.backToOwn();
}

/** @param {import("./main.js").PageType} page */
function results(page) {
  for (const id of ["outline", "mask", "heat", "divider"]) input(id).oninput = () => page.layersChanged();
  input("threshold").oninput = () => page.moveThreshold();
  for (const button of document.querySelectorAll("#exports button[data-file]")) {
    const kind = /** @type {HTMLElement} */ (button).dataset.file ?? "";
    /** @type {HTMLElement} */ (button).onclick = async () => {
      try {
        page.forgive();
        const [ending, type] = FILES[kind];
        save(await page.engine.call("file", 0, kind, page.mpp), `${page.opening.name}.${ending}`, type);
      } catch (e) {
        page.fail(e);
      }
    };
  }
  byId("save-model").onclick = async () => {
    try {
      if (!page.chosen) throw new Error("There is no model yet.");
      const { facts } = page.chosen;
      const name = `${facts.family}-${Math.round(facts.ratio * 100)}.safetensors`;
      save(await page.engine.call("modelFile", facts.id), name, "application/octet-stream");
    } catch (e) {
      page.fail(e);
    }
  };
  byId("share-open").onclick = () => void page.share.open();
  byId("share-copy").onclick = () => void page.share.copy();
  for (const id of ["int8", "f16"]) input(id).onchange = () => void page.share.make();
}

