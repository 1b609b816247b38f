/**
 * Keeps the files of the page, so that it opens, with the history, while the server cannot be reached. The server's own
 * files always count: these are for want of them. Nothing else is kept.
 */

const CACHE = "mtasr-page";
const isOurs = ({ pathname }) => pathname === "/" || pathname.startsWith("/page/");

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  const { request } = event, url = new URL(request.url);
  if (request.method === "GET" && url.origin === location.origin && isOurs(url)) event.respondWith(answer(request));
});

async function answer(request) {
  const cache = await caches.open(CACHE);
  try {
    const fresh = await fetch(request);
    if (fresh.ok) await cache.put(request, fresh.clone());
    return fresh;
  } catch (error) {
    const kept = await cache.match(request);
    if (!kept) throw error;
    return kept;
  }
}
