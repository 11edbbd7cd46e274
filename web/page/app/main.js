// The page: starts the engine, and lets its parts know each other.

import { create } from "../lichen/index.js";
import { Chat } from "./chat.js";
import { Compare } from "./compare.js";
import { Composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { DevicePanel } from "./device.js";
import { $, el, bytes, named, time } from "./dom.js";
import { HeatMap } from "./heat.js";
import { MemoryPanel } from "./memory.js";
import { offline } from "./offline.js";

const EXAMPLES = ["Set a timer for ten minutes.", "Turn on the light in the kitchen.", "What can you do?"];

const heat = new HeatMap();
const chat = new Chat();
const composer = new Composer((turn) => (answering = say(turn)), () => stopping?.abort());
const device = new DevicePanel({ restart, setStatus });
const compare = new Compare(() => lichen);
const memory = new MemoryPanel({ setStatus });
const conversation = new Conversation();

let lichen = null;
let stopping = null;
let answering = null;

for (const button of document.querySelectorAll("[data-show]")) {
  button.addEventListener("click", () => show(button.dataset.show));
}
$("forget").addEventListener("click", forget);
show(matchMedia("(min-width: 62rem)").matches ? "sections" : "chat");
offline(banner);
start();

function show(view) {
  document.body.dataset.view = view;
  for (const button of document.querySelectorAll("[data-show]")) {
    button.setAttribute("aria-pressed", String(button.dataset.show === view));
  }
  heat.draw();
}

function setStatus(text) {
  $("status").textContent = text;
}

/** Something that a person should know or do. */
function banner(text, action, run) {
  $("banner").replaceChildren(text);
  if (action) $("banner").append(el("button", { type: "button", onclick: run }, action));
  $("banner").hidden = !text;
}

async function start(state) {
  $("loading").hidden = false;
  $("choice").disabled = true;
  setStatus("Starting");
  try {
    lichen = await create({
      device: device.choice,
      state,
      onProgress,
      onLessons: () => memory.refresh(),
      onRecover: (reason) => setStatus(`Making the engine anew: ${reason.message}`),
    });
  } catch (error) {
    setStatus("Not ready");
    $("loading-text").textContent = "The engine did not start.";
    $("progress").hidden = true;
    banner(error.message, "Try again", () => (banner(""), start(state)));
    return;
  } finally {
    $("choice").disabled = false;
  }
  const { info } = lichen;
  $("loading").hidden = true;
  welcome(info);
  setStatus(`Ready on ${named(info.device)}`);
  heat.shape(info.model);
  composer.ready(info.model.senses);
  compare.ready(info.model.sections > 0, info.model.senses);
  device.ready(lichen);
  memory.ready(lichen);
  if (!state) await goOn(info);
  // For tests and for the curious: how long it took until a person could write.
  performance.mark("lichen-ready");
  document.documentElement.dataset.ready = info.device.gpu ? "gpu" : "cpu";
}

/** Takes up the conversation of the last visit. */
async function goOn({ model, notes }) {
  const kept = await conversation.recall(model.id);
  if (!kept) return;
  try {
    await lichen.restore(kept.state);
  } catch (error) {
    notes.push(`The last conversation could not be taken up: ${error.message}`);
    return conversation.forget();
  }
  for (const { said, text, actions } of kept.turns) {
    chat.said({ text: said });
    chat.answer().recalled(text, actions, model.actions);
  }
  $("examples").hidden = true;
  $("forget").disabled = false;
}

function onProgress(progress) {
  const bar = $("progress");
  bar.hidden = false;
  if (progress.stage === "model") {
    const { loaded, total } = progress;
    Object.assign(bar, { max: total, value: loaded });
    $("loading-text").textContent = `Fetching the model: ${bytes(loaded)} of ${bytes(total)}. Once is enough.`;
  } else if (progress.stage === "check") {
    bar.removeAttribute("value");
    $("loading-text").textContent = `Testing the GPU: ${progress.tested} kernels agree with the reference`;
  } else {
    bar.removeAttribute("value");
    $("loading-text").textContent = "Loading the model";
  }
}

function welcome({ model }) {
  $("about").textContent = model.about;
  $("about").hidden = !model.about;
  const acts = Object.keys(model.actions).length > 0;
  const examples = acts ? EXAMPLES : ["Once upon a time"];
  $("examples").replaceChildren(
    ...examples.map((text) => el("button", { type: "button", onclick: () => composer.put(text) }, text)),
  );
  $("examples").hidden = false;
}

/** One turn and its answer. */
async function say(turn) {
  stopping = new AbortController();
  composer.busy(true);
  $("forget").disabled = true;
  $("examples").hidden = true;
  chat.said(turn);
  heat.turn();
  const answer = chat.answer();
  setStatus("Thinking");
  try {
    const known = turn.picture || turn.sound ? null : await memory.answer(turn.text);
    if (known !== null) {
      answer.say(known);
      setStatus(`Ready on ${named(lichen.info.device)}`);
      return;
    }
    const options = { temperature: device.temperature, seed: device.seed(), routes: true, signal: stopping.signal };
    for await (const event of lichen.generate(turn, options)) {
      if (event.type === "prompt") heat.prompt(event.route);
      if (event.type === "token") {
        answer.token(event, lichen.info.model.actions);
        heat.token(event.route);
      }
      if (event.type === "restart") {
        answer.restart();
        heat.restart();
        device.ready(lichen, "The device was lost. The engine was made anew, the conversation is intact.");
      }
      if (event.type === "end") {
        answer.end(event);
        conversation.keep(turn, { text: event.text, actions: event.actions }, lichen.state());
        if (event.noted && turn.text && lichen.info.model.learns) {
          answer.offer("Remember this for good", () => (show("memory"), memory.teach(turn.text)));
        }
        heat.answer(event.route);
        device.spoke(event);
        const speed = event.tokens > 1 ? `${Math.round(event.tokens / event.seconds)} tokens/s on ` : "";
        setStatus(`${speed}${named(lichen.info.device)}, first token after ${time(event.firstTokenSeconds ?? 0)}`);
      }
    }
  } catch (error) {
    answer.fail(error);
    setStatus(`Ready on ${named(lichen.info.device)}`);
  } finally {
    stopping = null;
    $("forget").disabled = false;
    composer.busy(false);
  }
}

async function forget() {
  await lichen.forget();
  await conversation.forget();
  chat.clear();
  heat.clear();
  $("forget").disabled = true;
  $("examples").hidden = false;
  setStatus("A new conversation");
  composer.focus();
}

/** The same conversation on another device. */
async function restart() {
  $("choice").disabled = true;
  stopping?.abort();
  await answering;
  const state = lichen?.state();
  lichen?.close();
  lichen = null;
  composer.ready(false, false);
  delete document.documentElement.dataset.ready;
  await start(state);
}
