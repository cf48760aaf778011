// Teaching: painting, erasing, the taught network beside the present one, keeping and discarding,
// versions after a reload, the file of marks, and what cannot be learned.
import assert from "node:assert/strict";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import {
  dropFile,
  idle,
  modelPath,
  openPage,
  PHONE,
  runProgram,
  saveFile,
  shots,
  tissuePng,
  violations,
  waitForImage,
  waitForNuclei,
  waitForStatus,
} from "./harness.mjs";
import { weightDifference } from "./safetensors.mjs";
import { browser, host } from "./started.mjs";

const field = tissuePng(50, 60, 320, 256);

async function openField(options = {}, address = `${host.address}?device=cpu#p=0.25`) {
  const opened = await openPage(browser, address, options);
  await dropFile(opened.page, "field.png", field);
  await waitForNuclei(opened.page);
  return opened;
}

/** Paints by mouse from a share of the picture to another one. */
async function paint(page, from, to) {
  const { x, y, width, height } = await page.locator("#canvas").boundingBox();
  await page.mouse.move(x + from[0] * width, y + from[1] * height);
  await page.mouse.down();
  await page.mouse.move(x + to[0] * width, y + to[1] * height, { steps: 12 });
  await page.mouse.up();
}

/** Rejects every n-th nucleus of the model by commands, as the card's button does. */
function reject(page, every) {
  return page.evaluate(async (every) => {
    const { results, editing, reviewSync, imageSegmentation } = globalThis.prunella;
    await reviewSync.update();
    await imageSegmentation.updateTable();
    const nuclei = results.nuclei.filter((_, i) => i % every === 0);
    for (const { x, y } of nuclei) {
      const object = await editing.objects.at(x, y);
      if (object && object.status === null) await editing.apply({ reject: object }, "Rejected.");
    }
    await reviewSync.update();
  }, every);
}

/** Fewer steps than the recipe has, where how much is learned is of no interest. */
function takeFewSteps(page) {
  return page.evaluate(() => {
    const { engine } = globalThis.prunella;
    const { call } = engine;
    engine.call = (name, ...args) => {
      if (name !== "prepareTask") return call.call(engine, name, ...args);
      const [slot, model, mpp, settings] = args;
      const few = JSON.stringify({ ...JSON.parse(settings), steps: 6 });
      return call.call(engine, name, slot, model, mpp, few);
    };
  });
}

async function teach(page) {
  await page.click("#teach");
  await page.waitForSelector("#taught:not([hidden])");
  await idle(page);
}

const fingerprint = (page) => page.evaluate(() => globalThis.prunella.model.facts.fingerprint);
const strokes = (page) => page.evaluate(() => globalThis.prunella.store.state.strokes.length);

test("strokes are painted by mouse and key, erased, and undone", async () => {
  const { context, page, unexpected } = await openField();
  assert.equal(await page.isDisabled("#teach"), true);
  await page.click('[data-tool="paint"]');
  await paint(page, [0.3, 0.3], [0.5, 0.35]);
  await page.keyboard.press("p");
  await waitForStatus(page, /what is no nucleus/);
  await page.keyboard.press("]");
  await waitForStatus(page, /2\.5 µm wide/);
  await page.focus("#canvas");
  await page.keyboard.press("Enter");
  assert.equal(await strokes(page), 2);
  assert.match(await page.textContent("#mark-counts"), /^2 marks: 2 painted\.$/);
  const painted = await page.evaluate(() => globalThis.prunella.store.state.strokes);
  assert.deepEqual(
    painted.map((stroke) => stroke.class),
    ["nucleus", "background"],
  );
  assert.ok(painted[0].points.length > 3 && painted[1].points.length === 1);
  await page.screenshot({ path: join(shots, "paint.png") });
  // A stroke off the picture is none.
  await page.evaluate(() => globalThis.prunella.paintTool.click(-500, -500));
  await waitForStatus(page, /outside the image/);
  await page.keyboard.press("e");
  const { x, y, width, height } = await page.locator("#canvas").boundingBox();
  await page.mouse.click(x + 0.3 * width, y + 0.3 * height);
  await waitForStatus(page, /Stroke erased/);
  assert.equal(await strokes(page), 1);
  await page.keyboard.press("Control+z");
  assert.equal(await strokes(page), 2);
  await page.mouse.click(x + 0.9 * width, y + 0.9 * height);
  await waitForStatus(page, /No stroke and no decision here/);
  await page.keyboard.press("Escape");
  assert.deepEqual(unexpected, { errors: [], otherHosts: [] });
  await context.close();
});

