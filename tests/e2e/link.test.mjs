// State in the address, and protection against links of strangers.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { PNG } from "pngjs";
import {
  chooseModel,
  dropFile,
  idle,
  launch,
  modelPath,
  moveSlider,
  openPage,
  runProgram,
  saveFile,
  serve,
  site,
  tissuePng,
  waitForImage,
  waitForNuclei,
  waitForTable,
} from "./harness.mjs";

const field = tissuePng(50, 60, 128, 96);
const corners = [[10, 10], [90, 10], [90, 80], [10, 80], [10, 10]];
const region = {
  type: "Feature",
  geometry: { type: "Polygon", coordinates: [corners] },
  properties: { objectType: "annotation", name: "Tumour bed" },
};
const model = readFileSync(modelPath("paper-90-all"));
const sha256 = createHash("sha256").update(model).digest("hex");
let browser, host;
before(async () => {
  browser = await launch();
  host = await serve(site, {
    "/there/field.png": (_, r) => r.writeHead(200, { "Content-Type": "image/png" }).end(field),
    "/there/regions.geojson": (_, r) => r.writeHead(200).end(JSON.stringify(region)),
  });
});
after(async () => {
  await browser.close();
  host.close();
});

test("a shared link gives another person the same result", async () => {
  const { context, page } = await openPage(browser, `${host.address}?device=cpu#r=90&u=1`);
  await dropFile(page, "field.png", field);
  await waitForNuclei(page);
  await page.click("#share-open");
  await page.waitForFunction(() => /Dice/.test(document.getElementById("share-cost").textContent));
  const link = await page.inputValue("#share-link");
  assert.ok(link.length < 16_384, `${link.length} characters`);
  assert.ok(Number(/Dice ([\d.]+)/.exec(await page.textContent("#share-cost"))[1]) > 0.97);
  await context.close();

  const native = runProgram("export", modelPath("paper-90-all"), "--link").trim();
  const payload = /m=([\w-]+)/.exec(native)[1];
  assert.ok(link.includes(payload), "the native command prints the same model");

  const results = [];
  for (let i = 0; i < 2; i++) {
    const other = await openPage(browser, link);
    assert.match(await other.page.textContent("#model-kind"), /loaded model/);
    await dropFile(other.page, "field.png", field);
    await waitForNuclei(other.page);
    results.push((await saveFile(other.page, "[data-file=geojson]")).bytes);
    assert.ok(other.page.url().includes(payload), "the address still carries the model");
    await other.context.close();
  }
  assert.ok(results[0].length > 500 && results[0].equals(results[1]));
});

test("the address reproduces view, threshold, slider and image", async () => {
  const image = encodeURIComponent("/there/field.png");
  const state = "r=90&u=1&t=0.6&v=40,30,5&l=80,30,20&p=0.25";
  const start = `${host.address}?device=cpu&image_url=${image}#${state}`;
  const { context, page } = await openPage(browser, start);
  await waitForNuclei(page);
  // The user changes settings of the link, and the address follows.
  await moveSlider(page, "#threshold", 55);
  await moveSlider(page, "#heat", 35);
  await page.click("#zoom-in");
  await waitForTable(page);
  const count = Number(await page.textContent("#count"));
  const parts = ["image_url=", "t=0.55", "v=40,30,7.5", "l=80,30,35", "r=90", "u=1", "p=0.25"];
  await page.waitForURL(({ href }) => parts.every((part) => href.includes(part)));
  const url = page.url();
  await context.close();
  const again = await openPage(browser, url);
  assert.equal(await waitForNuclei(again.page), count);
  assert.equal(await again.page.inputValue("#threshold"), "55");
  // After another image is opened, the address no longer names the first one.
  await dropFile(again.page, "other.png", tissuePng(0, 0, 64, 64));
  await waitForImage(again.page, "other.png");
  await waitForNuclei(again.page);
  await again.page.waitForURL(({ href }) => !href.includes("image_url"));
  // Another link in the same tab is opened.
  await again.page.evaluate(() => (location.hash = "#r=0&i=sample&t=0.4"));
  await again.page.waitForFunction(
    () =>
      document.getElementById("threshold")?.value === "40" &&
      document.getElementById("ratio-text").textContent === "0 %",
  );
  await again.context.close();
});

