// How fast the engine writes in a tab, beside the native command on one thread, by turns. Timings are no test: this is
// for people. Usage: node speed.mjs LICHEN DIST MODEL [DEVICE] [ROUNDS]; DEVICE is cpu (default) or gpu. TOOLS and
// CHROMIUM as for app.mjs.

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { launch } from "./browser.mjs";
import { serve } from "./serve.mjs";

const [lichen, dist, model, device = "cpu", rounds = "9"] = process.argv.slice(2);
const TOKENS = 256;
const TURNS = 4;
/** An assistant's answers are short: drawn almost at random they go on for a while. */
const OPTIONS = { temperature: 8, topK: 40, topP: 1, maxTokens: TOKENS };

const middle = (all) => all.toSorted((a, b) => a - b)[Math.floor(all.length / 2)];

async function native() {
  const given = ["bench", "-m", model, "--device", "cpu", "-t", "1", "--decode-only", "--repeats", "1", "--tokens", String(TOKENS), "--json"];
  const { stdout } = await promisify(execFile)(lichen, given);
  return JSON.parse(stdout).results[0].decode_tok_s;
}

const server = await serve({ "/": dist });
const browser = await launch();
try {
  const page = await browser.newPage();
  await page.goto(server.url);
  await page.evaluate(async (device) => {
    const { create } = await import("/lichen/index.js");
    globalThis.lichen = await create({ device });
  }, device);
  const tab = (round) =>
    page.evaluate(
      async ([options, turns, round]) => {
        let [tokens, seconds] = [0, 0];
        for (let turn = 0; turn < turns; turn++) {
          const seed = turns * round + turn;
          for await (const event of globalThis.lichen.generate("tell me a story", { ...options, seed })) {
            if (event.type === "end") [tokens, seconds] = [tokens + event.tokens, seconds + event.seconds];
          }
          await globalThis.lichen.forget();
        }
        return { tokens, speed: tokens / seconds };
      },
      [OPTIONS, TURNS, round],
    );
  const all = { tab: [], native: [], ratio: [] };
  let tokens = 0;
  await tab(0);
  for (let round = 0; round < Number(rounds); round++) {
    const here = await tab(round);
    const there = await native();
    tokens += here.tokens;
    all.tab.push(here.speed);
    all.native.push(there);
    all.ratio.push(here.speed / there);
  }
  const name = await page.evaluate(() => globalThis.lichen.info.device.name);
  console.log(`${name}: ${middle(all.tab).toFixed(0)} tokens/s (of ${tokens} in all), native on one thread ${middle(all.native).toFixed(0)}`);
  const [least, most] = [Math.min(...all.ratio), Math.max(...all.ratio)];
  const percent = (x) => `${(100 * x).toFixed(0)}%`;
  console.log(`ratio ${percent(middle(all.ratio))} (${percent(least)} to ${percent(most)}, ${rounds} rounds by turns)`);
} finally {
  await browser.close();
  server.close();
}
