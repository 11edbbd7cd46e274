// Runs every kernel case in headless Chromium through the selftest that ships in the page's wasm.
// Usage: node selftest.mjs PKG [FILTER]; PKG is the folder that wasm-bindgen wrote. Fails on a failed case, a page error or a console error.

import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { launch, watch } from "./browser.mjs";
import { serve } from "./serve.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const [pkg, filter] = process.argv.slice(2);

const server = await serve({ "/pkg/": pkg, "/": here });
const browser = await launch();
const problems = [];
try {
  const context = await browser.newContext();
  await watch(context, server.url, problems);
  const page = await context.newPage();
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
