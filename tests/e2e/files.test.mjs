// Files of many formats: the page opens what it can, refuses the rest with the sentence of the
// command line, and takes several files, folders and addresses.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { deflateSync } from "node:zlib";
import { PNG } from "pngjs";
import {
  NATIVE,
  dropFile,
  idle,
  launch,
  modelPath,
  openPage,
  saveFile,
  serve,
  shots,
  site,
  tissuePng,
  waitForImage,
  waitForNuclei,
} from "./harness.mjs";
import { tiff } from "./tiff.mjs";

const SETTINGS = "?device=cpu#r=90&u=1";
const field = tissuePng(10, 20, 160, 120);
const pixels = PNG.sync.read(field);
let browser, host;

before(async () => {
  browser = await launch();
  const text = "<!doctype html><title>A page about a slide</title>";
  host = await serve(site, {
    "/field.png": (_, response) => {
      response.writeHead(200, { "Content-Length": field.length }).end(field);
    },
    "/page.html": (_, response) => {
      response.writeHead(200, { "Content-Type": "text/html" }).end(text);
    },
  });
});
after(async () => {
  await browser.close();
  host.close();
});

// ---- Files

/** Values of a pixel's channels in the order `order`, of all pixels row by row. */
function samples(order) {
  const values = [];
  for (let i = 0; i < pixels.data.length; i += 4) {
    for (const channel of order) values.push(pixels.data[i + channel]);
  }
  return Buffer.from(values);
}

/** 24 bits a pixel, lowest row first, blue first. */
function bmp() {
  const { width, height } = pixels;
  const rowBytes = width * 3;
  const header = Buffer.alloc(54);
  header.write("BM");
  header.writeUInt32LE(54 + rowBytes * height, 2);
  header.writeUInt32LE(54, 10);
  header.writeUInt32LE(40, 14);
  header.writeInt32LE(width, 18);
  header.writeInt32LE(height, 22);
  header.writeUInt16LE(1, 26);
  header.writeUInt16LE(24, 28);
  const rows = [];
  const content = samples([2, 1, 0]);
  for (let y = height - 1; y >= 0; y--) {
    rows.push(content.subarray(y * rowBytes, (y + 1) * rowBytes));
  }
  return Buffer.concat([header, ...rows]);
}

/** A grey GIF without compression: 7-bit codes, and a clear code before the decoder widens them. */
function gif() {
  const { width, height } = pixels;
  const header = Buffer.alloc(13);
  header.write("GIF89a");
  header.writeUInt16LE(width, 6);
  header.writeUInt16LE(height, 8);
  // A palette of 128 greys.
  header[10] = 0xf6;
  const palette = Buffer.from(Array.from({ length: 384 }, (_, i) => Math.floor(i / 3) * 2));
  const image = Buffer.alloc(10);
  image[0] = 0x2c;
  image.writeUInt16LE(width, 5);
  image.writeUInt16LE(height, 7);
  const CLEAR = 128;
  const codes = [];
  samples([0]).forEach((value, i) => {
    if (i % 100 === 0) codes.push(CLEAR);
    codes.push(value >> 1);
  });
  codes.push(CLEAR + 1);
  const packed = [];
  let bits = 0;
  let held = 0;
  for (const code of codes) {
    held |= code << bits;
    bits += 8;
    while (bits >= 8) {
      packed.push(held & 255);
      held >>= 8;
      bits -= 8;
    }
  }
  const blocks = [Buffer.from([7])];
  for (let i = 0; i < packed.length; i += 255) {
    const block = packed.slice(i, i + 255);
    blocks.push(Buffer.from([block.length, ...block]));
  }
  return Buffer.concat([header, palette, image, ...blocks, Buffer.from([0, 0x3b])]);
}

const CRC_TABLE = Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c >>> 0;
});

function crc32(bytes) {
  let c = 0xffffffff;
  for (const byte of bytes) c = CRC_TABLE[(c ^ byte) & 255] ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}

function pngChunk(type, content) {
  const named = Buffer.concat([Buffer.from(type), content]);
  const chunk = Buffer.alloc(named.length + 8);
  chunk.writeUInt32BE(content.length);
  named.copy(chunk, 4);
  chunk.writeUInt32BE(crc32(named), named.length + 4);
  return chunk;
}

