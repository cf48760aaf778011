// The layout: messages in sight, the sheet on phones, magnification, overview, ruler, stain view,
// model stops, keyboard, and forced colours.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { PNG } from "pngjs";
import {
  chooseModel,
  dropFile,
  idle,
  modelPath,
  moveSlider,
  openPage,
  PHONE,
  saveFile,
  shots,
  tissuePng,
  waitForImage,
  waitForNuclei,
  waitForStatus,
  waitForTable,
  waitForView,
} from "./harness.mjs";
import { browser, host } from "./started.mjs";
import { tiff } from "./tiff.mjs";

const field = tissuePng(50, 60, 160, 120);

const open = (options, fragment = "#r=90&u=1") =>
  openPage(browser, `${host.address}?device=cpu${fragment}`, options);

/** Centre and scale of the view at the end of its movement. */
const viewOf = (page) => page.evaluate(() => globalThis.prunella.canvasView.cssView());

/** Whether a point of an element's middle shows that element, not something over it. */
function isInSight(page, selector) {
  return page.$eval(selector, (element) => {
    const { left, top, width, height } = element.getBoundingClientRect();
    const found = document.elementFromPoint(left + width / 2, top + height / 2);
    return width > 0 && (found === element || element.contains(found));
  });
}

test("messages stay in sight, and an alert until it is closed or an action succeeds", async () => {
  for (const options of [{}, PHONE]) {
    const { context, page } = await open(options);
    await dropFile(page, "field.png", field);
    await waitForNuclei(page);
    if (options === PHONE) {
      await page.tap("#sheet-raise");
      await page.tap("#sheet-raise");
    }
    await page.$eval("#section-export", (section) => section.scrollIntoView());
    assert.ok(await isInSight(page, "#status"), "the status, with the panel scrolled");
    await dropFile(page, "words.png", Buffer.from("not an image"));
    await page.waitForSelector("#alert:not([hidden])");
    await idle(page);
    assert.ok(await isInSight(page, "#alert"), "the alert");
    await page.click("#alert-close");
    assert.equal(await page.isVisible("#alert-row"), false);
    assert.equal(await page.evaluate(() => document.activeElement.id), "canvas");
    await dropFile(page, "words.png", Buffer.from("not an image"));
    await page.waitForSelector("#alert:not([hidden])");
    await idle(page);
    // It stays while the next action runs, and goes when that succeeds.
    const isHidden = await page.evaluate(() => {
      void globalThis.prunella.opener.openSample();
      return document.getElementById("alert-row").hidden;
    });
    assert.equal(isHidden, false);
    await page.waitForSelector("#alert", { state: "hidden" });
    await context.close();
  }
});

test("the progress with Cancel is over the picture", async () => {
  const { context, page } = await open(PHONE, "#r=0");
  await dropFile(page, "field.png", tissuePng(0, 0, 400, 400));
  await page.waitForSelector("#cancel", { state: "visible" });
  assert.ok(await isInSight(page, "#cancel"));
  const places = await page.evaluate(() => {
    const box = (id) => document.getElementById(id).getBoundingClientRect();
    return { viewer: box("viewer"), row: box("progress-row"), sheet: box("panel") };
  });
  assert.ok(places.row.bottom <= places.viewer.bottom && places.row.bottom <= places.sheet.top);
  await page.tap("#cancel");
  await idle(page);
  assert.match(await page.textContent("#status"), /Cancelled/);
  await context.close();
});

