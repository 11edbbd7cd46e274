// What the app has to do. Each export is one check; it gets a fresh profile and a fresh server.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { serve } from "./serve.mjs";

const NOW = "2026-11-23T14:05";
const PROMPTS = [
  "Set a timer for ten minutes.",
  "Wake me up tomorrow at half past six.",
  "Turn on the light in the kitchen and close the blinds.",
  "Once upon a time there was a king",
];

/** Opens the page and waits until it is ready. */
async function open({ page, server }, device = "cpu") {
  await page.goto(`${server.url}/?device=${device}`);
  await page.waitForSelector("html[data-ready]", { timeout: 120_000 });
  return page.evaluate(() => document.documentElement.dataset.ready);
}

/** Says something on the page; gives the answer's text. */
async function say(page, words) {
  const done = "#log .cost, #log .problem";
  const before = await page.locator(done).count();
  if (words) await page.fill("#words", words);
  await page.press("#words", "Enter");
  await page.waitForFunction(([done, n]) => document.querySelectorAll(done).length > n, [done, before], { timeout: 120_000 });
  assert.equal(await page.locator("#log .problem").count(), 0, await page.locator("#log .problem").allInnerTexts().then(String));
  return page.locator("#log li").last().innerText();
}

/** Tokens that the native CPU answers with. */
async function native({ lichen, model }, ...args) {
  const given = ["run", "-m", model, "--device", "cpu", "-t", "1", "--json", "-n", "48", ...args];
  const { stdout } = await promisify(execFile)(lichen, given);
  return JSON.parse(stdout);
}

/** Answers to turns, each in a conversation of its own, through the package; `files` gives bytes by name. */
function answers(page, device, turns) {
  return page.evaluate(
    async ([device, turns]) => {
      const { create } = await import("/lichen/index.js");
      const lichen = await create({ device });
      const all = [];
      for (const { files = {}, ...turn } of turns) {
        for (const [name, bytes] of Object.entries(files)) turn[name] = new Uint8Array(bytes);
        const ids = [];
        let end = null;
        for await (const event of lichen.generate(turn, { maxTokens: 48 })) {
          if (event.type === "token" && event.id !== undefined) ids.push(event.id);
          if (event.type === "end") end = event;
        }
        await lichen.forget();
        all.push({ ids, text: end.text, actions: end.actions });
      }
      const { name } = lichen.info.device;
      lichen.close();
      return { name, all };
    },
    [device, turns],
  );
}

async function sameTokens(world, device) {
  await open(world);
  const { name, all } = await answers(world.page, device, PROMPTS.map((text) => ({ text, now: NOW })));
  for (const [i, text] of PROMPTS.entries()) {
    const want = await native(world, "-p", text, "--now", NOW);
    assert.deepEqual(all[i].ids, want.tokens, `${text}: ${all[i].text} | ${want.text}`);
    assert.deepEqual(all[i].actions, want.actions);
  }
  world.say(`${all.reduce((sum, { ids }) => sum + ids.length, 0)} tokens as on the native CPU, on ${name}`);
}

/** The same greedy tokens and actions as the command, on the CPU. */
export const tokensOnCpu = (world) => sameTokens(world, "cpu");

/** The same on the browser's GPU. */
export const tokensOnGpu = (world) => sameTokens(world, "gpu");

