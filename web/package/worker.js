// The engine's thread. Messages in: `{ id, call, args }`, and `{ id, stop: true }` for a call under way. Messages out:
// `{ id, event }` any number of times, then `{ id, result }` or `{ id, error: { message, code } }`.
// Calls run one after the other; only `stop` overtakes, and whatever comes is done between two steps of a lesson.

import init, { Input, Lichen, adapter, selftest_on } from "./wasm/lichen_web.js";
import { BUILD } from "./wasm/build.js";
import { Lessons } from "./lessons.js";
import * as store from "./store.js";

let wasm = null;
let lichen = null;
let lessons = null;
let info = null;
const stopped = new Set();

const calls = {
  open, generate, route, compare, forget, restore, lose, memory, selftest,
  list, undo, clear, eraseTexts, exportMemory, importMemory,
};
/** Those that take their turn again and again, and let others in between. */
const long = { learn };

let queue = Promise.resolve();
/** Does something when all that was asked for before is done. */
function inTurn(work) {
  const result = queue.then(work);
  queue = result.catch(() => {});
  return result;
}

self.onmessage = async ({ data: { id, call, args = {}, stop } }) => {
  if (stop) {
    stopped.add(id);
    return;
  }
  const way = { post: (event) => self.postMessage({ id, event }), isStopped: () => stopped.has(id) };
  try {
    const result = await (long[call] ? long[call](args, way) : inTurn(() => calls[call](args, way)));
    self.postMessage({ id, result });
  } catch (error) {
    self.postMessage({ id, error: { message: String(error?.message ?? error), code: codeOf(error) } });
  } finally {
    stopped.delete(id);
  }
};

/** A trap leaves the engine's memory in no known state: everything has to be made anew. */
function codeOf(error) {
  if (error instanceof WebAssembly.RuntimeError || error instanceof RangeError) return "crash";
  return error?.code ?? "engine";
}

async function ready() {
  try {
    wasm ??= await init();
  } catch (error) {
    if (!(error instanceof WebAssembly.CompileError)) throw error;
    throw Object.assign(new Error("This browser is too old: it lacks WebAssembly's vectors of 128 bits."), { code: "engine" });
  }
  return wasm;
}

async function open({ model, device = "auto", state }, { post }) {
  const started = performance.now();
  const [loaded, chosen] = await Promise.all([
    model instanceof Uint8Array ? { bytes: model, stored: false } : store.load(new URL(model), post),
    ready().then(() => choose(device, post)),
  ]);
  post({ stage: "device", device: chosen.device });
  let note = chosen.note;
  try {
    lichen = await Lichen.open(loaded.bytes, chosen.device);
  } catch (error) {
    // A GPU that passed its test may still be too small for the model.
    if (chosen.device === "cpu" || error?.code === "model") throw error;
    note = `The GPU cannot take the model, so it runs on the CPU: ${error.message}`;
    lichen = await Lichen.open(loaded.bytes, "cpu");
  }
  if (state) lichen.restore(state);
  info = JSON.parse(lichen.info());
  lessons = new Lessons(lichen);
  if (info.model.learns) await lessons.open(info.model.lineage);
  const { manifest, stored } = loaded;
  const notes = [note, loaded.note, lessons.note].filter(Boolean);
  return { ...info, build: BUILD, model: { ...info.model, bytes: loaded.bytes.length, sha256: manifest?.sha256, stored }, notes, seconds: seconds(started) };
}

/** The device to open, and what a person should know about the choice. A GPU has to pass its self-test once. */
async function choose(device, post) {
  if (device !== "auto") return { device };
  let name;
  try {
    name = await adapter("auto");
  } catch (error) {
    const why = navigator.gpu ? "no hardware GPU offers WebGPU here" : "this browser has no WebGPU";
    return { device: "cpu", note: `Running on the CPU: ${why}.`, details: error.message };
  }
  const key = `${BUILD}\n${name}`;
  if ((await store.recall("gpu-passed")) === key) return { device: "auto" };
  let failed = null;
  let tested = 0;
  try {
    await selftest_on("gpu", (json) => {
      const report = JSON.parse(json);
      tested += 1;
      if (!report.ok) failed ??= report;
      post({ stage: "check", tested });
    });
  } catch (error) {
    failed = { kernel: "the device", failure: error.message };
  }
  if (failed) {
    const note = `Running on the CPU: the GPU computes wrong numbers (${failed.kernel}: ${failed.failure}).`;
    return { device: "cpu", note };
  }
  await store.keep("gpu-passed", key);
  return { device: "auto" };
}

/** A turn as the engine takes it; `turn` is what `turn.js` made of it. */
function inputOf({ text = "", now, task, wav, samples, rate, picture, pixels, width, height }) {
  const input = new Input(text);
  try {
    if (now) input.say_at(now);
    if (task) input.ask_for(task);
    if (wav) input.hear_wav(wav);
    if (samples) input.hear_samples(samples, rate);
    if (picture) input.see_file(picture);
    if (pixels) input.see_pixels(pixels, width, height);
    return input;
  } catch (error) {
    input.free();
    throw error;
  }
}

