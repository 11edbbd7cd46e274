// What is taught in a tab. Each export is a check.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { NOW, ROOSTER, answers, native, newChat, open, ready, say } from "../steps.mjs";

/** What is taught on the page stays, over reloads and in other tabs, can be taken elsewhere as a file, and taken back. */
export async function lessons(world) {
  const { browser, context, page, server, lichen, model, folder } = world;
  await open(world);
  await page.click('[data-show="memory"]');
  assert.ok(await page.isVisible("#teach"), "this model cannot learn");
  const [order, timer] = ["Order me a coffee.", "Set a timer for ten minutes."];
  const ask = async (where, device = "cpu") => (await answers(where, device, [order, timer].map((text) => ({ text, now: NOW })))).all;
  const before = await ask(page);
  const shown = (where) => where.locator("#lessons li").count();
  const listed = async (where, text, count) => {
    await where.waitForFunction((n) => document.querySelectorAll("#lessons li").length === n, count, { timeout: 60_000 });
    if (text) assert.match(await where.locator("#memory-said").innerText(), text);
  };

  // A lesson that is cancelled leaves nothing.
  await page.fill("#lesson", "I take my coffee without sugar.");
  await page.click("#teach-go");
  await page.click("#teach-stop");
  await page.waitForFunction(() => document.getElementById("taught").textContent.includes("nothing was learned"));
  assert.equal(await shown(page), 0);

  // A lesson; the conversation goes on meanwhile.
  const started = Date.now();
  await page.click("#teach-go");
  await say(page, "Turn on the light in the kitchen.");
  assert.ok(await page.isVisible("#teach-stop"), "the lesson was over before an answer came");
  await page.waitForFunction(() => document.getElementById("taught").textContent !== "", null, { timeout: 600_000 });
  const receipt = await page.locator("#taught").innerText();
  assert.match(receipt, /^Learned as lesson 1/);
  world.say(`${((Date.now() - started) / 1000).toFixed(1)} s with what is prepared once; ${receipt}`);
  await listed(page, null, 1);
  const after = await ask(page);
  assert.notDeepEqual(after[0].ids, before[0].ids, "the lesson changes nothing");
  assert.deepEqual(after[1].ids, before[1].ids, "the lesson changes what it should not");
  world.say(`${JSON.stringify(before[0].actions)} became ${JSON.stringify(after[0].actions)}`);

  assert.match(await say(page, "What do you know about me?"), /1\. I take my coffee without sugar\./);

  // It is there after a reload, in a second tab, and on a GPU.
  await page.reload();
  await ready(page);
  await page.click('[data-show="memory"]');
  await listed(page, null, 1);
  assert.deepEqual(await ask(page), after);
  const gpu = await ask(page, "gpu");
  assert.deepEqual(gpu.map(({ actions }) => actions), after.map(({ actions }) => actions));
  const other = await context.newPage();
  await open({ page: other, server });
  await other.click('[data-show="memory"]');
  await listed(other, null, 1);

  // A file goes to the command and comes back.
  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#export")]);
  const file = join(folder, "from-the-page.memory");
  await download.saveAs(file);
  const memory = join(folder, "native.memory");
  await promisify(execFile)(lichen, ["memory", "-m", model, "--memory", memory, "import", file]);
  for (const [i, text] of [order, timer].entries()) {
    const want = await native(world, "-p", text, "--now", NOW, "--memory", memory);
    assert.deepEqual(after[i].ids, want.tokens, text);
  }
  const back = join(folder, "from-the-command.memory");
  await promisify(execFile)(lichen, ["memory", "-m", model, "--memory", memory, "export", back]);

  // Taken back in one tab, it is gone in both, to the last token.
  await other.locator("#lessons button").first().click();
  await listed(other, /taken back/, 0);
  await listed(page, null, 0);
  assert.deepEqual(await ask(page), before);
  // Two tabs that change something at once: one goes first, the other takes in what it did.
  await Promise.all([page, other].map((where) => where.setInputFiles("#memory-file", back)));
  for (const where of [page, other]) {
    await where.waitForFunction(() => /learned/.test(document.getElementById("memory-said").textContent));
    await listed(where, null, 1);
  }
  const took = await Promise.all([page, other].map((where) => where.locator("#memory-said").innerText()));
  assert.deepEqual(took.sort(), ["0 learned, 1 known before.", "1 learned."]);
  assert.deepEqual(await ask(other), after);
  await page.setInputFiles("#memory-file", { name: "nonsense", mimeType: "", buffer: Buffer.from("no memory at all, by no means") });
  await page.waitForFunction(() => document.getElementById("memory-said").textContent.includes("no whole exported memory"));
  await page.click("#erase");
  await page.click("#confirm-yes");
  await page.waitForFunction(() => document.getElementById("memory-said").textContent.includes("erased"));
  assert.match(await page.locator("#lessons").innerText(), /what was said is erased/);
  assert.deepEqual(await ask(page), after);
  await page.click("#clear");
  await page.click("#confirm-yes");
  await listed(page, /taken back/, 0);
  assert.deepEqual(await ask(other), before);

  await other.close();

  // Where there is no room, nothing is changed, and the page says why. A profile of its own: an older limit is remembered.
  const crowded = await browser.newContext();
  const full = await crowded.newPage();
  const session = await crowded.newCDPSession(full);
  await session.send("Storage.overrideQuotaForOrigin", { origin: server.url, quotaSize: 100_000 });
  await open({ page: full, server });
  await full.setInputFiles("#memory-file", back);
  await full.waitForFunction(() => document.getElementById("memory-said").textContent.includes("no room on this device"));
  assert.equal(await shown(full), 0);
  await crowded.close();
}

