// Results that follow their settings: another threshold, older results, Continue, saved results.
import assert from "node:assert/strict";
import { test } from "node:test";
import { dropFile, idle, openPage, saveFile, tissuePng, waitForNuclei } from "./harness.mjs";
import { browser, host } from "./started.mjs";
import { tiff } from "./tiff.mjs";

const slide = tiff(tissuePng(0, 0, 480, 360));

/** GeoJSON and CSV, as the page saves them. */
async function files(page) {
  const geojson = await saveFile(page, "[data-file=geojson]");
  const csv = await saveFile(page, "[data-file=csv]");
  return [geojson.bytes.toString(), csv.bytes.toString()];
}

/** Numbers of the main result. */
function summary(page) {
  return page.evaluate(() => globalThis.prunella.engine.callJson("summary", 0));
}

/** Sets the threshold, and waits until the result follows. */
async function setThreshold(page, threshold) {
  await page.evaluate(
    (threshold) => globalThis.prunella.store.apply({ threshold }),
    threshold,
  );
  for (;;) {
    const found = await summary(page);
    if (Math.abs(found.threshold - threshold) < 1e-6 && found.done === found.wanted) break;
    await page.waitForTimeout(100);
  }
  await idle(page);
}

/** Saves the result, removes it, restores it, and tries broken bytes. */
async function restore(page, remove) {
  return page.evaluate(async (remove) => {
    const { engine, model } = globalThis.prunella;
    const saved = await engine.call("saveResult", 0);
    const half = saved.slice(0, saved.length / 2);
    if (remove) await engine.call("clearSlideResult", 0);
    const refused = await engine.call("loadResult", 0, half, model.facts.id).then(
      () => "",
      (error) => error.message,
    );
    await engine.call("loadResult", 0, saved.slice(), model.facts.id);
    return refused;
  }, remove);
}

test("a slide follows the threshold from kept probabilities, and no nuclei are lost", async () => {
  const { context, page, unexpected } = await openPage(
    browser,
    `${host.address}?device=cpu#r=90&u=1`,
  );
  await dropFile(page, "field.svs", slide, "");
  await idle(page);
  await page.click("#segment-slide");
  assert.ok((await waitForNuclei(page)) > 20);
  const first = await files(page);
  const { threshold } = await summary(page);
  await setThreshold(page, 0.7);
  assert.match(await page.textContent("#time"), /from memory/);
  const kept = await files(page);
  assert.notEqual(kept[0], first[0]);
  await setThreshold(page, threshold);
  assert.deepEqual(await files(page), first, "back again");

  // The same threshold, by the network.
  await page.evaluate(() => globalThis.prunella.engine.call("clearSlideResult", 0));
  await setThreshold(page, 0.7);
  assert.deepEqual(await files(page), kept, "kept probabilities give the nuclei of a new run");

  // So low a threshold needs the network: the earlier nuclei are shown as older and do not count.
  const before = await summary(page);
  const redo = (threshold) =>
    page.evaluate(async (threshold) => {
      const { engine, model, mpp } = globalThis.prunella;
      const job = { slot: 0, model: model.facts.id, gpu: false, mpp, threshold };
      await engine.call("redoSlide", { ...job, bounds: [0, 0, 480, 360] });
      const tile = await engine.call("outlineTile", 0, 0, 0, 0);
      return tile[1];
    }, threshold);
  assert.equal(await redo(0.05), 4, "outlines have the status of older settings");
  const older = await summary(page);
  assert.deepEqual([older.nuclei, older.olderNuclei], [0, before.nuclei]);
  assert.equal(await redo(0.7), 0);
  const again = await summary(page);
  assert.deepEqual([again.nuclei, again.olderNuclei], [before.nuclei, 0]);

  assert.ok((await restore(page, true)).length > 10, "half a result is refused with a sentence");
  assert.deepEqual(await files(page), kept, "a restored result gives the same files");
  const proposed = await page.evaluate(async () => {
    const { engine, mpp, results } = globalThis.prunella;
    const { x, y } = results.nuclei[0];
    return engine.callJson("propose", 0, x, y, mpp);
  });
  assert.ok(proposed.area_px > 0);
  assert.deepEqual(unexpected, { errors: [], otherHosts: [] });
  await context.close();
});

test("a cancelled image goes on, and its nuclei appear before the end", async () => {
  const image = tissuePng(0, 0, 480, 400);
  const open = () => openPage(browser, `${host.address}?device=cpu&workers=1#r=90&u=1&p=0.25`);
  const whole = await open();
  await dropFile(whole.page, "field.png", image);
  await waitForNuclei(whole.page);
  const want = await files(whole.page);
  await whole.context.close();

  const { context, page, unexpected } = await open();
  await page.evaluate(() => {
    const { engine } = globalThis.prunella;
    const { onevent } = engine;
    globalThis.blocks = 0;
    engine.onevent = (event) => {
      onevent(event);
      if (event.type !== "block") return;
      globalThis.blocks += 1;
      if (globalThis.blocks === 3) {
        document.getElementById("cancel").click();
      }
    };
  });
  await dropFile(page, "field.png", image);
  await page.waitForSelector("#continue", { state: "visible" });
  await idle(page);
  const cancelled = await summary(page);
  assert.equal(cancelled.done, 0);
  assert.ok(cancelled.segmentedPx > 0 && cancelled.segmentedPx < 480 * 400);
  const before = await page.evaluate(() => globalThis.blocks);
  await page.evaluate(() => {
    const { engine } = globalThis.prunella;
    const { onevent } = engine;
    globalThis.early = 0;
    engine.onevent = (event) => {
      onevent(event);
      if (event.type !== "block") return;
      engine.call("objects", 0).then((objects) => {
        globalThis.early = Math.max(globalThis.early, objects.length);
      });
    };
  });
  await page.click("#continue");
  await idle(page);
  const after = await page.evaluate(() => globalThis.blocks);
  assert.ok(after > before);
  assert.ok((await page.evaluate(() => globalThis.early)) > 0, "nuclei before the end");
  assert.equal((await summary(page)).done, 1);
  assert.deepEqual(await files(page), want, "as if it had not been cancelled");

  assert.ok((await restore(page, false)).length > 10, "half a result is refused");
  assert.deepEqual(await files(page), want, "a restored result gives the same files");
  assert.ok(!(await page.isVisible("#continue")));
  assert.deepEqual(unexpected, { errors: [], otherHosts: [] });
  await context.close();
});
