// Files of a segmented image have the same bytes as those of the native program, on CPU and GPU.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { PNG } from "pngjs";
import {
  dropFile,
  idle,
  moveSlider,
  nativeFiles,
  openPage,
  root,
  runProgram,
  saveFile,
  shots,
  tissuePng,
  waitForNuclei,
  waitForTable,
} from "./harness.mjs";
import { browser, host } from "./started.mjs";

/** Endings of the native command's files, and the page's buttons. */
const FILES = {
  geojson: "geojson",
  csv: "csv",
  labels: "labels.png",
  overlay: "overlay.png",
  probability: "probability.png",
};

/** Checks that exports have the bytes of the native files. */
async function assertEqualFiles(page, nativeFile, kinds) {
  for (const kind of kinds) {
    const got = await saveFile(page, `[data-file=${kind}]`);
    assert.equal(got.name, `field.${FILES[kind]}`);
    assert.ok(got.bytes.equals(nativeFile(FILES[kind])), `${kind} differs from the native one`);
  }
}

/** Measurements may differ by this share: an 8-bit probability off by 1 moves an outline. */
const TOLERANCE = 0.01;

/** What two GeoJSON texts have different, beyond rounding: a sentence each. */
function differences(text, expectedText) {
  const [features, expected] = [text, expectedText].map((json) => JSON.parse(json).features);
  if (features.length !== expected.length) return [`${features.length} of ${expected.length}`];
  const found = [];
  for (const [i, { properties }] of features.entries()) {
    const wanted = expected[i].properties;
    const [name, wantedName] = [properties, wanted].map((of) => of.classification?.name);
    if (name !== wantedName) found.push(`class of ${i}`);
    for (const [name, value] of Object.entries(wanted.measurements)) {
      const difference = Math.abs(properties.measurements[name] - value);
      if (difference > TOLERANCE * Math.max(Math.abs(value), 1)) found.push(`${name} of ${i}`);
    }
  }
  return found;
}

/** Checks that the page's nuclei are the native ones, up to rounding. */
async function assertCloseNuclei(page, nativeFile) {
  const { bytes } = await saveFile(page, "[data-file=geojson]");
  assert.deepEqual(differences(bytes.toString(), nativeFile("geojson").toString()), []);
}

test("differences are found", () => {
  const json = (area, name) =>
    JSON.stringify({
      features: [{ properties: { measurements: { area }, classification: { name } } }],
    });
  assert.deepEqual(differences(json(50, "a"), json(50.1, "a")), []);
  assert.deepEqual(differences(json(50, "a"), json(52, "a")), ["area of 0"]);
  assert.deepEqual(differences(json(50, "a"), json(50, "b")), ["class of 0"]);
  assert.deepEqual(differences('{"features":[]}', json(50, "b")), ["0 of 1"]);
});

test("a network that tells borders apart finds the native nuclei", async () => {
  const image = tissuePng(10, 20, 200, 160);
  const { context, page } = await openPage(
    browser,
    `${host.address}?device=cpu#p=0.25&s=open-medium`,
  );
  await dropFile(page, "field.png", image);
  assert.ok((await waitForNuclei(page)) > 5);
  await assertCloseNuclei(page, nativeFiles(image, "open-medium", ["--mpp", "0.25"]));
  await context.close();
});

