// Both ends of a block worker: it computes blocks on the CPU; the session worker sends requests.
import { BlockWorker } from "./prunella.js";
import { messageOf } from "./error-message.js";

/** @import { Session } from "./prunella.js" */
/** @import { BlockRect, BlockReply, BlockRequest } from "./worker-api.d.ts" */

/** Computes one block after the other. @param {MessagePort} port */
export function serveBlocks(port) {
  /** @type {BlockWorker | undefined} */
  let engine;
  port.onmessage = ({ data }) => {
    /** @type {BlockRequest} */
    const { id, model, pixels, block } = data;
    try {
      if (model) {
        engine?.free();
        engine = new BlockWorker(model);
      }
      if (!engine) throw new Error("The block worker has no model.");
      const values = engine.run(pixels, ...block);
      /** @type {BlockReply} */
      const reply = { id, values };
      port.postMessage(reply, [values.buffer]);
    } catch (error) {
      /** @type {BlockReply} */
      const reply = { id, error: messageOf(error) };
      port.postMessage(reply);
    }
  };
}

/** The session worker's connection to a block worker. */
export class BlockWorkerClient {
  /** Number of the model that the block worker holds, 0 for none. */
  #model = 0;
  #lastId = 0;
  /** @type {Map<number, (reply: BlockReply) => void>} By number of the request. */
  #pending = new Map();

  /** @param {MessagePort} port */
  constructor(port) {
    this.port = port;
    port.onmessage = ({ data }) => {
      this.#pending.get(data.id)?.(data);
      this.#pending.delete(data.id);
    };
  }

  /**
   * Probabilities of a block, row by row.
   * @param {Session} session
   * @param {number} model
   * @param {Uint8Array} pixels red, green and blue of the block and its context
   * @param {BlockRect} block
   * @returns {Promise<Float32Array>}
   */
  compute(session, model, pixels, block) {
    const file = this.#model === model ? undefined : session.modelFile(model);
    this.#model = model;
    this.#lastId += 1;
    /** @type {BlockRequest} */
    const request = { id: this.#lastId, model: file, pixels, block };
    return new Promise((resolve, reject) => {
      this.#pending.set(request.id, (reply) => {
        if ("error" in reply) {
          this.#model = 0;
          reject(new Error(reply.error));
        } else {
          resolve(reply.values);
        }
      });
      this.port.postMessage(request, [pixels.buffer]);
    });
  }
}
