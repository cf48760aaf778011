// Comparison: with a second model and with objects of a file; scores equal those of the program.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { PNG } from "pngjs";
import {
  dropFile,
  idle,
  modelPath,
  nativeFiles,
  openPage,
  runProgram,
  shots,
  tissuePng,
  waitForNuclei,
} from "./harness.mjs";
import { browser, host } from "./started.mjs";

const WIDTH = 400;
const HEIGHT = 300;

async function openTissue() {
  const opened = await openPage(browser, `${host.address}?device=cpu#r=90`);
  await dropFile(opened.page, "field.png", tissuePng(0, 0, WIDTH, HEIGHT));
  await waitForNuclei(opened.page);
  return opened;
}

const score = async (page, name) => Number(await page.textContent(`[data-score="${name}"]`));

const hasScores = (page) =>
  page.waitForFunction(() => document.querySelector("#scores dd") !== null);

/** Opens a file of objects by the button of the section. */
async function openReference(page, name, bytes, mimeType = "application/octet-stream") {
  await page.setInputFiles("#reference-file", { name, mimeType, buffer: Buffer.from(bytes) });
}

test("scores against a label map are those of the program, differences have colours", async () => {
  const { context, page, unexpected } = await openTissue();
  // The labels of another model, so that not everything matches.
  const image = tissuePng(0, 0, WIDTH, HEIGHT);
  const labels = nativeFiles(image, "open-small", ["--threshold", "0.35"])("labels.png");
  await openReference(page, "field.labels.png", labels, "image/png");
  await hasScores(page);
  const folder = mkdtempSync(join(tmpdir(), "prunella-compare-"));
  const data = join(folder, "data");
  for (const name of ["images", "labels"]) mkdirSync(join(data, name), { recursive: true });
  writeFileSync(join(data, "images/field.png"), image);
  // Results of the program are labels only after they were written anew.
  writeFileSync(join(folder, "result.png"), labels);
  runProgram("convert", join(folder, "result.png"), join(data, "labels/field_label.png"));
  const required = ["--model", modelPath("paper-90"), "--data", data];
  const report = JSON.parse(runProgram("evaluate", ...required, "--device", "cpu", "--json"));
  const expected = findScores(report);
  for (const name of ["dice", "aji", "pq", "dq", "sq", "f1"]) {
    const [ours, theirs] = [await score(page, name), expected[name]];
    assert.ok(Math.abs(ours - theirs) < 0.0015, `${name}: ${ours}, ${theirs}`);
  }
  assert.match(await page.textContent("#score-note"), /matched, \d+ missed, \d+ extra/);
  assert.match(await page.textContent("#left-label"), /Paper: a tenth of the filters: \d+ nuclei/);
  assert.match(await page.textContent("#right-label"), /field\.labels\.png: \d+ nuclei/);
  await page.check("#differences");
  await page.waitForTimeout(1500);
  await page.screenshot({ path: join(shots, "compare-differences.png") });
  assert.deepEqual(unexpected.errors, []);
  await context.close();
});

/** The scores of the only tile of a report, wherever it has them. */
function findScores(value) {
  if (value === null || typeof value !== "object") return undefined;
  if (typeof value.aji === "number" && typeof value.pq === "number") return value;
  for (const inner of Object.values(value)) {
    const found = findScores(inner);
    if (found) return found;
  }
  return undefined;
}

test("files of another size are refused with a sentence; GeoJSON is compared with", async () => {
  const { context, page, unexpected } = await openTissue();
  const other = PNG.sync.write(new PNG({ width: 100, height: 80 }));
  await openReference(page, "other.png", other, "image/png");
  await page.waitForFunction(() => !document.getElementById("alert").hidden);
  assert.match(await page.textContent("#alert"), /100×80 pixels and the open image 400×300/);
  const square = (x, y) => [[[x, y], [x + 20, y], [x + 20, y + 20], [x, y + 20], [x, y]]];
  const features = [[10, 10], [60, 60], [5000, 5000]].map(([x, y]) => ({
    type: "Feature",
    properties: { objectType: "detection" },
    geometry: { type: "Polygon", coordinates: square(x, y) },
  }));
  const text = JSON.stringify({ type: "FeatureCollection", features });
  await dropFile(page, "objects.geojson", Buffer.from(text), "application/geo+json");
  await page.waitForFunction(() =>
    document.getElementById("right-label").textContent.includes("objects.geojson"),
  );
  await hasScores(page);
  assert.match(await page.textContent("#right-label"), /objects\.geojson: 2 nuclei/);
  assert.match(await page.textContent("#reference-notes"), /1 object lies outside the image/);
  assert.match(await page.textContent("#opened-outlines"), /opened to compare the nuclei with/);
  assert.deepEqual(unexpected.errors, []);
  await context.close();
});

test("the white line is dragged, halves are linked, the second model is chosen", async () => {
  const { context, page, unexpected } = await openTissue();
  assert.ok(await page.isHidden("#side-labels"));
  await page.selectOption("#compare-with", "paper-90-all");
  await page.waitForFunction(() => globalThis.prunella.canvasView.hasResult[1]);
  await idle(page);
  await hasScores(page);
  assert.match(await page.textContent("#right-label"), /Paper: smallest: \d+ nuclei/);
  const box = await page.locator("#canvas").boundingBox();
  const [middle, height] = [box.x + box.width / 2, box.y + box.height / 2];
  await page.mouse.move(middle, height);
  const cursor = await page.$eval("#canvas", (canvas) => getComputedStyle(canvas).cursor);
  assert.equal(cursor, "ew-resize");
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.3, height, { steps: 4 });
  await page.mouse.up();
  assert.ok(Math.abs(Number(await page.inputValue("#divider")) - 30) < 1);
  await page.waitForTimeout(400);
  await page.screenshot({ path: join(shots, "compare-divided.png") });
  await page.selectOption("#compare-mode", "linked");
  assert.ok(await page.isHidden("#divider"));
  await page.waitForTimeout(600);
  await page.screenshot({ path: join(shots, "compare-linked.png") });
  // A click in the right half means the place that is shown there.
  const place = await page.evaluate(() => {
    const { canvasView } = globalThis.prunella;
    const { width } = canvasView.canvas;
    return [canvasView.shiftAt(width * 0.25), canvasView.shiftAt(width * 0.75), width / 4];
  });
  assert.deepEqual(place.slice(0, 2), [-place[2], place[2]]);
  assert.deepEqual(unexpected.errors, []);
  await context.close();
});
