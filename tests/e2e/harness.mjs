// A server without tricks, a real browser, and the native program to compare with.
import { execFileSync } from "node:child_process";
import { createReadStream, existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { PNG } from "pngjs";

export const root = fileURLToPath(new URL("../..", import.meta.url));
export const site = join(root, "target/page");
export const shots = join(root, "target/e2e");
mkdirSync(shots, { recursive: true });

const CHROMIUM = process.env.PRUNELLA_CHROMIUM ?? "/usr/bin/chromium";
const NATIVE = join(root, "target/release/prunella");
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm", ".css": "text/css", ".svg": "image/svg+xml", ".webmanifest": "application/manifest+json", ".png": "image/png" };

/** Serves a folder on loopback, as any static host would. */
export async function serve(folder, extra = {}) {
  const server = createServer((request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url, "http://x").pathname));
    if (extra[path]) return extra[path](request, response);
    const file = join(folder, path.endsWith("/") ? `${path}index.html` : path);
    if (!file.startsWith(folder) || !existsSync(file)) return response.writeHead(404).end();
    response.writeHead(200, { "Content-Type": TYPES[extname(file)] ?? "application/octet-stream" });
    createReadStream(file).pipe(response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { address: `http://127.0.0.1:${server.address().port}/`, close: () => server.close() };
}

/** Chromium with WebGPU on SwiftShader. */
export const launch = () =>
  chromium.launch({
    executablePath: CHROMIUM,
    args: ["--no-sandbox", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });

/** Opens the page in a fresh profile and waits until it is ready. `said` collects what must not be there. */
export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1200, height: 800 }, acceptDownloads: true, ...options });
  const page = await context.newPage();
  const said = { errors: [], elsewhere: [] };
  page.on("pageerror", (e) => said.errors.push(e.message));
  page.on("console", (m) => {
    if (m.type() === "error") said.errors.push(m.text());
  });
  page.on("request", (r) => {
    const there = new URL(r.url());
    if (/^https?:$/.test(there.protocol) && there.origin !== new URL(url).origin) said.elsewhere.push(r.url());
  });
  await page.goto(url);
  await idle(page);
  return { context, page, said };
}

/** Waits until nothing runs. */
export const idle = (page) =>
  page.waitForFunction(() => ["idle", "failed"].includes(document.documentElement.dataset.state), null, { timeout: 120_000 });

/** Waits for nuclei. */
export async function counted(page) {
  await page.waitForFunction(() => document.getElementById("count").textContent !== "–", null, { timeout: 120_000 });
  await idle(page);
  return Number((await page.textContent("#count")).replaceAll(",", ""));
}

/** Drops a file on the page. */
export async function drop(page, name, bytes, type = "image/png") {
  await page.evaluate(
    ([name, base64, type]) => {
      const content = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
      const data = new DataTransfer();
      data.items.add(new File([content], name, { type }));
      document.getElementById("canvas").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
    },
    [name, Buffer.from(bytes).toString("base64"), type],
  );
}

/** What a button saves. */
export async function saved(page, selector) {
  const [download] = await Promise.all([page.waitForEvent("download"), page.click(selector)]);
  return { name: download.suggestedFilename(), bytes: readFileSync(await download.path()) };
}

/** A piece of the picture in the README: procedural tissue. */
export function tissue(left, top, width, height) {
  const whole = PNG.sync.read(readFileSync(join(root, "docs/demo.png")));
  const piece = new PNG({ width, height });
  PNG.bitblt(whole, piece, left, top, width, height, 0, 0);
  return PNG.sync.write(piece, { colorType: 2 });
}

/** What `prunella segment` writes for an image. */
export function native(image, model, options = []) {
  const folder = mkdtempSync(join(tmpdir(), "prunella-e2e-"));
  const file = join(folder, "field.png");
  writeFileSync(file, image);
  execFileSync(NATIVE, ["segment", file, "--model", join(root, "models", `${model}.safetensors`), "--out", folder, "--device", "cpu", ...options]);
  return (ending) => readFileSync(join(folder, `field.${ending}`));
}

/** Runs the native program. */
export const prunella = (...args) => execFileSync(NATIVE, args, { encoding: "utf8", maxBuffer: 1 << 28, stdio: ["ignore", "pipe", "ignore"] });

/** Moves a slider as a hand would, and lets go. */
export const slide = (page, selector, value) =>
  page.$eval(
    selector,
    (input, value) => {
      input.value = value;
      input.dispatchEvent(new Event("input", { bubbles: true }));
      input.dispatchEvent(new Event("change", { bubbles: true }));
    },
    String(value),
  );