test("a network is taught, compared, kept, shared and there after a reload", async () => {
  const { context, page, unexpected } = await openField();
  await reject(page, 3);
  await page.click('[data-tool="paint"]');
  await paint(page, [0.35, 0.5], [0.6, 0.5]);
  await page.keyboard.press("Escape");
  const before = await fingerprint(page);
  await takeFewSteps(page);
  await teach(page);
  const text = await page.textContent("#taught-text");
  const [, after, places, was] = text.match(/right at (\d+) of (\d+) places?, before at (\d+)/);
  assert.ok(Number(after) >= Number(was) && Number(places) >= Number(after), text);
  assert.equal(await fingerprint(page), before, "the network is replaced when it is kept");
  assert.match(await page.textContent("#right-label"), /^taught/);
  await page.screenshot({ path: join(shots, "taught.png") });
  // The taught map differs.
  const differs = await page.evaluate(async () => {
    const { engine, canvasView } = globalThis.prunella;
    const { width, height } = canvasView;
    const counts = [];
    for (const slot of [0, 1]) {
      counts.push(await engine.call("ownNucleiIn", slot, 0, 0, width, height));
    }
    const [a, b] = await Promise.all([0, 1].map((slot) => engine.call("saveResult", slot)));
    return { counts, isOther: a.length !== b.length || a.some((byte, i) => byte !== b[i]) };
  });
  assert.ok(differs.isOther && differs.counts.every((count) => count > 0));
  await page.click("#keep-taught");
  await waitForStatus(page, /Kept as version 1/);
  const taught = await fingerprint(page);
  assert.notEqual(taught, before);
  assert.equal(await page.isChecked("#version-1"), true);
  // A second teaching goes on from the first, and any version can be used again.
  await teach(page);
  await page.click("#discard-taught");
  await waitForStatus(page, /Discarded/);
  assert.equal(await fingerprint(page), taught);
  await page.check("#version-0");
  await idle(page);
  assert.equal(await fingerprint(page), before);
  await page.check("#version-1");
  await idle(page);
  assert.equal(await fingerprint(page), taught);
  assert.deepEqual(await violations(page), []);

  const marks = await page.textContent("#mark-counts");
  await page.evaluate(() => globalThis.prunella.persistence.flush());
  await page.reload();
  await waitForNuclei(page);
  assert.equal(await page.textContent("#mark-counts"), marks);
  assert.equal(await fingerprint(page), taught, "the version is there after a reload");
  assert.equal(await page.isChecked("#version-1"), true);

  await page.click("#share-open");
  await page.waitForFunction(() => document.getElementById("share-link").value.length > 100);
  const link = await page.inputValue("#share-link");
  const fresh = await openPage(browser, link);
  await dropFile(fresh.page, "field.png", field);
  assert.ok((await waitForNuclei(fresh.page)) > 0);
  const parameters = await page.textContent("#parameters");
  assert.equal(await fresh.page.textContent("#parameters"), parameters);
  await fresh.context.close();
  assert.deepEqual(unexpected, { errors: [], otherHosts: [] });
  await context.close();
});

