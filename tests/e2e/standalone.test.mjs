// The page without a web host: as one HTML file, and from `prunella serve`.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import {
  NATIVE,
  dropFile,
  launch,
  modelPath,
  nativeFiles,
  openPage,
  runProgram,
  saveFile,
  shots,
  site,
  tissuePng,
  waitForNuclei,
} from "./harness.mjs";

const field = tissuePng(50, 60, 128, 96);
const folder = mkdtempSync(join(tmpdir(), "prunella-e2e-"));
let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

test("one HTML file on a disk holds page and model", async () => {
  const file = join(folder, "nuclei.html");
  runProgram("export", modelPath("paper-90-all"), "--html", "--page", site, "--out", file);
  const { context, page, unexpected } = await openPage(
    browser,
    `${pathToFileURL(file).href}?device=cpu`,
  );
  await context.setOffline(true);
  assert.equal(await page.textContent("#parameters"), "9,702");
  await dropFile(page, "field.png", field);
  await waitForNuclei(page);
  const { bytes } = await saveFile(page, "[data-file=geojson]");
  assert.ok(bytes.equals(nativeFiles(field, "paper-90-all")("geojson")));
  await page.screenshot({ path: join(shots, "single-file.png") });
  assert.deepEqual(unexpected, { errors: [], otherHosts: [] });
  await context.close();
});

test("prunella serve shows the page and the folder's images", async () => {
  writeFileSync(join(folder, "my field #1.png"), field);
  writeFileSync(join(folder, "notes.txt"), "not an image");
  const server = spawn(NATIVE, ["serve", folder, "--page", site, "--no-open"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  try {
    const address = await new Promise((resolve) =>
      createInterface({ input: server.stdout }).once("line", resolve),
    );
    const url = new URL(address);
    url.searchParams.set("device", "cpu");
    url.hash = "r=90&u=1";
    const { context, page, unexpected } = await openPage(browser, url.href);
    await page.waitForSelector("#folder button");
    assert.deepEqual(await page.$$eval("#folder button", (all) => all.map((b) => b.textContent)), [
      "my field #1.png",
    ]);
    await page.click("#folder button");
    assert.ok((await waitForNuclei(page)) > 0);
    assert.match(page.url(), /127\.0\.0\.1/);
    assert.deepEqual(unexpected, { errors: [], otherHosts: [] });
    await context.close();
  } finally {
    server.kill();
  }
});
