// Lichen in a page: `create` starts the engine in a thread of its own. Nothing here asks another origin for anything.

import { CHANNEL } from "./lessons.js";
import { bytesOf, readTurn } from "./turn.js";

/** What makes the engine start anew; the conversation goes on where its last answer ended. */
const RECOVERABLE = new Set(["lost", "crash"]);

/** Starts an engine; see index.d.ts. */
export async function create(options = {}) {
  const lichen = new Lichen(options);
  try {
    await lichen.start();
  } catch (error) {
    lichen.close();
    throw error;
  }
  return lichen;
}

/** Checks every kernel on `device` (`cpu` or `gpu`); `onReport` hears of each. Gives the device's name. */
export async function selftest(device, onReport = () => {}) {
  const thread = new Thread();
  try {
    return await thread.call("selftest", { device }, onReport);
  } finally {
    thread.end();
  }
}

class Lichen {
  #options;
  #thread = null;
  #state = null;
  #recovering = null;
  #channel = null;

  constructor(options) {
    this.#options = options;
    this.info = null;
    if (!options.onLessons) return;
    this.#channel = new BroadcastChannel(CHANNEL);
    this.#channel.onmessage = () => options.onLessons();
  }

  /** Opens the engine; `create` calls it. */
  async start() {
    const { model = new URL("model.json", document.baseURI), device = "auto", state, onProgress } = this.#options;
    this.#state ??= state ?? null;
    const source = model instanceof Blob || model instanceof ArrayBuffer || ArrayBuffer.isView(model)
      ? new Uint8Array(await new Blob([model]).arrayBuffer())
      : new URL(model, document.baseURI).href;
    const thread = new Thread();
    try {
      this.info = await thread.call("open", { model: source, device, state: this.#state }, onProgress);
    } catch (error) {
      thread.end();
      throw error;
    }
    this.#thread = thread;
  }

  /** Answers a turn, event by event. */
  async *generate(turn, options = {}) {
    const { signal, maxTokens, topK, topP, repeatPenalty, ...rest } = options;
    const given = { max_tokens: maxTokens, top_k: topK, top_p: topP, repeat_penalty: repeatPenalty, ...rest };
    const args = { turn: await readTurn(turn), options: given };
    for (let attempt = 0; ; attempt++) {
      signal?.throwIfAborted();
      try {
        yield* this.#answer(args, signal);
        return;
      } catch (error) {
        if (!RECOVERABLE.has(error.code) || attempt === 2) throw error;
        // A GPU that is lost twice over one turn is left alone.
        await this.#recover(error, attempt > 0);
        yield { type: "restart", reason: error.message, device: this.info.device };
      }
    }
  }

  /** Answers a picture, maybe with words. */
  see(picture, text = "", options = {}) {
    return this.generate({ picture, text }, options);
  }

  /** Answers a sound, maybe with words. */
  hear(sound, text = "", options = {}) {
    return this.generate({ sound, text }, options);
  }

  /** Which sections an input wakes where nothing was said before. */
  async route(turn) {
    return this.#call("route", { turn: await readTurn({ now: null, ...asTurn(turn) }) });
  }

  /** What two inputs share on their way through the sections. */
  async compare(a, b) {
    const [first, second] = await Promise.all([a, b].map((turn) => readTurn({ now: null, ...asTurn(turn) })));
    return this.#call("compare", { a: first, b: second });
  }

  /** Learns a statement, `{ ask, answer }`, `{ asked, said }` for a correction, or `{ name, picture }` or `{ name, sound }`;
   * gives the lesson. Answers may be asked for meanwhile. */
  async learn(teaching, { signal, onProgress } = {}) {
    const { name, picture, sound } = teaching;
    if (name !== undefined && !picture === !sound) {
      throw Object.assign(new Error("A name is for a picture or for a sound."), { code: "input" });
    }
    const turn = name === undefined ? undefined : await readTurn({ picture, sound, now: null });
    await this.#recovering;
    signal?.throwIfAborted();
    const call = this.#thread.start("learn", { teaching: name ?? teaching, turn }, onProgress);
    const stop = () => call.stop();
    signal?.addEventListener("abort", stop);
    try {
      return await call.result;
    } catch (error) {
      // What was not kept was not learned; the conversation goes on.
      if (RECOVERABLE.has(error.code)) await this.#recover(error, false);
      throw error;
    } finally {
      signal?.removeEventListener("abort", stop);
    }
  }

  /** All lessons, the oldest first. */
  lessons() {
    return this.#call("list");
  }

  /** Takes a lesson back, any one; `{ again }` is the lesson that counts again, if it had replaced one. */
  undo(id) {
    return this.#call("undo", { id });
  }

  /** Takes all lessons back; how many there were. */
  clearMemory() {
    return this.#call("clear");
  }

  /** Forgets what was said in the lessons, not what was learned; of how many. */
  eraseTexts() {
    return this.#call("eraseTexts");
  }

  /** All lessons as a file that other devices with the same model import. */
  exportMemory({ texts = true } = {}) {
    return this.#call("exportMemory", { texts });
  }

  /** Adds the lessons of such a file: `{ added, known }`, or `{ model, texts, untold }` if another model learned them. */
  async importMemory(file) {
    return this.#call("importMemory", { file: await bytesOf(file) });
  }

  /** Forgets the conversation. */
  async forget() {
    this.#state = null;
    await this.#call("forget");
  }

  /** The conversation as bytes, for `restore` or `create`; null before the first answer. */
  state() {
    return this.#state?.slice() ?? null;
  }

  /** Goes on with a conversation. */
  async restore(state) {
    await this.#call("restore", { state });
    this.#state = state.slice();
  }

  /** Bytes that the engine takes: `{ wasm, gpu }`. */
  memory() {
    return this.#call("memory");
  }

  /** Loses the GPU on purpose, to see that nothing is lost with it; whether there was one. */
  lose() {
    return this.#call("lose");
  }

  /** Ends the engine. */
  close() {
    this.#channel?.close();
    this.#end();
  }

  #end() {
    this.#thread?.end();
    this.#thread = null;
  }

  async #call(name, args) {
    await this.#recovering;
    try {
      return await this.#thread.call(name, args);
    } catch (error) {
      if (!RECOVERABLE.has(error.code)) throw error;
      await this.#recover(error, false);
      return this.#thread.call(name, args);
    }
  }

