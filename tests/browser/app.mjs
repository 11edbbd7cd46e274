// The browser app as people meet it, in headless Chromium. Usage: node app.mjs LICHEN DIST MODEL [NAME ..]
// LICHEN is the command that serves DIST, the built page, and that says what the right tokens of MODEL are; with names
// only those checks run. SCREENSHOTS names a folder for pictures of the page at three sizes. Fails on a wrong answer, a
// page error, a violation of the page's policy, or a request to another origin.

import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { launch, watch } from "./browser.mjs";
import * as answers from "./checks/answers.mjs";
import * as lessons from "./checks/lessons.mjs";
import * as thePage from "./checks/page.mjs";
import * as robust from "./checks/robust.mjs";

const [lichen, dist, model, ...names] = process.argv.slice(2);

/** Starts `lichen serve`; resolves to `{ url, close }`. */
function serve() {
  const child = spawn(lichen, ["serve", "--web", "--dir", dist, "--port", "0"], { stdio: ["ignore", "ignore", "pipe"] });
  const lines = createInterface({ input: child.stderr });
  return new Promise((resolve, reject) => {
    lines.on("line", (line) => {
      const url = line.match(/http:\/\/[^/]+/)?.[0];
      if (url) resolve({ url, close: () => child.kill() });
      else reject(new Error(line));
    });
    child.on("error", reject);
  });
}

const folder = await mkdtemp(join(tmpdir(), "lichen-"));
const manifest = JSON.parse(await readFile(join(dist, "model.json"), "utf8"));
if (process.env.SCREENSHOTS) await mkdir(process.env.SCREENSHOTS, { recursive: true });
const browser = await launch();
const problems = [];
const all = [answers, lessons, robust, thePage].flatMap((checks) => Object.entries(checks)).filter(([name]) => names.length === 0 || names.includes(name));
let world = null;
for (const [i, [name, check]] of all.entries()) {
  const found = [];
  const expected = [];
  const notes = [];
  if (!world) {
    // From nothing: another server, an empty profile.
    const server = await serve();
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
    world = { browser, context, page: await context.newPage(), server, lichen, model, dist, manifest, folder };
  }
  const { context, page, server } = world;
  const stopWatching = await watch(context, server.url, found, (text) => expected.some((part) => text.includes(part)));
  Object.assign(world, { say: (text) => notes.push(text), expect: (part) => expected.push(part) });
  const started = Date.now();
  try {
    await check(world);
  } catch (error) {
    found.push(String(error.stack ?? error));
    const path = process.env.SCREENSHOTS && join(process.env.SCREENSHOTS, `failed-${name}.png`);
    if (path) await page.screenshot({ path }).catch(() => {});
  }
  stopWatching();
  // Some go on from what the one before them left.
  if (!all[i + 1]?.[1].goesOn) {
    await context.close();
    server.close();
    world = null;
  }
  const verdict = found.length === 0 ? "ok    " : "FAILED";
  console.log(`${verdict} ${name}, ${((Date.now() - started) / 1000).toFixed(1)} s${notes.length ? `: ${notes.join("; ")}` : ""}`);
  for (const text of found) console.error(`       ${text}`);
  problems.push(...found);
}
await browser.close();
await rm(folder, { recursive: true });
console.log(`${all.length} checks, ${problems.length} problems`);
process.exitCode = problems.length === 0 ? 0 : 1;
