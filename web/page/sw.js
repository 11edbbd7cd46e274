// Keeps the page for starts without a network: all files of one version, or none. The model is not among them; the
// engine stores that itself.

importScripts("files.js");
const { version, files } = self.BUILD;
const CACHE = `lichen ${version}`;

self.addEventListener("install", (event) => {
  const requests = ["./", ...files].map((file) => new Request(file, { cache: "no-cache" }));
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(requests)));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      for (const name of await caches.keys()) {
        if (name.startsWith("lichen ") && name !== CACHE) await caches.delete(name);
      }
      await self.clients.claim();
    })(),
  );
});

self.addEventListener("message", ({ data }) => {
  if (data === "take over") self.skipWaiting();
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== location.origin || request.headers.has("range")) return;
  event.respondWith(
    (async () => {
      const cache = await caches.open(CACHE);
      const known = await cache.match(request, { ignoreSearch: request.mode === "navigate", ignoreVary: true });
      return known ?? fetch(request);
    })(),
  );
});
