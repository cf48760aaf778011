// Slides in other containers than TIFF: the page finds in them what it finds in a TIFF.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { dicomFiles } from "./dicom.mjs";
import {
  dropFile,
  idle,
  launch,
  openPage,
  saveFile,
  serve,
  shots,
  site,
  tissuePng,
  waitForImage,
  waitForNuclei,
} from "./harness.mjs";
import { rangeServer, tiff } from "./tiff.mjs";
import { zarrObjects } from "./zarr.mjs";

const WIDTH = 480;
const HEIGHT = 360;
const png = tissuePng(0, 0, WIDTH, HEIGHT);
const objects = zarrObjects(png);
const start = "?device=cpu#r=90&u=1";
let browser, host;
/** Keys of the objects that were requested. */
const requested = [];

before(async () => {
  browser = await launch();
  const handlers = { "/one.dcm": rangeServer(dicomFiles(png, { levels: 1 })[0]).handler };
  const keys = [...objects.keys(), "zarr.json"];
  for (const key of keys) {
    handlers[`/slide.zarr/${key}`] = (_, response) => {
      requested.push(key);
      const content = objects.get(key);
      response.writeHead(content ? 200 : 404).end(content);
    };
  }
  host = await serve(site, handlers);
});
after(async () => {
  await browser.close();
  host.close();
});

/** Segments the open slide; its table without ids, sorted. */
async function nuclei(page) {
  await idle(page);
  await page.click("#segment-slide");
  assert.ok((await waitForNuclei(page)) > 20);
  const { bytes } = await saveFile(page, "[data-file=csv]");
  const lines = String(bytes).trim().split("\n").slice(1);
  return lines.map((line) => line.split(",").slice(2).join(",")).sort();
}

/** What is found in the same pixels in a TIFF. */
async function nucleiOfTiff() {
  const { context, page } = await openPage(browser, host.address + start);
  await dropFile(page, "field.svs", tiff(png), "");
  const found = await nuclei(page);
  await context.close();
  return found;
}

/** Drops files, and a folder of files by path: what a page gets from a file manager. */
async function drop(page, { files = [], folder }) {
  const encode = ([name, bytes]) => [name, Buffer.from(bytes).toString("base64")];
  await page.evaluate(
    ([files, folder, inFolder]) => {
      const fileOf = ([name, base64]) => {
        const content = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
        return new File([content], name.split("/").pop());
      };
      const entryOf = (path, all) => {
        const name = path.split("/").pop();
        const own = all.find(([key]) => key === path);
        if (own) {
          const file = (resolve) => resolve(fileOf(own));
          return { isFile: true, isDirectory: false, name, fullPath: `/${path}`, file };
        }
        const inside = all.filter(([key]) => key.startsWith(`${path}/`));
        const names = new Set(inside.map(([key]) => key.slice(path.length + 1).split("/")[0]));
        const batches = [[...names].map((inner) => entryOf(`${path}/${inner}`, all))];
        const has = (inner) => all.some(([key]) => key === `${path}/${inner}`);
        return {
          isFile: false,
          isDirectory: true,
          name,
          fullPath: `/${path}`,
          createReader: () => ({ readEntries: (take) => take(batches.shift() ?? []) }),
          getFile: (inner, _, resolve, reject) => (has(inner) ? resolve() : reject()),
        };
      };
      const entries = folder ? [entryOf(folder, inFolder)] : [];
      const dataTransfer = {
        files: [...files.map(fileOf), ...entries.map(({ name }) => new File([], name))],
        items: entries.map((entry) => ({ webkitGetAsEntry: () => entry })),
        getData: () => "",
      };
      const event = new Event("drop", { bubbles: true, cancelable: true });
      document.getElementById("canvas").dispatchEvent(Object.assign(event, { dataTransfer }));
    },
    [files.map(encode), folder?.name, (folder?.files ?? []).map(encode)],
  );
}

