// The page's connection to its workers: typed calls, events, and the device that computes.
import { fetchAsset, isStandalone, moduleUrl } from "./assets.js";
import { OutlineWorker } from "./outline-worker.js";

/**
 * @import { AdapterFacts, CallMessage, DeviceFacts, JsonMethodName, JsonResults, MethodArguments,
 *   MethodName, MethodResult, PlainMethodName, SegmentResult, SessionMessage, StartMessage,
 *   WorkerEvent } from "./worker-api.d.ts"
 */

/** Largest number of CPU workers. More would only compete for memory bandwidth. */
const MAX_BLOCK_WORKERS = 8;
/** Number of cores above which one is left to the page. */
const FEW_CORES = 4;

/**
 * @typedef {object} PendingCall
 * @property {(value: unknown) => void} resolve
 * @property {(error: Error) => void} reject
 */

/**
 * Starts a worker.
 * @param {StartMessage} message
 * @param {MessagePort[]} ports those in the message
 */
function startWorker(message, ports) {
  // A page opened from a disk can only start classic workers.
  const worker = new Worker(moduleUrl("worker.js"), {
    type: isStandalone() ? "classic" : "module",
  });
  worker.postMessage(message, ports);
  return worker;
}

/** @param {number} limit */
function blockWorkerCount(limit) {
  const cores = navigator.hardwareConcurrency || 2;
  const available = cores > FEW_CORES ? cores - 1 : cores;
  return Math.max(1, Math.min(limit, MAX_BLOCK_WORKERS, available));
}

/** Name of the WebGPU adapter, as far as the browser states it. */
async function adapterName() {
  // Not every browser has WebGPU.
  const gpu = /** @type {GPU | undefined} */ (navigator.gpu);
  const request = gpu?.requestAdapter({ powerPreference: "high-performance" });
  const adapter = await request?.catch(() => null);
  if (!adapter?.info) return "";
  const { description, vendor, architecture } = adapter.info;
  return description || [vendor, architecture].filter(Boolean).join(" ");
}

/** Contents of files among the arguments of a call. They are transferred, not copied. */
function transferables(/** @type {readonly unknown[]} */ args) {
  const buffers = [];
  for (const argument of args) {
    if (argument instanceof Uint8Array) buffers.push(/** @type {ArrayBuffer} */ (argument.buffer));
  }
  return buffers;
}

export class Engine {
  /** @type {Map<number, PendingCall>} By number of the call. */
  #pending = new Map();
  #lastId = 0;
  /** @type {MessagePort} To the session worker. */
  #port;
  /** @type {Error | undefined} Why no call can be answered any more. */
  #fatalError;
  /** @type {(error: Error) => void} */
  onfatal = () => {};
  /** @type {(event: WorkerEvent) => void} */
  onevent = () => {};
  /** @type {DeviceFacts} */
  device = { name: "", gpu: false, software: false, notes: [] };

  /** @param {MessagePort} port @param {number} blockWorkers number of CPU workers */
  constructor(port, blockWorkers) {
    this.#port = port;
    this.blockWorkers = blockWorkers;
    port.onmessage = ({ data }) => this.#receive(data);
  }

  /**
   * Starts the workers.
   * @param {WebAssembly.Module} module
   * @param {number} [limit] largest number of CPU workers
   */
  static start(module, limit = MAX_BLOCK_WORKERS) {
    const count = blockWorkerCount(limit);
    const blockPorts = [];
    for (let i = 0; i < count; i++) {
      const { port1, port2 } = new MessageChannel();
      blockPorts.push(port1);
      startWorker({ role: "block", module, port: port2 }, [port2]);
    }
    const { port1, port2: port } = new MessageChannel();
    const engine = new Engine(port1, count);
    const worker = startWorker({ role: "session", module, port, blockPorts }, [
      port,
      ...blockPorts,
    ]);
    worker.onerror = () => engine.#fail(new Error("The worker could not start. Reload the page."));
    return engine;
  }

  /** Starts the worker that draws outlines. */
  startOutlineWorker() {
    const { port1, port2: port } = new MessageChannel();
    startWorker({ role: "outlines", port }, [port]);
    return new OutlineWorker(port1);
  }