test("a complete view accepts what is found in it, once", async () => {
  const { context, page } = await openField();
  const count = Number(await page.textContent("#count"));
  await page.click("#complete-view");
  await waitForStatus(page, /accepted; the rest of the view is background/);
  assert.match(await page.textContent("#mark-counts"), new RegExp(`${count} accepted or added`));
  await page.click("#complete-view");
  await waitForStatus(page, /complete already/);
  // Another threshold changes nothing of what was accepted.
  const before = await saveFile(page, "#save-marks");
  await page.evaluate(() => globalThis.prunella.store.apply({ threshold: 0.9 }));
  await idle(page);
  const after = await saveFile(page, "#save-marks");
  assert.deepEqual(after.bytes, before.bytes);
  await page.keyboard.press("Control+z");
  await page.keyboard.press("Control+z");
  assert.match(await page.textContent("#mark-counts"), /No marks yet/);
  // Erase takes it back where nothing else is.
  await page.click("#complete-view");
  await waitForStatus(page, /accepted; the rest of the view is background/);
  await page.evaluate(async () => {
    const { editing, eraseTool } = globalThis.prunella;
    for (let x = 20; x < 300; x += 7) {
      if (await editing.objects.at(x, 100)) continue;
      eraseTool.click(x, 100);
      return;
    }
  });
  await waitForStatus(page, /Complete 1: what in it nobody marked is unknown again/);
  assert.doesNotMatch(await page.textContent("#mark-counts"), /complete/);
  await context.close();
});

test("another model, another image and a failure leave no half taught network", async () => {
  const { context, page } = await openField();
  await takeFewSteps(page);
  await reject(page, 3);
  await teach(page);
  await page.evaluate(() => {
    const { engine } = globalThis.prunella;
    const { call } = engine;
    engine.call = (name, ...args) => {
      if (name !== "modelFile") return call.call(engine, name, ...args);
      engine.call = call;
      return Promise.reject(new Error("no memory"));
    };
  });
  await page.click("#keep-taught");
  await page.waitForSelector("#alert:not([hidden])");
  assert.equal(await page.isVisible("#taught"), true, "it can be kept again");
  await page.click("#alert-close");
  const { model } = await page.evaluate(() => globalThis.prunella.store.state);
  await page.evaluate(() => {
    const model = { shipped: null, ratio: 90, pruneHidden: true, loaded: null };
    globalThis.prunella.store.apply({ model });
  });
  await page.waitForSelector("#taught", { state: "hidden" });
  await idle(page);
  await page.evaluate((model) => globalThis.prunella.store.apply({ model }), model);
  await idle(page);
  await waitForNuclei(page);
  await teach(page);
  await page.click("#keep-taught");
  await waitForStatus(page, /Kept as version 1/);
  await page.check("#version-0");
  await idle(page);
  // The same marks teach the same network: it is the version that is there.
  await takeFewSteps(page);
  await teach(page);
  await page.click("#keep-taught");
  await waitForStatus(page, /Kept as version 1/);
  assert.equal(await page.locator("#version-list li").count(), 2);
  await page.selectOption("#compare-with", { label: "Before: Open: small" });
  await idle(page);
  assert.match(await page.textContent("#right-label"), /Before: Open: small/);
  await page.click("#compare");
  // It is used on another image, and there after a reload.
  await page.check("#version-1");
  await idle(page);
  const taught = await fingerprint(page);
  await dropFile(page, "other.png", tissuePng(200, 40, 200, 160));
  await waitForImage(page, "other.png");
  await waitForNuclei(page);
  assert.equal(await fingerprint(page), taught);
  assert.match(await page.textContent("#version-list"), /taught on field/);
  await page.evaluate(() => globalThis.prunella.persistence.flush());
  await page.reload();
  await waitForNuclei(page);
  assert.equal(await fingerprint(page), taught);
  await context.close();
});