/** A sound and a picture mean the same as to the command, and reach the model through the page. */
export async function senses(world) {
  const { page, folder } = world;
  await open(world);
  const hears = await page.evaluate(() => !document.getElementById("attach").hidden);
  if (!hears) return world.say("this model neither hears nor sees");
  const png = join(folder, "disc.png");
  const wav = join(folder, "tone.wav");
  await writeFile(png, Buffer.from(await page.evaluate(disc), "base64"));
  await writeFile(wav, tone());
  const files = { picture: [...(await readFile(png))], sound: [...(await readFile(wav))] };
  const turns = [
    { text: "", now: NOW, files: { picture: files.picture } },
    { text: "", now: NOW, files: { sound: files.sound } },
  ];
  const wanted = [];
  for (const flag of [["--image", png], ["--audio", wav]]) wanted.push(await native(world, ...flag, "--now", NOW));
  const ids = (answers) => answers.map((answer) => answer.ids ?? answer.tokens);
  const { all } = await answers(page, "cpu", turns);
  assert.deepEqual(ids(all), ids(wanted), all.map(({ text }) => text).join(" | "));
  // Nobody taught the model this picture and this sound: on a GPU a near-tie may fall the other way, which is said.
  const gpu = await answers(page, "gpu", turns);
  const same = gpu.all.filter(({ ids }, i) => String(ids) === String(wanted[i].tokens)).length;
  assert.ok(gpu.all.every(({ ids }) => ids.length > 0));
  world.say(`${all.map(({ text }) => JSON.stringify(text)).join(", ")}; ${same} of ${turns.length} the same on ${gpu.name}`);
  await page.setInputFiles("#file", png);
  await page.waitForSelector("#attachments img");
  await say(page, "What is this?");
  assert.equal(await page.locator("#log .mine img").count(), 1);
  await page.setInputFiles("#file", wav);
  await say(page, "");
  assert.equal(await page.locator("#log .mine audio").count(), 1);
  // What was seen and heard is in the heat map.
  await page.focus("#heat");
  await page.keyboard.press("Home");
  const kinds = new Set();
  for (let i = 0; i < 160; i++) {
    kinds.add((await page.textContent("#readout")).match(/Token \d+ of \d+, (\w+):/)[1]);
    await page.keyboard.press("ArrowRight");
  }
  for (const kind of ["words", "picture", "sound", "answer"]) assert.ok(kinds.has(kind), `no ${kind} in the heat map`);
}

/** The microphone records what can be sent; without permission the page says so. */
export async function microphone(world) {
  const { page, context, server } = world;
  await open(world);
  if (await page.evaluate(() => document.getElementById("record").hidden)) return world.say("this model does not hear");
  await page.click("#record");
  await page.waitForFunction(() => document.getElementById("hint").textContent.includes("does not let this page use the microphone"));
  await context.grantPermissions(["microphone"], { origin: server.url });
  await page.click("#record");
  await page.waitForFunction(() => /Recording, [1-9] s/.test(document.getElementById("hint").textContent));
  await page.click("#record");
  await page.waitForFunction(() => document.querySelectorAll("#attachments audio").length === 1);
  await say(page, "");
  await context.grantPermissions(["microphone", "camera"], { origin: server.url });
  await page.click("#photo");
  await page.waitForFunction(() => !document.getElementById("shoot").disabled);
  await page.click("#shoot");
  await page.waitForSelector("#attachments img");
  await say(page, "What do you see?");
}

