// Teaches a model in workers that are started for it: all hold the same run, each computes the
// gradients of some groups of squares of a step, and all take the step with those of all.
import { isStandalone, fetchAsset } from "./assets.js";

/** @import { TeachReply, TeachRequest, TeachStep } from "./worker-api.d.ts" */

/** Groups in a step: more workers than this find nothing to do. */
const MAX_WORKERS = 4;
const STOPPED = "Teaching was stopped.";
/** @type {Promise<WebAssembly.Module> | undefined} */
let compiled;

/** Compiles the wasm that teaches, once. */
export function teachModule() {
  if (isStandalone()) {
    return Promise.reject(new Error("This file cannot teach. The hosted page can."));
  }
  compiled ??= compile().catch((error) => {
    compiled = undefined;
    throw error;
  });
  return compiled;
}

async function compile() {
  const response = await fetchAsset("teach/prunella_bg.wasm");
  return WebAssembly.compile(await response.arrayBuffer());
}

/** Pictures of tissue that a taught model must not forget. @returns {Promise<Uint8Array[]>} */
export async function teachTissue() {
  /** @type {string[]} */
  const names = await (await fetchAsset("teach/tissue.json")).json();
  return Promise.all(
    names.map(async (name) => {
      const response = await fetchAsset(`teach/${name}`);
      return new Uint8Array(await response.arrayBuffer());
    }),
  );
}

/** One worker, asked one question at a time. */
class TeachWorkerClient {
  /** @type {((reply: TeachReply) => void) | undefined} */
  #answered;
  #worker = new Worker(new URL("../teach/worker.js", import.meta.url), { type: "module" });

  constructor() {
    this.#worker.onmessage = ({ data }) => this.#answered?.(data);
    this.#worker.onerror = () => {
      const message =
        "Teaching stopped, perhaps for lack of memory. The model stayed as it was: mark less.";
      this.#answered?.({ type: "failed", message });
    };
  }

  /**
   * @template {TeachReply["type"]} Type
   * @param {TeachRequest} request
   * @param {Type} type of the reply
   * @returns {Promise<Extract<TeachReply, { type: Type }>>}
   */
  async ask(request, type) {
    /** @type {TeachReply} */
    const reply = await new Promise((resolve) => {
      this.#answered = resolve;
      this.#worker.postMessage(request);
    });
    if (reply.type === "failed") {
      const name = reply.message === STOPPED ? "AbortError" : "Error";
      throw Object.assign(new Error(reply.message), { name });
    }
    if (reply.type !== type) throw new Error("A teaching worker gave another answer.");
    return /** @type {Extract<TeachReply, { type: Type }>} */ (reply);
  }

  end() {
    this.#worker.terminate();
    this.#answered?.({ type: "failed", message: STOPPED });
  }
}

/**
 * Teaches to the end of the recipe.
 * @param {Uint8Array} task as the session gives it
 * @param {number} workers at most so many
 * @param {(step: TeachStep) => void} onStep called after each step; throws to stop
 * @param {AbortSignal} signal
 * @returns {Promise<{ weights: Float32Array, outcome: string }>}
 */
export async function teachInWorkers(task, workers, onStep, signal) {
  const module = await teachModule();
  signal.throwIfAborted();
  const clients = [new TeachWorkerClient()];
  const stop = () => clients.forEach((client) => client.end());
  signal.addEventListener("abort", stop);
  try {
    const begin = /** @type {TeachRequest} */ ({ type: "begin", module, task });
    const { groups } = await clients[0].ask(begin, "begun");
    while (clients.length < Math.min(groups, workers, MAX_WORKERS)) {
      clients.push(new TeachWorkerClient());
    }
    await Promise.all(clients.slice(1).map((client) => client.ask(begin, "begun")));
    /** @type {TeachStep} */
    let step;
    do {
      step = await takeStep(clients, groups);
      onStep(step);
    } while (step.done < step.total);
    const { weights, outcome } = await clients[0].ask({ type: "finish" }, "finished");
    return { weights, outcome };
  } finally {
    signal.removeEventListener("abort", stop);
    stop();
  }
}

/** @param {TeachWorkerClient[]} clients @param {number} groups */
async function takeStep(clients, groups) {
  const shares = clients.map((_, first) => {
    const own = [];
    for (let group = first; group < groups; group += clients.length) own.push(group);
    return own;
  });
  const replies = await Promise.all(
    clients.map((client, i) => client.ask({ type: "gradients", groups: shares[i] }, "gradients")),
  );
  const length = replies[0].gradients[0].length;
  const gradients = new Float32Array(groups * length);
  for (const [i, reply] of replies.entries()) {
    for (const [j, values] of reply.gradients.entries()) {
      gradients.set(values, shares[i][j] * length);
    }
  }
  const steps = await Promise.all(
    clients.map((client) => client.ask({ type: "step", gradients }, "stepped")),
  );
  return steps[0].step;
}
