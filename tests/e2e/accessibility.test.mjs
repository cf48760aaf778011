// Accessibility, phones, dark mode, offline use and installation.
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import {
  chooseModel,
  dropFile,
  idle,
  moveSlider,
  openPage,
  shots,
  tissuePng,
  violations,
  waitForNuclei,
  waitForView,
} from "./harness.mjs";
import { browser, host } from "./started.mjs";
import { tiff } from "./tiff.mjs";

const field = tissuePng(50, 60, 128, 96);

test("axe finds nothing, in light and dark, empty, with results and in the dialog", async () => {
  for (const colorScheme of ["light", "dark"]) {
    const { context, page } = await openPage(browser, `${host.address}?device=cpu#r=90&u=1`, {
      colorScheme,
      bypassCSP: true,
    });
    assert.deepEqual(await violations(page), [], `${colorScheme}, empty`);
    await page.screenshot({ path: join(shots, `empty-${colorScheme}.png`) });
    await dropFile(page, "field.png", field);
    await waitForNuclei(page);
    await page.click("#table-details > summary");
    await page.waitForSelector("#table tbody tr");
    await page.click("#compare");
    await idle(page);
    assert.deepEqual(await violations(page), [], `${colorScheme}, results`);
    await page.waitForTimeout(400);
    await page.screenshot({ path: join(shots, `results-${colorScheme}.png`) });
    await page.click("#share-open");
    await page.waitForFunction(() =>
      /Dice/.test(document.getElementById("share-cost").textContent),
    );
    assert.deepEqual(await violations(page), [], `${colorScheme}, dialog`);
    await page.keyboard.press("Escape");
    await dropFile(page, "field.svs", tiff(field), "");
    await idle(page);
    assert.ok(await page.isVisible("#segment-slide"));
    assert.deepEqual(await violations(page), [], `${colorScheme}, slide`);
    await page.screenshot({ path: join(shots, `share-${colorScheme}.png`) });
    await context.close();
  }
  // The check itself can fail.
  const { context, page } = await openPage(browser, `${host.address}?device=cpu`, {
    bypassCSP: true,
  });
  await page.evaluate(() => document.querySelector("#mpp").previousElementSibling.remove());
  await page.evaluate(() => document.querySelector("#mpp").removeAttribute("placeholder"));
  assert.notDeepEqual(await violations(page), []);
  await context.close();
});

test("the page can be used by keyboard alone", async () => {
  const { context, page } = await openPage(browser, `${host.address}?device=cpu#r=90&u=1`);
  const focus = () => page.evaluate(() => document.activeElement.id);
  const tabTo = async (id) => {
    for (let i = 0; i < 60 && (await focus()) !== id; i++) await page.keyboard.press("Tab");
    assert.equal(await focus(), id, `Tab reaches ${id}`);
  };
  await tabTo("sample");
  await page.keyboard.press("Enter");
  await waitForNuclei(page);
  await tabTo("canvas");
  const before = await page.evaluate(() => [...globalThis.prunella.canvasView.viewport.state()]);
  for (const key of ["+", "+", "ArrowRight", "ArrowDown"]) await page.keyboard.press(key);
  await waitForView(page);
  const later = await page.evaluate(() => [...globalThis.prunella.canvasView.viewport.state()]);
  assert.ok(
    later[2] > before[2] * 2 && later[0] > before[0] && later[1] > before[1],
    `${before} → ${later}`,
  );
  await page.keyboard.press("0");
  await tabTo("threshold");
  const count = await page.textContent("#count");
  for (let i = 0; i < 30; i++) await page.keyboard.press("ArrowRight");
  await page.waitForFunction((n) => document.getElementById("count").textContent !== n, count);
  await tabTo("share-open");
  await page.keyboard.press("Enter");
  await page.waitForSelector("dialog[open]");
  await page.keyboard.press("Escape");
  assert.equal(await page.isVisible("dialog"), false);
  await context.close();
});

test("on a phone nothing is cut off, and two fingers zoom", async () => {
  const phone = {
    viewport: { width: 390, height: 844 },
    deviceScaleFactor: 2,
    hasTouch: true,
    isMobile: true,
  };
  const { context, page } = await openPage(browser, `${host.address}?device=cpu#r=90&u=1`, phone);
  await page.screenshot({ path: join(shots, "phone-empty.png") });
  await page.tap("#sample");
  await waitForNuclei(page);
  await page.waitForTimeout(500);
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= 390, `${width} pixels wide`);
  const small = await page.$$eval("button", (all) =>
    all
      .filter((b) => b.offsetParent && Math.min(b.offsetWidth, b.offsetHeight) < 24)
      .map((b) => b.id || b.textContent),
  );
  assert.deepEqual(small, [], "buttons are large enough for a finger");
  const before = await page.evaluate(() => [...globalThis.prunella.canvasView.viewport.state()]);
  // Two fingers spread.
  const session = await context.newCDPSession(page);
  const touch = (type, a, b) =>
    session.send("Input.dispatchTouchEvent", {
      type,
      touchPoints:
        type === "touchEnd"
          ? []
          : [
              { x: a, y: 300, id: 1 },
              { x: b, y: 300, id: 2 },
            ],
    });
  await touch("touchStart", 180, 210);
  for (let i = 1; i <= 5; i++) await touch("touchMove", 180 - 12 * i, 210 + 12 * i);
  await touch("touchEnd");
  await page.waitForFunction(
    (scale) => globalThis.prunella.canvasView.viewport.state()[2] > scale,
    before[2] * 2,
  );
  await page.screenshot({ path: join(shots, "phone-results.png"), fullPage: false });
  await context.close();
});

test("after the first visit no network is needed", async () => {
  const { context, page } = await openPage(browser, `${host.address}?device=cpu`);
  await page.evaluate(() => navigator.serviceWorker.ready);
  await page.waitForFunction(
    async () =>
      (await caches.keys()).length > 0 &&
      (await (await caches.open((await caches.keys())[0])).keys()).length > 10,
  );
  await context.setOffline(true);
  await page.reload();
  await idle(page);
  assert.equal(await page.isVisible("#alert"), false);
  await page.click("#sample");
  assert.ok((await waitForNuclei(page)) > 20);
  // A model that is not cached gives a message.
  await page.evaluate(async () => {
    const cache = await caches.open((await caches.keys())[0]);
    await cache.delete("./models/open-small.safetensors");
  });
  await chooseModel(page, "open-small");
  await page.waitForFunction(() => !document.getElementById("alert").hidden);
  assert.match(await page.textContent("#alert"), /cannot be loaded/);
  assert.equal(await page.isChecked("#model-open-small"), true, "it says which model is used");
  await context.close();
});

test("it can be installed", async () => {
  const { context, page } = await openPage(browser, `${host.address}?device=cpu`);
  const session = await context.newCDPSession(page);
  const { errors, data } = await session.send("Page.getAppManifest");
  assert.deepEqual(errors, []);
  const manifest = JSON.parse(data);
  assert.equal(manifest.display, "standalone");
  const icon = await page.evaluate(async (src) => (await fetch(src)).ok, manifest.icons[0].src);
  assert.ok(icon);
  await context.close();
});