  /** Compiles the wasm. */
  static async compile() {
    const response = await fetchAsset("web/prunella_bg.wasm");
    try {
      return await WebAssembly.compileStreaming(response.clone());
    } catch {
      // The host serves wasm under another media type.
      return WebAssembly.compile(await response.arrayBuffer());
    }
  }

  /** @param {SessionMessage} message */
  #receive(message) {
    switch (message.type) {
      case "fatal":
        this.#fail(new Error(message.message));
        break;
      case "result":
        this.#take(message.id)?.resolve(message.value);
        break;
      case "error": {
        const error = Object.assign(new Error(message.message), { name: message.name });
        this.#take(message.id)?.reject(error);
        break;
      }
      default:
        this.onevent(message);
    }
  }

  /** @param {number} id */
  #take(id) {
    const call = this.#pending.get(id);
    this.#pending.delete(id);
    return call;
  }

  /** @param {Error} error */
  #fail(error) {
    this.#fatalError = error;
    this.onfatal(error);
    for (const call of this.#pending.values()) call.reject(error);
    this.#pending.clear();
  }

  /**
   * Calls a method of the session worker.
   * @template {PlainMethodName} Name
   * @param {Name} name
   * @param {MethodArguments<Name>} args
   * @returns {Promise<MethodResult<Name>>}
   */
  call(name, ...args) {
    return /** @type {Promise<MethodResult<Name>>} */ (this.#post(name, args));
  }

  /**
   * Calls a method of the session worker that returns JSON.
   * @template {JsonMethodName} Name
   * @param {Name} name
   * @param {MethodArguments<Name>} args
   * @returns {Promise<JsonResults[Name]>}
   */
  async callJson(name, ...args) {
    return JSON.parse(/** @type {string} */ (await this.#post(name, args)));
  }

  /** @param {MethodName} name @param {readonly unknown[]} args @returns {Promise<unknown>} */
  #post(name, args) {
    if (this.#fatalError) return Promise.reject(this.#fatalError);
    this.#lastId += 1;
    const id = this.#lastId;
    /** @type {CallMessage} */
    const message = { id, name, args: [...args] };
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      this.#port.postMessage(message, transferables(args));
    });
  }

  /**
   * Opens a device after a test with a model. Without a GPU that computes correctly it is the CPU.
   * @param {"auto" | "gpu" | "cpu"} choice
   * @param {number} model
   */
  async openDevice(choice, model) {
    const adapter = choice === "cpu" ? undefined : await this.#firstAdapter();
    try {
      this.device = await this.callJson("openDevice", choice, model);
    } catch (e) {
      const error = /** @type {Error} */ (e);
      this.device = { name: "", gpu: false, software: false, notes: [error.message] };
    }
    const name = await adapterName();
    if (this.device.gpu) {
      if (name) this.device.name = `${name} (WebGPU)`;
    } else if (adapter?.software && choice === "auto") {
      const which = name ? `, ${name},` : "";
      this.device.notes.push(
        `The only WebGPU adapter${which} is a software adapter. ` +
          "It is slower than the CPU engine, so it is not used.",
      );
    } else if (!adapter && choice !== "cpu") {
      this.device.notes.push("This browser does not provide WebGPU.");
    }
    return this.device;
  }

  /** @returns {Promise<AdapterFacts | undefined>} */
  async #firstAdapter() {
    const adapters = await this.callJson("adapters").catch(() => []);
    return adapters[0];
  }

  /**
   * Segments into a slot of the session. Only one segmentation may run at a time.
   * @param {number} slot
   * @param {number} model
   * @param {number} mpp pixel size of the image, µm; 0 if unknown
   * @param {{ resume?: boolean }} [how] whether to go on with what was cancelled
   * @returns {Promise<SegmentResult>}
   */
  async segment(slot, model, mpp, { resume = false } = {}) {
    const { gpu } = this.device;
    const result = await this.call("segment", { slot, model, mpp, gpu, resume });
    // The CPU has finished this image; another device may be available for the next one.
    if (result.lost) await this.openDevice("auto", model);
    return result;
  }

  /** Ends the running segmentation. Its caller gets an AbortError. */
  cancel() {
    return this.call("cancel");
  }
}
