// What goes wrong, and what must not be lost with it. Each export is a check.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { NOW, PROMPTS, newChat, open, ready, say } from "../steps.mjs";

/** The page can be installed; its second start needs no network, and no server either. */
export async function offline(world) {
  const { page, context, server } = world;
  await open(world);
  await page.evaluate(() => navigator.serviceWorker.ready.then(() => null));
  await page.waitForFunction(() => navigator.serviceWorker.controller);
  const { installabilityErrors: wrong } = await (await context.newCDPSession(page)).send("Page.getInstallabilityErrors");
  // A test's profile is a private one.
  assert.deepEqual(wrong.filter(({ errorId }) => errorId !== "in-incognito"), []);
  const asked = [];
  context.on("request", (request) => asked.push(request.url()));
  server.close();
  await context.setOffline(true);
  const times = [];
  for (let i = 0; i < 3; i++) {
    await page.reload();
    await ready(page);
    times.push(await page.evaluate(() => Math.round(performance.getEntriesByName("lichen-ready")[0].startTime)));
  }
  assert.ok(!asked.some((url) => url.includes("/model/")), "the model was asked for again");
  await say(page, PROMPTS[0]);
  const first = (await page.textContent("#status")).match(/first token after .*/)?.[0];
  world.say(`ready after ${times.join(", ")} ms, ${first}`);
}
/** A conversation goes on after a reload as if there had been none, until a new one is begun. */
export async function reload(world) {
  const { page } = world;
  await open(world);
  const [first, second] = ["My sister is called Marta.", "What is my sister called?"];
  await say(page, first);
  const want = await say(page, second);
  await newChat(page);
  await say(page, first);
  await page.reload();
  await ready(page);
  assert.equal(await page.locator("#log li").count(), 2);
  const text = (answer) => answer.replace(/\d+ tokens read.*$/m, "").trim();
  assert.equal(text(await say(page, second)), text(want));
  await newChat(page);
  await page.reload();
  await ready(page);
  assert.equal(await page.locator("#log li").count(), 0);
}

/** A GPU that is lost between two turns costs nothing but time: the answers are those of a GPU that stayed. */
export async function lost(world) {
  const { page } = world;
  await open(world);
  const run = (lose) =>
    page.evaluate(
      async ([lose, prompts, now]) => {
        const { create } = await import("/lichen/index.js");
        const lichen = await create({ device: "gpu" });
        const all = [];
        let restarts = 0;
        for (const text of prompts) {
          const ids = [];
          for await (const event of lichen.generate({ text, now }, { maxTokens: 24 })) {
            if (event.type === "token" && event.id !== undefined) ids.push(event.id);
            if (event.type === "restart") [restarts, ids.length] = [restarts + 1, 0];
          }
          all.push(ids);
          if (lose) await lichen.lose();
        }
        const gpu = lichen.info.device.gpu;
        lichen.close();
        return { all, restarts, gpu };
      },
      [lose, PROMPTS.slice(0, 3), NOW],
    );
  const [stayed, lost] = [await run(false), await run(true)];
  assert.deepEqual(lost.all, stayed.all);
  assert.equal(lost.restarts, 2);
  assert.ok(lost.gpu);
  // The same by hand.
  assert.equal(await open(world, "gpu"), "gpu");
  await say(page, PROMPTS[0]);
  await page.click("[data-show=device]");
  await page.click("#lose");
  await page.waitForFunction(() => document.getElementById("status").textContent.includes("is lost"));
  await say(page, PROMPTS[2]);
  assert.match(await page.textContent("#notes"), /made anew, the conversation is intact/);
  world.say("the answers are those of a GPU that stayed");
}
/** A GPU that computes wrong numbers is not taken, and the page says which kernel was wrong. */
export async function wrongGpu(world) {
  const { page, server } = world;
  // The adapter here is a software one, which is only taken when asked for; and it computes right.
  await page.route("**/lichen/worker.js", async (route) => {
    const response = await route.fetch();
    const real = await response.text();
    const worse = real
      .replace('adapter("auto")', 'adapter("gpu")')
      // The CPU's reports stand for the GPU's: they come sooner.
      .replace('selftest_on("gpu"', 'selftest_on("cpu"')
      .replace("const report = JSON.parse(json);", 'const report = { ...JSON.parse(json), ok: tested !== 7, failure: "2 is not 3" };');
    assert.notEqual(worse, real);
    await route.fulfill({ response, body: worse });
  });
  assert.equal(await open({ page, server }, "auto"), "cpu");
  const notes = await page.textContent("#notes");
  assert.match(notes, /the GPU computes wrong numbers \(.*2 is not 3\)/);
  await say(page, PROMPTS[0]);
  world.say(notes.trim());
}

/** A download that breaks off is gone on with; two tabs fetch once; what is damaged is refused. */
export async function download(world) {
  const { page, context, manifest, dist } = world;
  const whole = await readFile(join(dist, manifest.file));
  const ranges = [];
  let broken = false;
  await context.route("**/model/**", async (route) => {
    ranges.push(route.request().headers().range ?? "all");
    if (broken) return route.continue();
    broken = true;
    await route.fulfill({ status: 200, body: whole.subarray(0, whole.length >> 1) });
  });
  const other = await context.newPage();
  await Promise.all([open(world), open({ ...world, page: other })]);
  assert.deepEqual(ranges, ["all", `bytes=${whole.length >> 1}-`]);
  await say(page, PROMPTS[0]);
  await say(other, PROMPTS[0]);
  world.say(`asked for ${ranges.join(", then ")}`);
}
/** Another file than the one announced is never stored, and the page says so. */
export async function damaged(world) {
  const { page, context, server, manifest, dist } = world;
  const whole = await readFile(join(dist, manifest.file));
  let spoil = true;
  await context.route("**/model/**", async (route) => {
    if (!spoil) return route.continue();
    const body = Buffer.from(whole);
    body[body.length - 1] ^= 1;
    await route.fulfill({ status: 200, body });
  });
  await page.goto(`${server.url}/?device=cpu`);
  await page.waitForFunction(() => document.getElementById("banner").textContent.includes("SHA-256"), null, { timeout: 60_000 });
  spoil = false;
  await page.click("#banner button");
  await ready(page);
}
/** Where nothing can be stored, the model works all the same. */
export async function noRoom(world) {
  const { page, context, server } = world;
  const session = await context.newCDPSession(page);
  await session.send("Storage.overrideQuotaForOrigin", { origin: server.url, quotaSize: 2_000_000 });
  world.expect("Quota");
  await open(world);
  assert.match(await page.textContent("#notes"), /no room to store the model|could not be stored/);
  await say(page, PROMPTS[0]);
  world.say((await page.textContent("#notes")).trim());
}
/** A private window that keeps nothing: all works while the page is open, and the page says what will be gone. */
export async function privateWindow(world) {
  const { page } = world;
  await page.route("**/lichen/worker.js", async (route) => {
    const response = await route.fetch();
    const refusing = `navigator.storage.getDirectory = async () => { throw new DOMException("no", "SecurityError"); };
      IDBFactory.prototype.open = () => { throw new DOMException("no", "InvalidStateError"); };`;
    await route.fulfill({ response, body: refusing + (await response.text()) });
  });
  await open(world);
  const notes = await page.textContent("#notes");
  assert.match(notes, /fetched again next time/);
  assert.match(notes, /What is learned now lasts until the page is closed/);
  await say(page, PROMPTS[0]);
  world.say(notes.trim());
}
