// Runs every kernel case in headless Chromium through the selftest that ships in the page's wasm.
// Usage: node selftest.mjs PKG [FILTER]; PKG is the folder that wasm-bindgen wrote. CHROMIUM names the browser,
// TOOLS the folder in which playwright-core is installed. Fails on a failed case, a page error or a console error.

import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { serve } from "./serve.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const [pkg, filter] = process.argv.slice(2);
const require = createRequire(join(process.env.TOOLS ?? here, "package.json"));
const { chromium } = require("playwright-core");

// The second and third flags give a machine without a GPU a software adapter; the rest keep the browser to itself.
const FLAGS = [
  "--no-sandbox",
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

const server = await serve({ "/pkg/": pkg, "/": here });
const browser = await chromium.launch({
  headless: true,
  executablePath: process.env.CHROMIUM || undefined,
  args: FLAGS,
});
const problems = [];
try {
  const page = await browser.newPage();
  page.on("pageerror", (error) => problems.push(`page error: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error") problems.push(`console: ${message.text()}`);
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(server.url) && !request.url().startsWith("data:")) {
      problems.push(`asked for ${request.url()}`);
    }
  });
  await page.goto(`${server.url}/selftest.html`);
  await page.waitForFunction(() => window.lichen, null, { timeout: 60_000 });
  const result = await page.evaluate((filter) => window.lichen.selftest(filter), filter);
  let ran = 0;
  for (const { device, gpu, kernels } of result.devices) {
    for (const { kernel, variant, cases, worst_error, ok, failure } of kernels) {
      ran += gpu ? cases : 0;
      console.log(`${ok ? "ok    " : "FAILED"} ${kernel}::${variant} [${device}] ${cases} cases, worst ${worst_error.toExponential(1)}`);
      if (!ok) problems.push(`${kernel}::${variant} [${device}] ${failure}`);
    }
  }
  if (result.gpu_refused) problems.push(`no GPU in the browser: ${result.gpu_refused}`);
  if (ran === 0) problems.push("no case ran on the browser's GPU");
} catch (error) {
  problems.push(String(error.message ?? error));
} finally {
  await browser.close();
  server.close();
}
for (const problem of problems) console.error(problem);
process.exitCode = problems.length === 0 ? 0 : 1;
