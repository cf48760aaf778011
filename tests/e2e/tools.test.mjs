// Editing: tools, the card of an object, undo, the review queue, by mouse, keyboard and touch.
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import {
  dropFile,
  moveSlider,
  openPage,
  PHONE,
  saveFile,
  shots,
  tissuePng,
  violations,
  waitForNuclei,
  waitForStatus,
  waitForTable,
  waitForView,
} from "./harness.mjs";
import { browser, host } from "./started.mjs";

const field = tissuePng(50, 60, 256, 192);

/** The page with a segmented image. */
async function openField(options = {}) {
  const opened = await openPage(browser, `${host.address}?device=cpu#r=90&u=1`, options);
  await dropFile(opened.page, "field.png", field);
  await waitForNuclei(opened.page);
  await waitForTable(opened.page);
  return opened;
}

/** Nuclei of the table: number of each status, and the count that the page shows. */
function numbers(page) {
  return page.evaluate(async () => {
    await globalThis.prunella.reviewSync.update();
    const byStatus = [0, 0, 0, 0];
    for (const { status } of globalThis.prunella.results.nuclei) byStatus[status] += 1;
    const [model, accepted, added, rejected] = byStatus;
    const count = Number(document.getElementById("count").textContent.replaceAll(",", ""));
    return { model, accepted, added, rejected, count };
  });
}

/** CSS position in the page of the centroid of a nucleus of the model, the n-th of the table. */
function place(page, n) {
  return page.evaluate((n) => {
    const { canvasView, results } = globalThis.prunella;
    const { x, y } = results.nuclei.filter(({ status }) => status === 0)[n];
    const box = canvasView.canvas.getBoundingClientRect();
    const [left, top] = canvasView.viewport.toScreen(x, y);
    return [box.left + left / canvasView.pixelRatio, box.top + top / canvasView.pixelRatio];
  }, n);
}

async function drag(page, points) {
  await page.mouse.move(...points[0]);
  await page.mouse.down();
  for (const point of points.slice(1)) await page.mouse.move(...point, { steps: 4 });
  await page.mouse.up();
}

/** Corners of a circle around a point. */
function circle([x, y], radius) {
  return Array.from({ length: 17 }, (_, i) => {
    const angle = (i / 16) * 2 * Math.PI;
    return [x + radius * Math.cos(angle), y + radius * Math.sin(angle)];
  });
}

/** A place of the picture where no nucleus is near, CSS pixels. */
function emptyPlace(page) {
  return page.evaluate(() => {
    const { canvasView, results } = globalThis.prunella;
    const box = canvasView.canvas.getBoundingClientRect();
    let best = { distance: 0, x: 0, y: 0 };
    for (let x = 24; x < canvasView.width - 24; x += 6) {
      for (let y = 24; y < canvasView.height - 24; y += 6) {
        const distances = results.nuclei.map((nucleus) => Math.hypot(nucleus.x - x, nucleus.y - y));
        const distance = Math.min(...distances);
        if (distance > best.distance) best = { distance, x, y };
      }
    }
    const [left, top] = canvasView.viewport.toScreen(best.x, best.y);
    return [box.left + left / canvasView.pixelRatio, box.top + top / canvasView.pixelRatio];
  });
}

async function exports(page) {
  const geojson = (await saveFile(page, "[data-file=geojson]")).bytes.toString();
  const csv = (await saveFile(page, "[data-file=csv]")).bytes.toString();
  return { geojson, csv };
}

function rows(csv) {
  return csv.trim().split("\n").length - 1;
}

