// The model on this device: fetched once from the page's own origin, resumed where it broke off, checked against its
// SHA-256 before it counts as stored. The browser's private file system holds it; without one it stays in memory.

const FOLDER = "lichen";
const RETRIES = 3;

/** An error with a `code`, as those of the engine have. */
export class ModelError extends Error {
  constructor(message, code = "model") {
    super(message);
    this.code = code;
  }
}

/**
 * The model that a manifest `{file, bytes, sha256}` names.
 * Gives `{ bytes, stored, note, manifest }`; `note` says why it could not be stored.
 */
export async function load(manifestUrl, onProgress = () => {}) {
  const manifest = await readManifest(manifestUrl);
  const url = new URL(manifest.file, manifestUrl);
  const { folder, reason } = await openFolder();
  if (!folder) return { ...(await intoMemory(url, manifest, onProgress)), stored: false, note: reason, manifest };
  // Of two tabs one fetches; the other waits and finds the file whole.
  return withLock(`lichen ${manifest.sha256}`, async () => {
    const known = await whole(folder, manifest);
    if (known) return { bytes: known, stored: true, manifest };
    try {
      const bytes = await intoFolder(folder, url, manifest, onProgress);
      return { bytes, stored: true, manifest };
    } catch (error) {
      if (error instanceof ModelError) throw error;
      await discard(folder, manifest);
      const note = whyNotStored(error, manifest);
      return { ...(await intoMemory(url, manifest, onProgress)), stored: false, note, manifest };
    }
  });
}

/** Removes everything that `load` stored. */
export async function clear() {
  const root = await navigator.storage.getDirectory();
  await root.removeEntry(FOLDER, { recursive: true }).catch(ignoreAbsent);
}

/** A small text kept beside the models, or null. */
export async function recall(name) {
  try {
    const { folder } = await openFolder();
    return await (await (await folder.getFileHandle(name)).getFile()).text();
  } catch {
    return null;
  }
}

/** Keeps a small text, if there is a place to keep it. */
export async function keep(name, text) {
  const { folder } = await openFolder();
  if (!folder) return;
  await write(folder, name, new TextEncoder().encode(text)).catch(() => {});
}

async function readManifest(url) {
  const response = await reach(url, {});
  if (!response.ok) throw new ModelError(`The page's model is not there: ${url.pathname} gives ${response.status}.`);
  const manifest = await response.json().catch(() => ({}));
  const sound = typeof manifest.file === "string" && Number.isSafeInteger(manifest.bytes) && manifest.bytes > 0;
  if (!sound || !/^[0-9a-f]{64}$/.test(manifest.sha256)) {
    throw new ModelError(`${url.pathname} does not say which model to fetch.`);
  }
  return manifest;
}

async function reach(url, options) {
  try {
    return await fetch(url, { ...options, credentials: "omit", redirect: "error" });
  } catch {
    throw new ModelError("The model could not be fetched: the server of this page does not answer.", "network");
  }
}

async function openFolder() {
  try {
    const root = await navigator.storage.getDirectory();
    return { folder: await root.getDirectoryHandle(FOLDER, { create: true }) };
  } catch (error) {
    const reason = "This browser does not let the page store anything (a private window?).";
    return { reason: `${reason} The model works now and is fetched again next time. (${error?.name ?? error})` };
  }
}

function withLock(name, work) {
  return navigator.locks ? navigator.locks.request(name, work) : work();
}

const nameOf = (manifest) => `${manifest.sha256}.safetensors`;
/** Stands beside a file whose SHA-256 was checked. */
const markOf = (manifest) => `${manifest.sha256}.checked`;

/** The stored model, if it is whole and was checked. */
async function whole(folder, manifest) {
  try {
    await folder.getFileHandle(markOf(manifest));
    const file = await (await folder.getFileHandle(nameOf(manifest))).getFile();
    return file.size === manifest.bytes ? new Uint8Array(await file.arrayBuffer()) : null;
  } catch {
    return null;
  }
}

