// Regions: drawn with every tool, by keyboard, named, counted, undone, saved and opened.
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { dropFile, idle, openPage, saveFile, shots, tissuePng, waitForNuclei } from "./harness.mjs";
import { browser, host } from "./started.mjs";

const WIDTH = 500;
const HEIGHT = 400;

async function openTissue(options) {
  const opened = await openPage(browser, `${host.address}?device=cpu#r=90`, options);
  await dropFile(opened.page, "field.png", tissuePng(0, 0, WIDTH, HEIGHT));
  await waitForNuclei(opened.page);
  return opened;
}

/** Screen position of a place of the image, CSS pixels. */
function screenPoint(page, x, y) {
  return page.evaluate(
    ([x, y]) => {
      const { viewport, canvas, pixelRatio } = globalThis.prunella.canvasView;
      const box = canvas.getBoundingClientRect();
      const [left, top] = viewport.toScreen(x, y);
      return { x: box.left + left / pixelRatio, y: box.top + top / pixelRatio };
    },
    [x, y],
  );
}

const regions = (page) => page.evaluate(() => globalThis.prunella.store.state.regions);

/** Texts of a row of the table, without its name. */
async function cells(page, row) {
  const all = page.locator("#region-rows tr").nth(row).locator("td");
  await page.waitForFunction(
    (row) => /\d/.test(document.querySelectorAll("#region-rows tr")[row]?.cells[2]?.textContent),
    row,
  );
  return all.allTextContents();
}

async function drag(page, points) {
  const [first, ...others] = points;
  let at = await screenPoint(page, ...first);
  await page.mouse.move(at.x, at.y);
  await page.mouse.down();
  for (const point of others) {
    at = await screenPoint(page, ...point);
    await page.mouse.move(at.x, at.y, { steps: 3 });
  }
  await page.mouse.up();
}

function area(ring) {
  let sum = 0;
  for (const [i, [x, y]] of ring.entries()) {
    const [nextX, nextY] = ring[(i + 1) % ring.length];
    sum += x * nextY - nextX * y;
  }
  return Math.abs(sum) / 2;
}

test("a rectangle, a polygon and a line by hand become regions that are counted", async () => {
  const { context, page, unexpected } = await openTissue();
  await page.click('[data-region-tool="rectangle"]');
  await drag(page, [[50, 50], [250, 300]]);
  await page.waitForFunction(() => globalThis.prunella.store.state.regions.length === 1);
  await page.click('[data-region-tool="polygon"]');
  for (const point of [[300, 50], [480, 60], [470, 200], [310, 190]]) {
    const { x, y } = await screenPoint(page, ...point);
    await page.mouse.click(x, y);
    await page.waitForTimeout(450);
  }
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => globalThis.prunella.store.state.regions.length === 2);
  // A figure of eight: the larger part of what it goes around.
  await page.click('[data-region-tool="freehand"]');
  await drag(page, [[300, 220], [480, 380], [480, 230], [300, 350]]);
  await page.waitForFunction(() => globalThis.prunella.store.state.regions.length === 3);
  const [first, second, third] = await regions(page);
  assert.ok(Math.abs(area(first.polygons[0][0]) - 200 * 250) < 900, "rectangle");
  assert.equal(second.polygons[0][0].length, 4);
  assert.ok(area(third.polygons[0][0]) > 1000);
  const [areaText, nuclei, density] = await cells(page, 0);
  const csv = (await saveFile(page, '#exports [data-file="csv"]')).bytes.toString();
  const [head, ...rows] = csv.trim().split("\n").map((line) => line.split(","));
  const column = (name) => head.findIndex((title) => title.startsWith(name));
  const [x, y] = [column("centroid_x"), column("centroid_y")];
  assert.ok(x >= 0 && y >= 0, head.join());
  const [[left, top], , [right, bottom]] = first.polygons[0][0];
  const inside = rows.filter(
    (row) => row[x] > left && row[x] < right && row[y] > top && row[y] < bottom,
  );
  assert.equal(Number(nuclei), inside.length);
  assert.ok(Number(areaText) > 0 || areaText.includes(","), areaText);
  assert.ok(density === "–" || Number(density.replaceAll(",", "")) > 0);
  await page.screenshot({ path: join(shots, "regions.png") });
  // Inside only.
  const all = Number((await page.textContent("#count")).replaceAll(",", ""));
  await page.check("#inside-only");
  const isLess = (all) => Number(document.getElementById("count").textContent) < all;
  await page.waitForFunction(isLess, all);
  assert.match(await page.textContent("#count-area"), /^Inside 3 regions, /);
  const fewer = (await saveFile(page, '#exports [data-file="csv"]')).bytes.toString();
  assert.ok(fewer.trim().split("\n").length - 1 < rows.length);
  assert.equal(
    fewer.trim().split("\n").length - 1,
    Number((await page.textContent("#count")).replaceAll(",", "")),
  );
  assert.deepEqual(unexpected.errors, []);
  await context.close();
});

test("regions are named, coloured, deleted, undone, saved and opened again", async () => {
  const { context, page, unexpected } = await openTissue();
  await page.focus("#region-from-view");
  await page.keyboard.press("Enter");
  assert.equal((await regions(page)).length, 1);
  await page.fill('#region-rows input[type="text"]', "Tumour, left");
  await page.press('#region-rows input[type="text"]', "Enter");
  assert.equal((await regions(page))[0].name, "Tumour, left");
  const saved = await saveFile(page, "#save-regions");
  assert.equal(saved.name, "field.regions.geojson");
  const { features } = JSON.parse(saved.bytes);
  assert.equal(features[0].properties.name, "Tumour, left");
  assert.equal(features[0].properties.objectType, "annotation");
  const table = (await saveFile(page, "#save-region-table")).bytes.toString();
  assert.match(table, /^region,area_.*\n"Tumour, left",/);
  await page.click('#region-rows button[data-role="remove"]');
  assert.equal((await regions(page)).length, 0);
  await page.focus("#canvas");
  await page.keyboard.press("Control+z");
  assert.equal((await regions(page)).length, 1);
  await page.click('#region-rows button[data-role="remove"]');
  await dropFile(page, "again.geojson", saved.bytes, "application/geo+json");
  await page.waitForFunction(() => globalThis.prunella.store.state.regions.length === 1);
  const again = await saveFile(page, "#save-regions");
  assert.deepEqual(JSON.parse(again.bytes).features, features, "ids, names and outlines stay");
  assert.deepEqual(unexpected.errors, []);
  await context.close();
});

test("on a phone a region is drawn by a finger", async () => {
  const { context, page, unexpected } = await openTissue({
    viewport: { width: 390, height: 844 },
    hasTouch: true,
  });
  await page.evaluate(() => document.querySelector('[data-region-tool="freehand"]').click());
  const client = await context.newCDPSession(page);
  const points = [];
  for (const at of [[100, 100], [400, 110], [410, 300], [90, 290]]) {
    points.push(await screenPoint(page, ...at));
  }
  const touch = (type, point) =>
    client.send("Input.dispatchTouchEvent", { type, touchPoints: point ? [point] : [] });
  await touch("touchStart", points[0]);
  for (const point of points.slice(1)) await touch("touchMove", point);
  await touch("touchEnd");
  await page.waitForFunction(() => globalThis.prunella.store.state.regions.length === 1);
  await idle(page);
  await page.screenshot({ path: join(shots, "regions-phone.png") });
  assert.deepEqual(unexpected.errors, []);
  await context.close();
});
