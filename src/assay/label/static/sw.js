// Keeps the shell of the page, so that it opens without a connection. Answers from the server's API are never kept here.

const SHELL = "assay-label-1";
const FILES = ["/", "/static/base.css", "/static/label.css", "/static/icon.svg"];
for (const name of ["label", "desk", "keep", "wire", "texts", "transcript", "form", "refused", "rest"]) FILES.push(`/static/${name}.js`);
for (const tag of ["en", "ms", "zh-Hans", "ta", "th", "vi", "id"]) FILES.push(`/words/${tag}.json`);

addEventListener("install", (event) => {
  event.waitUntil(caches.open(SHELL).then((cache) => cache.addAll(FILES)).then(() => self.skipWaiting()));
});

addEventListener("activate", (event) => {
  const old = caches.keys().then((names) => Promise.all(names.filter((n) => n !== SHELL).map((n) => caches.delete(n))));
  event.waitUntil(old.then(() => self.clients.claim()));
});

addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || url.origin !== location.origin || url.pathname.startsWith("/api/")) return;
  event.respondWith(fresh(event.request, url.pathname));
});

async function fresh(request, path) {
  const cache = await caches.open(SHELL);
  try {
    const answer = await fetch(request);
    if (answer.ok && FILES.includes(path)) await cache.put(path, answer.clone());
    return answer;
  } catch (error) {
    const kept = await cache.match(path);
    if (kept) return kept;
    throw error;
  }
}
