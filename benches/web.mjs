// The page against onnxruntime-web, in one browser, page and run. Called by `cargo xtask bench web`, which sets up what it needs:
// node benches/web.mjs MODULES [--json], MODULES being the folder with playwright-core and onnxruntime-web.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [modules, ...options] = process.argv.slice(2);
const { launch, open, prunella, root, serve, site, tissue } = await import("../tests/e2e/harness.mjs");
const ort = join(modules, "onnxruntime-web/dist");
const version = createRequire(import.meta.url)(join(modules, "onnxruntime-web/package.json")).version;

/** Middle of several runs. */
const RUNS = 5;
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

const onnx = (model) => {
  const file = join(root, "target", `${model}-dense.onnx`);
  prunella("export", join(root, "models", `${model}.safetensors`), "--onnx", "--dense", "--out", file);
  return readFileSync(file);
};
const reply = (bytes, type) => (_, response) => response.writeHead(200, { "Content-Type": type }).end(bytes);
const names = ["ort.webgpu.bundle.min.mjs", "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm", "ort-wasm-simd-threaded.jsep.wasm", "ort-wasm-simd-threaded.asyncify.wasm", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.jsep.mjs", "ort-wasm-simd-threaded.asyncify.mjs"];
const extra = {};
for (const name of names) {
  try {
    extra[`/ort/${name}`] = reply(readFileSync(join(ort, name)), name.endsWith("wasm") ? "application/wasm" : "text/javascript");
  } catch {
    // Not part of this release.
  }
}
for (const model of ["dcnn-90", "dcnn-90-all"]) extra[`/onnx/${model}`] = reply(onnx(model), "application/octet-stream");

const host = await serve(site, extra);
const browser = await launch();

/** Milliseconds of both on a field of `side` pixels, run after run, one after the other. */
async function race(query, fragment, model, side, provider) {
  const { context, page } = await open(browser, `${host.address}${query}#${fragment}`);
  const image = tissue(0, 0, side, side).toString("base64");
  const values = await page.evaluate(
    async ([image, model, side, provider, runs]) => {
      const { prunella } = globalThis;
      const bytes = Uint8Array.from(atob(image), (c) => c.charCodeAt(0));
      await prunella.engine.call("openImage", bytes);
      const { facts } = prunella.chosen;
      const ours = async () => (await prunella.engine.fill(0, facts.id)).ms;
      const ort = await import(provider === "webgpu" ? "/ort/ort.webgpu.bundle.min.mjs" : "/ort/ort.wasm.bundle.min.mjs");
      ort.env.wasm.wasmPaths = "/ort/";
      ort.env.wasm.numThreads = 1;
      const session = await ort.InferenceSession.create(`/onnx/${model}`, { executionProviders: [provider] });
      const padded = side + 54;
      const input = new ort.Tensor("float32", Float32Array.from({ length: 3 * padded * padded }, (_, i) => ((i * 7919) % 251) / 255), [1, 3, padded, padded]);
      const theirs = async () => {
        const begun = performance.now();
        const output = await session.run({ [session.inputNames[0]]: input });
        await output[session.outputNames[0]].getData();
        return performance.now() - begun;
      };
      await ours();
      await theirs();
      const got = { ours: [], theirs: [], gpu: prunella.engine.device.gpu, device: document.getElementById("device").textContent };
      for (let i = 0; i < runs; i++) {
        got.ours.push(await ours());
        got.theirs.push(await theirs());
      }
      return got;
    },
    [image, model, side, provider, provider === "webgpu" ? 3 : RUNS],
  );
  await context.close();
  if (values.gpu !== (provider === "webgpu")) throw new Error(`the page ran on ${values.device}`);
  return { ours: median(values.ours), theirs: median(values.theirs), device: values.device };
}

/** Milliseconds from navigation to the first block of the sample. */
async function first() {
  const times = [];
  for (let i = 0; i < 3; i++) {
    const { context, page } = await open(browser, `${host.address}#i=sample`);
    await page.waitForFunction(() => document.documentElement.dataset.firstBlock);
    times.push(Number(await page.evaluate(() => document.documentElement.dataset.firstBlock)));
    await context.close();
  }
  return median(times);
}

const gpu = await race("?device=gpu", "r=90&u=1", "dcnn-90-all", 100, "webgpu");
const cpu = await race("?device=cpu&workers=1", "r=90", "dcnn-90", 200, "wasm");
const start = await first();
await browser.close();
host.close();

if (options.includes("--json")) {
  console.log(JSON.stringify({ peer: `onnxruntime-web ${version}`, webgpu: gpu, wasm: cpu, first_block_ms: start }));
} else {
  const ms = (v) => `${v.toFixed(0)} ms`;
  console.log(`peer: onnxruntime-web ${version}, the dense graph that prunella exports`);
  console.log(`WebGPU, 100×100, 0.9 with the hidden layer: theirs ${ms(gpu.theirs)}, ours ${ms(gpu.ours)}: ${(gpu.theirs / gpu.ours).toFixed(1)} times (goal 10)`);
  console.log(`wasm, one thread, 200×200, 0.9: theirs ${ms(cpu.theirs)}, ours ${ms(cpu.ours)}: ${(cpu.theirs / cpu.ours).toFixed(2)} times (goal 1.4)`);
  console.log(`navigation to the first block of the sample: ${ms(start)} (goal 5000 ms)`);
}
