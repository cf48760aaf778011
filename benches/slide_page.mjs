// The page on the mosaic: time to segment all of it, and the tab's peak memory. Called by `cargo xtask bench slide`:
// node benches/slide_page.mjs [--json]; Linux alone, where the memory of a process can be read.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { launch, open, root, serve, site } from "../tests/e2e/harness.mjs";
import { ranged } from "../tests/e2e/tiff.mjs";

const LOOK_MS = 200;
const file = join(process.env.PRUNELLA_DATA ?? join(root, "../shared/data"), "slides/mosaic-jpeg.tif");

/** Anonymous memory of the largest renderer process, bytes: what Chromium's own task manager counts for a tab. */
function tab() {
  let largest = 0;
  for (const id of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      if (!readFileSync(`/proc/${id}/cmdline`, "utf8").includes("--type=renderer")) continue;
      const anonymous = /RssAnon:\s+(\d+) kB/.exec(readFileSync(`/proc/${id}/status`, "utf8"));
      largest = Math.max(largest, Number(anonymous?.[1] ?? 0) * 1024);
    } catch {
      // It ended meanwhile.
    }
  }
  return largest;
}

const slide = ranged(readFileSync(file));
const host = await serve(site, { "/mosaic.tif": slide.answer });
const browser = await launch();
const { page } = await open(browser, `${host.address}?device=cpu&image_url=mosaic.tif#r=90&u=1&p=0.25`);
await page.waitForTimeout(1000);
const opened = { requests: slide.spent.requests, bytes: slide.spent.bytes };
let peak = tab();
const looking = setInterval(() => (peak = Math.max(peak, tab())), LOOK_MS);
const begun = Date.now();
await page.evaluate(() => globalThis.prunella.segmentSlide("slide"));
const seconds = (Date.now() - begun) / 1000;
clearInterval(looking);
const nuclei = Number((await page.textContent("#count")).replaceAll(",", ""));
await browser.close();
host.close();
if (process.argv.includes("--json")) {
  console.log(JSON.stringify({ page_first_view: opened, page_seconds: seconds, page_nuclei: nuclei, page_peak_bytes: peak }));
} else {
  console.log(`| page: mosaic opened and first view | ${opened.requests} requests, ${(opened.bytes / 1e6).toFixed(2)} MB | |`);
  console.log(`| page: all of the mosaic, two workers, 0.9 with the hidden layer | ${seconds.toFixed(0)} s, ${nuclei} nuclei | |`);
  console.log(`| page: peak memory of the tab | ${(peak / 1e6).toFixed(0)} MB | ≤ 600 MB |`);
}
