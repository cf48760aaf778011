// The page's side of the workers: calls with promises, events, and which device runs.
import { file, moduleUrl, single } from "./assets.js";

/** Most CPU workers; more would only compete for memory. */
const MAX_HELPERS = 8;

/**
 * @typedef {{ block?: number[], slot: number, restart?: boolean, slide?: import("./slide.js").SlideEvent }} EngineEvent
 * @typedef {{ ms: number, onGpu: boolean, notes: string[], lost: boolean }} Filled
 * @typedef {{ name: string, gpu: boolean, software: boolean, notes: string[] }} DeviceFacts
 */

/** A new worker. A file on a disk has plain ones only. */
const worker = () => new Worker(moduleUrl("worker.js"), { type: single() ? "classic" : "module" });

/** The adapter in words, as far as the browser tells. */
async function adapterName() {
  const gpu = /** @type {any} */ (navigator).gpu;
  const info = (await gpu?.requestAdapter({ powerPreference: "high-performance" }).catch(() => null))?.info;
  return info ? info.description || [info.vendor, info.architecture].filter(Boolean).join(" ") : "";
}

/** Everything that computes. */
export class Engine {
  /** @type {Map<number, { resolve: (value: any) => void, reject: (e: Error) => void }>} */
  #waiting = new Map();
  #last = 0;
  /** @type {MessagePort} */
  #port;
  /** @type {Error | undefined} Why nothing can be computed any more. */
  #dead;
  onfatal = (/** @type {Error} */ _error) => {};
  /** @type {(event: EngineEvent) => void} */
  onevent = () => {};
  /** @type {DeviceFacts} */
  device = { name: "", gpu: false, software: false, notes: [] };
  helpers = 1;

  /** @param {MessagePort} port @param {number} helpers */
  constructor(port, helpers) {
    this.#port = port;
    this.helpers = helpers;
    port.onmessage = ({ data }) => this.#receive(data);
  }

  /**
   * Starts the workers on a compiled module.
   * @param {WebAssembly.Module} module
   * @param {number} [most] CPU workers
   */
  static start(module, most = MAX_HELPERS) {
    const cores = navigator.hardwareConcurrency || 2;
    // Where there are many, one is left to the page.
    const helpers = Math.max(1, Math.min(most, MAX_HELPERS, cores > 4 ? cores - 1 : cores));
    const ports = [];
    for (let i = 0; i < helpers; i++) {
      const { port1, port2 } = new MessageChannel();
      ports.push(port1);
      worker().postMessage({ role: "block", module, port: port2 }, [port2]);
    }
    const { port1, port2 } = new MessageChannel();
    const session = worker();
    const engine = new Engine(port1, helpers);
    session.onerror = () => engine.#fail(new Error("The worker could not start. Reload the page."));
    session.postMessage({ role: "session", module, port: port2, ports }, [port2, ...ports]);
    return engine;
  }

  /** The compiled wasm. */
  static async module() {
    const response = await file("web/prunella_bg.wasm");
    try {
      return await WebAssembly.compileStreaming(response.clone());
    } catch {
      // A host that serves wasm under another type.
      return WebAssembly.compile(await response.arrayBuffer());
    }
  }

  /** @param {any} data */
  #receive(data) {
    if (data.fatal) return this.#fail(new Error(data.fatal));
    if (data.id === undefined) {
      if (!data.ready) this.onevent(data);
      return;
    }
    const call = this.#waiting.get(data.id);
    this.#waiting.delete(data.id);
    if (data.error !== undefined) call?.reject(Object.assign(new Error(data.error), { name: data.name }));
    else call?.resolve(data.value);
  }

  /** @param {Error} error */
  #fail(error) {
    this.#dead = error;
    this.onfatal(error);
    for (const call of this.#waiting.values()) call.reject(error);
    this.#waiting.clear();
  }

  /**
   * Calls a method of the session.
   * @param {string} name
   * @param {...any} args
   * @returns {Promise<any>}
   */
  call(name, ...args) {
    if (this.#dead) return Promise.reject(this.#dead);
    const id = (this.#last += 1);
    // Files are handed over, not copied.
    const files = args.filter((a) => a instanceof Uint8Array).map((a) => a.buffer);
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#port.postMessage({ id, name, args }, files);
    });
  }

  /** As `call`, for what comes as JSON. @param {string} name @param {...any} args @returns {Promise<any>} */
  async ask(name, ...args) {
    return JSON.parse(await this.call(name, ...args));
  }

  /**
   * Opens what was asked for, proven on a model.
   * @param {string} choice auto, gpu or cpu
   * @param {number} model
   */
  async open(choice, model) {
    const adapters = choice === "cpu" ? [] : await this.ask("adapters").catch(() => []);
    const seen = adapters[0];
    try {
      this.device = await this.ask("openDevice", choice, model);
    } catch (e) {
      this.device = { name: "", gpu: false, software: false, notes: [/** @type {Error} */ (e).message] };
    }
    const name = await adapterName();
    if (this.device.gpu && name) this.device.name = `${name} (WebGPU)`;
    if (!this.device.gpu && seen?.software && choice === "auto") {
      this.device.notes.push(`The only WebGPU adapter${name ? `, ${name},` : ""} is a software one and slower than the processor itself, so it is passed over.`);
    } else if (!this.device.gpu && !seen && choice !== "cpu") {
      this.device.notes.push("This browser offers no WebGPU.");
    }
    return this.device;
  }

  /**
   * Segments into a slot. The page sees to it that only one runs at a time.
   * @param {number} slot
   * @param {number} model
   * @returns {Promise<Filled>}
   */
  async fill(slot, model) {
    const filled = await this.call("fill", { slot, model, gpu: this.device.gpu });
    if (filled.lost) {
      // Another device may be had for the next image; for this one the processor has done the work.
      await this.open("auto", model);
    }
    return filled;
  }

  /** Asks what runs to end; its caller hears of it by an AbortError. */
  stop() {
    return this.call("cancel");
  }
}