/** A PNG of 16-bit RGB samples. @param {(v: number) => number} f of a value from 0 to 255 */
function png16(f) {
  const { width, height } = pixels;
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width);
  header.writeUInt32BE(height, 4);
  header.set([16, 2, 0, 0, 0], 8);
  const rows = [];
  const content = samples([0, 1, 2]);
  for (let y = 0; y < height; y++) {
    const row = Buffer.alloc(1 + width * 6);
    for (let i = 0; i < width * 3; i++) row.writeUInt16BE(f(content[y * width * 3 + i]), 1 + 2 * i);
    rows.push(row);
  }
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10]);
  const chunks = [
    pngChunk("IHDR", header),
    pngChunk("IDAT", deflateSync(Buffer.concat(rows))),
    pngChunk("IEND", Buffer.alloc(0)),
  ];
  return Buffer.concat([signature, ...chunks]);
}

/** An RGBA PNG of the field with one alpha everywhere. */
function withAlpha(alpha) {
  const image = new PNG({ width: pixels.width, height: pixels.height });
  pixels.data.copy(image.data);
  for (let i = 3; i < image.data.length; i += 4) image.data[i] = alpha;
  return PNG.sync.write(image, { colorType: 6 });
}

function blackPng() {
  const image = new PNG({ width: 100, height: 80 });
  for (let i = 3; i < image.data.length; i += 4) image.data[i] = 255;
  return PNG.sync.write(image, { colorType: 2 });
}

/** The field as the browser's canvas encodes it. */
async function encoded(page, type, quality) {
  const base64 = await page.evaluate(
    async ([png, type, quality]) => {
      const image = new Image();
      image.src = `data:image/png;base64,${png}`;
      await image.decode();
      const canvas = new OffscreenCanvas(image.width, image.height);
      canvas.getContext("2d").drawImage(image, 0, 0);
      const blob = await canvas.convertToBlob({ type, quality });
      const bytes = new Uint8Array(await blob.arrayBuffer());
      return btoa(bytes.reduce((text, byte) => text + String.fromCharCode(byte), ""));
    },
    [field.toString("base64"), type, quality],
  );
  return Buffer.from(base64, "base64");
}

/** A JPEG with an EXIF orientation (TIFF tag 274). */
function oriented(jpeg, orientation) {
  const exif = Buffer.alloc(36);
  exif.writeUInt16BE(0xffe1, 0);
  exif.writeUInt16BE(34, 2);
  exif.write("Exif\0\0II*\0", 4, "latin1");
  exif.writeUInt32LE(8, 14);
  exif.writeUInt16LE(1, 18);
  exif.writeUInt16LE(274, 20);
  exif.writeUInt16LE(3, 22);
  exif.writeUInt32LE(1, 24);
  exif.writeUInt16LE(orientation, 28);
  return Buffer.concat([jpeg.subarray(0, 2), exif, jpeg.subarray(2)]);
}

/** An uncompressed TIFF in one strip, little endian, with a description. */
function stripTiff(description) {
  const { width, height } = pixels;
  const text = Buffer.from(`${description}\0`);
  const content = samples([0, 1, 2]);
  const textAt = 8 + content.length;
  const bitsAt = textAt + text.length + (text.length % 2);
  const directoryAt = bitsAt + 6;
  const entries = [
    [256, 4, 1, width],
    [257, 4, 1, height],
    [258, 3, 3, bitsAt],
    [259, 3, 1, 1],
    [262, 3, 1, 2],
    [270, 2, text.length, textAt],
    [273, 4, 1, 8],
    [277, 3, 1, 3],
    [278, 4, 1, height],
    [279, 4, 1, content.length],
  ];
  const file = Buffer.alloc(directoryAt + 2 + entries.length * 12 + 4);
  file.write("II*\0", 0, "latin1");
  file.writeUInt32LE(directoryAt, 4);
  content.copy(file, 8);
  text.copy(file, textAt);
  file.set([8, 0, 8, 0, 8, 0], bitsAt);
  file.writeUInt16LE(entries.length, directoryAt);
  entries.forEach(([tag, type, count, value], i) => {
    const at = directoryAt + 2 + i * 12;
    file.writeUInt16LE(tag, at);
    file.writeUInt16LE(type, at + 2);
    file.writeUInt32LE(count, at + 4);
    file.writeUInt32LE(value, at + 8);
  });
  return file;
}

const OME_HALF = `<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">
<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="160" SizeY="120" SizeC="3"
SizeZ="1" SizeT="1" PhysicalSizeX="0.5" PhysicalSizeXUnit="µm" PhysicalSizeY="0.5"
PhysicalSizeYUnit="µm"><Channel ID="Channel:0:0" SamplesPerPixel="3"><LightPath/></Channel>
<TiffData/></Pixels></Image></OME>`;

