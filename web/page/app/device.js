// What computes here and what it costs; the self-test; the choice of a device.

import { selftest } from "../lichen/index.js";
import { $, bytes, count, el, fact, named, time } from "./dom.js";

export class DevicePanel {
  #lichen = null;
  #last = null;
  #draws = 0;
  #setStatus;

  constructor({ restart, setStatus }) {
    this.#setStatus = setStatus;
    $("choice").value = new URL(location.href).searchParams.get("device") ?? remembered() ?? "auto";
    if (!$("choice").value) $("choice").value = "auto";
    $("choice").addEventListener("change", () => {
      remember($("choice").value);
      restart();
    });
    $("test-cpu").addEventListener("click", () => test("cpu"));
    $("test-gpu").addEventListener("click", () => test("gpu"));
    $("lose").addEventListener("click", () => this.#lose());
  }

  get choice() {
    return $("choice").value;
  }
  get temperature() {
    const given = $("temperature").valueAsNumber;
    return Number.isFinite(given) ? Math.max(0, Math.min(2, given)) : 0;
  }
  /** Each answer its own draws. */
  seed() {
    return Date.now() + this.#draws++;
  }

  /** The engine started. */
  ready(lichen, note) {
    this.#lichen = lichen;
    $("lose").hidden = !lichen.info.device.gpu;
    $("notes").replaceChildren(...[note, ...lichen.info.notes].filter(Boolean).map((text) => el("li", {}, text)));
    this.#show();
  }

  /** An answer came. */
  spoke(answer) {
    this.#last = answer;
    this.#show();
  }

  async #show() {
    const { info } = this.#lichen;
    const { device, model } = info;
    const memory = await this.#lichen.memory().catch(() => null);
    const rows = [fact("Device", named(device))];
    if (device.gpu) {
      const { limits } = device;
      rows.push(fact("Adapter", `${device.adapter}, ${device.kind}`));
      rows.push(fact("Limits", `${bytes(limits.max_binding_bytes)} a binding, ${bytes(limits.max_buffer_bytes)} a buffer, ` +
        `${limits.storage_buffers} storage buffers, ${limits.invocations} invocations, ${bytes(limits.workgroup_bytes)} of workgroup memory`));
      rows.push(fact("Features", [device.f16 && "16-bit floats", device.subgroup > 0 && "subgroups", device.timestamps && "timestamps"]
        .filter(Boolean).join(", ") || "none of the optional ones"));
    }
    const last = this.#last;
    if (last) {
      const speed = last.tokens > 1 ? `${Math.round(last.tokens / last.seconds)} tokens/s` : "too short to tell";
      rows.push(fact("Writing", `${speed}, first token after ${time(last.firstTokenSeconds ?? 0)}`));
      rows.push(fact("Reading", `${Math.round(last.promptTokens / last.promptSeconds)} tokens/s`));
    } else {
      rows.push(fact("Speed", "measured at the first answer"));
    }
    rows.push(fact("A token reads", bytes(info.bytes_per_token)));
    if (memory) {
      const gpu = memory.gpu > 0 ? `, ${bytes(memory.gpu)} of weights on the GPU` : "";
      rows.push(fact("Memory", `${bytes(memory.wasm)} in this page${gpu}`));
    }
    rows.push(fact("Model", `${count(model.weights)} weights as ${model.storage}, ${count(model.active_weights)} awake for a token`));
    rows.push(fact("Sections", model.sections > 0
      ? `${model.layers} layers of ${model.sections}, ${model.picks} woken: ${(100 * model.active_section_share).toFixed(1)}%`
      : "none: every token wakes all of it"));
    rows.push(fact("File", `${bytes(model.bytes)}, ${model.stored ? "stored on this device" : "not stored: fetched again next time"}`));
    rows.push(fact("Started in", time(info.seconds)));
    $("facts").replaceChildren(...rows.flat());
  }

  async #lose() {
    if (await this.#lichen.lose()) {
      this.#setStatus("The GPU is lost. Say something: the engine will be made anew.");
    }
  }
}

/** Every kernel against its reference, as a table. */
async function test(device) {
  const buttons = [$("test-cpu"), $("test-gpu")];
  buttons.forEach((button) => (button.disabled = true));
  const body = el("tbody");
  const caption = el("caption", {}, "Testing …");
  const head = ["Kernel", "Variant", "Cases", "Worst error", "Result"].map((name) => el("th", { scope: "col" }, name));
  $("selftest").setAttribute("aria-busy", "true");
  $("selftest").replaceChildren(el("table", {}, caption, el("thead", {}, el("tr", {}, ...head)), body));
  let cases = 0;
  let failed = 0;
  try {
    const tested = await selftest(device, (report) => {
      cases += report.cases;
      failed += report.ok ? 0 : 1;
      const cells = [report.kernel, report.variant, report.cases, report.worst_error.toExponential(1)];
      const verdict = el("td", { className: report.ok ? "" : "bad" }, report.ok ? "ok" : report.failure);
      body.append(el("tr", {}, ...cells.map((cell) => el("td", {}, String(cell))), verdict));
    });
    const name = named({ name: tested });
    caption.textContent = failed === 0
      ? `${name}: all ${cases} cases agree with the reference.`
      : `${name}: ${failed} kernels compute wrong numbers. Run on another device.`;
    $("selftest").dataset.result = failed === 0 ? "ok" : "failed";
  } catch (error) {
    caption.textContent = `The ${device === "gpu" ? "GPU" : "CPU"} cannot be tested: ${error.message}`;
    $("selftest").dataset.result = "impossible";
  } finally {
    $("selftest").removeAttribute("aria-busy");
    buttons.forEach((button) => (button.disabled = false));
  }
}

// A private window may refuse to remember; then the choice holds for this visit.
function remembered() {
  try {
    return localStorage.getItem("device");
  } catch {
    return null;
  }
}
function remember(choice) {
  try {
    localStorage.setItem("device", choice);
  } catch {}
}
