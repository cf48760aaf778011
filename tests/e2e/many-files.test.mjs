// Many files: the list, one summary, one export; a file that fails does not end the others.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import {
  idle,
  openPage,
  saveFile,
  shots,
  tissuePng,
  waitForImage,
  waitForNuclei,
} from "./harness.mjs";
import { browser, host } from "./started.mjs";

const SETTINGS = "?device=cpu#r=90&u=1";
const fields = [0, 1, 2].map((i) => tissuePng(10 + 60 * i, 20, 160, 120));
const PYTHON = join(import.meta.dirname, "../../target/tools/python/bin/python");

function png(name, buffer) {
  return { name, mimeType: "image/png", buffer };
}

/** A PNG that states a pixel size of 0.25 µm by its chunk pHYs. */
function withPixelSize(bytes) {
  const script = `
import sys
from PIL import Image
import io
image = Image.open(io.BytesIO(sys.stdin.buffer.read()))
out = io.BytesIO()
image.save(out, "PNG", dpi=(101600, 101600))
sys.stdout.buffer.write(out.getvalue())`;
  return python(script, bytes);
}

function python(script, input, ...args) {
  return execFileSync(PYTHON, ["-c", script, ...args], { input });
}

async function pageWithFiles(files, options) {
  const opened = await openPage(browser, `${host.address}${SETTINGS}`, options);
  await opened.page.setInputFiles("#file", files);
  await waitForNuclei(opened.page);
  return opened;
}

function waitForAll(page) {
  return page.waitForFunction(
    () =>
      !document.getElementById("segment-all").hidden && !globalThis.prunella.manyFiles.isRunning,
  );
}

/** Rows of a CSV without quoted line breaks, as objects. */
function rowsOf(bytes) {
  const script = "import csv, sys, json, io\n" +
    "print(json.dumps(list(csv.DictReader(io.StringIO(sys.stdin.buffer.read().decode())))))";
  return JSON.parse(python(script, bytes).toString());
}

test("all files are segmented, one that fails is named, and one summary holds them", async () => {
  const { context, page, unexpected } = await pageWithFiles([
    png("first.png", fields[0]),
    png("broken.png", Buffer.from("\x89PNG\r\n\x1a\n nothing", "latin1")),
    png('second, "B".png', withPixelSize(fields[1])),
    png("first.png", fields[2]),
  ]);
  assert.equal(await page.textContent("#file-position"), "1 of 4");
  // A nucleus that a person adds counts, and is in the files.
  await page.evaluate(() => {
    const ring = [[5, 5], [12, 5], [12, 12], [5, 12]];
    const nucleus = { label: 1, area_px: 49, centroid: [8.5, 8.5], measurements: null };
    globalThis.prunella.store.apply({ add: { ...nucleus, polygons: [[ring]] } });
  });
  const isHidden = await page.evaluate(() => {
    const button = document.getElementById("segment-all");
    button.click();
    return button.hidden;
  });
  assert.ok(isHidden, "a second click begins no second run");
  await waitForAll(page);
  const outcome = await page.textContent("#files-progress-text");
  assert.equal(outcome, "3 of 4 segmented, 1 failed.");
  const notes = await page.$$eval("#folder li > .small", (all) => all.map((n) => n.textContent));
  assert.match(notes[0], /^\d+ nuclei, edited$/);
  assert.match(notes[1], /^Failed: /);
  assert.match(notes[2], /^\d+ nuclei$/);

  await page.click("#show-summary");
  await page.waitForSelector("#summary-table tbody tr");
  const cells = await page.$$eval("#summary-table tbody tr", (rows) =>
    rows.map((row) => [...row.cells].map((cell) => cell.textContent)),
  );
  assert.equal(cells.length, 4);
  assert.match(cells[1][1], /^failed: /);
  assert.match(cells[2][1], /^0\.25 µm, file$/);
  assert.equal(cells[0][1], "unknown");
  await page.screenshot({ path: join(shots, "summary.png") });
  const summary = await saveFile(page, "#save-summary");
  await page.keyboard.press("Escape");
  assert.equal(summary.name, "summary.csv");
  const rows = rowsOf(summary.bytes);
  assert.equal(rows.length, 4);
  assert.equal(rows[2].file, 'second, "B".png');
  assert.equal(rows[0].density_per_mm2, "", "its pixel size is unknown");
  assert.equal(rows[0].added, "1");
  const { nuclei, density_per_mm2: density, segmented_px: segmented } = rows[2];
  assert.equal(Number(segmented), 160 * 120);
  const expected = Number(nuclei) / ((160 * 120 * 0.25 ** 2) / 1e6);
  assert.ok(Math.abs(Number(density) - expected) / expected < 1e-3, `${density}, ${expected}`);
  assert.equal(rows[2].pixel_size_source, "file");
  assert.match(rows[1].note, /^failed: /);

  const archive = await saveFile(page, "#save-all");
  const path = join(mkdtempSync(join(tmpdir(), "prunella-e2e-")), archive.name);
  writeFileSync(path, archive.bytes);
  const script = `
import sys, zipfile, json
archive = zipfile.ZipFile(sys.argv[1])
assert archive.testzip() is None
files = {}
for name in archive.namelist():
    text = archive.read(name).decode()
    files[name] = len(json.loads(text)["features"]) if name.endswith("geojson") else text
print(json.dumps(files))`;
  const files = JSON.parse(python(script, "", path).toString());
  assert.deepEqual(Object.keys(files), [
    "summary.csv",
    "first.geojson",
    "first.csv",
    'second, "B".geojson',
    'second, "B".csv',
    "first (2).geojson",
    "first (2).csv",
  ]);
  for (const [row, base] of [[0, "first"], [2, 'second, "B"'], [3, "first (2)"]]) {
    assert.equal(files[`${base}.geojson`], Number(rows[row].nuclei), base);
    assert.equal(files[`${base}.csv`].trim().split("\n").length - 1, Number(rows[row].nuclei));
  }
  assert.deepEqual(unexpected.otherHosts, []);
  await context.close();
});

