// The browser and the host of the page for the tests of one file, started with them and ended after
// them.
import { after } from "node:test";
import { launch, serve, site } from "./harness.mjs";

export const browser = await launch();
export const host = await serve(site);

after(async () => {
  await browser.close();
  host.close();
});