/** A conversation: answers stream, actions are shown and not done, a new one starts empty. */
export async function chat(world) {
  const { page, server } = world;
  assert.equal(await open(world), "cpu");
  assert.ok(await page.evaluate(() => crossOriginIsolated));
  const answer = await say(page, PROMPTS[0]);
  if (await page.locator(".action").count()) {
    assert.match(answer, /Would do: timer\.set/);
    assert.match(await page.textContent("#spoken"), /Would do: timer\.set/);
  }
  const first = await page.locator("#heat-canvas").boundingBox();
  assert.ok(first.height > 150, "the heat map has room");
  await page.focus("#heat");
  await page.keyboard.press("ArrowDown");
  assert.match(await page.textContent("#readout"), /Layer 2: sections \d+ \(/);
  await say(page, PROMPTS[3]);
  await page.click("#forget");
  await page.waitForFunction(() => !document.querySelector("#log li"));
  // By keyboard alone: the first link leads to the message field.
  await page.goto(server.url);
  await page.waitForSelector("html[data-ready]");
  await page.focus("a");
  await page.keyboard.press("Enter");
  await page.keyboard.type("Good morning");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#log .cost");
}

/** An answer can be stopped, and the conversation goes on. */
export async function stop(world) {
  const { page } = world;
  await open(world);
  const stopped = await page.evaluate(async () => {
    const { create } = await import("/lichen/index.js");
    const lichen = await create({ device: "cpu" });
    let tokens = 0;
    for await (const event of lichen.generate("Once upon a time", { maxTokens: 2000, temperature: 1.5, topP: 1 })) {
      if (event.type === "token" && ++tokens === 3) break;
    }
    const abort = new AbortController();
    let end = null;
    for await (const event of lichen.generate("Tell me more.", { maxTokens: 4000, temperature: 1.9, topP: 1, topK: 0, signal: abort.signal })) {
      if (event.type === "token") abort.abort();
      if (event.type === "end") end = event.stop;
    }
    lichen.close();
    return end;
  });
  assert.ok(["stopped", "end"].includes(stopped), stopped);
}

/** What two inputs share. */
export async function compare(world) {
  const { page } = world;
  await open(world);
  const sides = page.locator("#compare input[type=text]");
  await sides.nth(0).fill("Turn on the light.");
  await sides.nth(1).fill("Turn on the light.");
  await page.click("#compare button");
  await page.waitForSelector("#compared table");
  assert.match(await page.textContent("#compared"), /100% of the woken sections are the same/);
  await sides.nth(1).fill("What is the weather in Rome?");
  await page.click("#compare button");
  await page.waitForFunction(() => !document.getElementById("compared").textContent.startsWith("100%"));
  world.say((await page.textContent("#compared .big")).trim());
}

/** The second start needs no network, and no server either. */
export async function offline(world) {
  const { page, context, server } = world;
  await open(world);
  await page.evaluate(() => navigator.serviceWorker.ready.then(() => null));
  await page.waitForFunction(() => navigator.serviceWorker.controller);
  const asked = [];
  context.on("request", (request) => asked.push(request.url()));
  server.close();
  await context.setOffline(true);
  const times = [];
  for (let i = 0; i < 3; i++) {
    await page.reload();
    await page.waitForSelector("html[data-ready]", { timeout: 60_000 });
    times.push(await page.evaluate(() => Math.round(performance.getEntriesByName("lichen-ready")[0].startTime)));
  }
  assert.ok(!asked.some((url) => url.includes("/model/")), "the model was asked for again");
  await say(page, PROMPTS[0]);
  const first = (await page.textContent("#status")).match(/first token after .*/)?.[0];
  world.say(`ready after ${times.join(", ")} ms, ${first}`);
}

/** What is taught on the page stays, over reloads and in other tabs, can be taken elsewhere as a file, and taken back. */
export async function lessons(world) {
  const { context, page, server, lichen, model, folder } = world;
  await open(world);
  await page.click('[data-show="memory"]');
  const learns = await page.evaluate(() => !document.getElementById("teach").hidden);
  if (!learns) return world.say("this model cannot learn");
  const [order, timer] = ["Order me a coffee.", "Set a timer for ten minutes."];
  const ask = async (where, device = "cpu") => (await answers(where, device, [order, timer].map((text) => ({ text, now: NOW })))).all;
  const before = await ask(page);
  const shown = (where) => where.locator("#lessons li").count();
  const listed = async (where, text, count) => {
    await where.waitForFunction((n) => document.querySelectorAll("#lessons li").length === n, count, { timeout: 20_000 });
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
  await page.waitForFunction(() => document.getElementById("taught").textContent !== "", null, { timeout: 240_000 });
  const receipt = await page.locator("#taught").innerText();
  assert.match(receipt, /^Learned as lesson 1/);
  world.say(`${((Date.now() - started) / 1000).toFixed(1)} s with what is prepared once; ${receipt}`);
  await listed(page, null, 1);
  const after = await ask(page);
  assert.notDeepEqual(after[0].ids, before[0].ids, "the lesson changes nothing");
  assert.deepEqual(after[1].ids, before[1].ids, "the lesson changes what it should not");
  world.say(`${JSON.stringify(before[0].actions)} became ${JSON.stringify(after[0].actions)}`);

  // It is there after a reload, in a second tab, and on a GPU.
  await page.reload();
  await page.waitForSelector("html[data-ready]", { timeout: 120_000 });
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
  await page.setInputFiles("#memory-file", back);
  await listed(page, /1 learned/, 1);
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
  await page.waitForSelector("html[data-ready]", { timeout: 60_000 });
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

/** The self-test's table. */
export async function selftest(world) {
  const { page } = world;
  await open(world);
  await page.click("[data-show=device]");
  for (const device of ["cpu", "gpu"]) {
    await page.evaluate(() => delete document.getElementById("selftest").dataset.result);
    await page.click(`#test-${device}`);
    await page.waitForSelector("#selftest[data-result]", { timeout: 600_000 });
    const caption = (await page.textContent("#selftest caption")).trim();
    assert.match(caption, /all \d+ cases agree/);
    world.say(caption);
  }
}

/** The example of the package's README. */
export async function example(world) {
  const { page, context, dist, folder } = world;
  const readme = await readFile(join(dist, "lichen", "README.md"), "utf8");
  await writeFile(join(folder, "index.html"), readme.match(/```html\n([^]*?)```/)[1]);
  const plain = await serve({ "/example.html": folder, "/": dist });
  world.expect(plain.url);
  world.expect("404");
  await page.goto(`${plain.url}/example.html`);
  await page.waitForFunction(() => document.getElementById("answer").textContent.length > 10, null, { timeout: 60_000 });
  world.say((await page.textContent("#answer")).trim().replaceAll("\n", " "));
  await page.close();
  await context.close();
  plain.close();
}

/** Everything has a name, nothing is wider than the screen, in three sizes, light and dark. */
export async function looks(world) {
  const { page } = world;
  await open(world);
  await say(page, PROMPTS[0]);
  await say(page, PROMPTS[1]);
  for (const [size, width, height, colorScheme] of [
    ["phone", 360, 740, "light"],
    ["tablet", 820, 1180, "dark"],
    ["desktop", 1440, 900, "light"],
    ["desktop-dark", 1440, 900, "dark"],
  ]) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height });
    for (const view of ["chat", "sections", "device"]) {
      const button = page.locator(`[data-show=${view}]`);
      if (!(await button.isVisible())) continue;
      await button.click();
      await page.waitForTimeout(100);
      const found = await page.evaluate(audit);
      assert.deepEqual(found, [], `${size}, ${view}`);
      const folder = process.env.SCREENSHOTS;
      if (folder) await page.screenshot({ path: join(folder, `${size}-${view}.png`) });
    }
  }
}

