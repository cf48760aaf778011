// The page without a network: a service worker has its files, and later all models that ship.
import { elements } from "./elements.js";

/** Pause after the start of the page before models are loaded for use without a network. */
const MODELS_DELAY_MS = 4000;
/** Pause before they are asked for again: a busy browser may end the worker before it answers. */
const ASK_AGAIN_MS = 20e3;
const MAX_REQUESTS = 5;

/** Makes the page available without a network. */
export async function registerServiceWorker() {
  const { serviceWorker } = navigator;
  if (!serviceWorker || !location.protocol.startsWith("http")) return;
  let hasAnswer = false;
  serviceWorker.addEventListener("message", ({ data }) => {
    if (data?.type !== "models-cached") return;
    hasAnswer = true;
    showModels(data);
  });
  try {
    await serviceWorker.register("./sw.js");
    const registration = await serviceWorker.ready;
    /** @typedef {{ connection?: { saveData?: boolean } }} WithConnection */
    const { connection } = /** @type {WithConnection} */ (/** @type {unknown} */ (navigator));
    if (connection?.saveData) {
      elements.offline.textContent = "Offline: the page and the models that were used.";
      return;
    }
    await pause(MODELS_DELAY_MS);
    for (let i = 0; i < MAX_REQUESTS && !hasAnswer; i++) {
      registration.active?.postMessage("cache-models");
      await pause(ASK_AGAIN_MS);
    }
  } catch {
    // The page works, but not without a network.
  }
}

/** @param {number} ms milliseconds */
function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** @param {{ cached: number, total: number }} models besides the default one */
function showModels({ cached, total }) {
  elements.offline.textContent =
    cached === total
      ? "Works offline, with all models."
      : "Works offline, with the models that were used.";
}
