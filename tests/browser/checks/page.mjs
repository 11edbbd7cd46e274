// The page itself. Each export is a check.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { serve } from "../serve.mjs";
import { PROMPTS, ROOSTER, open, say } from "../steps.mjs";

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
    const wrong = await page.locator("#selftest tr:has(.bad)").allInnerTexts();
    assert.match(caption, /all \d+ cases agree/, wrong.join("\n"));
    world.say(caption);
  }
}
/** Another device may be chosen in the middle of an answer: the conversation goes on there. */
export async function choice(world) {
  const { page } = world;
  await open(world);
  await page.evaluate(() => {
    delete document.documentElement.dataset.ready;
    document.getElementById("words").value = "Tell me a story.";
    document.getElementById("composer").requestSubmit();
    document.getElementById("choice").value = "gpu";
    document.getElementById("choice").dispatchEvent(new Event("change"));
  });
  await page.waitForSelector("html[data-ready=gpu]", { timeout: 120_000 });
  await say(page, PROMPTS[0]);
  assert.equal(await page.locator("#log .mine").count(), 2);
}
/** The example of the package's README, with the package as npm would publish it; its types name what it has. */
export async function example(world) {
  const { page, context, dist, folder } = world;
  const run = promisify(execFile);
  await run("npm", ["pack", "--silent", "--offline", "--pack-destination", folder], { cwd: join(dist, "lichen") });
  await run("tar", ["-xf", "lichen-web-0.1.0.tgz"], { cwd: folder });
  const published = join(folder, "package");
  const readme = await readFile(join(published, "README.md"), "utf8");
  await writeFile(join(folder, "index.html"), readme.match(/```html\n([^]*?)```/)[1]);
  const plain = await serve({ "/example.html": folder, "/lichen/": published, "/": dist });
  world.expect(plain.url);
  world.expect("404");
  await page.goto(`${plain.url}/example.html`);
  await page.waitForFunction(() => document.getElementById("answer").textContent.length > 10, null, { timeout: 60_000 });
  world.say((await page.textContent("#answer")).trim().replaceAll("\n", " "));
  const types = (await readFile(join(published, "index.d.ts"), "utf8")).match(/interface Lichen {\n([^]*?)\n}/)[1];
  const promised = [...types.matchAll(/^ {2}(\w+)\(/gm)].map(([, name]) => name);
  const there = await page.evaluate(async () => {
    const { create } = await import("/lichen/index.js");
    const lichen = await create({ device: "cpu" });
    const names = Object.getOwnPropertyNames(Object.getPrototypeOf(lichen));
    lichen.close();
    return names;
  });
  assert.deepEqual(there.filter((name) => !["constructor", "start"].includes(name)).sort(), promised.sort());
  await page.close();
  await context.close();
  plain.close();
}
/** Everything has a name, nothing is wider than the screen, axe finds nothing serious: in three sizes, light and dark. */
export async function looks(world) {
  const { page, context } = world;
  const axe = await readFile(join(process.env.TOOLS, "node_modules", "axe-core", "axe.min.js"), "utf8");
  await open(world);
  await say(page, PROMPTS[0]);
  await say(page, PROMPTS[1]);
  if (await page.isVisible("#attach")) {
    await page.setInputFiles("#file", ROOSTER);
    await say(page, "");
  }
  await page.evaluate(axe);
  const session = await context.newCDPSession(page);
  let rules = 0;
  for (const [size, width, height, colorScheme] of [
    ["phone", 360, 740, "light"],
    ["phone-dark", 360, 740, "dark"],
    ["tablet", 820, 1180, "dark"],
    ["tablet-light", 820, 1180, "light"],
    ["desktop", 1440, 900, "light"],
    ["desktop-dark", 1440, 900, "dark"],
  ]) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height });
    for (const view of ["chat", "memory", "sections", "device"]) {
      const button = page.locator(`[data-show=${view}]`);
      if (!(await button.isVisible())) continue;
      await button.click();
      await page.evaluate(painted);
      const found = await page.evaluate(audit);
      assert.deepEqual(found, [], `${size}, ${view}`);
      const { passes, violations } = await page.evaluate(() => window.axe.run(document));
      const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
      assert.deepEqual(serious.map(({ help, nodes }) => [help, ...nodes.map(({ html }) => html)]), [], `${size}, ${view}`);
      rules = Math.max(rules, passes.length);
      if (!process.env.SCREENSHOTS) continue;
      const { data } = await session.send("Page.captureScreenshot", { format: "webp", quality: 80 });
      await writeFile(join(process.env.SCREENSHOTS, `${size}-${view}.webp`), Buffer.from(data, "base64"));
    }
  }
  assert.ok(rules > 10, "axe looked at nothing");
  world.say(`${rules} rules of axe hold`);
}
/** Runs in the page: waits for layout, for what follows from it, for what that paints, and until nothing fades in. */
async function painted() {
  for (let frame = 0; frame < 4; frame++) await new Promise(requestAnimationFrame);
  const passing = document.getAnimations().filter(({ effect }) => effect.getComputedTiming().endTime < Infinity);
  await Promise.allSettled(passing.map(({ finished }) => finished));
}
/** Runs in the page: what is too wide, out of sight, without a name, too small to touch or too faint to read. */
function audit() {
  const found = [];
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) found.push(`the page is ${root.scrollWidth} wide`);
  const { bottom } = document.querySelector("main").getBoundingClientRect();
  if (Math.abs(bottom - root.clientHeight) > 1) found.push(`the page ends at ${bottom} of ${root.clientHeight}`);
  for (const [id, size, from] of [["scroll", "Height", "Top"], ["heat", "Width", "Left"]]) {
    const box = document.getElementById(id);
    const rest = box[`scroll${size}`] - box[`scroll${from}`] - box[`client${size}`];
    if (rest > 1) found.push(`the newest of #${id} is ${rest} out of sight`);
  }
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