async function intoFolder(folder, url, manifest, onProgress) {
  const handle = await folder.getFileHandle(nameOf(manifest), { create: true });
  const access = await handle.createSyncAccessHandle();
  try {
    if (access.getSize() > manifest.bytes) access.truncate(0);
    const take = (chunk, at) => {
      // A disk that is full may take a part and say nothing.
      if (access.write(chunk, { at }) !== chunk.length) throw new DOMException("no room", "QuotaExceededError");
    };
    await fetchRest(url, manifest, () => access.getSize(), () => access.truncate(0), take, onProgress);
    access.flush();
    const bytes = new Uint8Array(manifest.bytes);
    access.read(bytes, { at: 0 });
    if (!(await matches(bytes, manifest))) {
      access.truncate(0);
      throw new ModelError("The model that came is not the one that was announced: its SHA-256 differs. Try again.");
    }
    await write(folder, markOf(manifest), new Uint8Array());
    await forgetOthers(folder, manifest);
    return bytes;
  } finally {
    access.close();
  }
}

async function intoMemory(url, manifest, onProgress) {
  const bytes = new Uint8Array(manifest.bytes);
  let size = 0;
  const take = (chunk, at) => {
    bytes.set(chunk, at);
    size = at + chunk.length;
  };
  await fetchRest(url, manifest, () => size, () => (size = 0), take, onProgress);
  if (!(await matches(bytes, manifest))) {
    throw new ModelError("The model that came is not the one that was announced: its SHA-256 differs. Try again.");
  }
  return { bytes };
}

/** Fetches what is missing after `size()` bytes, trying again where the network broke off. */
async function fetchRest(url, manifest, size, restart, take, onProgress) {
  for (let failures = 0; size() < manifest.bytes; ) {
    const from = size();
    try {
      const headers = from > 0 ? { Range: `bytes=${from}-` } : {};
      const response = await reach(url, { headers, cache: "no-store" });
      if (response.status === 416 || (from > 0 && response.status === 200)) restart();
      if (response.status === 416) continue;
      if (!response.ok) throw new ModelError(`The model is not there: ${url.pathname} gives ${response.status}.`);
      await drain(response, size(), manifest, take, onProgress);
    } catch (error) {
      if (error instanceof ModelError && error.code !== "network") throw error;
      if (error?.name === "QuotaExceededError") throw error;
      failures = size() > from ? 1 : failures + 1;
      if (failures > RETRIES) {
        throw new ModelError(
          `The network broke off after ${size()} of ${manifest.bytes} bytes. What came is kept; try again to go on.`,
          "network",
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 250 * 2 ** failures));
    }
  }
  onProgress({ stage: "model", loaded: manifest.bytes, total: manifest.bytes });
}

async function drain(response, from, manifest, take, onProgress) {
  const reader = response.body.getReader();
  let at = from;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (at + value.length > manifest.bytes) {
      await reader.cancel();
      throw new ModelError("The model that comes is longer than announced. Reload the page.");
    }
    take(value, at);
    at += value.length;
    onProgress({ stage: "model", loaded: at, total: manifest.bytes });
  }
  if (at < manifest.bytes) throw new Error("the response ended early");
}

async function matches(bytes, manifest) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("") === manifest.sha256;
}

async function write(folder, name, bytes) {
  const handle = await folder.getFileHandle(name, { create: true });
  const access = await handle.createSyncAccessHandle();
  access.truncate(0);
  access.write(bytes, { at: 0 });
  access.flush();
  access.close();
}

/** Models of earlier versions make room. */
async function forgetOthers(folder, manifest) {
  for await (const name of folder.keys()) {
    const other = /\.(safetensors|checked)$/.test(name) && !name.startsWith(manifest.sha256);
    if (other) await folder.removeEntry(name).catch(() => {});
  }
}

async function discard(folder, manifest) {
  for (const name of [nameOf(manifest), markOf(manifest)]) await folder.removeEntry(name).catch(() => {});
}

function whyNotStored(error, manifest) {
  const size = `${Math.ceil(manifest.bytes / 2 ** 20)} MiB`;
  const next = "The model works now and is fetched again next time.";
  if (error?.name === "QuotaExceededError") return `There is no room to store the model (${size}). ${next}`;
  return `The model could not be stored. ${next} (${error?.name}: ${error?.message})`;
}

function ignoreAbsent(error) {
  if (error?.name !== "NotFoundError") throw error;
}