test("an address names a model that ships and what is removed of it", async () => {
  const at = async (fragment) => {
    const { context, page } = await openPage(browser, `${host.address}?device=cpu${fragment}`);
    const model = await page.evaluate(() => globalThis.prunella.store.state.model);
    const checked = await page.$$eval("#model-stops input:checked", (all) => all.map((i) => i.id));
    const parameters = await page.textContent("#parameters");
    return { context, page, model, checked, parameters };
  };
  const first = await at("");
  assert.deepEqual(first.checked, ["model-open-small"]);
  await chooseModel(first.page, "open-medium");
  await first.page.waitForURL(/#s=open-medium/);
  assert.doesNotMatch(first.page.url(), /[#&][ru]=/);
  await moveSlider(first.page, "#ratio", 40);
  await first.page.waitForURL(/#s=open-medium&r=40/);
  const url = new URL(first.page.url());
  await first.context.close();

  const again = await at(url.hash);
  const pruned = { shipped: "open-medium", ratio: 40, pruneHidden: false, loaded: null };
  assert.deepEqual(again.model, pruned);
  assert.deepEqual(again.checked, []);
  assert.ok(Number(again.parameters.replace(",", "")) < 50_277, again.parameters);
  // Each choice can be undone.
  await chooseModel(again.page, "paper-90");
  await again.page.waitForURL(/#r=90/);
  await idle(again.page);
  await again.page.evaluate(() => globalThis.prunella.store.undo());
  await again.page.waitForURL(/#s=open-medium&r=40/);
  await again.context.close();

  // Without a name a share of removed filters means the paper's network, as in older addresses.
  const older = { "#r=50": "416,541", "#r=90": "78,777", "#r=90&u=1": "9,702" };
  for (const [fragment, parameters] of Object.entries(older)) {
    const page = await at(fragment);
    assert.equal(page.model.shipped, null);
    assert.equal(page.parameters, parameters);
    await page.context.close();
  }
  const unknown = await at("#s=paper-17");
  assert.match(await unknown.page.textContent("#status"), /were ignored: the model\./);
  assert.deepEqual(unknown.checked, ["model-open-small"]);
  await unknown.context.close();
});

test("an address carries the regions of its image", async () => {
  const names = ({ page }) =>
    page.evaluate(() => globalThis.prunella.store.state.regions.map(({ name }) => name));
  const address = `${host.address}?device=cpu&image_url=/there/field.png&regions_url=`;
  const opened = await openPage(browser, `${address}/there/regions.geojson`);
  await waitForNuclei(opened.page);
  await opened.page.waitForFunction(() => globalThis.prunella.store.state.regions.length === 1);
  assert.deepEqual(await names(opened), ["Tumour bed"]);
  await opened.page.evaluate(() => globalThis.prunella.persistence.flush());
  // The device keeps the region, so it is not added once more.
  await opened.page.reload();
  await waitForNuclei(opened.page);
  assert.ok(opened.page.url().includes("regions_url"));
  assert.deepEqual(await names(opened), ["Tumour bed"]);
  // The address of another image does not name them.
  await dropFile(opened.page, "other.png", tissuePng(0, 0, 64, 64));
  await waitForImage(opened.page, "other.png");
  await opened.page.waitForURL(({ href }) => !href.includes("regions_url"));
  await opened.context.close();
  const missing = await openPage(browser, `${address}/there/none.geojson`);
  const alert = await missing.page.waitForSelector("#alert:not([hidden])");
  assert.match(await alert.textContent(), /list of regions at .* cannot be loaded \(404\)/);
  await waitForNuclei(missing.page);
  await missing.context.close();
});

test("a model from an address is used only if its SHA-256 is that of the link", async () => {
  const good = await openPage(
    browser,
    `${host.address}?device=cpu&model=models/paper-90-all.safetensors&sha256=${sha256}`,
  );
  assert.equal(await good.page.textContent("#parameters"), "9,702");
  await good.context.close();
  const bad = await openPage(
    browser,
    `${host.address}?device=cpu&model=models/paper-90-all.safetensors&sha256=${"0".repeat(64)}`,
  );
  assert.match(await bad.page.textContent("#alert"), /SHA-256 differs/);
  assert.equal(await bad.page.textContent("#parameters"), "9,874", "the page's own model stays");
  await bad.context.close();
});

test("broken, truncated, huge and false links give a message, and the page works", async () => {
  const whole = runProgram("export", modelPath("paper-90-all"), "--link")
    .trim()
    .replace(/^.*m=/, "");
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
  const { context, page } = await openPage(browser, `${host.address}?device=cpu`);
  for (const [link, sentence] of Object.entries(links)) {
    const at = link.startsWith("?") ? `?device=cpu&${link.slice(1)}` : `?device=cpu${link}`;
    await page.goto("about:blank");
    await page.goto(host.address + at);
    await idle(page);
    assert.equal(await page.isVisible("#alert"), true, `${link.slice(0, 60)} gives a message`);
    assert.match(await page.textContent("#alert"), sentence, link.slice(0, 60));
    assert.equal(await page.isEnabled("#sample"), true);
  }
  await page.goto("about:blank");
  await page.goto(`${host.address}?device=cpu#r=abc&t=7&v=1,2&l=x#&r=900`);
  await idle(page);
  assert.match(await page.textContent("#status"), /were ignored/);
  // The page still works after all of that.
  await chooseModel(page, "paper-90");
  await dropFile(page, "field.png", field);
  assert.ok((await waitForNuclei(page)) > 0);
  await context.close();
});

test("bad files give a message and the open image stays", async () => {
  const { context, page } = await openPage(browser, `${host.address}?device=cpu#r=90&u=1`);
  await dropFile(page, "field.png", field);
  const count = await waitForNuclei(page);
  // A header that states 10 000 × 10 000 pixels.
  const bomb = Buffer.from(PNG.sync.write(new PNG({ width: 4, height: 4 })));
  bomb.writeUInt32BE(10_000, 16);
  bomb.writeUInt32BE(10_000, 20);
  const bad = {
    "words.png": Buffer.from("not an image"),
    "cut.png": field.subarray(0, 700),
    "empty.png": Buffer.alloc(0),
    "bomb.png": bomb,
  };
  for (const [name, bytes] of Object.entries(bad)) {
    await dropFile(page, name, bytes);
    await page.waitForFunction(() => !document.getElementById("alert").hidden);
    assert.match(await page.textContent("#alert"), /^[A-Z].+/, name);
    await idle(page);
    await page.evaluate(() => globalThis.prunella.clearError());
  }
  assert.equal(Number(await page.textContent("#count")), count);
  assert.match(await page.textContent("#image-facts"), /field\.png/);
  await dropFile(page, "liar.safetensors", Buffer.from("no model"), "");
  await page.waitForFunction(() => !document.getElementById("alert").hidden);
  assert.equal(await page.textContent("#parameters"), "9,702", "the model stays");
  await context.close();
});

/** Opens the dialog of a page and waits for its link. */
async function openShare(page) {
  await page.click("#share-open");
  return linkOf(page);
}

/** The link of the dialog, once it is made and its alternatives are measured. */
async function linkOf(page) {
  await page.waitForFunction(() =>
    /effect|Dice/.test(document.getElementById("share-cost").textContent),
  );
  return page.inputValue("#share-link");
}

test("the dialog offers a shorter link for a long one, which stays possible", async () => {
  const { context, page } = await openPage(browser, `${host.address}?device=cpu#r=50`);
  const long = await openShare(page);
  assert.ok(long.length > 400_000, `${long.length} characters`);
  assert.match(await page.textContent("#share-gets"), /416,541 parameters, 8 bits each/);
  assert.match(await page.textContent("#share-advice"), /30,000 characters/);
  assert.equal(await page.isVisible("#share-int8"), false, "8 bits are used already");
  assert.equal(await page.isVisible("#share-own"), false);
  const offered = await page.textContent("#share-smallest");

  await page.click("#share-smallest");
  await page.waitForSelector("#share-own:visible");
  const short = await linkOf(page);
  assert.ok(offered.includes(`${short.length.toLocaleString("en")} characters`), offered);
  assert.ok(short.length < 16_384, `${short.length} characters`);
  assert.match(await page.textContent("#share-gets"), /the smallest model: 9,874 parameters/);
  assert.equal(await page.isVisible("#share-advice"), false);
  const back = await page.textContent("#share-own");
  assert.ok(back.includes(`${long.length.toLocaleString("en")} characters`), back);

  await page.click("#share-own");
  await page.waitForSelector("#share-smallest:visible");
  assert.equal(await linkOf(page), long);
  // At 16 bits both ways are offered.
  await page.check("#f16");
  await page.waitForSelector("#share-int8:visible");
  assert.equal(await page.isVisible("#share-smallest"), true);
  await page.click("#share-int8");
  await page.waitForSelector("#share-int8", { state: "hidden" });
  assert.equal(await page.isChecked("#int8"), true);
  assert.equal(await linkOf(page), long);
  await context.close();
});

test("a received link says what it holds and what to do", async () => {
  const link = runProgram("export", modelPath("paper-90-all"), "--link").trim();
  const image = encodeURIComponent("/there/field.png");
  const { context, page } = await openPage(browser, `${host.address}?device=cpu${link}&t=0.6`);
  const received = await page.innerText("#received");
  assert.match(received, /^You received a model: 9,702 parameters, 90 % of its filters removed, /);
  assert.match(received, /threshold 0\.6\. Open an image to use it\./);
  assert.match(received, /Sent along: a threshold of 0\.6 in place of the model's 0\.45\./);
  assert.match(received, /Licence: CC BY-NC-SA 4\.0/);
  assert.equal(await page.isVisible("#choose-file"), true);
  assert.doesNotMatch(await page.textContent("body"), /\b0 % (of its filters )?removed|as it was/);
  await dropFile(page, "field.png", field);
  await waitForNuclei(page);
  assert.equal(await page.isVisible("#received"), false);
  const facts = await page.textContent("#model-kind");
  assert.match(facts, /9,702 parameters, 90 % of its filters removed before.*CC BY-NC-SA/);
  assert.match(await page.textContent("#left-label"), /^as loaded/);
  await context.close();

  const withImage = await openPage(browser, `${host.address}?device=cpu&image_url=${image}${link}`);
  await waitForNuclei(withImage.page);
  assert.match(await withImage.page.textContent("#received"), /an image, field\.png/);
  await withImage.context.close();

  const cut = await openPage(browser, `${host.address}?device=cpu${link.slice(0, -60)}`);
  assert.match(await cut.page.innerText("#received"), /could not be read.*\n+.*own model is ready/);
  assert.equal(await cut.page.isVisible("#alert"), true);
  await dropFile(cut.page, "field.png", field);
  assert.ok((await waitForNuclei(cut.page)) > 0);
  await cut.context.close();
});