test("rejected nuclei do not count, added ones do, and undo restores every byte", async () => {
  const { context, page, unexpected } = await openField();
  const first = await exports(page);
  const { count } = await numbers(page);
  assert.equal(rows(first.csv), count);

  await page.mouse.click(...(await place(page, 5)));
  await page.waitForSelector("#object-card:not([hidden])");
  assert.match(await page.textContent("#card-facts"), /^Area .*, mean probability 0\.\d\d\.$/);
  await page.click("#card-reject");
  await waitForStatus(page, /Rejected/);
  assert.equal((await numbers(page)).count, count - 1);
  assert.equal(await page.textContent("#edited"), "Edited: 1 rejected.");
  assert.equal(rows((await exports(page)).csv), count - 1);

  await page.keyboard.press("Escape");
  await page.click("[data-tool=nucleus]");
  const free = await emptyPlace(page);
  await drag(page, circle(free, 22));
  await waitForStatus(page, /Added/);
  assert.equal((await numbers(page)).count, count);
  const edited = await exports(page);
  assert.equal(rows(edited.csv), count);
  assert.match(edited.geojson, /added/);

  await page.click("#tool-undo");
  await waitForStatus(page, /Undone: add a nucleus/);
  await page.keyboard.press("Control+z");
  await waitForStatus(page, /Undone: reject a nucleus/);
  assert.deepEqual(await exports(page), first);
  await page.keyboard.press("Control+Shift+z");
  await page.keyboard.press("Control+y");
  await waitForStatus(page, /Done again: add a nucleus/);
  assert.deepEqual(await exports(page), edited);
  assert.ok(await page.isDisabled("#tool-redo"));
  assert.deepEqual(unexpected, { errors: [], otherHosts: [] });
  await context.close();
});

test("twenty mixed steps undone give the first files, byte for byte", async () => {
  const { context, page } = await openField();
  const first = await exports(page);
  const done = await page.evaluate(async () => {
    const { editing, imageSegmentation, results, store } = globalThis.prunella;
    let steps = 0;
    const names = new Set();
    const listen = store.subscribe((state) => state.undo && names.add(state.undo));
    const ofModel = () => results.nuclei.filter(({ status }) => status === 0);
    for (const [i, decision] of ["accept", "reject", "accept", "reject", "reject"].entries()) {
      await editing.selectById(ofModel()[3 * i + 2].label);
      if (await editing.decide(decision)) steps += 1;
      if (i % 2 === 0 && (await editing.decide("forget"))) steps += 1;
    }
    for (let i = 0; steps < 20 && i < 40; i++) {
      const { undo } = store.state;
      const { x, y, area } = ofModel()[i % 8];
      const radius = Math.sqrt(area / Math.PI);
      if (i % 3 === 0) {
        const stroke = [];
        for (let k = 0; k < 24; k++) {
          const angle = (k / 24) * 2 * Math.PI;
          stroke.push([x + radius * Math.cos(angle), y + radius * Math.sin(angle)]);
        }
        await editing.selectById(ofModel()[i % 8].label);
        editing.redrawn = editing.selected[0];
        await editing.addDrawn(stroke);
        steps += 1;
      } else if (i % 3 === 1) {
        await editing.splitAlong([
          [x, y - 3 * radius],
          [x + 1, y + 3 * radius],
        ]);
        if (store.state.undo === "split a nucleus" && undo !== store.state.undo) steps += 1;
      } else {
        store.apply({ threshold: i % 2 ? 0.5 : 0.45 });
        await imageSegmentation.updateTable();
        steps += 1;
      }
    }
    listen();
    return { steps, names: [...names] };
  });
  assert.equal(done.steps, 20);
  assert.ok(done.names.includes("split a nucleus"), done.names.join());
  assert.ok(done.names.includes("redraw a nucleus"), done.names.join());
  await page.evaluate(async () => {
    const { store, editing } = globalThis.prunella;
    while (store.state.undo !== null) await editing.step("undo");
  });
  await waitForTable(page);
  assert.deepEqual(await exports(page), first);
  await context.close();
});

test("a split makes two of one, a merge one of two", async () => {
  const { context, page } = await openField();
  const { count } = await numbers(page);
  const large = await page.evaluate(() => {
    const ofModel = globalThis.prunella.results.nuclei.filter(({ status }) => status === 0);
    return ofModel.indexOf(ofModel.toSorted((a, b) => b.area - a.area)[0]);
  });
  const [x, y] = await place(page, large);
  await page.focus("#canvas");
  await page.keyboard.press("s");
  await drag(page, [
    [x, y - 70],
    [x + 2, y + 70],
  ]);
  await waitForStatus(page, /Split into 2/);
  assert.equal((await numbers(page)).count, count + 1);
  await page.keyboard.press("v");
  await page.keyboard.press("Escape");
  await page.mouse.click(x - 12, y);
  await page.waitForSelector("#object-card:not([hidden])");
  await page.keyboard.down("Shift");
  await page.mouse.click(x + 12, y);
  await page.keyboard.up("Shift");
  await waitForStatus(page, /2 nuclei are selected/);
  await page.screenshot({ path: join(shots, "tools-merge.png") });
  await page.keyboard.press("j");
  await waitForStatus(page, /Merged/);
  assert.equal((await numbers(page)).count, count);
  // By the card's button, as a finger does it: the next click chooses the other one.
  await page.keyboard.press("Control+z");
  await waitForStatus(page, /Undone/);
  await page.mouse.click(x - 12, y);
  await page.click("#card-merge");
  await waitForStatus(page, /click the other nucleus/);
  await page.mouse.click(x + 12, y);
  await waitForStatus(page, /Merged/);
  assert.equal((await numbers(page)).count, count);
  await context.close();
});

