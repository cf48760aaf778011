// Caches the page for use without a network. `cargo xtask web` fills in the version and the files.
const VERSION = "dev";
/** Files that are cached at the installation. */
const FILES = [];
/** Models that are cached after the first visit, or when they are used. */
const LATER = [];
// Other deployments of the page may have the same origin.
const PREFIX = `prunella ${self.registration.scope} `;
const CACHE = PREFIX + VERSION;

self.addEventListener("install", (event) => event.waitUntil(cacheFiles()));
self.addEventListener("activate", (event) => event.waitUntil(deleteOldCaches()));
self.addEventListener("fetch", (event) => {
  if (isPageFile(event.request)) event.respondWith(cachedOrFetched(event.request));
});
// The page asks for it once it has nothing else to load.
self.addEventListener("message", (event) => {
  if (event.data === "cache-models") event.waitUntil(cacheModels(event.source));
});

/** A new version is used once no tab shows the old one. */
async function cacheFiles() {
  const cache = await caches.open(CACHE);
  // From the network, not from the browser's HTTP cache.
  const requests = [...FILES, "./"].map((file) => new Request(file, { cache: "no-cache" }));
  await cache.addAll(requests);
}

/** Caches the models that are missing, and tells a page how many there are. */
async function cacheModels(page) {
  const cache = await caches.open(CACHE);
  let cached = 0;
  for (const file of LATER) {
    // One that fails is cached at the next visit.
    if (!(await cache.match(file))) await cache.add(file).catch(() => {});
    if (await cache.match(file)) cached += 1;
  }
  page?.postMessage({ type: "models-cached", cached, total: LATER.length });
}

async function deleteOldCaches() {
  const names = await caches.keys();
  const old = names.filter((name) => name.startsWith(PREFIX) && name !== CACHE);
  await Promise.all(old.map((name) => caches.delete(name)));
  await self.clients.claim();
}

/** Path of a request relative to the page; undefined for another place. */
function relativePath(request) {
  const url = new URL(request.url);
  const base = new URL("./", self.location.href);
  const isInside = url.origin === base.origin && url.pathname.startsWith(base.pathname);
  return isInside ? `./${url.pathname.slice(base.pathname.length)}` : undefined;
}

/** Not so for images and models of other places and for files of `prunella serve`. */
function isPageFile(request) {
  if (request.method !== "GET" || request.headers.has("range")) return false;
  const path = relativePath(request);
  return path !== undefined && !path.startsWith("./files/");
}

async function cachedOrFetched(request) {
  const cache = await caches.open(CACHE);
  const cached = await cache.match(request, { ignoreSearch: request.mode === "navigate" });
  if (cached) return cached;
  const response = await fetch(request);
  if (response.ok && LATER.includes(relativePath(request))) {
    await cache.put(request, response.clone());
  }
  return response;
}