/** Runs in the page: what is too wide, without a name, too small to touch or too faint to read. */
function audit() {
  const found = [];
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) found.push(`the page is ${root.scrollWidth} wide`);
  const seen = (element) => element.checkVisibility() && !element.closest(".hidden");
  for (const element of document.querySelectorAll("button, input, select, textarea, audio, canvas, [tabindex='0']")) {
    if (!seen(element) || element.getAttribute("aria-hidden") === "true") continue;
    const named = element.ariaLabel || element.title || element.labels?.length || element.textContent.trim() || element.getAttribute("aria-labelledby");
    if (!named) found.push(`no name: ${element.outerHTML.slice(0, 80)}`);
    const { height } = element.getBoundingClientRect();
    if (element.matches("button") && height < 24) found.push(`too low: ${element.textContent}`);
  }
  const parse = (text) => text.match(/[\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !seen(element) || element.closest(":disabled, noscript")) continue;
    const [a, b] = [luminance(parse(getComputedStyle(element).color)), luminance(ground(element))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) found.push(`contrast ${contrast.toFixed(1)}: ${walker.currentNode.textContent.slice(0, 40)}`);
  }
  return found;
}

/** Runs in the page: a red disc as a PNG file, in base64. */
async function disc() {
  const canvas = new OffscreenCanvas(64, 64);
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, 64, 64);
  context.fillStyle = "crimson";
  context.arc(32, 32, 24, 0, 7);
  context.fill();
  const bytes = new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer());
  return btoa(String.fromCharCode(...bytes));
}

/** A second of a rising tone as a WAV file. */
function tone(rate = 16_000) {
  const samples = Array.from({ length: rate }, (_, i) => Math.sin((2 * Math.PI * (300 + (400 * i) / rate) * i) / rate) / 3);
  const wav = Buffer.alloc(44 + 2 * rate);
  wav.write("RIFF", 0);
  wav.writeUInt32LE(36 + 2 * rate, 4);
  wav.write("WAVEfmt ", 8);
  wav.writeUInt32LE(16, 16);
  wav.writeUInt16LE(1, 20);
  wav.writeUInt16LE(1, 22);
  wav.writeUInt32LE(rate, 24);
  wav.writeUInt32LE(2 * rate, 28);
  wav.writeUInt16LE(2, 32);
  wav.writeUInt16LE(16, 34);
  wav.write("data", 36);
  wav.writeUInt32LE(2 * rate, 40);
  samples.forEach((x, i) => wav.writeInt16LE(Math.round(x * 32767), 44 + 2 * i));
  return wav;
}