test("a row of the table shows its nucleus, and the keys decide there", async () => {
  const { context, page } = await openField();
  const { count } = await numbers(page);
  await page.click("#table-details > summary");
  await page.locator("#table tbody tr").nth(1).locator("td").nth(2).click();
  await page.waitForSelector("#object-card:not([hidden])");
  await page.locator("#table tbody button").nth(3).focus();
  await page.keyboard.press("Enter");
  await page.keyboard.press("x");
  await waitForStatus(page, /Rejected/);
  assert.equal((await numbers(page)).count, count - 1);
  assert.ok(await page.evaluate(() => document.activeElement.closest("#table") !== null));
  await context.close();
});

test("another threshold keeps what was decided", async () => {
  const { context, page } = await openField();
  await page.mouse.click(...(await place(page, 4)));
  await page.waitForSelector("#object-card:not([hidden])");
  await page.keyboard.press("x");
  await waitForStatus(page, /Rejected/);
  // The card may lie over the next one.
  await page.keyboard.press("Escape");
  await page.mouse.click(...(await place(page, 9)));
  await page.waitForFunction(() => globalThis.prunella.editing.selected[0]?.status === null);
  await page.keyboard.press("a");
  await waitForStatus(page, /Accepted/);
  const before = await numbers(page);
  await moveSlider(page, "#threshold", 60);
  await waitForTable(page);
  const now = await numbers(page);
  assert.equal(now.rejected, 1);
  assert.equal(now.accepted, 1);
  assert.notEqual(now.model, before.model);
  assert.equal(now.count, now.model + now.accepted);
  assert.equal(await page.textContent("#status"), `${now.count} nuclei.`);
  await context.close();
});

test("the queue begins with the least certain nuclei and goes on after a decision", async () => {
  const { context, page } = await openField();
  const { count } = await numbers(page);
  await page.click("#tool-review");
  await waitForStatus(page, new RegExp(`Review: 1 of ${count}`));
  const doubts = await page.evaluate(() => {
    const { editing, results } = globalThis.prunella;
    const doubt = ({ probability }) => Math.abs(probability - results.threshold);
    const selected = results.nuclei.find(({ label }) => label === editing.selected[0].id);
    return { selected: doubt(selected), least: Math.min(...results.nuclei.map(doubt)) };
  });
  assert.equal(doubts.selected, doubts.least);
  await page.focus("#canvas");
  await page.keyboard.press("a");
  await waitForStatus(page, /Review: 2 of/);
  await page.keyboard.press("x");
  await waitForStatus(page, /Review: 3 of/);
  await page.keyboard.press("Shift+N");
  await waitForStatus(page, /No nucleus to review/);
  const { accepted, rejected } = await numbers(page);
  assert.deepEqual([accepted, rejected], [1, 1]);
  assert.equal(await page.textContent("#edited"), "Edited: 1 accepted, 1 rejected.");
  await context.close();
});

test("keys and clicks act in their order, however late the worker answers", async () => {
  const { context, page } = await openField();
  await page.evaluate(() => {
    const { engine } = globalThis.prunella;
    const { callJson } = engine;
    engine.callJson = async (name, ...args) => {
      const answer = await callJson.call(engine, name, ...args);
      await new Promise((resolve) => setTimeout(resolve, 150));
      return answer;
    };
  });
  const [first, second] = await page.evaluate(() => {
    const { results } = globalThis.prunella;
    const one = results.neighbour(undefined, 1);
    return [one, results.neighbour(one.label, 1)].map(({ x, y }) => ({ x, y }));
  });
  await page.focus("#canvas");
  for (const key of [".", "x", ".", "a", ",", "t", "x", "Escape", "Control+z"]) {
    await page.keyboard.press(key);
  }
  await waitForStatus(page, /Undone: reject a nucleus/);
  const decided = await page.evaluate(async () => {
    const { results, reviewSync } = globalThis.prunella;
    await reviewSync.update();
    const marked = results.nuclei.filter(({ status }) => status !== 0);
    return marked.map(({ x, y, status }) => ({ x, y, status }));
  });
  assert.notDeepEqual(first, second);
  assert.deepEqual(decided, [{ ...second, status: 1 }], "the second one is accepted");
  assert.equal(await page.isVisible("#object-card"), false);
  assert.equal(await page.isVisible("#alert"), false);
  await context.close();
});

