// Chromium for tests: headless, with WebGPU on a software adapter. CHROMIUM names the browser, TOOLS the folder in
// which playwright-core is installed.

import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const require = createRequire(join(process.env.TOOLS ?? here, "package.json"));
const { chromium } = require("playwright-core");

// The second and third flags give a machine without a GPU a software adapter, the next one a microphone and a camera
// that nobody has to hold; the rest keep the browser to itself.
const FLAGS = [
  "--no-sandbox",
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
  "--use-fake-device-for-media-stream",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Starts the browser. */
export function launch() {
  return chromium.launch({ headless: true, executablePath: process.env.CHROMIUM || undefined, args: FLAGS });
}

/** Notes what must never happen on pages of a context: errors, violations of the policy, requests to elsewhere. Gives what
 * ends that. */
export async function watch(context, url, problems, expected = () => false) {
  await context.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => {
      console.error(`policy: ${event.violatedDirective} forbids ${event.blockedURI}`);
    });
  });
  const note = (text) => expected(text) || problems.push(text);
  const heard = {
    weberror: (event) => note(`page error: ${event.error().message}`),
    console: (message) => message.type() === "error" && note(`console: ${message.text()}`),
    request: (request) => {
      const own = request.url().startsWith(url) || /^(data|blob):/.test(request.url());
      if (!own) note(`asked for ${request.url()}`);
    },
  };
  for (const [name, on] of Object.entries(heard)) context.on(name, on);
  return () => Object.entries(heard).forEach(([name, on]) => context.off(name, on));
}