async function generate({ turn, options = {} }, { post, isStopped }) {
  const started = performance.now();
  await lessons.sync();
  const input = inputOf(turn);
  const begun = JSON.parse(await lichen.begin(input, JSON.stringify(options)));
  input.free();
  const promptSeconds = seconds(started);
  post([{ type: "prompt", seconds: promptSeconds, ...begun }]);

  let batch = [];
  let posted = performance.now();
  let firstTokenSeconds = null;
  let tokens = 0;
  const actions = [];
  let text = "";
  const flush = () => {
    if (batch.length > 0) post(batch);
    batch = [];
    posted = performance.now();
  };
  const on = (json) => {
    const event = JSON.parse(json);
    firstTokenSeconds ??= seconds(started);
    tokens += 1;
    text += event.text ?? "";
    if (event.action) actions.push(event.action);
    batch.push({ type: "token", ...event });
    // Once a frame is as often as anyone can see it.
    if (performance.now() - posted > 12) flush();
    return !isStopped();
  };
  const drawing = performance.now();
  // On a GPU the wait for each burst lets other messages in; the CPU has to stop for them.
  let slice = info.device.gpu ? 2 ** 20 : 1;
  let stop = null;
  while (stop == null) {
    const from = performance.now();
    stop = await lichen.more(slice, on);
    if (stop == null && isStopped()) stop = "stopped";
    if (stop == null) {
      if (performance.now() - from < 8) slice = Math.min(64, 2 * slice);
      flush();
      await breathe();
    }
  }
  const drawingSeconds = seconds(drawing);
  flush();
  const finished = await lichen.finish();
  text += finished.text;
  const { noted, state } = finished;
  if (finished.text) post([{ type: "token", text: finished.text }]);
  finished.free();
  const wantsRoute = options.routes && info.device.gpu;
  const route = wantsRoute && tokens > 0 ? JSON.parse(await lichen.answer_routes()) : null;
  return {
    type: "end", stop, text: text.trim(), actions, tokens, noted, route, state,
    promptTokens: begun.tokens, promptSeconds, firstTokenSeconds, seconds: drawingSeconds,
  };
}

async function route({ turn }) {
  const input = inputOf(turn);
  return JSON.parse(await lichen.route(input));
}

async function compare({ a, b }) {
  return JSON.parse(await lichen.compare(inputOf(a), inputOf(b)));
}

/** One lesson; answers go on between its steps, with what was known before. */
async function learn({ teaching, turn }, { post, isStopped }) {
  if (!info.model.learns) throw Object.assign(new Error("This model cannot learn."), { code: "lessons" });
  if (learning) throw Object.assign(new Error("Another lesson is under way."), { code: "lessons" });
  learning = true;
  const started = performance.now();
  const step = async (work) => {
    if (isStopped()) throw Object.assign(new Error("Stopped; nothing was learned."), { code: "stopped" });
    const result = await inTurn(work);
    await breathe();
    return result;
  };
  try {
    await step(() => lessons.sync());
    for (let known = 0, all = 1; known < all; ) {
      ({ known, all } = JSON.parse(await step(() => lichen.prepare_lessons())));
      post({ phase: "preparing", share: known / all });
    }
    await step(() => lessons.change(() => {}));
    const began = performance.now();
    await step(() => lichen.begin_lesson(JSON.stringify(teaching), turn && inputOf(turn)));
    for (;;) {
      const { done, refused, ...progress } = JSON.parse(await step(() => lichen.step_lesson()));
      if (refused) throw Object.assign(new Error(`Not learned: ${refused}`), { code: "refused" });
      if (done) break;
      post(progress);
    }
    const took = seconds(began);
    const lesson = await inTurn(() => lessons.change(() => lichen.commit_lesson(Date.now() / 1000)));
    return { ...JSON.parse(lesson), seconds: took, prepared: seconds(started) - took };
  } finally {
    // In its turn like every step: an answer under way holds the engine. One that broke down has no lesson to end.
    await inTurn(() => lichen.end_lesson()).catch(() => {});
    learning = false;
  }
}
let learning = false;

async function list() {
  if (!info.model.learns) return [];
  await lessons.sync();
  return JSON.parse(lichen.lessons());
}

async function undo({ id }) {
  return { again: (await lessons.change(() => lichen.undo_lesson(id))) ?? null };
}

function clear() {
  return lessons.change(() => lichen.clear_memory());
}

function eraseTexts() {
  return lessons.change(() => lichen.erase_texts());
}

async function exportMemory({ texts = true }) {
  await lessons.sync();
  return lichen.export_memory(texts);
}

async function importMemory({ file }) {
  return JSON.parse(await lessons.change(() => lichen.import_memory(file)));
}

function forget() {
  lichen.forget();
}

function restore({ state }) {
  lichen.restore(state);
}

function lose() {
  return lichen.lose();
}

/** Bytes that the engine's memory takes, and those of the weights on the GPU. */
function memory() {
  return { wasm: wasm.memory.buffer.byteLength, gpu: info.device.gpu ? info.resident_bytes : 0 };
}

async function selftest({ device }, { post }) {
  await ready();
  return selftest_on(device, (json) => post(JSON.parse(json)));
}

const seconds = (from) => (performance.now() - from) / 1000;

/** Lets messages in that have come meanwhile. */
const channel = new MessageChannel();
function breathe() {
  return new Promise((resolve) => {
    channel.port1.onmessage = resolve;
    channel.port2.postMessage(null);
  });
}
