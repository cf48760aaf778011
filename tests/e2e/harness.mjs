// A static server, a browser, and the native program to compare with.
import { execFileSync } from "node:child_process";
import {
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { PNG } from "pngjs";

export const root = fileURLToPath(new URL("../..", import.meta.url));
export const site = process.env.PRUNELLA_SITE ?? join(root, "target/page");
export const shots = join(root, "target/e2e");
mkdirSync(shots, { recursive: true });

const CHROMIUM = process.env.PRUNELLA_CHROMIUM ?? "/usr/bin/chromium";
/** The native program; another one can be named. */
export const NATIVE = process.env.PRUNELLA_PROGRAM ?? join(root, "target/release/prunella");
/** Largest output of the native program that is read, bytes. */
const MAX_OUTPUT_BYTES = 1 << 28;
/** Longest wait for the page, milliseconds: a machine for tests may be slow. */
export const TIMEOUT_MS = 120_000;

const MEDIA_TYPES = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".wasm": "application/wasm",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".webmanifest": "application/manifest+json",
  ".png": "image/png",
};

/** WebGPU on SwiftShader, and no requests of the browser's own. */
const BROWSER_ARGUMENTS = [
  "--no-sandbox",
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Serves a folder on loopback as a static host; `handlers` answer for their paths instead. */
export async function serve(folder, handlers = {}) {
  const server = createServer((request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url, "http://x").pathname));
    if (handlers[path]) {
      handlers[path](request, response);
      return;
    }
    const file = join(folder, path.endsWith("/") ? `${path}index.html` : path);
    if (!file.startsWith(folder) || !existsSync(file)) {
      response.writeHead(404).end();
      return;
    }
    const type = MEDIA_TYPES[extname(file)] ?? "application/octet-stream";
    response.writeHead(200, { "Content-Type": type });
    createReadStream(file).pipe(response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = `http://127.0.0.1:${server.address().port}/`;
  return { address, close: () => server.close() };
}

export function launch() {
  return chromium.launch({ executablePath: CHROMIUM, args: BROWSER_ARGUMENTS });
}

/**
 * Opens the page in a new profile and waits until it is ready. `unexpected` collects errors of the
 * console and requests to other hosts, of which there must be none.
 */
export async function openPage(browser, url, options = {}) {
  const context = await browser.newContext({
    viewport: { width: 1200, height: 800 },
    acceptDownloads: true,
    ...options,
  });
  context.setDefaultTimeout(TIMEOUT_MS);
  const page = await context.newPage();
  const unexpected = { errors: [], otherHosts: [] };
  page.on("pageerror", (error) => unexpected.errors.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error") unexpected.errors.push(message.text());
  });
  page.on("request", (request) => {
    const { protocol, origin } = new URL(request.url());
    if (!/^https?:$/.test(protocol) || origin === new URL(url).origin) return;
    unexpected.otherHosts.push(request.url());
  });
  await page.goto(url);
  await idle(page);
  return { context, page, unexpected };
}

/** What a phone has. */
export const PHONE = {
  viewport: { width: 390, height: 844 },
  deviceScaleFactor: 2,
  hasTouch: true,
  isMobile: true,
};

/** Violations of WCAG 2 AA that axe finds in a page. */
export async function violations(page) {
  const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
  await page.evaluate(readFileSync(axe, "utf8"));
  const report = await page.evaluate(() =>
    globalThis.axe.run(document, {
      runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"],
    }),
  );
  return report.violations.map(
    (v) => `${v.id}: ${v.nodes.map((n) => n.target.join(" ")).join(", ")}`,
  );
}

/** Waits until no task runs. */
export function idle(page) {
  const hasEnded = () => ["idle", "failed"].includes(document.documentElement.dataset.state);
  return page.waitForFunction(hasEnded);
}

/** Waits for nuclei and gives their number. */
export async function waitForNuclei(page) {
  const hasCount = () => document.getElementById("count").textContent !== "–";
  await page.waitForFunction(hasCount);
  await idle(page);
  return Number((await page.textContent("#count")).replaceAll(",", ""));
}

