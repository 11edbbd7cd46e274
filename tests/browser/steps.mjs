// What checks are made of. `world` is what a check gets: browser, context, page, server, and where things are.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

export const NOW = "2026-11-23T14:05";
export const PROMPTS = [
  "Set a timer for ten minutes.",
  "Wake me up tomorrow at half past six.",
  "Turn on the light in the kitchen and close the blinds.",
  "Once upon a time there was a king",
];
/** A picture that the model has a name for. */
export const ROOSTER = fileURLToPath(new URL("../../examples/senses/input/rooster.png", import.meta.url));

/** Opens the page and waits until it is ready. */
export async function open({ page, server }, device = "cpu") {
  await page.goto(`${server.url}/?device=${device}`);
  return ready(page);
}
/** Waits until the page is ready, or fails with what it says instead; gives the kind of device. */
export async function ready(page) {
  await page.waitForSelector("html[data-ready], #banner:not([hidden])", { state: "attached", timeout: 120_000 });
  const device = await page.evaluate(() => document.documentElement.dataset.ready);
  assert.ok(device, await page.innerText("#banner"));
  return device;
}
/** Says something on the page; gives the answer's text. */
export async function say(page, words) {
  const done = "#log .cost, #log .problem";
  const before = await page.locator(done).count();
  if (words) await page.fill("#words", words);
  await page.press("#words", "Enter");
  await page.waitForFunction(([done, n]) => document.querySelectorAll(done).length > n, [done, before], { timeout: 120_000 });
  assert.equal(await page.locator("#log .problem").count(), 0, await page.locator("#log .problem").allInnerTexts().then(String));
  return page.locator("#log li").last().innerText();
}
/** Begins a new conversation. */
export async function newChat(page) {
  if (await page.isDisabled("#forget")) return;
  await page.click("#forget");
  await page.waitForFunction(() => !document.querySelector("#log li"));
}

/** Tokens that the native CPU answers with. */
export async function native({ lichen, model }, ...args) {
  const given = ["run", "-m", model, "--device", "cpu", "-t", "1", "--json", "-n", "48", ...args];
  const { stdout } = await promisify(execFile)(lichen, given);
  return JSON.parse(stdout);
}
/** Answers to turns, each in a conversation of its own, through the package; `files` gives bytes by name. */
export function answers(page, device, turns) {
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
