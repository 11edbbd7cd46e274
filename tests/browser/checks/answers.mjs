// What is said, heard and seen, and what comes back. Each export is a check; it gets a fresh profile and a fresh server.

import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { NOW, PROMPTS, answers, native, newChat, open, ready, say } from "../steps.mjs";

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
/** On a GPU nothing waits for a single token: what is drawn comes back in bursts. */
export async function bursts(world) {
  const { page, server } = world;
  await page.route("**/lichen/worker.js", async (route) => {
    const response = await route.fetch();
    const counts = `let maps = 0;
      const { mapAsync } = GPUBuffer.prototype;
      GPUBuffer.prototype.mapAsync = function (...given) { maps += 1; return mapAsync.apply(this, given); };`;
    const real = await response.text();
    const counted = counts + real.replace("function memory() {", "function memory() { return maps;");
    assert.ok(counted.length > counts.length + real.length);
    await route.fulfill({ response, body: counted });
  });
  // Beside the page, whose service worker would answer with the worker that it keeps.
  await page.goto(`${server.url}/files.js`);
  const [short, long] = await page.evaluate(async () => {
    const { create } = await import("/lichen/index.js");
    const lichen = await create({ device: "gpu" });
    const answer = async (seed, maxTokens) => {
      const before = await lichen.memory();
      let end = null;
      for await (const event of lichen.generate("Tell me a story.", { temperature: 8, topP: 1, maxTokens, seed })) end = event;
      const waits = (await lichen.memory()) - before;
      await lichen.forget();
      return { waits, tokens: end.tokens, seconds: end.seconds };
    };
    // Drawn almost at random, an answer may be short: one that is long enough.
    let [seed, long] = [0, null];
    do long = await answer(seed++, 64);
    while (long.tokens < 64 && seed < 20);
    const short = await answer(seed - 1, 16);
    lichen.close();
    return [short, long];
  });
  // Reading the turn and keeping the state cost waits of their own, as many for every answer.
  const [waits, tokens] = [long.waits - short.waits, long.tokens - short.tokens];
  assert.ok(tokens >= 32 && waits > 0 && waits <= tokens / 4, `${waits} waits for ${tokens} tokens more`);
  world.say(`${waits} waits for ${tokens} tokens more, ${(long.tokens / long.seconds).toFixed(0)} tokens/s`);
}
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
  await page.evaluate(give, ["drop", [...(await readFile(png))], "disc.png", "image/png"]);
  await page.waitForSelector("#attachments img");
  await page.click("#attachments button");
  await page.waitForSelector("#attachments img", { state: "detached" });
  await page.evaluate(give, ["paste", [...(await readFile(png))], "disc.png", "image/png"]);
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
  await page.click("#photo");
  await page.waitForFunction(() => document.getElementById("camera-problem").textContent.includes("does not let this page use the camera"));
  await page.click("#camera-close");
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
  await page.mouse.move(first.x + 20, first.y + 20);
  assert.match(await page.textContent("#readout"), /Token 3 of \d+, words: .* Layer 1: sections/);
  await say(page, PROMPTS[3]);
  await newChat(page);
  await page.waitForFunction(() => !document.querySelector("#log li"));
  // By keyboard alone: the first link leads to the message field.
  await page.goto(server.url);
  await ready(page);
  assert.match(await page.textContent("#notes"), /Running on the CPU: no hardware GPU offers WebGPU here/);
  await page.focus("a");
  await page.keyboard.press("Enter");
  await page.keyboard.type("Good morning");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#log .cost");
  // Nobody else can be asked for anything, even by a page gone wrong.
  world.expect("policy: connect-src forbids");
  world.expect("Content Security Policy");
  const refused = page.evaluate(
    (url) =>
      new Promise((resolve) => {
        addEventListener("securitypolicyviolation", ({ violatedDirective }) => resolve(violatedDirective));
        fetch(url, { mode: "no-cors" }).then(() => resolve("answered"), () => setTimeout(resolve, 1000, "failed"));
      }),
    server.url.replace("127.0.0.1", "localhost"),
  );
  assert.equal(await refused, "connect-src");
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
/** Runs in the page: a file is dropped on it, or pasted into the message. */
function give([how, bytes, name, type]) {
  const files = new DataTransfer();
  files.items.add(new File([new Uint8Array(bytes)], name, { type }));
  const given = { bubbles: true, cancelable: true };
  const event = how === "drop" ? new DragEvent(how, { ...given, dataTransfer: files }) : new ClipboardEvent(how, { ...given, clipboardData: files });
  document.getElementById("words").dispatchEvent(event);
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
