// Teaching in the page: seconds from the button to the taught network beside the present one, by
// model, and how far what the page learned is from what the program learns from the same marks.
// `cargo xtask bench teach --page` calls it: node benches/teach_page.mjs. The fields are those of
// TNBC (PRUNELLA_DATA); thirty of the nuclei that are found in one are decided on, every other one
// rejected.
import { mkdtempSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PNG } from "../tests/e2e/node_modules/pngjs/lib/png.js";
import {
  dropFile,
  idle,
  launch,
  modelPath,
  nativeFiles,
  openPage,
  root,
  runProgram,
  saveFile,
  serve,
  site,
  waitForNuclei,
} from "../tests/e2e/harness.mjs";
import { weightDifference } from "../tests/e2e/safetensors.mjs";

const MARKS = 30;
/** Every so many fields are compared. */
const EVERY = 5;
const data = process.env.PRUNELLA_DATA ?? join(root, "../shared/data");
const folder = join(data, "open/tnbc/images");
const field = join(folder, "08_1.png");

const host = await serve(site);
const browser = await launch();

/** A page in which the nuclei of the field are decided on, with the model of an address. */
async function marked(model) {
  const { page } = await openPage(browser, `${host.address}?device=cpu#p=0.25&${model}`);
  await dropFile(page, "field.png", readFileSync(field));
  await waitForNuclei(page);
  await page.evaluate(async (count) => {
    const { results, editing, imageSegmentation, reviewSync } = globalThis.prunella;
    await imageSegmentation.updateTable();
    const nuclei = [...results.nuclei];
    const step = Math.max(1, Math.floor(nuclei.length / count));
    for (let i = 0; i < count && i * step < nuclei.length; i++) {
      const { x, y } = nuclei[i * step];
      const object = await editing.objects.at(x, y);
      if (object?.status !== null) continue;
      await editing.apply(i % 2 === 0 ? { accept: object } : { reject: object }, "");
    }
    await reviewSync.update();
  }, MARKS);
  return page;
}

async function teach(page) {
  const startedAt = performance.now();
  await page.click("#teach");
  await page.waitForSelector("#taught:not([hidden])");
  await idle(page);
  return (performance.now() - startedAt) / 1000;
}

for (const [name, model] of [
  ["open-small", "s=open-small"],
  ["paper-90", "r=90"],
]) {
  const page = await marked(model);
  const seconds = await teach(page);
  console.log(`${name}: ${seconds.toFixed(1)} s. ${await page.textContent("#taught-text")}`);
  await page.context().close();
}

const page = await marked("s=open-small");
const work = mkdtempSync(join(tmpdir(), "prunella-bench-"));
const names = ["marks.geojson", "page.safetensors", "program.safetensors"];
const [labels, byPage, byProgram] = names.map((name) => join(work, name));
writeFileSync(labels, (await saveFile(page, "#save-marks")).bytes);
await teach(page);
const bytes = await page.evaluate(async () => {
  const { engine, teaching } = globalThis.prunella;
  return [...(await engine.call("modelFile", teaching.taught.facts.id))];
});
writeFileSync(byPage, Buffer.from(bytes));
const pair = ["--labels", labels, "--image", field, "--image-mpp", "0.25"];
runProgram("finetune", modelPath("open-small"), ...pair, "--out", byProgram);
const { rms, largest } = weightDifference(byPage, byProgram);
console.log(`weights of page and program differ by ${rms} (rms), ${largest} at most`);

let [pixels, differing] = [0, 0];
const nuclei = [0, 0];
const fields = readdirSync(folder).filter((name) => name.endsWith(".png"));
for (const name of fields.filter((_, i) => i % EVERY === 0)) {
  const image = readFileSync(join(folder, name));
  const masks = [byPage, byProgram].map((model, i) => {
    const files = nativeFiles(image, model, ["--mpp", "0.25"]);
    nuclei[i] += files("csv").toString().trim().split("\n").length - 1;
    return PNG.sync.read(files("labels.png"), { skipRescale: true }).data;
  });
  for (let i = 0; i < masks[0].length; i += 4) {
    pixels += 1;
    if (masks[0][i] > 0 !== masks[1][i] > 0) differing += 1;
  }
}
console.log(`${pixels} pixels: ${differing} differ; nuclei ${nuclei.join(" and ")}`);
await browser.close();
host.close();
