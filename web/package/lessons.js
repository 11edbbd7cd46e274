// Lessons of a model: the engine makes changes, IndexedDB keeps them, and only what is kept is used. Where the browser
// keeps nothing, what is learned lasts as long as the page.

import { CONFLICT, Kept } from "./kept.js";

/** Tells other tabs, and this page, that something was learned or taken back. */
export const CHANNEL = "lichen-lessons";
const ATTEMPTS = 4;

export class Lessons {
  #lichen;
  #kept = null;
  #version = -1;
  #channel = new BroadcastChannel(CHANNEL);
  /** Why nothing that is learned is kept; null where it is. */
  note = null;

  constructor(lichen) {
    this.#lichen = lichen;
  }

  /** What a model learned before. The engine starts whatever becomes of this; `note` says what it could not have. */
  async open(model) {
    try {
      this.#kept = await Kept.open(model);
      await this.#load();
    } catch (error) {
      const why = this.#kept ? `What was learned cannot be read: ${error.message}` : "This browser keeps nothing of the page (a private window?).";
      this.note = `${why} What is learned now lasts until the page is closed.`;
      this.#kept = null;
      this.#lichen.load_memory([]);
    }
    try {
      await this.#lichen.use_memory();
    } catch (error) {
      if (error.code === "lost") throw error;
      this.note = `What was learned is not in use: ${error.message}`;
    }
  }

  /** Takes in what other tabs did. */
  async sync() {
    if (!this.#kept || (await this.#kept.version()) === this.#version) return;
    await this.#load();
    await this.#lichen.use_memory();
  }

  /** Makes a change, `make()`, that is kept whole or not made at all; gives what `make` gave. */
  async change(make) {
    for (let attempt = 1; ; attempt++) {
      await this.sync();
      let made;
      try {
        made = make();
        await this.#keep(this.#lichen.changes());
      } catch (error) {
        // The engine's copy is ahead of what is kept.
        if (this.#kept) await this.#load();
        if (error.code !== CONFLICT || attempt === ATTEMPTS) throw error;
        continue;
      }
      await this.#lichen.use_memory();
      this.#channel.postMessage(null);
      return made;
    }
  }

  async #keep(changes) {
    if (this.#kept && changes.length > 0) this.#version = await this.#kept.commit(changes, this.#version);
  }

  async #load() {
    for (let attempt = 1; ; attempt++) {
      const { entries, version } = await this.#kept.load();
      this.#lichen.load_memory(entries);
      this.#version = version;
      try {
        // A new memory says whose it is.
        return await this.#keep(this.#lichen.changes());
      } catch (error) {
        if (error.code !== CONFLICT || attempt === ATTEMPTS) throw error;
      }
    }
  }
}