test("on a phone the picture stays above a sheet of three heights", async () => {
  const { context, page } = await open(PHONE);
  assert.ok(await isInSight(page, "#promise"), "the promise, before an image is opened");
  assert.match(await page.textContent("#tagline"), /never leaves this device/);
  assert.ok(await isInSight(page, "#take-photo"));
  const camera = await page.$eval("#camera", (input) => [
    input.accept,
    input.getAttribute("capture"),
  ]);
  assert.deepEqual(camera, ["image/*", "environment"]);
  await page.tap("#sample");
  const count = await waitForNuclei(page);
  assert.equal(await page.textContent("#sheet-count"), `${count} nuclei`);
  const heights = async () => {
    await page.waitForTimeout(100);
    return page.evaluate(() => [
      document.getElementById("panel").clientHeight,
      document.getElementById("canvas").clientHeight,
    ]);
  };
  const isInert = () => page.$eval("#panel-content", ({ inert }) => inert);
  const [closed, large] = await heights();
  assert.equal(await isInert(), true, "nothing in the closed sheet gets the focus");
  await page.tap("#sheet-raise");
  const [half, smaller] = await heights();
  assert.equal(await isInert(), false);
  await page.tap('[data-section="section-nuclei"]');
  while (!(await isInSight(page, "#threshold"))) await page.waitForTimeout(50);
  await page.tap("#sheet-raise");
  const [full, smallest] = await heights();
  assert.ok(closed < 80 && closed < half && half < full, `${[closed, half, full]}`);
  assert.ok(large > smaller && smaller > smallest && smallest > 100);
  assert.equal(await page.isDisabled("#sheet-raise"), true);
  // By keyboard.
  assert.equal(await page.evaluate(() => document.activeElement.id), "sheet-lower");
  await page.keyboard.press("Enter");
  assert.deepEqual(await heights(), [half, smaller]);
  await page.keyboard.press("Escape");
  assert.deepEqual(await heights(), [closed, large]);
  assert.equal(await page.evaluate(() => document.activeElement.id), "sheet-raise");
  // By a drag.
  const grip = await page.locator("#sheet-handle").boundingBox();
  const x = grip.x + grip.width / 2;
  await page.mouse.move(x, grip.y + 20);
  await page.mouse.down();
  await page.mouse.move(x, 420, { steps: 5 });
  await page.mouse.up();
  assert.deepEqual(await heights(), [half, smaller]);
  await page.mouse.click(x, (await page.locator("#sheet-handle").boundingBox()).y + 20);
  assert.deepEqual(await heights(), [closed, large]);
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= 390, `${width} pixels wide`);
  await page.tap("#sheet-raise");
  const small = await page.$$eval("button, select, summary, #model-stops label", (all) =>
    all
      .filter((element) => element.offsetParent)
      .filter((element) => Math.min(element.offsetWidth, element.offsetHeight) < 44)
      .map((element) => element.id || element.textContent),
  );
  assert.deepEqual(small, [], "targets are large enough for a finger");
  await page.screenshot({ path: join(shots, "sheet.png") });
  await context.close();
});

test("magnifications are those of an objective, and need a pixel size", async () => {
  const { context, page } = await open();
  await dropFile(page, "field.png", tissuePng(0, 0, 480, 360));
  await waitForNuclei(page);
  const button = (magnification) => `[data-magnification="${magnification}"]`;
  assert.equal(await page.isDisabled(button(40)), true);
  assert.match(await page.getAttribute(button(40), "title"), /pixel size is unknown/);
  await page.fill("#mpp", "0.5");
  await page.press("#mpp", "Enter");
  await idle(page);
  await page.waitForFunction(() => document.querySelector('[data-magnification="10"]').disabled);
  assert.match(await page.getAttribute(button(10), "title"), /third as large/);
  for (const [magnification, scale] of [
    [20, 1],
    [40, 2],
  ]) {
    await page.click(button(magnification));
    await page.waitForFunction(
      (text) => document.getElementById("magnification-now").textContent === text,
      `${magnification}×`,
    );
    await waitForView(page);
    assert.ok(Math.abs((await viewOf(page))[2] - scale) < 1e-6, `${magnification}×`);
    assert.equal(await page.getAttribute(button(magnification), "aria-pressed"), "true");
  }
  // A pixel size that makes no sense is refused and the former one stays.
  for (const wrong of ["-3", "0"]) {
    await page.fill("#mpp", wrong);
    await page.press("#mpp", "Enter");
    await page.waitForSelector("#alert:not([hidden])");
    assert.match(await page.textContent("#alert"), /above 0/);
    assert.equal(await page.inputValue("#mpp"), "0.5");
    await page.click("#alert-close");
  }
  await page.fill("#mpp", "25");
  await page.press("#mpp", "Enter");
  await page.waitForSelector("#alert:not([hidden])");
  assert.match(await page.textContent("#alert"), /too far from the model's/);
  assert.equal(await page.inputValue("#mpp"), "0.5");
  // With a comma, as many write it.
  await page.focus("#mpp");
  await page.keyboard.press("Control+a");
  await page.keyboard.type("0,4");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.getElementById("mpp").value === "0.4");
  assert.ok(await page.isHidden("#alert"), "the former error is over");
  await idle(page);
  // A choice with the focus has no history of its own.
  await page.focus("#model-open-small");
  await page.keyboard.press("Control+z");
  await page.waitForFunction(() => document.getElementById("mpp").value === "0.5");
  await context.close();
});

