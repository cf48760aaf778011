// Binds the page's controls to what they do.
import { isStandalone } from "./assets.js";
import { elements } from "./elements.js";
import { showFolder } from "./file-list.js";
import { chooseFiles, openModelFile, takeData, takeFiles } from "./incoming.js";
import { ZOOM_STEP, bindCanvasInput } from "./input.js";
import { bindMagnification } from "./magnification.js";
import { alertNumber, bindMessages, closeAlert } from "./messages.js";
import { bindModelStops, showModelStop } from "./model-stops.js";
import { saveFile } from "./save-file.js";
import { bindSheet } from "./sheet.js";
import { shippedModel } from "./shipped-models.js";
import { bindSlideEstimate } from "./slide-estimate.js";
import { MAIN } from "./slots.js";
import { bindStainSwitch } from "./stain-switch.js";

/** @import { Page } from "./page.js" */
/** @import { ModelSetting } from "./worker-api.d.ts" */

/** Pause after the last movement of the slider before the agreement is computed, milliseconds. */
const PREVIEW_DELAY_MS = 120;
/** Pause after the slider was released before the image is segmented, milliseconds. */
const SEGMENT_DELAY_MS = 150;

/** Exported files: what follows the image's name, and media type. */
const EXPORTS = /** @type {Record<string, { suffix: string, type: string }>} */ ({
  geojson: { suffix: "geojson", type: "application/geo+json" },
  csv: { suffix: "csv", type: "text/csv" },
  labels: { suffix: "labels.png", type: "image/png" },
  overlay: { suffix: "overlay.png", type: "image/png" },
  probability: { suffix: "probability.png", type: "image/png" },
});

/** @param {Page} page */
export function bindControls(page) {
  bindCanvas(page);
  bindImageControls(page);
  bindDropAndPaste(page);
  bindModelControls(page);
  bindStainSwitch(page);
  bindLayerControls(page);
  bindExportControls(page);
  bindFileKeys(page);
  bindMessages(() => page.canvasView.canvas.focus());
  bindMagnification(page);
  bindSheet();
  bindSlideEstimate(page);
  elements.cancel.onclick = () => void page.cancel();
  const { folder } = page.address.urlState;
  if (folder && !isStandalone()) void showFolder(page, folder);
}

/** @param {Page} page */
function bindCanvas(page) {
  const { canvasView } = page;
  const tool = () => page.tools.canvasTool();
  bindCanvasInput(canvasView, tool);
  canvasView.onreplaced = () => bindCanvasInput(canvasView, tool);
  elements.zoomIn.onclick = () => zoomAtCentre(page, ZOOM_STEP);
  elements.zoomOut.onclick = () => zoomAtCentre(page, 1 / ZOOM_STEP);
  elements.zoomFit.onclick = () => {
    canvasView.viewport.fit();
    canvasView.requestFrame();
  };
  const darkMode = matchMedia("(prefers-color-scheme: dark)");
  darkMode.addEventListener("change", () => canvasView.requestFrame());
}

/** @param {Page} page @param {number} factor */
function zoomAtCentre({ canvasView }, factor) {
  const { canvas, viewport } = canvasView;
  viewport.zoom(canvas.width / 2, canvas.height / 2, factor);
  canvasView.requestFrame();
}

/** The files that were chosen. The input is emptied, so that they can be chosen again. */
function chosenFiles(/** @type {HTMLInputElement} */ input) {
  const files = [...(input.files ?? [])];
  input.value = "";
  return files;
}

/** @param {Page} page */
function bindImageControls(page) {
  elements.chooseFile.onclick = () => void chooseFiles(page);
  elements.open.onclick = () => void chooseFiles(page);
  for (const button of [elements.takePhoto, elements.photo]) {
    button.onclick = () => elements.camera.click();
  }
  const take = (/** @type {HTMLInputElement} */ input) => {
    takeFiles(page, chosenFiles(input)).catch((error) => page.showError(error));
  };
  elements.camera.onchange = () => take(elements.camera);
  elements.file.onchange = () => take(elements.file);
  elements.sample.onclick = () => void page.opener.openSample();
  elements.sampleAgain.onclick = () => void page.opener.openSample();
  elements.mpp.onchange = () => page.mppChanged();
  elements.segmentView.onclick = () => void page.segmentSlide("view");
  elements.segmentSlide.onclick = () => void page.segmentSlide("slide");
}

