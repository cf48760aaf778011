// Magnification as of a microscope's objective: at 10× one pixel of the screen shows 1 µm.
import { elements } from "./elements.js";

/** @import { Page } from "./page.js" */

/** Micrometres for one CSS pixel at a magnification of 1. */
const UM_AT_ONE = 10;
/** Smallest scale as a share of that of the whole image, as in the crate's viewer. */
const MIN_FIT_SHARE = 0.3;
const TOO_SMALL =
  "At this magnification the image would be less than a third as large as the view.";
const UNKNOWN = "The pixel size is unknown. Enter it under Image.";

/** @param {Page} page */
export function bindMagnification(page) {
  for (const button of elements.magnifications) {
    const magnification = Number(button.dataset.magnification);
    button.onclick = () => setMagnification(page, magnification);
  }
  showMagnification(page);
  page.canvasView.frameListeners.add(() => showMagnification(page));
}

/** Zooms about the centre of the view. @param {Page} page @param {number} magnification */
function setMagnification({ canvasView, mpp }, magnification) {
  if (mpp === 0) return;
  const { viewport, canvas, pixelRatio } = canvasView;
  const wanted = ((mpp * magnification) / UM_AT_ONE) * pixelRatio;
  const [, , scale] = viewport.state();
  viewport.zoom(canvas.width / 2, canvas.height / 2, wanted / scale);
  canvasView.requestFrame();
}

/** Shows the magnification of the view. @param {Page} page */
function showMagnification({ canvasView, mpp }) {
  const isKnown = mpp > 0 && canvasView.width > 0;
  const cssScale = canvasView.viewport.scale() / canvasView.pixelRatio;
  const now = isKnown ? (cssScale / mpp) * UM_AT_ONE : 0;
  const { canvas, pixelRatio, width, height } = canvasView;
  const fit = Math.min(canvas.width / width, canvas.height / height) / pixelRatio;
  const smallest = fit * MIN_FIT_SHARE;
  for (const button of elements.magnifications) {
    const ofButton = Number(button.dataset.magnification);
    const isTooSmall = (mpp * ofButton) / UM_AT_ONE < smallest;
    button.disabled = !isKnown || isTooSmall;
    if (!isKnown) button.title = UNKNOWN;
    else button.title = isTooSmall ? TOO_SMALL : `Magnification ${ofButton}×, as an objective`;
    button.setAttribute("aria-pressed", String(Math.abs(now / ofButton - 1) < 0.01));
  }
  elements.magnificationNow.hidden = !isKnown;
  const text = isKnown ? `${Number(now.toPrecision(2))}×` : "";
  if (elements.magnificationNow.value !== text) elements.magnificationNow.value = text;
}