test("the overview map shows and moves the view", async () => {
  const { context, page } = await open({}, "#r=90&u=1&p=0.25");
  await dropFile(page, "field.png", field);
  await waitForNuclei(page);
  assert.equal(await page.isVisible("#overview"), false, "the whole image is in view");
  for (let i = 0; i < 4; i++) await page.click("#zoom-in");
  await page.waitForSelector("#overview-map", { state: "visible" });
  await waitForView(page);
  const map = await page.locator("#overview-map").boundingBox();
  await page.mouse.click(map.x + map.width * 0.25, map.y + map.height * 0.75);
  const [x, y] = await viewOf(page);
  assert.ok(Math.abs(x - 40) < 2 && Math.abs(y - 90) < 2, `${x}, ${y}`);
  await page.waitForFunction(() => {
    const context = document.getElementById("overview-map").getContext("2d");
    const { data } = context.getImageData(3, 3, 20, 20);
    return data.some((value, i) => i % 4 < 3 && value > 0);
  });
  await page.click("#overview-fold");
  assert.equal(await page.isVisible("#overview-map"), false);
  assert.equal(await page.getAttribute("#overview-fold", "aria-expanded"), "false");
  await context.close();
});

test("the ruler measures by pointer and by keyboard", async () => {
  const { context, page } = await open();
  await dropFile(page, "field.png", field);
  await waitForNuclei(page);
  await page.focus("#canvas");
  await page.keyboard.press("m");
  assert.equal(await page.getAttribute("#ruler", "aria-pressed"), "true");
  const before = await viewOf(page);
  const box = await page.locator("#canvas").boundingBox();
  const [startX, startY] = [box.x + 300, box.y + 300];
  await page.mouse.move(startX, startY);
  await page.mouse.down();
  await page.mouse.move(startX + 150, startY + 80, { steps: 3 });
  await page.mouse.up();
  assert.deepEqual(await viewOf(page), before, "the view does not move");
  const px = Math.hypot(150, 80) / before[2];
  assert.equal(await page.textContent("#status"), `Distance: ${px.toFixed(0)} px.`);
  await page.fill("#mpp", "0.5");
  await page.press("#mpp", "Enter");
  await idle(page);
  await page.focus("#canvas");
  await page.keyboard.press("+");
  await page.keyboard.press("+");
  await waitForView(page);
  await page.keyboard.press("Enter");
  const from = await viewOf(page);
  await page.keyboard.press("ArrowRight");
  await waitForView(page);
  await page.keyboard.press("Enter");
  const to = await viewOf(page);
  const um = Math.hypot(to[0] - from[0], to[1] - from[1]) * 0.5;
  assert.ok(um > 1);
  assert.equal(await page.textContent("#status"), `Distance: ${um.toFixed(1)} µm.`);
  await page.screenshot({ path: join(shots, "ruler.png") });
  await page.keyboard.press("Escape");
  assert.equal(await page.getAttribute("#ruler", "aria-pressed"), "false");
  assert.equal(await page.isVisible("#ruler-drawing"), false);
  await context.close();
});