test("on the CPU, a dropped image gives the native files", async () => {
  const image = tissuePng(10, 20, 200, 160);
  const { context, page, unexpected } = await openPage(
    browser,
    `${host.address}?device=cpu#p=0.25`,
  );
  await dropFile(page, "field.png", image);
  assert.ok((await waitForNuclei(page)) > 5);
  assert.match(await page.textContent("#device"), /CPU \(\d+ worker/);
  assert.equal(await page.getAttribute("#device", "data-gpu"), "false");
  // Probabilities may differ in the last bit, which 8 bits seldom show. Nuclei are found on
  // integers.
  await assertEqualFiles(page, nativeFiles(image, "open-small", ["--mpp", "0.25"]), [
    "geojson",
    "csv",
    "labels",
    "overlay",
  ]);
  assert.match(await page.textContent("#median"), /µm²/);
  await page.screenshot({ path: join(shots, "processor.png") });
  assert.deepEqual(unexpected, { errors: [], otherHosts: [] });
  await context.close();
});

test("on WebGPU, the same, block by block", async () => {
  const image = tissuePng(30, 40, 110, 90);
  const { context, page, unexpected } = await openPage(
    browser,
    `${host.address}?device=gpu#r=90&u=1`,
  );
  assert.equal(await page.getAttribute("#device", "data-gpu"), "true", "a GPU adapter is used");
  assert.match(await page.textContent("#device"), /swiftshader|WebGPU/i);
  await dropFile(page, "field.png", image);
  await waitForNuclei(page);
  await assertEqualFiles(page, nativeFiles(image, "paper-90-all"), ["geojson", "csv", "labels"]);
  assert.equal(
    await page.getAttribute("#device", "data-gpu"),
    "true",
    "and it is still used at the end",
  );
  assert.deepEqual(unexpected, { errors: [], otherHosts: [] });
  await context.close();
});

/** Features as another program would write them: of one type below a median area, of one above. */
function asLabels(features) {
  const areaOf = ({ properties }) => properties.measurements["Area um^2"];
  const areas = features.map(areaOf).sort((a, b) => a - b);
  const median = areas[areas.length >> 1];
  return features.map((feature) => ({
    type: "Feature",
    geometry: feature.geometry,
    properties: {
      objectType: "detection",
      classification: { name: areaOf(feature) < median ? "small" : "large" },
    },
  }));
}

/** A model that tells two types of nuclei and their border apart, trained in seconds. */
function typedModel() {
  const folder = mkdtempSync(join(tmpdir(), "prunella-types-"));
  const image = tissuePng(0, 0, 300, 300);
  const found = JSON.parse(nativeFiles(image, "open-small", ["--mpp", "0.25"])("geojson"));
  const labels = { type: "FeatureCollection", features: asLabels(found.features) };
  writeFileSync(join(folder, "tile.png"), image);
  writeFileSync(join(folder, "tile.geojson"), JSON.stringify(labels));
  const model = join(folder, "types.safetensors");
  const network = ["--widths", "4,6,8,24", "--border", "0.75", "--mpp", "0.25"];
  const amount = ["--square", "8", "--patches", "25600", "--epochs", "4", "--batch", "8"];
  const how = ["--learning-rate", "0.005", "--revive", "--device", "cpu"];
  runProgram("train", "--data", folder, "--out", model, ...network, ...amount, ...how);
  return model;
}

test("types of nuclei are those of the native files, and are shown", async () => {
  const model = typedModel();
  const image = tissuePng(310, 20, 200, 160);
  const { context, page, unexpected } = await openPage(
    browser,
    `${host.address}?device=cpu#r=90&u=1&p=0.25`,
  );
  const before = await page.textContent("#parameters");
  await dropFile(page, "types.safetensors", readFileSync(model), "");
  await page.waitForFunction(
    (before) => document.getElementById("parameters").textContent !== before,
    before,
  );
  await dropFile(page, "field.png", image);
  assert.ok((await waitForNuclei(page)) > 5);
  await waitForTable(page);
  const native = nativeFiles(image, model, ["--mpp", "0.25"]);
  await assertCloseNuclei(page, native);

  // Every type with its number, and a column of the table.
  const rows = native("csv").toString().trim().split("\n").slice(1);
  const counts = await page.textContent("#type-counts");
  for (const name of ["large", "small"]) {
    const count = rows.filter((row) => row.endsWith(`,${name}`)).length;
    assert.ok(counts.includes(`${count} ${name}`), `${counts}: ${count} ${name}`);
  }
  await page.click("#table-details > summary");
  await page.waitForSelector("#table tbody tr");
  const head = await page.textContent("#table thead");
  assert.match(head, /Type/);
  await page.locator("#table tbody tr").first().locator("button").click();
  await page.waitForFunction(() => !document.getElementById("object-card").hidden);
  assert.match(await page.textContent("#card-facts"), /, (large|small)/);
  await page.screenshot({ path: join(shots, "types.png") });
  assert.deepEqual(unexpected, { errors: [], otherHosts: [] });
  await context.close();
});

test("after the loss of a device the CPU continues", async () => {
  const image = tissuePng(30, 40, 150, 120);
  const { context, page } = await openPage(browser, `${host.address}?device=gpu#r=90&u=1`);
  await page.evaluate(() => {
    const { engine } = globalThis.prunella;
    const before = engine.onevent;
    let lost = false;
    engine.onevent = (event) => {
      if (!lost && event.type === "block") {
        lost = true;
        void engine.call("loseDevice");
      }
      before(event);
    };
  });
  await dropFile(page, "field.png", image);
  await waitForNuclei(page);
  await assertEqualFiles(page, nativeFiles(image, "paper-90-all"), ["geojson"]);
  assert.equal(
    await page.evaluate(() => document.documentElement.dataset.lost),
    "true",
    "the device was lost",
  );
  await context.close();
});

test("the browser's compiler accepts the viewer's shader", async () => {
  const { context, page } = await openPage(browser, `${host.address}?device=cpu`);
  const shader = readFileSync(join(root, "shaders/viewer.wgsl"), "utf8");
  const errors = await page.evaluate(async (code) => {
    const device = await (await navigator.gpu.requestAdapter()).requestDevice();
    const compile = async (text) => {
      device.pushErrorScope("validation");
      const module = device.createShaderModule({ code: text });
      const messages = (await module.getCompilationInfo()).messages
        .filter((m) => m.type === "error")
        .map((m) => m.message);
      await device.popErrorScope();
      return messages;
    };
    return [await compile(code), await compile(`${code}\nfn broken( {`)];
  }, shader);
  assert.deepEqual(errors[0], []);
  assert.notEqual(errors[1].length, 0, "a broken shader gives an error");
  await context.close();
});

test("threshold, table, selection and comparison follow the controls", async () => {
  const { context, page, unexpected } = await openPage(
    browser,
    `${host.address}?device=cpu#r=90&u=1`,
  );
  await dropFile(page, "field.png", tissuePng(0, 0, 160, 160));
  const all = await waitForNuclei(page);
  await moveSlider(page, "#threshold", 90);
  await page.waitForFunction(
    (n) => document.getElementById("count").textContent !== String(n),
    all,
  );
  assert.ok(Number(await page.textContent("#count")) < all, "fewer nuclei above 0.9");
  await moveSlider(page, "#threshold", 50);
  await page.click("#table-details > summary");
  await page.waitForSelector("#table tbody tr");
  const rows = page.locator("#table tbody tr");
  await page.waitForFunction(() => document.querySelectorAll("#table tbody tr").length > 3);
  await rows.first().locator("button").click();
  await page.waitForSelector("#table tbody tr:first-child.selected");
  await page.waitForFunction(() => /v=[\d.]+,[\d.]+,4/.test(location.hash));
  await page.click("#compare");
  await idle(page);
  await page.waitForFunction(() => globalThis.prunella.canvasView.hasResult[1]);
  await page.click("#zoom-fit");
  await page.waitForTimeout(900);
  await page.screenshot({ path: join(shots, "compare.png") });
  assert.deepEqual(unexpected, { errors: [], otherHosts: [] });
  await context.close();
});

test("the slider prunes in the page and the agreement is shown", async () => {
  const { context, page } = await openPage(browser, `${host.address}?device=cpu#r=90`);
  assert.equal(await page.textContent("#parameters"), "78,777");
  assert.match(await page.textContent("#model-kind"), /Fine-tuned after pruning/);
  await dropFile(page, "field.png", tissuePng(0, 0, 128, 128));
  await waitForNuclei(page);
  await moveSlider(page, "#ratio", 80);
  await page.waitForFunction(() =>
    /^0\.\d+$|^1/.test(document.getElementById("agreement").textContent),
  );
  await idle(page);
  assert.match(await page.textContent("#model-kind"), /without fine-tuning/);
  const cut = Number((await page.textContent("#parameters")).replaceAll(",", ""));
  assert.ok(cut > 78_777 && cut < 916_959, `${cut} parameters`);
  // The address follows after a pause.
  await page.waitForURL(/r=80/);
  await context.close();
});

test("a segmentation can be cancelled, and its finished part stays", async () => {
  const { context, page } = await openPage(browser, `${host.address}?device=cpu#r=0`);
  await dropFile(page, "field.png", tissuePng(0, 0, 400, 400));
  await page.waitForFunction(() => document.getElementById("progress").value > 0.02);
  assert.equal(await page.isVisible("#progress-row"), true);
  await page.click("#cancel");
  await idle(page);
  assert.match(await page.textContent("#status"), /^Cancelled: \d+ nuclei in the finished part/);
  assert.ok((await page.evaluate(() => document.getElementById("progress").value)) < 1);
  assert.equal(await page.isVisible("#alert"), false);
  await context.close();
});

test("a further action during a segmentation cancels it, and results are never mixed", async () => {
  const { context, page, unexpected } = await openPage(browser, `${host.address}?device=cpu#r=0`);
  const image = tissuePng(0, 0, 256, 192);
  await dropFile(page, "field.png", tissuePng(100, 100, 200, 200));
  await page.waitForFunction(() => document.getElementById("progress").value > 0.02);
  // Another image, movements of the slider, the dialog and a comparison, while blocks are computed.
  await dropFile(page, "field.png", image);
  for (const value of [40, 90, 70, 90]) {
    await page.$eval(
      "#ratio",
      (input, value) => {
        input.value = value;
        input.dispatchEvent(new Event("input"));
      },
      String(value),
    );
    await page.waitForTimeout(130);
  }
  await moveSlider(page, "#ratio", 90);
  await page.waitForFunction(() => globalThis.prunella.store.state.model.ratio === 90);
  await page.click("#share-open");
  await page.waitForFunction(() => /Dice/.test(document.getElementById("share-cost").textContent));
  await page.keyboard.press("Escape");
  await page.click("#compare");
  await waitForNuclei(page);
  await page.waitForFunction(() => globalThis.prunella.canvasView.hasResult[1]);
  await idle(page);
  assert.equal(await page.textContent("#parameters"), "78,777");
  await assertEqualFiles(page, nativeFiles(image, "paper-90"), ["labels"]);
  // wasm has no fused multiply-add and rounds twice: one probability in tens of thousands falls on
  // the other side of an 8-bit edge.
  // Levels of the red channel.
  const levels = (bytes) => PNG.sync.read(bytes).data.filter((_, i) => i % 4 === 0);
  const saved = await saveFile(page, "[data-file=probability]");
  const here = levels(saved.bytes);
  const there = levels(nativeFiles(image, "paper-90")("probability.png"));
  assert.equal(here.length, 256 * 192);
  const differences = [...here].map((level, i) => Math.abs(level - there[i]));
  const count = differences.filter((difference) => difference > 0).length;
  assert.ok(Math.max(...differences) <= 1 && count <= 5, `${count} levels differ`);
  assert.deepEqual(unexpected, { errors: [], otherHosts: [] });
  await context.close();
});