function dicom() {
  const file = Buffer.alloc(400);
  file.write("DICM", 128);
  return file;
}

// ---- Program and page

/** What `prunella segment` writes on standard error, and the files that it writes. */
function native(name, content) {
  const folder = mkdtempSync(join(tmpdir(), "prunella-files-"));
  const file = join(folder, name);
  writeFileSync(file, content);
  const out = join(folder, "out");
  const how = ["--model", modelPath("paper-90-all"), "--out", out, "--device", "cpu"];
  const { stderr, status } = spawnSync(NATIVE, ["segment", file, ...how], { encoding: "utf8" });
  const stem = name.replace(/(\.ome)?\.[^.]*$/, "");
  const result = (ending) => {
    for (const candidate of [stem, name.replace(/\.[^.]*$/, "")]) {
      try {
        return readFileSync(join(out, `${candidate}.${ending}`));
      } catch {
        // The other name.
      }
    }
    throw new Error(`There is no ${ending}: ${stderr}`);
  };
  return { said: stderr, status, result };
}

async function pageAtStart(options) {
  return openPage(browser, `${host.address}${SETTINGS}`, options);
}

/** Checks that a file gives the program's nuclei and notes; `notes` must be among these. */
async function assertOpens(page, name, content, notes = []) {
  await dropFile(page, name, content, "");
  await waitForImage(page, `${name},`);
  await waitForNuclei(page);
  assert.equal(await page.isVisible("#alert"), false, name);
  const { said, result } = native(name, content);
  const shown = await page.$$eval("#notes p", (all) => all.map((p) => p.textContent));
  for (const note of shown) {
    if (/^The browser decoded/.test(note)) continue;
    assert.ok(said.includes(note), `${name}: the page notes "${note}", the program: ${said}`);
  }
  for (const expected of notes) {
    assert.ok(
      shown.some((note) => expected.test(note)),
      `${name}: ${expected} is not among: ${shown.join(" | ")}`,
    );
  }
  const csv = await saveFile(page, "[data-file=csv]");
  assert.deepEqual(places(csv.bytes), places(result("csv")), `${name}: the nuclei differ`);
}

/** Centroid and area of each nucleus, rounded: a probability may lie on a rounding edge. */
function places(csv) {
  const rows = String(csv).trim().split("\n").slice(1);
  return rows.map((row) => row.split(",").slice(2, 5).map((value) => Math.round(Number(value))));
}

/** Checks that a file is refused with the program's sentence and that the open image stays. */
async function assertRefused(page, name, content, sentence) {
  const before = await page.textContent("#image-facts");
  await page.evaluate(() => globalThis.prunella.clearError());
  await dropFile(page, name, content, "");
  await page.waitForSelector("#alert:not([hidden])");
  await idle(page);
  const alert = await page.textContent("#alert");
  assert.match(alert, sentence, name);
  const { said, status } = native(name, content);
  assert.notEqual(status, 0, `${name} is refused by the program too`);
  const own = alert.replace(` (${name})`, "");
  assert.ok(said.includes(own), `${name}: the page says "${alert}", the program: ${said}`);
  assert.equal(await page.textContent("#image-facts"), before, "the open image stays");
}

/** Pastes text or an image on the page. */
function paste(page, { text = "", image }) {
  return page.evaluate(
    ([text, image]) => {
      const clipboardData = new DataTransfer();
      if (text) clipboardData.setData("text/plain", text);
      if (image) {
        const bytes = Uint8Array.from(atob(image), (c) => c.charCodeAt(0));
        clipboardData.items.add(new File([bytes], "image.png", { type: "image/png" }));
      }
      document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
    },
    [text, image?.toString("base64")],
  );
}

// ---- Tests

test("formats that the engine or the browser reads give the native nuclei and notes", async () => {
  const { context, page, unexpected } = await pageAtStart();
  const webp = await encoded(page, "image/webp", 1);
  const jpeg = await encoded(page, "image/jpeg", 0.95);
  const decoded = /^The browser decoded this image/;
  await assertOpens(page, "field.webp", webp, [decoded]);
  await assertOpens(page, "field.bmp", bmp(), [decoded]);
  await assertOpens(page, "field.gif", gif(), [decoded]);
  await assertOpens(page, "turned.jpg", oriented(jpeg, 6), [/orient|turned/i]);
  assert.match(await page.textContent("#image-facts"), /120 × 160 pixels/);
  await assertOpens(page, "see-through.png", withAlpha(0), [/alpha|transparen/i]);
  await assertOpens(page, "sixteen.png", png16((v) => v * 257));
  await assertOpens(page, "twelve.png", png16((v) => v * 16), [/12/]);
  assert.deepEqual(unexpected, { errors: [], otherHosts: [] });
  await context.close();
});