test("stain, brightness and contrast change what is seen, not what is found", async () => {
  const { context, page, unexpected } = await open();
  await dropFile(page, "field.png", field);
  await waitForNuclei(page);
  const csv = (await saveFile(page, "[data-file=csv]")).bytes;
  const tile = () =>
    page.evaluate(async () => [...(await globalThis.prunella.engine.call("imageTile", 0, 0, 0))]);
  const plain = await tile();
  await page.selectOption("#stain", "hematoxylin");
  const hematoxylin = await tile();
  assert.notDeepEqual(hematoxylin, plain);
  // Hematoxylin absorbs green most and blue least.
  for (let i = 0; i < hematoxylin.length; i += 4) {
    const [red, green, blue] = hematoxylin.slice(i, i + 3);
    assert.ok(green <= red && red <= blue, `${[red, green, blue]}`);
  }
  await moveSlider(page, "#brightness", 130);
  await moveSlider(page, "#contrast", 150);
  assert.match(
    await page.$eval("#canvas", ({ style }) => style.filter),
    /brightness\(1\.3\) contrast\(1\.5\)/,
  );
  await page.evaluate(() => globalThis.prunella.segmentWithSettings());
  await idle(page);
  assert.ok((await saveFile(page, "[data-file=csv]")).bytes.equals(csv), "the same nuclei");
  await page.click("#look-reset");
  assert.deepEqual(await tile(), plain);
  assert.equal(await page.$eval("#canvas", ({ style }) => style.filter), "");
  assert.equal(await page.isDisabled("#look-reset"), true);
  // A slide too.
  await page.selectOption("#stain", "eosin");
  await dropFile(page, "field.svs", tiff(field), "");
  await idle(page);
  const eosin = await page.evaluate(async () => [
    ...(await globalThis.prunella.engine.call("readSlideTile", "test", [0, 0, 0])),
  ]);
  for (let i = 0; i < eosin.length; i += 4) assert.ok(eosin[i + 1] <= eosin[i], "pink");
  assert.deepEqual(unexpected, { errors: [], otherHosts: [] });
  await context.close();
});

test("the models that ship are a choice, with the facts of their files", async () => {
  const { context, page } = await open({}, "");
  assert.equal(await page.isChecked("#model-open-small"), true);
  assert.equal(await page.$eval("#experiment", ({ open }) => open), false);
  const nonCommercial = /CC BY-NC-SA 4\.0\./;
  const licences = { open: /CC BY 4\.0\. Cite: .+/, nuclei: nonCommercial, paper: nonCommercial };
  const files = await page.$$eval("#model-stops input", (all) => all.map(({ id }) => id.slice(6)));
  assert.equal(files.length, 8);
  for (const name of files) {
    await chooseModel(page, name);
    await page.waitForFunction((name) => {
      const parameters = document.getElementById("parameters").textContent;
      const { model } = globalThis.prunella;
      const label = document.getElementById(`model-${name}`).closest("label").textContent;
      return model.kind === "shipped" && label.includes(parameters);
    }, name);
    await idle(page);
    // Two models have as many parameters.
    const licence = licences[name.replace(/-.*/, "")].source;
    await page.waitForFunction(
      (licence) => new RegExp(licence).test(document.getElementById("licence").textContent),
      licence,
    );
    const size = readFileSync(modelPath(name)).length;
    const label = await page.$eval(`#model-${name}`, (i) => i.closest("label").textContent);
    const digits = size < 1e5 ? 1 : 0;
    const shown =
      size < 1e6 ? `${(size / 1000).toFixed(digits)} KB` : `${(size / 1e6).toFixed(1)} MB`;
    assert.ok(label.endsWith(shown), `${label}: ${shown}`);
  }
  await chooseModel(page, "paper-90-all");
  await page.waitForFunction(() => /r=90&u=1/.test(location.hash));
  // Another share opens the experiment and marks no model.
  await moveSlider(page, "#ratio", 70);
  await idle(page);
  assert.equal(await page.$eval("#experiment", ({ open }) => open), true);
  assert.equal(await page.locator("#model-stops input:checked").count(), 0);
  assert.match(await page.textContent("#experiment-warning"), /not trained/);
  await context.close();
});