/** Waits until the nuclei of an image follow threshold and corrections, and are listed. */
export function waitForTable(page) {
  return page.evaluate(async () => {
    const { imageSegmentation, reviewSync } = globalThis.prunella;
    await reviewSync.update();
    await imageSegmentation.updateTable();
  });
}

/** Waits until an image is open whose facts begin so. */
export function waitForImage(page, start) {
  return page.waitForFunction(
    (start) => document.getElementById("image-facts").textContent.startsWith(start),
    start,
  );
}

/** Waits until the status matches a pattern. */
export function waitForStatus(page, pattern) {
  return page.waitForFunction(
    (source) => new RegExp(source).test(document.getElementById("status").textContent),
    pattern.source,
  );
}

/** Waits until the view is drawn where it was moved to. */
export function waitForView(page) {
  return page.waitForFunction(() => {
    const { canvas, viewport } = globalThis.prunella.canvasView;
    const [x, y, scale] = viewport.state();
    const [left, top] = viewport.toScreen(x, y);
    const [right] = viewport.toScreen(x + 1, y);
    const offset = Math.hypot(left - canvas.width / 2, top - canvas.height / 2);
    return offset < 0.5 && Math.abs(right - left - scale) < 1e-3 * scale;
  });
}

/** Waits until the state has the view, which it has once that has come to rest. */
export function waitForNotedView(page) {
  return page.waitForFunction(() => {
    const { store, canvasView } = globalThis.prunella;
    return JSON.stringify(store.state.view) === JSON.stringify(canvasView.cssView());
  });
}

/** Drops a file on the page. */
export async function dropFile(page, name, bytes, type = "image/png") {
  await page.evaluate(
    ([name, base64, type]) => {
      const content = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([content], name, { type }));
      const event = new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true });
      document.getElementById("canvas").dispatchEvent(event);
    },
    [name, Buffer.from(bytes).toString("base64"), type],
  );
}

/** The file that a button saves. */
export async function saveFile(page, selector) {
  const [download] = await Promise.all([page.waitForEvent("download"), page.click(selector)]);
  return { name: download.suggestedFilename(), bytes: readFileSync(await download.path()) };
}

/** Moves a slider to a value and releases it. */
export function moveSlider(page, selector, value) {
  return page.$eval(
    selector,
    (input, value) => {
      input.value = value;
      input.dispatchEvent(new Event("input", { bubbles: true }));
      input.dispatchEvent(new Event("change", { bubbles: true }));
    },
    String(value),
  );
}

/** Chooses a model that ships, by the name of its file. */
export async function chooseModel(page, file) {
  const choice = page.locator(`#model-${file}`);
  await choice.evaluate((input) => (input.closest("details").open = true));
  await choice.check();
}

/** A part of the picture in the README: procedural tissue, as PNG. */
export function tissuePng(left, top, width, height) {
  const whole = PNG.sync.read(readFileSync(join(root, "docs/demo.png")));
  const part = new PNG({ width, height });
  PNG.bitblt(whole, part, left, top, width, height, 0, 0);
  return PNG.sync.write(part, { colorType: 2 });
}

/** Path of a model that ships, by name, or of a file. */
export function modelPath(name) {
  if (name.endsWith(".safetensors")) return name;
  return join(root, "models", `${name}.safetensors`);
}

/** Files that `prunella segment` writes for an image, by ending; outlines without their image. */
export function nativeFiles(image, model, options = []) {
  const folder = mkdtempSync(join(tmpdir(), "prunella-e2e-"));
  const file = join(folder, "field.png");
  writeFileSync(file, image);
  const required = ["--model", modelPath(model), "--out", folder, "--device", "cpu"];
  runProgram("segment", file, ...required, ...options);
  return (ending) => {
    const bytes = readFileSync(join(folder, `field.${ending}`));
    if (ending !== "geojson") return bytes;
    return Buffer.from(bytes.toString().replace(/ "image": \{[^}]*\},/, ""));
  };
}

/** Runs the native program and gives its output. */
export function runProgram(...args) {
  return execFileSync(NATIVE, args, {
    encoding: "utf8",
    maxBuffer: MAX_OUTPUT_BYTES,
    stdio: ["ignore", "pipe", "ignore"],
  });
}
