// Starts a worker of the page. The session worker holds image, models and results and runs the
// page's calls. Block workers compute blocks on the CPU. The outline worker draws, without wasm.
import init from "./prunella.js";
import { BlockWorkerClient, serveBlocks } from "./block-worker.js";
import { messageOf } from "./error-message.js";
import { serveOutlines } from "./outline-worker.js";
import { SessionWorker } from "./session-worker.js";

/** @import { BlockReply, SessionMessage, StartMessage } from "./worker-api.d.ts" */

self.onmessage = async ({ data }) => {
  /** @type {StartMessage} */
  const message = data;
  if (message.role === "outlines") {
    serveOutlines(message.port);
    return;
  }
  try {
    await init({ module_or_path: message.module });
  } catch (error) {
    reportFailedStart(message, error);
    return;
  }
  if (message.role === "block") {
    serveBlocks(message.port);
  } else {
    const blockWorkers = message.blockPorts.map((port) => new BlockWorkerClient(port));
    new SessionWorker(message.port, blockWorkers).serve();
  }
};

/** @param {Exclude<StartMessage, { role: "outlines" }>} start @param {unknown} error */
function reportFailedStart({ role, port }, error) {
  if (role === "session") {
    /** @type {SessionMessage} */
    const fatal = { type: "fatal", message: `The engine cannot start: ${messageOf(error)}` };
    port.postMessage(fatal);
    return;
  }
  port.onmessage = ({ data }) => {
    /** @type {BlockReply} */
    const reply = { id: data.id, error: messageOf(error) };
    port.postMessage(reply);
  };
}