test("an image's own pixel size is used, and belongs to that image", async () => {
  const { context, page } = await pageAtStart();
  await assertOpens(page, "half.ome.tif", stripTiff(OME_HALF));
  assert.equal(await page.inputValue("#mpp"), "0.5");
  assert.match(await page.textContent("#mpp-source"), /stated by the file/);
  await page.waitForFunction(() => document.getElementById("median").textContent.includes("µm²"));
  assert.equal(await page.isVisible("#scale-bar"), true);
  const half = await page.textContent("#count");
  await page.screenshot({ path: join(shots, "half.png") });
  // Entered values change the result as the file's own do.
  await page.fill("#mpp", "0.25");
  await page.press("#mpp", "Enter");
  await page.waitForFunction((n) => document.getElementById("count").textContent !== n, half);
  assert.match(await page.textContent("#mpp-source"), /entered/);
  await idle(page);
  await dropFile(page, "next.png", field);
  await waitForImage(page, "next");
  await waitForNuclei(page);
  assert.equal(await page.inputValue("#mpp"), "", "the next image does not have that of the last");
  assert.match(await page.textContent("#mpp-source"), /taken to be the model's, 0.25 µm/);
  assert.doesNotMatch(page.url(), /[#&]p=/);
  await context.close();
});

test("other files are refused with the program's sentence, and the open image stays", async () => {
  const { context, page } = await pageAtStart();
  await dropFile(page, "field.png", field);
  await waitForNuclei(page);
  const refused = [
    ["cut.png", field.subarray(0, field.length / 2), /^[A-Z].+/],
    ["empty.png", Buffer.alloc(0), /empty/],
    ["scan.dcm", dicom(), /DICOM/],
    ["page.html", Buffer.from("<!doctype html><title>A page</title>"), /HTML|text/],
    ["notes.txt", Buffer.from("These are notes, not a slide.\n"), /text/],
    ["all.zip", Buffer.concat([Buffer.from("PK\x03\x04"), Buffer.alloc(100)]), /ZIP/],
    ["paper.pdf", Buffer.from("%PDF-1.7\n1 0 obj\n"), /PDF/],
    ["slide.czi", Buffer.concat([Buffer.from("ZISRAWFILE"), Buffer.alloc(600)]), /CZI|Zeiss/],
    ["cut.tif", tiff(field).subarray(0, 900), /^[A-Z].+/],
  ];
  for (const file of refused) await assertRefused(page, ...file);
  await page.screenshot({ path: join(shots, "refused.png") });
  await context.close();
});

test("a black picture has no nuclei", async () => {
  const { context, page } = await pageAtStart();
  await dropFile(page, "black.png", blackPng());
  assert.equal(await waitForNuclei(page), 0);
  const { said } = native("black.png", blackPng());
  for (const note of await page.$$eval("#notes p", (all) => all.map((p) => p.textContent))) {
    assert.ok(said.includes(note), `the page notes "${note}", the program: ${said}`);
  }
  await context.close();
});

test("of several files the first opens, and the others are a key away", async () => {
  const { context, page } = await pageAtStart();
  const other = tissuePng(40, 60, 100, 90);
  await page.setInputFiles("#file", [
    { name: "first.png", mimeType: "image/png", buffer: field },
    { name: "second.png", mimeType: "image/png", buffer: other },
    { name: "scan.dcm", mimeType: "", buffer: dicom() },
  ]);
  await waitForNuclei(page);
  const names = () => page.$$eval("#folder button", (all) => all.map((b) => b.textContent));
  const current = () =>
    page.$$eval("#folder [aria-current=true]", (all) => all.map((b) => b.textContent));
  assert.deepEqual(await names(), ["first.png", "second.png", "scan.dcm"]);
  assert.deepEqual(await current(), ["first.png"]);
  await page.focus("#folder button");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await waitForImage(page, "second");
  await waitForNuclei(page);
  assert.deepEqual(await current(), ["second.png"]);
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#alert:not([hidden])");
  assert.match(await page.textContent("#alert"), /DICOM/);
  assert.deepEqual(await current(), ["second.png"], "it is still open");
  await context.close();
});

test("a dropped folder gives a list of its images, and the other files are counted", async () => {
  const { context, page } = await pageAtStart();
  await page.evaluate((base64) => {
    const content = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    const file = (fullPath) => ({
      name: fullPath.split("/").pop(),
      fullPath,
      isFile: true,
      isDirectory: false,
      file: (take) => take(new File([content], fullPath.split("/").pop())),
    });
    const folder = (fullPath, entries) => ({
      name: fullPath.split("/").pop(),
      fullPath,
      isFile: false,
      isDirectory: true,
      createReader: () => {
        // A browser gives the entries in batches, the last one empty.
        const batches = [entries.slice(0, 2), entries.slice(2), []];
        return { readEntries: (take) => take(batches.shift() ?? []) };
      },
      getFile: (inner, _, found, missing) => missing(),
    });
    const scans = folder("/scans", [
      file("/scans/field10.png"),
      file("/scans/notes.txt"),
      file("/scans/field9.PNG"),
      file("/scans/.DS_Store"),
      folder("/scans/more", [file("/scans/more/deep.tif"), file("/scans/more/table.csv")]),
    ]);
    const dataTransfer = {
      files: [new File([], "scans")],
      items: [{ webkitGetAsEntry: () => scans }],
      getData: () => "",
    };
    const event = new Event("drop", { bubbles: true, cancelable: true });
    document.getElementById("canvas").dispatchEvent(Object.assign(event, { dataTransfer }));
  }, field.toString("base64"));
  await waitForNuclei(page);
  const names = await page.$$eval("#folder button", (all) => all.map((b) => b.textContent));
  assert.deepEqual(names, ["scans/field9.PNG", "scans/field10.png", "scans/more/deep.tif"]);
  assert.equal(
    await page.textContent("#folder-facts"),
    "The folder scans holds 3 images or slides, and 2 other files.",
  );
  assert.match(await page.textContent("#image-facts"), /^scans\/field9\.PNG,/);
  const csv = await saveFile(page, "[data-file=csv]");
  assert.equal(csv.name, "field9.csv");
  await page.screenshot({ path: join(shots, "folder.png") });
  await context.close();
});

test("a pasted image and a pasted address open, and other text gives a sentence", async () => {
  const { context, page } = await pageAtStart();
  const waitForAlert = async (sentence) => {
    await page.waitForSelector("#alert:not([hidden])");
    assert.match(await page.textContent("#alert"), sentence);
    await page.evaluate(() => globalThis.prunella.clearError());
  };
  await paste(page, { image: field });
  await waitForNuclei(page);
  const address = `${host.address}field.png`;
  await paste(page, { text: ` ${address}\n` });
  await waitForImage(page, "field");
  await waitForNuclei(page);
  await page.waitForFunction(() => location.search.includes("image_url="));
  await paste(page, { text: "nuclei of the breast" });
  await waitForAlert(/no address of an image/);
  await paste(page, { text: "C:\\slides\\a.svs" });
  await waitForAlert(/by their path/);
  await paste(page, { text: `${host.address}page.html` });
  await waitForAlert(/HTML|text/);
  await paste(page, { text: `${host.address}missing.png` });
  await waitForAlert(/404/);
  await paste(page, { text: "https://127.0.0.1:9/field.png" });
  await waitForAlert(/cannot be reached.*CORS/);
  assert.match(await page.textContent("#image-facts"), /^field\.png/, "the open image stays");
  // Text that is pasted into a field stays there.
  await page.focus("#mpp");
  await page.evaluate(() => {
    const clipboardData = new DataTransfer();
    clipboardData.setData("text/plain", "0.3");
    const event = new ClipboardEvent("paste", { clipboardData, bubbles: true });
    document.activeElement.dispatchEvent(event);
  });
  await page.waitForTimeout(200);
  assert.equal(await page.isVisible("#alert"), false);
  await context.close();
});

test("on a phone the list and the messages are in sight", async () => {
  const { context, page } = await pageAtStart({
    viewport: { width: 390, height: 844 },
    deviceScaleFactor: 2,
    hasTouch: true,
    isMobile: true,
  });
  await page.setInputFiles("#file", [
    { name: "first.png", mimeType: "image/png", buffer: field },
    { name: "scan.dcm", mimeType: "", buffer: dicom() },
  ]);
  await waitForNuclei(page);
  await page.tap("#sheet-raise");
  await page.tap("#folder li:nth-child(2) button");
  await page.waitForSelector("#alert:not([hidden])");
  const box = await page.locator("#alert").boundingBox();
  assert.ok(box.y >= 0 && box.y + box.height <= 844, "the message is on the screen");
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= 390, `${width} pixels wide`);
  await page.screenshot({ path: join(shots, "phone-files.png") });
  await context.close();
});