  async *#answer(args, signal) {
    await this.#recovering;
    const events = [];
    let wake = () => {};
    let end = null;
    const call = this.#thread.start("generate", args, (batch) => {
      events.push(...batch);
      wake();
    });
    const stop = () => call.stop();
    signal?.addEventListener("abort", stop);
    call.result.then((result) => (end = { result }), (error) => (end = { error })).then(() => wake());
    try {
      for (;;) {
        while (events.length > 0) yield events.shift();
        if (end) break;
        await new Promise((resolve) => (wake = resolve));
      }
      if (end.error) throw end.error;
      const { state, ...said } = end.result;
      this.#state = state;
      yield said;
    } finally {
      signal?.removeEventListener("abort", stop);
      if (!end) {
        // Whoever left the loop wants no more of this answer; the next call waits until it has ended.
        call.stop();
        const { state } = await call.result.catch(() => ({}));
        this.#state = state ?? this.#state;
      }
    }
  }

  /** A new thread with the same model and the conversation as the last answer left it. */
  #recover(error, onCpu) {
    this.#recovering ??= (async () => {
      this.#end();
      if (onCpu) this.#options = { ...this.#options, device: "cpu" };
      this.#options.onRecover?.(error);
      await this.start();
    })().finally(() => (this.#recovering = null));
    return this.#recovering;
  }
}

const asTurn = (turn) => (typeof turn === "string" ? { text: turn } : turn);

/** A worker with calls under way. */
class Thread {
  #worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  #calls = new Map();
  #next = 0;
  #ended = null;

  constructor() {
    this.#worker.onmessage = ({ data: { id, event, result, error } }) => {
      const call = this.#calls.get(id);
      if (!call) return;
      if (event !== undefined) return call.on(event);
      this.#calls.delete(id);
      if (error) call.reject(Object.assign(new Error(error.message), { code: error.code }));
      else call.resolve(result);
    };
    this.#worker.onerror = (event) => {
      event.preventDefault?.();
      this.#fail(event.message || "the engine could not be started");
    };
  }

  /** Starts a call; `on` gets its events. */
  start(call, args = {}, on = () => {}) {
    const id = this.#next++;
    const result = new Promise((resolve, reject) => {
      if (this.#ended) return reject(this.#ended);
      this.#calls.set(id, { resolve, reject, on });
      this.#worker.postMessage({ id, call, args });
    });
    return { result, stop: () => this.#worker.postMessage({ id, stop: true }) };
  }

  call(name, args, on) {
    return this.start(name, args, on).result;
  }

  end() {
    this.#worker.terminate();
    this.#fail("the engine was closed", "closed");
  }

  #fail(message, code = "crash") {
    this.#ended = Object.assign(new Error(message), { code });
    for (const call of this.#calls.values()) call.reject(this.#ended);
    this.#calls.clear();
  }
}
