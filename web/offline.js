// The page without a network: a service worker has its files, and later all models that ship.
import { elements } from "./elements.js";

/** Pause after the start of the page before models are loaded for use without a network. */
const MODELS_DELAY_MS = 4000;

/** Makes the page available without a network. */
export async function registerServiceWorker() {
  const { serviceWorker } = navigator;
  if (!serviceWorker || !location.protocol.startsWith("http")) return;
  serviceWorker.addEventListener("message", ({ data }) => {
    if (data?.type === "models-cached") showModels(data);
  });
  try {
    await serviceWorker.register("./sw.js");
    const { active } = await serviceWorker.ready;
    /** @typedef {{ connection?: { saveData?: boolean } }} WithConnection */
    const { connection } = /** @type {WithConnection} */ (/** @type {unknown} */ (navigator));
    if (connection?.saveData) {
      elements.offline.textContent = "Offline: the page and the models that were used.";
      return;
    }
    setTimeout(() => active?.postMessage("cache-models"), MODELS_DELAY_MS);
  } catch {
    // The page works, but not without a network.
  }
}

/** @param {{ cached: number, total: number }} models besides the default one */
function showModels({ cached, total }) {
  elements.offline.textContent =
    cached === total
      ? "Works offline, with all models."
      : "Works offline, with the models that were used.";
}