test("the file of marks teaches the program what the page learned", async () => {
  const { context, page } = await openField();
  await reject(page, 4);
  await page.click("#complete-view");
  await waitForStatus(page, /accepted/);
  await page.click('[data-tool="paint"]');
  await paint(page, [0.4, 0.6], [0.5, 0.6]);
  await page.keyboard.press("Escape");
  const file = await saveFile(page, "#save-marks");
  assert.equal(file.name, "field.marks.geojson");
  await teach(page);
  await page.click("#keep-taught");
  await waitForStatus(page, /Kept as version 1/);
  const own = await page.evaluate(async () => {
    const { engine, model } = globalThis.prunella;
    return [...(await engine.call("modelFile", model.facts.id))];
  });
  const folder = mkdtempSync(join(tmpdir(), "prunella-teach-"));
  const [image, labels, out] = ["field.png", "marks.geojson", "taught.safetensors"].map((name) =>
    join(folder, name),
  );
  writeFileSync(image, field);
  writeFileSync(labels, file.bytes);
  const checked = JSON.parse(runProgram("data", "check", labels, "--json"));
  assert.equal(checked.marks["strokes of nucleus"], 1);
  const pair = ["--labels", labels, "--image", image, "--image-mpp", "0.25", "--seed", "1"];
  runProgram("finetune", modelPath("open-small"), ...pair, "--out", out);
  const inPage = join(folder, "page.safetensors");
  writeFileSync(inPage, Buffer.from(own));
  // The browser rounds twice where the program fuses multiply and add.
  const { largest, rms } = weightDifference(inPage, out);
  assert.ok(rms < 1e-4 && largest < 2e-3, `weights differ by ${rms}, at most ${largest}`);
  assert.ok(weightDifference(out, modelPath("open-small")).rms > 100 * rms, "nothing was learned");
  await context.close();
});

test("cancelling, too little and other networks leave the network as it was", async () => {
  const { context, page } = await openField();
  await page.click('[data-tool="paint"]');
  // Marks of one class only are enough.
  await paint(page, [0.4, 0.6], [0.5, 0.6]);
  await page.keyboard.press("Escape");
  const before = await fingerprint(page);
  await page.click("#teach");
  await page.waitForFunction(() =>
    /step \d+ of/.test(document.getElementById("progress-text").textContent),
  );
  await page.click("#cancel");
  await waitForStatus(page, /Teaching was stopped/);
  await idle(page);
  assert.equal(await fingerprint(page), before);
  assert.equal(await page.isHidden("#taught"), true);
  // A worker that fails says so, and nothing is lost.
  await page.evaluate(() => {
    const { engine } = globalThis.prunella;
    const { call } = engine;
    engine.call = async (name, ...args) => {
      const value = await call.call(engine, name, ...args);
      return name === "prepareTask" ? value.slice(0, 100) : value;
    };
  });
  await page.click("#teach");
  await page.waitForSelector("#alert:not([hidden])");
  assert.match(await page.textContent("#alert"), /cut short|cannot be read/);
  assert.equal(await strokes(page), 1);
  await context.close();
});

test("a new type of nuclei is painted, learned and counted", async () => {
  const { context, page } = await openField();
  await page.selectOption("#paint-class", { label: "New type of nuclei…" });
  await page.fill("#type-name", "lymphocyte");
  await page.click("#add-type");
  await waitForStatus(page, /“lymphocyte”/);
  await paint(page, [0.3, 0.4], [0.45, 0.4]);
  await page.click("#teach");
  await page.waitForSelector("#alert:not([hidden])");
  assert.match(await page.textContent("#alert"), /Mark other nuclei too/);
  await page.selectOption("#paint-class", "nucleus");
  await paint(page, [0.5, 0.6], [0.6, 0.6]);
  await page.keyboard.press("Escape");
  await takeFewSteps(page);
  await teach(page);
  await page.click("#keep-taught");
  await waitForStatus(page, /Kept as version 1/);
  await page.waitForFunction(() =>
    /lymphocyte/.test(document.getElementById("type-counts").textContent),
  );
  await context.close();
});

test("a finger paints on a phone, and everything fits", async () => {
  const { context, page } = await openField(PHONE);
  await page.tap('[data-tool="paint"]');
  const box = await page.locator("#canvas").boundingBox();
  await page.touchscreen.tap(box.x + box.width / 2, box.y + box.height / 2);
  assert.equal(await strokes(page), 1);
  await page.screenshot({ path: join(shots, "paint-phone.png") });
  await page.tap("#sheet-raise");
  await page.tap('[data-section="section-teach"]');
  await page.waitForTimeout(400);
  await page.screenshot({ path: join(shots, "teach-phone.png") });
  assert.deepEqual(await violations(page), []);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 390);
  await context.close();
});