test("everything by keyboard alone", async () => {
  const { context, page } = await openField();
  const { count } = await numbers(page);
  await page.focus("#canvas");
  await page.keyboard.press(".");
  await waitForStatus(page, /^Nucleus \d+: area/);
  await page.keyboard.press("x");
  await waitForStatus(page, /Rejected/);
  await page.keyboard.press("t");
  await waitForStatus(page, /Taken back/);
  assert.equal((await numbers(page)).count, count);
  // The view has moved to the nucleus: the cross-hair is at its centre.
  await waitForView(page);
  await page.keyboard.press("Escape");
  await page.waitForSelector("#object-card", { state: "hidden" });
  await page.keyboard.press("Enter");
  await page.waitForSelector("#object-card:not([hidden])");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.id), "card-close");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.id), "card-accept");
  await page.keyboard.press("Enter");
  await waitForStatus(page, /Accepted/);
  await page.focus("#canvas");
  await page.keyboard.press("x");
  await waitForStatus(page, /Rejected/);
  await page.keyboard.press("b");
  await page.keyboard.press("Enter");
  await waitForStatus(page, /Added|No nucleus is found here/);
  await page.keyboard.press("s");
  await page.keyboard.press("ArrowUp");
  await waitForView(page);
  await page.keyboard.press("Enter");
  await waitForStatus(page, /First point set/);
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  await waitForView(page);
  await page.keyboard.press("Enter");
  await waitForStatus(page, /Split into|crosses no nucleus/);
  await page.keyboard.press("Escape");
  await page.keyboard.press("Control+z");
  await waitForStatus(page, /Undone/);
  await context.close();
});

test("axe finds nothing with a tool, the card and the table", async () => {
  for (const options of [{}, { ...PHONE, colorScheme: "dark" }]) {
    const { context, page } = await openField({ ...options, bypassCSP: true });
    await page.focus("#canvas");
    await page.keyboard.press("n");
    await page.waitForSelector("#object-card:not([hidden])");
    await page.keyboard.press("x");
    await waitForStatus(page, /Review: 2 of/);
    await page.evaluate(() => {
      document.getElementById("table-details").open = true;
    });
    assert.deepEqual(await violations(page), []);
    const name = `tools-${options.isMobile ? "phone" : "desktop"}.png`;
    await page.screenshot({ path: join(shots, name) });
    await context.close();
  }
});

test("on a phone one finger paints and two move", async () => {
  const { context, page } = await openField(PHONE);
  const { count } = await numbers(page);
  const touch = await context.newCDPSession(page);
  const send = (type, ...points) =>
    touch.send("Input.dispatchTouchEvent", {
      type,
      touchPoints: points.map(([x, y], id) => ({ x, y, id })),
    });
  const viewOf = () => page.evaluate(() => globalThis.prunella.canvasView.cssView());
  await page.tap("[data-tool=nucleus]");
  const before = await viewOf();
  const stroke = circle(await emptyPlace(page), 16);
  await send("touchStart", stroke[0]);
  for (const point of stroke.slice(1)) await send("touchMove", point);
  await send("touchEnd");
  await waitForStatus(page, /Added/);
  assert.equal((await numbers(page)).count, count + 1);
  assert.deepEqual(await viewOf(), before, "painting does not move the image");
  const [x, y] = stroke[0];
  await send("touchStart", [x, y]);
  await send("touchStart", [x, y], [x + 60, y]);
  for (let i = 1; i <= 6; i++) await send("touchMove", [x - 4 * i, y], [x + 60 + 4 * i, y]);
  await send("touchEnd");
  await page.waitForFunction(
    (scale) => globalThis.prunella.canvasView.cssView()[2] > scale,
    before[2] * 1.3,
  );
  assert.equal((await numbers(page)).count, count + 1);
  await page.tap("[data-tool=look]");
  await page.evaluate(() => globalThis.prunella.editing.select([]));
  await page.touchscreen.tap(...(await place(page, 3)));
  await context.close();
});
