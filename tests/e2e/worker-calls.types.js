// Calls of the worker that must be type errors, and some that must not be. `tsc --project web`
// checks this file: an error that is expected and does not occur is an error itself. It never runs.

/** @import { Engine } from "../../target/page-types/engine.js" */

/** @param {Engine} engine */
export async function rightCalls(engine) {
  const model = await engine.callJson("addModel", new Uint8Array());
  /** @type {number} */
  const parameters = model.parameters;
  /** @type {number} */
  const dice = await engine.call("dice", 2, 3);
  /** @type {Uint8Array} */
  const tile = await engine.call("readSlideTile", "0:0/0/1", [0, 0, 1]);
  await engine.call("openSlide", { address: "https://example.org/slide.svs", name: "slide.svs" });
  return { parameters, dice, tile };
}

/** @param {Engine} engine */
export async function wrongCalls(engine) {
  // @ts-expect-error There is no such method.
  await engine.call("segmentEverything");
  // @ts-expect-error An argument is missing.
  await engine.call("dice", 2);
  // @ts-expect-error There is one argument too many.
  await engine.call("dice", 2, 3, 4);
  // @ts-expect-error A number is not a file.
  await engine.callJson("addModel", 7);
  // @ts-expect-error A plain array cannot be transferred.
  await engine.callJson("addModel", [1, 2, 3]);
  // @ts-expect-error The result is JSON text, which `callJson` reads.
  await engine.call("addModel", new Uint8Array());
  // @ts-expect-error The result is not JSON text.
  await engine.callJson("dice", 2, 3);
  // @ts-expect-error The text of a link is not JSON.
  await engine.callJson("link", 1, "int8");
  // @ts-expect-error A function cannot be posted to a worker.
  await engine.call("slideTile", 0, 0, 1, () => {});
  // @ts-expect-error An object of the wasm cannot be posted back.
  await engine.call("begin", 0, 1);
  // @ts-expect-error The page must not free the session.
  await engine.call("free");
  // @ts-expect-error A job needs a slot.
  await engine.call("segment", { model: 1, mpp: 0, gpu: false });
  // @ts-expect-error The choice of a device is one of three words.
  await engine.openDevice("fastest", 1);

  const model = await engine.callJson("prune", 1, 0.5, false);
  // @ts-expect-error A model states no such fact.
  const width = model.width;
  /** @type {string} */
  // @ts-expect-error The result is a number.
  const dice = await engine.call("dice", 2, 3);
  return { width, dice };
}

/** @param {Engine} engine */
export function wrongEvents(engine) {
  engine.onevent = (event) => {
    // @ts-expect-error Only an event of a block has a block.
    if (event.type === "restart") return event.block;
    return undefined;
  };
}
