// Teaches a model, together with other workers like it. All take the same steps; each computes the
// gradients of some groups of squares.
import init, { TeachWorker } from "./prunella.js";

/** @import { TeachReply, TeachRequest } from "../worker-api.d.ts" */

/** @type {TeachWorker | undefined} */
let worker;

/** @param {TeachReply} reply @param {Transferable[]} [transfer] */
function post(reply, transfer = []) {
  self.postMessage(reply, { transfer });
}

/** The worker, once it has begun. */
function begun() {
  if (!worker) throw new Error("The teaching has not begun.");
  return worker;
}

/** @param {TeachRequest} request @returns {Promise<TeachReply>} */
async function answer(request) {
  switch (request.type) {
    case "begin":
      await init({ module_or_path: request.module });
      worker = new TeachWorker(request.task);
      return { type: "begun", groups: worker.groups() };
    case "gradients": {
      const gradients = request.groups.map((group) => begun().gradients(group));
      return { type: "gradients", gradients };
    }
    case "step":
      return { type: "stepped", step: JSON.parse(begun().step(request.gradients)) };
    case "finish": {
      const outcome = begun().finish();
      return { type: "finished", outcome, weights: begun().weights() };
    }
  }
}

self.onmessage = async ({ data }) => {
  try {
    post(await answer(data));
  } catch (error) {
    const isCrash = error instanceof WebAssembly.RuntimeError;
    const message = error instanceof Error ? error.message : String(error);
    post({
      type: "failed",
      message: isCrash
        ? "Teaching stopped, perhaps for lack of memory. The model stayed as it was: mark less."
        : message,
    });
  }
};
