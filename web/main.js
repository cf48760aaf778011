// Starts the page.
import initWasm, { version } from "./prunella.js";
import { isStandalone } from "./assets.js";
import { bindControls } from "./controls.js";
import { elements } from "./elements.js";
import { Engine } from "./engine.js";
import { messageOf } from "./error-message.js";
import { showAlert } from "./messages.js";
import { Page } from "./page.js";
import { readUrl } from "./url-state.js";

async function startPage() {
  const { dataset } = document.documentElement;
  dataset.state = "loading";
  const module = await Engine.compile();
  const engine = Engine.start(module, readUrl(new URL(location.href)).workers);
  await initWasm({ module_or_path: module });
  elements.version.textContent = version();
  const page = new Page(engine);
  engine.onfatal = (error) => {
    page.showError(error);
    page.setBusy(false);
    dataset.state = "failed";
  };
  // For the console and the tests.
  Object.assign(globalThis, { prunella: page });
  const { device, folder } = page.address.urlState;
  if (device !== "cpu") await page.canvasView.useWebGpu();
  elements.renderer.textContent = `Drawn by ${page.canvasView.renderer}`;
  elements.renderer.dataset.gpu = String(page.canvasView.viewport.usesWebGpu);
  bindControls(page);
  await page.address.applyUrl();
  dataset.state = "idle";
  page.setBusy(false);
  // The address of `prunella serve` may belong to another program later, so nothing is cached.
  if (!isStandalone() && !folder) registerServiceWorker();
}

function registerServiceWorker() {
  if (!("serviceWorker" in navigator) || !location.protocol.startsWith("http")) return;
  navigator.serviceWorker.register("./sw.js").catch(() => {});
}

/** @param {unknown} error */
function showStartError(error) {
  const isOldBrowser = typeof WebAssembly !== "object" || typeof ResizeObserver !== "function";
  showAlert(
    isOldBrowser
      ? "This browser is too old for the page. Use one of the last three years."
      : `The page could not start: ${messageOf(error)}`,
  );
  document.documentElement.dataset.state = "failed";
}

startPage().catch(showStartError);
