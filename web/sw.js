// Keeps the page for use without a network. `cargo xtask web` writes the version and the list of files.
const VERSION = "dev";
const FILES = [];
const LATER = [];
// Other deployments may live on the same host.
const MINE = `prunella ${self.registration.scope} `;
const CACHE = MINE + VERSION;

self.addEventListener("install", (event) => {
  const keep = async () => {
    const cache = await caches.open(CACHE);
    // From the network, not from the browser's own store. A newer version takes over when no tab shows this one any more.
    await cache.addAll([...FILES, "./"].map((file) => new Request(file, { cache: "no-cache" })));
  };
  event.waitUntil(keep());
});

self.addEventListener("activate", (event) => {
  const tidy = async () => {
    const old = (await caches.keys()).filter((name) => name.startsWith(MINE) && name !== CACHE);
    await Promise.all(old.map((name) => caches.delete(name)));
    await self.clients.claim();
  };
  event.waitUntil(tidy());
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  const here = new URL("./", self.location.href);
  const own = url.origin === here.origin && url.pathname.startsWith(here.pathname);
  // Images and models of other places and of `prunella serve` are not the page's.
  if (request.method !== "GET" || !own || request.headers.has("range") || url.pathname.startsWith(`${here.pathname}files/`)) return;
  const answer = async () => {
    const cache = await caches.open(CACHE);
    const kept = await cache.match(request, { ignoreSearch: request.mode === "navigate" });
    if (kept) return kept;
    const fresh = await fetch(request);
    // Models of later choice are kept once they were used.
    if (fresh.ok && LATER.includes(`.${url.pathname.slice(here.pathname.length - 1)}`)) await cache.put(request, fresh.clone());
    return fresh;
  };
  event.respondWith(answer());
});
