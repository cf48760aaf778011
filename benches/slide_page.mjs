// The page on the mosaic: time to segment all of it and to find the nuclei again at another
// threshold, frames a second while the view moves, and peak memory of the tab. `cargo xtask bench
// slide` calls it: node benches/slide_page.mjs [--json]. It reads the memory of processes in /proc,
// so it needs Linux.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { launch, openPage, root, serve, site } from "../tests/e2e/harness.mjs";
import { rangeServer } from "../tests/e2e/tiff.mjs";

/** Pause between two readings of the memory, milliseconds. */
const SAMPLE_MS = 200;
const file = join(
  process.env.PRUNELLA_DATA ?? join(root, "../shared/data"),
  "slides/mosaic-jpeg.tif",
);

/**
 * Anonymous memory of the largest renderer process, bytes, as Chromium's task manager counts it
 * for a tab.
 */
function tabBytes() {
  let largest = 0;
  for (const id of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      if (!readFileSync(`/proc/${id}/cmdline`, "utf8").includes("--type=renderer")) continue;
      const anonymous = /RssAnon:\s+(\d+) kB/.exec(readFileSync(`/proc/${id}/status`, "utf8"));
      largest = Math.max(largest, Number(anonymous?.[1] ?? 0) * 1024);
    } catch {
      // The process has ended.
    }
  }
  return largest;
}

const slide = rangeServer(readFileSync(file));
const host = await serve(site, { "/mosaic.tif": slide.handler });
const browser = await launch();
const { page } = await openPage(
  browser,
  `${host.address}?device=cpu&image_url=mosaic.tif#r=90&u=1&p=0.25`,
);
await page.waitForTimeout(1000);
const opened = { requests: slide.traffic.requests, bytes: slide.traffic.bytes };
let peak = tabBytes();
const sampling = setInterval(() => {
  peak = Math.max(peak, tabBytes());
}, SAMPLE_MS);
/** Frames a second while the view moves for three seconds at a scale. */
const frames = (scale) =>
  page.evaluate(async (scale) => {
    const { canvasView } = globalThis.prunella;
    canvasView.viewport.setState(canvasView.width / 2, canvasView.height / 2, scale);
    canvasView.requestFrame();
    await new Promise((resolve) => setTimeout(resolve, 2000));
    const startedAt = performance.now();
    let count = 0;
    while (performance.now() - startedAt < 3000) {
      canvasView.viewport.pan(3, 2);
      canvasView.requestFrame();
      await new Promise(requestAnimationFrame);
      count += 1;
    }
    return count / 3;
  }, scale);
const startedAt = Date.now();
const segmentation = page.evaluate(() => globalThis.prunella.segmentSlide("slide"));
await page.waitForTimeout(2000);
const framesSegmenting = await frames(0.25);
await segmentation;
const seconds = (Date.now() - startedAt) / 1000;
/** Time until all blocks have their nuclei at another threshold. */
const thresholdSeconds = await page.evaluate(async () => {
  const { store, engine } = globalThis.prunella;
  const startedAt = performance.now();
  store.apply({ threshold: 0.6 });
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    const { threshold, done, wanted } = await engine.callJson("summary", 0);
    if (Math.abs(threshold - 0.6) < 1e-3 && done === wanted) break;
  }
  return (performance.now() - startedAt) / 1000;
});
const framesNear = await frames(1);
const framesFar = await frames(0.25);
clearInterval(sampling);
const nuclei = Number((await page.textContent("#count")).replaceAll(",", ""));
await browser.close();
host.close();
if (process.argv.includes("--json")) {
  console.log(
    JSON.stringify({
      page_first_view: opened,
      page_seconds: seconds,
      page_nuclei: nuclei,
      page_threshold_seconds: thresholdSeconds,
      page_frames_segmenting: framesSegmenting,
      page_frames_near: framesNear,
      page_frames_far: framesFar,
      page_peak_bytes: peak,
    }),
  );
} else {
  const megabytes = (opened.bytes / 1e6).toFixed(2);
  console.log(
    `| page: mosaic opened and first view | ${opened.requests} requests, ${megabytes} MB | |`,
  );
  console.log(
    "| page: all of the mosaic, two workers, 0.9 with the hidden layer " +
      `| ${seconds.toFixed(0)} s, ${nuclei} nuclei | |`,
  );
  console.log(
    `| page: another threshold on all of it | ${thresholdSeconds.toFixed(1)} s | ≤ 1 s |`,
  );
  console.log(
    "| page: frames a second while the view moves, at 1 and at 0.25 screen pixels a pixel " +
      `| ${framesNear.toFixed(0)}, ${framesFar.toFixed(0)} | ≥ 54 |`,
  );
  console.log(`| page: the same while it segments | ${framesSegmenting.toFixed(0)} | ≥ 40 |`);
  console.log(`| page: peak memory of the tab | ${(peak / 1e6).toFixed(0)} MB | ≤ 600 MB |`);
}