/** @param {Page} page */
function bindDropAndPaste(page) {
  const { classList } = elements.viewer;
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    classList.add("drag-over");
  });
  document.addEventListener("dragleave", () => classList.remove("drag-over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    classList.remove("drag-over");
    void takeData(page, event.dataTransfer);
  });
  document.addEventListener("paste", (event) => {
    // Text that is pasted into a field belongs to the field.
    const isInField = event.target instanceof Element && event.target.matches("input, textarea");
    if (!isInField) void takeData(page, event.clipboardData);
  });
}

/** Page up and page down open the previous and the next file. @param {Page} page */
function bindFileKeys(page) {
  document.addEventListener("keydown", (event) => {
    const { target, key } = event;
    // In the panel these keys scroll.
    const isPicture = target === document.body || target === page.canvasView.canvas;
    if (!isPicture || event.ctrlKey || event.metaKey || event.altKey) return;
    if (key !== "PageUp" && key !== "PageDown") return;
    event.preventDefault();
    void page.files.step(key === "PageUp" ? -1 : 1);
  });
}

/** @param {Page} page */
function bindModelControls(page) {
  elements.ratio.oninput = () => {
    showModelStop(page);
    page.preview.isEnabled = true;
    const model = page.shownModel();
    page.debounce("slider", PREVIEW_DELAY_MS, () => void previewModel(page, model));
  };
  const chooseModelSoon = () => {
    page.preview.isEnabled = true;
    const model = page.shownModel();
    page.debounce("slider", SEGMENT_DELAY_MS, () => page.chooseModel(model));
  };
  bindModelStops(page, chooseModelSoon);
  elements.ratio.onchange = chooseModelSoon;
  elements.pruneHidden.onchange = chooseModelSoon;
  elements.compare.onclick = () => void page.setComparing(!page.comparing);
  elements.loadModel.onclick = () => elements.modelFile.click();
  elements.modelFile.onchange = () => {
    const [file] = chosenFiles(elements.modelFile);
    if (file) void openModelFile(page, file);
  };
  elements.shippedModels.onclick = () => void page.useShippedModels();
}

/**
 * Shows the facts and the agreement of the model at the slider.
 * @param {Page} page
 * @param {ModelSetting} model
 */
function previewModel(page, model) {
  return page.tasks.runInBackground("preview", async (check) => {
    await page.selectModel(check, model);
    await page.preview.update(check);
  });
}

/** @param {Page} page */
function bindLayerControls(page) {
  const { outline, mask, heat, divider } = elements;
  for (const input of [outline, mask, heat]) input.oninput = () => page.layersMoved();
  divider.oninput = () => page.dividerMoved();
  elements.palette.onchange = () => page.paletteChosen();
  elements.threshold.oninput = () => page.thresholdMoving();
  elements.threshold.onchange = () => page.thresholdMoved();
}

/** @param {Page} page */
function bindExportControls(page) {
  for (const button of elements.exports) {
    button.onclick = () => void saveExport(page, button.dataset.file ?? "");
  }
  elements.saveModel.onclick = () => void saveModel(page);
  elements.shareOpen.onclick = () => void page.shareDialog.open();
  elements.shareCopy.onclick = () => void page.shareDialog.copy();
  elements.int8.onchange = () => void page.shareDialog.update();
  elements.f16.onchange = () => void page.shareDialog.update();
}

/** @param {Page} page @param {string} kind a key of `EXPORTS` */
async function saveExport(page, kind) {
  const shown = alertNumber();
  try {
    const content = await page.engine.call("file", MAIN, kind, page.mpp);
    const { suffix, type } = EXPORTS[kind];
    saveFile(content, `${page.opener.name}.${suffix}`, type);
    closeAlert(shown);
  } catch (error) {
    page.showError(error);
  }
}

/** @param {Page} page */
async function saveModel(page) {
  try {
    if (!page.model) throw new Error("No model is loaded.");
    const { id, family, ratio } = page.model.facts;
    const content = await page.engine.call("modelFile", id);
    const shipped = shippedModel(page.selectedSetting);
    const name = shipped?.file ?? `${family}-${Math.round(ratio * 100)}`;
    saveFile(content, `${name}.safetensors`, "application/octet-stream");
  } catch (error) {
    page.showError(error);
  }
}