test("the files of a DICOM series are one slide, which is kept", async () => {
  const { context, page, unexpected } = await openPage(browser, host.address + start);
  const files = dicomFiles(png).map((bytes, i) => [`instance${i}.dcm`, bytes]);
  await drop(page, { files });
  await waitForImage(page, "instance0.dcm");
  assert.match(await page.textContent("#image-facts"), /480 × 360 pixels, 3 levels/);
  assert.equal(await page.inputValue("#mpp"), "0.25");
  const found = await nuclei(page);
  assert.deepEqual(found, await nucleiOfTiff());
  await page.screenshot({ path: join(shots, "dicom.png") });
  await page.evaluate(() => globalThis.prunella.persistence.flush());
  await page.reload();
  assert.equal(await waitForNuclei(page), found.length);
  assert.match(await page.textContent("#image-facts"), /3 levels/);
  assert.deepEqual(unexpected, { errors: [], otherHosts: [] });
  await context.close();
});

test("a folder of two DICOM slides lists both, and a broken one gives a sentence", async () => {
  const { context, page } = await openPage(browser, host.address + start);
  const one = dicomFiles(png).map((bytes, i) => [`scans/a${i}`, bytes]);
  const other = dicomFiles(tissuePng(100, 100, 256, 128), { series: "1.2.4" });
  const inHeader = (bytes) => bytes.subarray(0, bytes.indexOf("TILED_FULL"));
  const cut = other.map((bytes, i) => [`scans/b${i}.dcm`, inHeader(bytes)]);
  const note = ["scans/readme", Buffer.from("no slide")];
  await drop(page, { folder: { name: "scans", files: [...one, note, ...cut] } });
  await waitForImage(page, "scans/a0");
  assert.match(
    await page.textContent("#folder-facts"),
    /The folder scans holds 2 images or slides, and 1 other file\./,
  );
  await page.click("#folder button >> nth=1");
  const alert = await page.waitForSelector("#alert:not([hidden])");
  assert.match(await alert.textContent(), /cut short|ends/);
  assert.match(await page.textContent("#image-facts"), /^scans\/a0/, "the open slide stays");
  await context.close();
});

test("one DICOM file by address is a slide of one level", async () => {
  const { context, page } = await openPage(
    browser,
    `${host.address}?device=cpu&image_url=one.dcm#r=90&u=1`,
  );
  await waitForImage(page, "one.dcm");
  assert.match(await page.textContent("#image-facts"), /480 × 360 pixels, 1 level/);
  await context.close();
});

test("an OME-Zarr opens by address and as a folder, with the nuclei of the TIFF", async () => {
  const expected = await nucleiOfTiff();
  const remote = await openPage(
    browser,
    `${host.address}?device=cpu&image_url=slide.zarr#r=90&u=1`,
  );
  await waitForImage(remote.page, "slide.zarr");
  assert.match(await remote.page.textContent("#image-facts"), /480 × 360 pixels, 3 levels/);
  assert.equal(await remote.page.inputValue("#mpp"), "0.25");
  assert.deepEqual(await nuclei(remote.page), expected);
  assert.ok(requested.includes("0/0/0/0"));
  await remote.page.screenshot({ path: join(shots, "zarr.png") });
  await remote.context.close();
  const dropped = await openPage(browser, host.address + start);
  const files = [...objects].map(([key, bytes]) => [`case 7.ome.zarr/${key}`, bytes]);
  await drop(dropped.page, { folder: { name: "case 7.ome.zarr", files } });
  await waitForImage(dropped.page, "case 7.ome.zarr");
  assert.deepEqual(await nuclei(dropped.page), expected);
  await dropped.page.evaluate(() => globalThis.prunella.persistence.flush());
  await dropped.page.reload();
  await dropped.page.waitForSelector("#storage-bar:not([hidden])");
  const advice = /Drop the folder case 7\.ome\.zarr again to go on/;
  assert.match(await dropped.page.textContent("#storage-text"), advice);
  const broken = files.filter(([key]) => !key.endsWith("1/.zarray"));
  await drop(dropped.page, { folder: { name: "case 7.ome.zarr", files: broken } });
  await dropped.page.waitForSelector("#alert:not([hidden])");
  assert.match(await dropped.page.textContent("#alert"), /zarr/i);
  await dropped.context.close();
});
