// The page against onnxruntime-web, in one browser, page and run. `cargo xtask bench web` calls it:
// node benches/web.mjs MODULES [--json], where MODULES is the folder with onnxruntime-web.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [modules, ...options] = process.argv.slice(2);
const { launch, openPage, root, runProgram, serve, site, tissuePng } =
  await import("../tests/e2e/harness.mjs");
const ort = join(modules, "onnxruntime-web/dist");
const version = createRequire(import.meta.url)(
  join(modules, "onnxruntime-web/package.json"),
).version;

/** Runs of each engine; their median counts. */
const CPU_RUNS = 5;
const GPU_RUNS = 3;
/** Pixels around a block that the dense graph needs in all: the patch of 55 pixels less one. */
const CONTEXT_PX = 54;
function median(values) {
  return [...values].sort((a, b) => a - b)[values.length >> 1];
}

/** The dense graph that prunella exports. */
function exportOnnx(model) {
  const file = join(root, "target", `${model}-dense.onnx`);
  const source = join(root, "models", `${model}.safetensors`);
  runProgram("export", source, "--onnx", "--dense", "--out", file);
  return readFileSync(file);
}

/** A handler that sends a file. */
function reply(bytes, type) {
  return (_, response) => response.writeHead(200, { "Content-Type": type }).end(bytes);
}

const names = [
  "ort.webgpu.bundle.min.mjs",
  "ort.wasm.bundle.min.mjs",
  "ort-wasm-simd-threaded.wasm",
  "ort-wasm-simd-threaded.jsep.wasm",
  "ort-wasm-simd-threaded.asyncify.wasm",
  "ort-wasm-simd-threaded.mjs",
  "ort-wasm-simd-threaded.jsep.mjs",
  "ort-wasm-simd-threaded.asyncify.mjs",
];
const extra = {};
for (const name of names) {
  try {
    extra[`/ort/${name}`] = reply(
      readFileSync(join(ort, name)),
      name.endsWith("wasm") ? "application/wasm" : "text/javascript",
    );
  } catch {
    // Not part of this release.
  }
}
for (const model of ["paper-90", "paper-90-all"])
  extra[`/onnx/${model}`] = reply(exportOnnx(model), "application/octet-stream");

const host = await serve(site, extra);
const browser = await launch();

/** Milliseconds of both engines on a field of `side` pixels, in alternating runs. */
async function race({ query, fragment, model, side, provider }) {
  const { context, page } = await openPage(browser, `${host.address}${query}#${fragment}`);
  const image = tissuePng(0, 0, side, side).toString("base64");
  const values = await page.evaluate(
    async ([image, model, side, provider, runs, context]) => {
      const { prunella } = globalThis;
      const bytes = Uint8Array.from(atob(image), (c) => c.charCodeAt(0));
      await prunella.engine.callJson("openImage", bytes, "tissue.png");
      const { facts } = prunella.model;
      const runOurs = async () => (await prunella.engine.segment(0, facts.id)).ms;
      const ort = await import(
        provider === "webgpu" ? "/ort/ort.webgpu.bundle.min.mjs" : "/ort/ort.wasm.bundle.min.mjs"
      );
      ort.env.wasm.wasmPaths = "/ort/";
      ort.env.wasm.numThreads = 1;
      const session = await ort.InferenceSession.create(`/onnx/${model}`, {
        executionProviders: [provider],
      });
      const padded = side + context;
      const input = new ort.Tensor(
        "float32",
        Float32Array.from({ length: 3 * padded * padded }, (_, i) => ((i * 7919) % 251) / 255),
        [1, 3, padded, padded],
      );
      const runTheirs = async () => {
        const startedAt = performance.now();
        const output = await session.run({ [session.inputNames[0]]: input });
        await output[session.outputNames[0]].getData();
        return performance.now() - startedAt;
      };
      await runOurs();
      await runTheirs();
      const times = {
        ours: [],
        theirs: [],
        gpu: prunella.engine.device.gpu,
        device: document.getElementById("device").textContent,
      };
      for (let i = 0; i < runs; i++) {
        times.ours.push(await runOurs());
        times.theirs.push(await runTheirs());
      }
      return times;
    },
    [image, model, side, provider, provider === "webgpu" ? GPU_RUNS : CPU_RUNS, CONTEXT_PX],
  );
  await context.close();
  if (values.gpu !== (provider === "webgpu")) throw new Error(`the page ran on ${values.device}`);
  return { ours: median(values.ours), theirs: median(values.theirs), device: values.device };
}

/** Milliseconds from navigation to the first block of the sample. */
async function timeToFirstBlock() {
  const times = [];
  for (let i = 0; i < 3; i++) {
    const { context, page } = await openPage(browser, `${host.address}#i=sample`);
    await page.waitForFunction(() => document.documentElement.dataset.firstBlock);
    times.push(Number(await page.evaluate(() => document.documentElement.dataset.firstBlock)));
    await context.close();
  }
  return median(times);
}

const gpu = await race({
  query: "?device=gpu",
  fragment: "r=90&u=1",
  model: "paper-90-all",
  side: 100,
  provider: "webgpu",
});
const cpu = await race({
  query: "?device=cpu&workers=1",
  fragment: "r=90",
  model: "paper-90",
  side: 200,
  provider: "wasm",
});
const start = await timeToFirstBlock();
await browser.close();
host.close();

if (options.includes("--json")) {
  console.log(
    JSON.stringify({
      peer: `onnxruntime-web ${version}`,
      webgpu: gpu,
      wasm: cpu,
      first_block_ms: start,
    }),
  );
} else {
  const ms = (value) => `${value.toFixed(0)} ms`;
  const gpuTimes = `theirs ${ms(gpu.theirs)}, ours ${ms(gpu.ours)}`;
  const gpuFactor = (gpu.theirs / gpu.ours).toFixed(1);
  const cpuTimes = `theirs ${ms(cpu.theirs)}, ours ${ms(cpu.ours)}`;
  const cpuFactor = (cpu.theirs / cpu.ours).toFixed(2);
  console.log(`peer: onnxruntime-web ${version}, the dense graph that prunella exports`);
  console.log(
    `WebGPU, 100×100, 0.9 with the hidden layer: ${gpuTimes}: ${gpuFactor} times (goal 10)`,
  );
  console.log(`wasm, one thread, 200×200, 0.9: ${cpuTimes}: ${cpuFactor} times (goal 1.4)`);
  console.log(`navigation to the first block of the sample: ${ms(start)} (goal 5000 ms)`);
}
