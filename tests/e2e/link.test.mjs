// What an address carries, and what a stranger's may not do.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { PNG } from "pngjs";
import { counted, drop, idle, launch, open, prunella, root, saved, serve, site, slide, tissue } from "./harness.mjs";

const field = tissue(50, 60, 128, 96);
const model = readFileSync(join(root, "models/dcnn-90-all.safetensors"));
const sha256 = createHash("sha256").update(model).digest("hex");
let browser, host;
before(async () => {
  browser = await launch();
  host = await serve(site, { "/there/field.png": (_, r) => r.writeHead(200, { "Content-Type": "image/png" }).end(field) });
});
after(async () => {
  await browser.close();
  host.close();
});

test("a shared link gives another person the same answer", async () => {
  const { context, page } = await open(browser, `${host.address}?device=cpu#r=90&u=1`);
  await drop(page, "field.png", field);
  await counted(page);
  await page.click("#share-open");
  await page.waitForFunction(() => /Dice/.test(document.getElementById("share-cost").textContent), null, { timeout: 60_000 });
  const link = await page.inputValue("#share-link");
  assert.ok(link.length < 16_384, `${link.length} characters`);
  assert.ok(Number(/Dice ([\d.]+)/.exec(await page.textContent("#share-cost"))[1]) > 0.97);
  await context.close();

  const native = prunella("export", join(root, "models/dcnn-90-all.safetensors"), "--link").trim();
  const payload = /m=([\w-]+)/.exec(native)[1];
  assert.ok(link.includes(payload), "the native command prints the same model");

  const answers = [];
  for (let i = 0; i < 2; i++) {
    const other = await open(browser, link);
    assert.match(await other.page.textContent("#model-kind"), /as it was given/);
    await drop(other.page, "field.png", field);
    await counted(other.page);
    answers.push((await saved(other.page, "[data-file=geojson]")).bytes);
    assert.ok(other.page.url().includes(payload), "the address still carries the model");
    await other.context.close();
  }
  assert.ok(answers[0].length > 500 && answers[0].equals(answers[1]));
});

test("the address reproduces view, threshold, slider and image", async () => {
  const start = `${host.address}?device=cpu&image_url=${encodeURIComponent("/there/field.png")}#r=90&u=1&t=0.6&v=40,30,5&l=80,30,20&p=0.25`;
  const { context, page } = await open(browser, start);
  await counted(page);
  // The hand changes what the link said, and the address follows.
  await slide(page, "#threshold", 55);
  await slide(page, "#heat", 35);
  await page.click("#zoom-in");
  await idle(page);
  await page.waitForTimeout(900);
  const count = Number(await page.textContent("#count"));
  const url = page.url();
  for (const part of ["image_url=", "t=0.55", "v=40,30,7.5", "l=80,30,35", "r=90", "u=1", "p=0.25"]) assert.ok(url.includes(part), `${part} in ${url}`);
  await context.close();
  const again = await open(browser, url);
  assert.equal(await counted(again.page), count);
  assert.equal(await again.page.inputValue("#threshold"), "55");
  // Another image is no longer the one that the address names.
  await drop(again.page, "other.png", tissue(0, 0, 64, 64));
  await counted(again.page);
  await again.page.waitForTimeout(500);
  assert.ok(!again.page.url().includes("image_url"), again.page.url());
  // Another link in the same tab is followed.
  await again.page.evaluate(() => (location.hash = "#r=0&i=sample&t=0.4"));
  await again.page.waitForFunction(() => document.getElementById("threshold")?.value === "40" && document.getElementById("ratio-text").textContent === "0 %");
  await again.context.close();
});

test("a model from an address is used only if it is the one that was meant", async () => {
  const good = await open(browser, `${host.address}?device=cpu&model=models/dcnn-90-all.safetensors&sha256=${sha256}`);
  assert.equal(await good.page.textContent("#parameters"), "9,702");
  await good.context.close();
  const bad = await open(browser, `${host.address}?device=cpu&model=models/dcnn-90-all.safetensors&sha256=${"0".repeat(64)}`);
  assert.match(await bad.page.textContent("#alert"), /SHA-256 differs/);
  assert.equal(await bad.page.textContent("#parameters"), "416,541", "the page's own model stays");
  await bad.context.close();
});

test("broken, cut, huge and lying links get a sentence and an intact page", async () => {
  const whole = prunella("export", join(root, "models/dcnn-90-all.safetensors"), "--link").trim().replace(/^.*m=/, "");
  const links = {
    "#m=abc": /link/i,
    [`#m=${whole.slice(0, -40)}`]: /link/i,
    [`#m=${whole.slice(0, 400)}A${whole.slice(401)}`]: /link/i,
    [`#m=${"A".repeat(300_000)}`]: /link/i,
    "?model=models/nothing.safetensors": /cannot be loaded \(404\)/,
    "?model=index.html": /./,
    "?model=file:///etc/passwd": /http or https/,
    "?image_url=index.html": /./,
    "?image_url=http://127.0.0.1:9/x.png": /cannot be reached/,
  };
  const { context, page } = await open(browser, `${host.address}?device=cpu`);
  for (const [link, sentence] of Object.entries(links)) {
    const at = link.startsWith("?") ? `?device=cpu&${link.slice(1)}` : `?device=cpu${link}`;
    await page.goto("about:blank");
    await page.goto(host.address + at);
    await idle(page);
    assert.equal(await page.isVisible("#alert"), true, `${link.slice(0, 60)} is told`);
    assert.match(await page.textContent("#alert"), sentence, link.slice(0, 60));
    assert.equal(await page.isEnabled("#sample"), true);
  }
  await page.goto("about:blank");
  await page.goto(`${host.address}?device=cpu#r=abc&t=7&v=1,2&l=x#&r=900`);
  await idle(page);
  assert.match(await page.textContent("#status"), /made no sense/);
  // The page still works after all of that.
  await slide(page, "#ratio", 90);
  await drop(page, "field.png", field);
  assert.ok((await counted(page)) > 0);
  await context.close();
});

test("bad files are refused in words and the open image stays", async () => {
  const { context, page } = await open(browser, `${host.address}?device=cpu#r=90&u=1`);
  await drop(page, "field.png", field);
  const count = await counted(page);
  // 10 000 × 10 000 pixels, told by the header alone.
  const bomb = Buffer.from(PNG.sync.write(new PNG({ width: 4, height: 4 })));
  bomb.writeUInt32BE(10_000, 16);
  bomb.writeUInt32BE(10_000, 20);
  const bad = { "words.png": Buffer.from("not an image"), "cut.png": field.subarray(0, 700), "empty.png": Buffer.alloc(0), "bomb.png": bomb };
  for (const [name, bytes] of Object.entries(bad)) {
    await drop(page, name, bytes);
    await page.waitForFunction(() => !document.getElementById("alert").hidden);
    assert.match(await page.textContent("#alert"), /^[A-Z].+/, name);
    await idle(page);
    await page.evaluate(() => globalThis.prunella.forgive());
  }
  assert.equal(Number(await page.textContent("#count")), count);
  assert.match(await page.textContent("#image-facts"), /field\.png/);
  await drop(page, "liar.safetensors", Buffer.from("no model"), "");
  await page.waitForFunction(() => !document.getElementById("alert").hidden);
  assert.equal(await page.textContent("#parameters"), "9,702", "the model stays");
  await context.close();
});