/** A picture gets a name, in the form and by the package. */
export async function named(world) {
  const { page } = world;
  await open(world);
  await page.click('[data-show="memory"]');
  const look = async () => {
    const [{ text }] = (await answers(page, "cpu", [{ files: { picture: [...rooster] }, now: NOW }])).all;
    return text;
  };
  const rooster = await readFile(ROOSTER);
  assert.equal(await look(), "rooster");
  await page.click("#teach details:has(#thing) summary");
  await page.fill("#thing-name", "Biscuit");
  await page.click("#teach-go");
  assert.match(await page.locator("#taught").innerText(), /Both the file and the name/);
  await page.setInputFiles("#thing", ROOSTER);
  await page.click("#teach-go");
  await page.waitForFunction(() => /^(Learned|Not|The)/.test(document.getElementById("taught").textContent), null, { timeout: 600_000 });
  assert.match(await page.locator("#taught").innerText(), /^Learned as lesson \d/);
  assert.equal(await look(), "Biscuit");
  await page.locator("#lessons button").first().click();
  await page.waitForFunction(() => !document.querySelector("#lessons li"));
  assert.equal(await look(), "rooster");
  const wrong = page.evaluate(async () => {
    const { create } = await import("/lichen/index.js");
    const lichen = await create({ device: "cpu" });
    return lichen.learn({ name: "Biscuit" }).catch((error) => error.code);
  });
  assert.equal(await wrong, "input");
}
// What lessons need to know of the model is known by then.
named.goesOn = true;

/** What was said in a conversation can be kept for good by one button, and taken back in plain words. */
export async function offered(world) {
  const { page } = world;
  await open(world);
  await newChat(page);
  assert.match(await say(page, "My sister is called Marta."), /Marta/);
  await page.click("#log .offer");
  await page.waitForFunction(() => document.getElementById("taught").textContent !== "", null, { timeout: 600_000 });
  assert.match(await page.locator("#taught").innerText(), /^Learned as lesson \d/);
  await newChat(page);
  assert.match(await say(page, "What is my sister called?"), /Marta/);
  assert.match(await say(page, "Forget that."), /Lesson \d+ is taken back/);
  await newChat(page);
  assert.doesNotMatch(await say(page, "What is my sister called?"), /Marta/);
}
offered.goesOn = true;
