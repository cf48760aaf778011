// A worker: either the one that holds image, models and answers, or one that computes blocks on the CPU.
import init, { BlockWorker, Session } from "./prunella.js";
import { Slides } from "./slides.js";

/** @typedef {{ port: MessagePort, model: number, waiting: Map<number, (data: any) => void> }} Helper */

/** @type {Session} */
let session;
/** @type {Helper[]} */
let helpers = [];
let stopped = false;

/** Requests to helpers, numbered: a late reply must not answer a later question. */
let requests = 0;

self.onmessage = async ({ data }) => {
  try {
    await init({ module_or_path: data.module });
  } catch (e) {
    if (data.role === "session") data.port.postMessage({ fatal: `The page's engine cannot start: ${sentence(e)}` });
    else data.port.onmessage = (/** @type {MessageEvent} */ m) => data.port.postMessage({ request: m.data.request, error: sentence(e) });
    return;
  }
  if (data.role === "block") {
    serveBlocks(data.port);
  } else {
    session = new Session();
    helpers = data.ports.map(helper);
    serveCalls(data.port);
  }
};

/** @param {MessagePort} port @returns {Helper} */
function helper(port) {
  const waiting = new Map();
  port.onmessage = ({ data }) => {
    waiting.get(data.request)?.(data);
    waiting.delete(data.request);
  };
  return { port, model: 0, waiting };
}

/** Computes one block after the other. @param {MessagePort} port */
function serveBlocks(port) {
  /** @type {BlockWorker | undefined} */
  let worker;
  port.onmessage = ({ data }) => {
    try {
      if (data.model) {
        worker?.free();
        worker = new BlockWorker(data.model);
      }
      const [row, column, width, height] = data.block;
      const values = /** @type {BlockWorker} */ (worker).run(data.pixels, row, column, width, height);
      port.postMessage({ request: data.request, values }, [values.buffer]);
    } catch (e) {
      port.postMessage({ request: data.request, error: sentence(e) });
    }
  };
}

/** @param {unknown} e */
const sentence = (e) => (e instanceof Error ? e.message : String(e));

/** Answers the page's calls, each a method of the session or one of those below. @param {MessagePort} port */
function serveCalls(port) {
  /** @param {object} event */
  const tell = (event) => port.postMessage(event);
  const slides = new Slides(session, (job) => fill(tell, job, false), tell);
  /** @type {Record<string, (...args: any[]) => unknown>} */
  const own = {
    fill: (job) => fill(tell, job),
    cancel: () => {
      stopped = true;
      slides.stop();
      session.cancel();
    },
    openSlide: (place) => slides.open(place),
    openImage: (bytes) => {
      const size = session.openImage(bytes);
      slides.close();
      return size;
    },
    openSample: () => {
      slides.close();
      return session.openSample();
    },
    slideTile: (mark, key) => slides.image(mark, key),
    slideDrawn: (mark, slot, key, layers, chosen) => slides.drawn(mark, slot, key, layers, chosen),
    slideGiveUp: (marks) => slides.giveUp(marks),
    slideTrial: (x, y, side, model, mpp) => slides.trial(x, y, side, model, mpp),
    slideSegment: (job) => {
      stopped = false;
      return slides.segment(job);
    },
  };
  port.onmessage = async ({ data }) => {
    const { id, name, args } = data;
    try {
      const value = await (own[name] ? own[name](...args) : /** @type {any} */ (session)[name](...args));
      const bytes = ArrayBuffer.isView(value) ? [value.buffer] : [];
      port.postMessage({ id, value }, bytes);
    } catch (e) {
      if (e instanceof WebAssembly.RuntimeError) {
        // Its memory may be in any state.
        port.postMessage({ fatal: "The engine stopped, perhaps for want of memory. Reload the page and take a smaller image." });
        return;
      }
      const name = e instanceof Error ? e.name : "Error";
      port.postMessage({ id, error: sentence(e), name });
    }
  };
  tell({ ready: true });
}

/**
 * Segments: on the GPU if one is open, else and after its failure on the CPU workers. Tells of each finished block.
 * @param {(event: object) => void} tell
 * @param {{ slot: number, model: number, gpu: boolean }} job
 * @param {boolean} [afresh] whether it is a work of its own, not a part of one that may have been stopped
 */
async function fill(tell, { slot, model, gpu }, afresh = true) {
  if (afresh) stopped = false;
  const begun = performance.now();
  session.begin(slot, model);
  let notes = [];
  let lost = false;
  if (gpu) {
    const notify = (/** @type {number[]} */ ...block) => tell({ block, slot });
    const told = JSON.parse(await session.compute(slot, model, notify));
    if (told.done) return { ms: performance.now() - begun, onGpu: true, notes: told.notes, lost: false };
    ({ notes, lost } = told);
    tell({ restart: true, slot });
    session.restart(slot);
  }
  await fillByHelpers(tell, slot, model);
  return { ms: performance.now() - begun, onGpu: false, notes, lost };
}

/**
 * @param {(event: object) => void} tell
 * @param {number} slot
 * @param {number} model
 */
async function fillByHelpers(tell, slot, model) {
  const numbers = session.cpuBlocks(slot, model, helpers.length);
  const count = numbers.length / 4;
  let next = 0;
  const work = async (/** @type {Helper} */ helper) => {
    while (next < count && !stopped) {
      const block = numbers.subarray(next * 4, next * 4 + 4);
      next += 1;
      const [row, column, width, height] = block;
      const values = await ask(helper, model, session.cut(slot, row, column, width, height), block);
      session.put(slot, row, column, width, height, values);
      tell({ block: [...block], slot });
    }
  };
  const failing = (/** @type {unknown} */ e) => {
    // The others end after the block they have.
    stopped = true;
    throw e;
  };
  const ended = await Promise.allSettled(helpers.map((h) => work(h).catch(failing)));
  const failed = ended.find((e) => e.status === "rejected");
  if (failed?.status === "rejected") throw failed.reason;
  if (stopped) throw Object.assign(new Error("Cancelled."), { name: "AbortError" });
}

/**
 * One block by one helper.
 * @param {Helper} helper
 * @param {number} model
 * @param {Uint8Array} pixels
 * @param {Uint32Array} block
 * @returns {Promise<Float32Array>}
 */
function ask(helper, model, pixels, block) {
  const file = helper.model === model ? undefined : session.modelFile(model);
  helper.model = model;
  const request = (requests += 1);
  return new Promise((resolve, reject) => {
    helper.waiting.set(request, (data) => {
      if (data.error) {
        helper.model = 0;
        reject(new Error(data.error));
      } else {
        resolve(data.values);
      }
    });
    helper.port.postMessage({ request, model: file, pixels, block: [...block] }, [pixels.buffer]);
  });
}
