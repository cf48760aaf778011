// The note about foreign stains and the switch for matching colours.
import assert from "node:assert/strict";
import { test } from "node:test";
import { PNG } from "pngjs";
import { dropFile, openPage, saveFile, tissuePng, waitForNuclei } from "./harness.mjs";
import { browser, host } from "./started.mjs";

/** A PNG with every pixel changed by `change(red, green, blue)`. */
function recoloured(png, change) {
  const image = PNG.sync.read(png);
  for (let at = 0; at < image.data.length; at += 4) {
    const [red, green, blue] = image.data.subarray(at, at + 3);
    image.data.set(change(red, green, blue), at);
  }
  return PNG.sync.write(image);
}

/** Half the amount of each dye. */
const paler = (...rgb) => rgb.map((value) => Math.round(Math.sqrt(value * 255)));

test("only colours far from H&E are noted, and matching can be switched off", async () => {
  const { context, page } = await openPage(browser, `${host.address}?device=cpu#r=90&u=1`);
  const field = tissuePng(50, 60, 160, 128);
  const notes = () => page.textContent("#notes");

  await dropFile(page, "pale.png", recoloured(field, paler));
  await waitForNuclei(page);
  assert.equal(await notes(), "", "pale H&E is ordinary");
  await page.click("#stain-setting summary");
  await waitForText(page, "stain-facts", "were matched");
  const matched = (await saveFile(page, "[data-file=csv]")).bytes;

  await page.uncheck("#match-stain");
  await waitForText(page, "stain-facts", "as they are");
  await waitForNuclei(page);
  const kept = (await saveFile(page, "[data-file=csv]")).bytes;
  assert.ok(!kept.equals(matched), "the model reads other colours");
  await page.evaluate(() => globalThis.prunella.store.undo());
  await waitForText(page, "stain-facts", "were matched");
  await waitForNuclei(page);
  assert.equal(await page.isChecked("#match-stain"), true);
  assert.ok((await saveFile(page, "[data-file=csv]")).bytes.equals(matched));

  await dropFile(page, "grey.png", recoloured(field, (_, green) => [green, green, green]));
  await waitForText(page, "notes", "unlike the H&E");
  await context.close();
});

test("the sample has no note", async () => {
  const { context, page } = await openPage(browser, `${host.address}?device=cpu#r=90&u=1&i=sample`);
  await waitForNuclei(page);
  assert.equal(await page.textContent("#notes"), "");
  await context.close();
});

/** Waits until the text of an element holds another one. */
async function waitForText(page, id, text) {
  const holds = ([id, text]) => document.getElementById(id).textContent.includes(text);
  await page.waitForFunction(holds, [id, text]);
}