test("previous and next by button and key; the pixel size stays with its image", async () => {
  const { context, page } = await pageWithFiles([
    png("a.png", fields[0]),
    png("b.png", withPixelSize(fields[1])),
    png("c.png", fields[2]),
  ]);
  const shown = async () => (await page.textContent("#image-facts")).split(",")[0];
  const waitFor = async (name) => {
    await waitForImage(page, name);
    await waitForNuclei(page);
  };
  assert.equal(await shown(), "a.png");
  assert.equal(await page.isDisabled("#previous-file"), true);
  await page.fill("#mpp", "0.5");
  await page.keyboard.press("Enter");
  await idle(page);
  assert.equal(await page.textContent("#mpp-source"), "entered by you");
  await page.click("#next-file");
  await waitFor("b.png");
  assert.equal(await page.inputValue("#mpp"), "0.25");
  assert.equal(await page.textContent("#mpp-source"), "stated by the file");
  await page.focus("#canvas");
  await page.keyboard.press("PageDown");
  await waitFor("c.png");
  assert.equal(await page.inputValue("#mpp"), "", "no size of another image");
  assert.equal(await page.isDisabled("#next-file"), true);
  await page.keyboard.press("PageUp");
  await waitFor("b.png");
  assert.equal(await page.textContent("#file-position"), "2 of 3");
  assert.equal(
    await page.textContent("#folder li:nth-child(1) > .small"),
    await page.evaluate(() => {
      const { nuclei } = globalThis.prunella.files.entries[0].result;
      return `${nuclei} nuclei`;
    }),
  );
  await context.close();
});

test("all files can be stopped, and go on", async () => {
  const { context, page } = await pageWithFiles(
    fields.map((bytes, i) => png(`${i}.png`, bytes)),
    { viewport: { width: 390, height: 844 } },
  );
  await page.click("#sheet-raise");
  await page.evaluate(() => {
    const { prunella } = globalThis;
    const open = prunella.files.open.bind(prunella.files);
    prunella.files.open = (entry) => {
      // Stopped as the second file opens.
      if (entry.file.name === "1.png") setTimeout(() => prunella.manyFiles.stop(), 0);
      return open(entry);
    };
  });
  await page.click("#segment-all");
  await waitForAll(page);
  assert.match(await page.textContent("#files-progress-text"), /^Stopped: 1 of 3 segmented\.$/);
  await page.screenshot({ path: join(shots, "phone-many-files.png"), fullPage: true });
  await page.evaluate(() => delete globalThis.prunella.files.open);
  await page.click("#segment-all");
  // Not the end of the run that was stopped.
  await page.waitForFunction(
    () => document.getElementById("files-progress-text").textContent === "3 of 3 segmented.",
  );
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= 390, `${width} pixels wide`);
  await context.close();
});
