// Both ends of a block worker: it computes blocks on the CPU; the session worker sends requests.
import { BlockWorker, nucleiOfKept } from "./prunella.js";
import { messageOf } from "./error-message.js";

/** @import { Session } from "./prunella.js" */
/** @import { BlockRect, BlockReply, BlockRequest, BlockWork } from "./worker-api.d.ts" */

/** Computes one block after the other. @param {MessagePort} port */
export function serveBlocks(port) {
  /** @type {BlockWorker | undefined} */
  let engine;
  port.onmessage = ({ data }) => {
    /** @type {BlockRequest} */
    const request = data;
    const { id } = request;
    try {
      if ("task" in request) {
        const nuclei = nucleiOfKept(request.task);
        /** @type {BlockReply} */
        const reply = { id, nuclei };
        port.postMessage(reply, [nuclei.buffer]);
        return;
      }
      const { model, pixels, block } = request;
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
    const reply = this.#post({ model: file, pixels, block }, pixels.buffer);
    return reply.then(
      (answer) => /** @type {{ values: Float32Array }} */ (answer).values,
      (error) => {
        this.#model = 0;
        throw error;
      },
    );
  }

  /**
   * Nuclei of a kept block, as bytes.
   * @param {Uint8Array} task as `Session.slideTask` gives it
   * @returns {Promise<Uint8Array>}
   */
  async findNuclei(task) {
    const answer = await this.#post({ task }, task.buffer);
    return /** @type {{ nuclei: Uint8Array }} */ (answer).nuclei;
  }

  /**
   * @param {BlockWork} work
   * @param {ArrayBufferLike} buffer that is transferred
   * @returns {Promise<Exclude<BlockReply, { error: string }>>}
   */
  #post(work, buffer) {
    this.#lastId += 1;
    /** @type {BlockRequest} */
    const request = { id: this.#lastId, ...work };
    return new Promise((resolve, reject) => {
      this.#pending.set(request.id, (reply) => {
        if ("error" in reply) reject(new Error(reply.error));
        else resolve(reply);
      });
      this.port.postMessage(request, [/** @type {ArrayBuffer} */ (buffer)]);
    });
  }
}