test("with the keyboard on the picture a cross-hair shows where Enter selects", async () => {
  const { context, page } = await open();
  await dropFile(page, "field.png", field);
  await waitForNuclei(page);
  assert.equal(await page.isVisible("#cross-hair"), false);
  await waitForTable(page);
  await page.evaluate(() => document.getElementById("open").focus());
  for (let i = 0; i < 60; i++) {
    await page.keyboard.press("Shift+Tab");
    if ((await page.evaluate(() => document.activeElement.id)) === "canvas") break;
  }
  assert.equal(await page.isVisible("#cross-hair"), true);
  const goTo = (x, y) =>
    page.evaluate(
      ([x, y]) => {
        globalThis.prunella.canvasView.viewport.setState(x, y, 4);
        globalThis.prunella.canvasView.requestFrame();
      },
      [x, y],
    );
  await goTo(0, 0);
  const places = await page.evaluate(async () => {
    const { results, engine } = globalThis.prunella;
    const { x, y } = results.nuclei[0];
    for (let row = 2; row < 100; row++) {
      const label = await engine.call("labelAt", 0, row, row);
      if (label === 0) return { hit: [x, y], miss: [row, row] };
    }
    return undefined;
  });
  await goTo(places.miss[0] + 0.5, places.miss[1] + 0.5);
  await page.keyboard.press("Enter");
  await waitForStatus(page, /^No nucleus here\.$/);
  await goTo(...places.hit);
  await page.keyboard.press("Enter");
  await waitForStatus(page, /^Nucleus \d+: area /);
  await page.screenshot({ path: join(shots, "cross-hair.png") });
  await context.close();
});

test("numbers say of what they are, and a new image has no old time", async () => {
  const { context, page } = await open({}, "#r=90&u=1&p=0.25");
  await dropFile(page, "field.png", field);
  await waitForNuclei(page);
  assert.match(await page.textContent("#count-area"), /In the segmented area, 1200 µm²/);
  await page.waitForSelector("#histogram svg");
  await page.waitForFunction(() => / s|ms/.test(document.getElementById("time").textContent));
  await dropFile(page, "field.svs", tiff(tissuePng(0, 0, 480, 360)), "");
  await waitForImage(page, "field.svs");
  assert.match(await page.textContent("#time"), /^–$|per block/, "not that of the image before");
  await idle(page);
  await page.waitForSelector("#slide-estimate:not([hidden])");
  assert.match(
    await page.textContent("#slide-estimate"),
    /The view: .*1 block.*The whole slide: .*1 block\./,
  );
  await context.close();
});

test("forced colours leave the page usable", async () => {
  const { context, page } = await open({ forcedColors: "active" });
  await page.click("#sample");
  await waitForNuclei(page);
  await page.click("#compare");
  await idle(page);
  const shown = await page.evaluate(() => {
    const background = (selector) =>
      getComputedStyle(document.querySelector(selector)).backgroundColor;
    return {
      pressed: background("#compare"),
      other: background("#load-model"),
      bar: getComputedStyle(document.querySelector("#histogram rect")).fill,
      panel: background("#panel"),
    };
  });
  assert.notEqual(shown.pressed, shown.other, "a pressed button differs");
  assert.notEqual(shown.bar, shown.panel, "bars differ from their background");
  const picture = PNG.sync.read(await page.screenshot({ path: join(shots, "forced-colours.png") }));
  assert.equal(picture.width, 1200);
  await context.close();
});
