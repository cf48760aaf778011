// Draws outlines in a worker, so that the page moves smoothly meanwhile.
import { OutlinePainter } from "./outline-painter.js";

/** @import { OutlineScene } from "./outline-painter.js" */

/**
 * @typedef {{ type: "put", name: string, records: Float64Array, left: number, top: number }
 *   | { type: "drop", names: string[] }
 *   | { type: "paint", scene: OutlineScene }} OutlineRequest
 */

/** Answers each scene with a bitmap. @param {MessagePort} port */
export function serveOutlines(port) {
  const painter = new OutlinePainter();
  port.onmessage = ({ data }) => {
    /** @type {OutlineRequest} */
    const request = data;
    switch (request.type) {
      case "put":
        painter.put(request.name, request.records, request.left, request.top);
        break;
      case "drop":
        painter.drop(request.names);
        break;
      case "paint": {
        const { width, height } = request.scene;
        const canvas = new OffscreenCanvas(width, height);
        const context = canvas.getContext("2d");
        if (context) painter.paint(context, request.scene);
        const bitmap = canvas.transferToImageBitmap();
        port.postMessage(bitmap, [bitmap]);
        break;
      }
    }
  };
}

/** The page's side. A scene is drawn after all tiles that were put before it. */
export class OutlineWorker {
  #port;
  /** @type {((bitmap: ImageBitmap) => void) | undefined} */
  #resolve;

  /** @param {MessagePort} port */
  constructor(port) {
    this.#port = port;
    port.onmessage = ({ data }) => this.#resolve?.(data);
  }

  /** @param {OutlineRequest} request @param {Transferable[]} [transfer] */
  #post(request, transfer = []) {
    this.#port.postMessage(request, transfer);
  }

  /** @param {string} name @param {Float64Array} records @param {number} left @param {number} top */
  put(name, records, left, top) {
    this.#post({ type: "put", name, records, left, top }, [records.buffer]);
  }

  /** @param {string[]} names */
  drop(names) {
    this.#post({ type: "drop", names });
  }

  /** Only one scene at a time. @param {OutlineScene} scene @returns {Promise<ImageBitmap>} */
  paint(scene) {
    return new Promise((resolve) => {
      this.#resolve = resolve;
      this.#post({ type: "paint", scene });
    });
  }
}
