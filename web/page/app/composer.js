// The message field: words, files that are picked, dropped or pasted, the microphone and the camera.

import { takePicture } from "./camera.js";
import { $, el } from "./dom.js";
import { Recorder } from "./recorder.js";

/** Longest sound that the engine takes in one turn. */
const MOST_SECONDS = 120;

export class Composer {
  #onSay;
  #onStop;
  #busy = false;
  #ready = false;
  #senses = false;
  #picture = null;
  #sound = null;
  #recorder = new Recorder();

  constructor(onSay, onStop) {
    this.#onSay = onSay;
    this.#onStop = onStop;
    $("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    $("words").addEventListener("input", () => this.#fit());
    $("words").addEventListener("keydown", (event) => {
      // Enter that ends the composition of a character is no message.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#submit();
    });
    $("attach").addEventListener("click", () => $("file").click());
    $("file").addEventListener("change", () => {
      for (const file of $("file").files) this.#take(file);
      $("file").value = "";
    });
    $("record").addEventListener("click", () => this.#record());
    $("photo").addEventListener("click", async () => {
      const picture = await takePicture();
      if (picture) this.#take(picture);
    });
    this.#listenForFiles();
  }

  /** The engine can take a turn; `senses` says whether it hears and sees. */
  ready(senses, ready = true) {
    this.#ready = ready;
    this.#senses = senses;
    for (const part of document.querySelectorAll("[data-sense]")) part.hidden = !senses;
    $("photo").hidden = !senses || !navigator.mediaDevices;
    $("record").hidden = !senses || !navigator.mediaDevices;
    this.#update();
    if (ready && matchMedia("(pointer: fine)").matches) this.focus();
  }

  /** An answer is under way: the button stops it. */
  busy(busy) {
    this.#busy = busy;
    this.#update();
  }

  put(text) {
    $("words").value = text;
    this.#fit();
    this.focus();
  }

  focus() {
    $("words").focus();
  }

  #submit() {
    if (this.#busy) return this.#onStop();
    const text = $("words").value.trim();
    if (!this.#ready || !(text || this.#picture || this.#sound)) return;
    const turn = { text, picture: this.#picture, sound: this.#sound };
    [this.#picture, this.#sound] = [null, null];
    $("words").value = "";
    this.#hint("");
    this.#fit();
    this.#list();
    this.#onSay(turn);
  }

  #update() {
    const something = $("words").value.trim() || this.#picture || this.#sound;
    $("send").textContent = this.#busy ? "Stop" : "Send";
    $("send").disabled = !this.#busy && !(this.#ready && something);
  }

  #fit() {
    const words = $("words");
    words.style.height = "auto";
    words.style.height = `${words.scrollHeight + 2}px`;
    this.#update();
  }

  #hint(text, problem = false) {
    $("hint").textContent = text;
    $("hint").classList.toggle("problem", problem);
  }

  /** A file becomes part of the next turn. */
  #take(file) {
    if (!this.#senses) return this.#hint("This model can neither hear nor see.", true);
    const sees = file.type.startsWith("image/");
    if (!sees && !file.type.startsWith("audio/") && !/\.wav$/i.test(file.name ?? "")) {
      return this.#hint(`${file.name ?? "This file"} is neither a picture nor a sound.`, true);
    }
    file.url = URL.createObjectURL(file);
    if (sees) this.#picture = file;
    else this.#sound = file;
    this.#hint("");
    this.#list();
  }

  #list() {
    const one = (file, preview, kind, remove) =>
      el(
        "div",
        { className: "attachment" },
        preview,
        el("span", { className: "muted" }, kind),
        el("button", { type: "button", ariaLabel: `Remove the ${kind}`, onclick: remove }, "✕"),
      );
    const parts = [];
    if (this.#picture) {
      const preview = el("img", { src: this.#picture.url, alt: "" });
      parts.push(one(this.#picture, preview, "picture", () => ((this.#picture = null), this.#list())));
    }
    if (this.#sound) {
      const preview = el("audio", { src: this.#sound.url, controls: true });
      parts.push(one(this.#sound, preview, "sound", () => ((this.#sound = null), this.#list())));
    }
    $("attachments").replaceChildren(...parts);
    $("attachments").hidden = parts.length === 0;
    this.#update();
  }

  async #record() {
    const button = $("record");
    if (this.#recorder.running) {
      button.setAttribute("aria-pressed", "false");
      button.textContent = "Record";
      const sound = this.#recorder.stop();
      if (sound) this.#take(sound);
      else this.#hint("Nothing was recorded.", true);
      return;
    }
    try {
      await this.#recorder.start((seconds) => {
        this.#hint(`Recording, ${Math.floor(seconds)} s`);
        if (seconds >= MOST_SECONDS - 1) this.#record();
      });
      button.setAttribute("aria-pressed", "true");
      button.textContent = "Stop recording";
      this.#hint("Recording");
    } catch (error) {
      this.#hint(error.message, true);
    }
  }

  #listenForFiles() {
    addEventListener("dragover", (event) => {
      if (![...event.dataTransfer.types].includes("Files")) return;
      event.preventDefault();
      document.body.classList.add("dragging");
    });
    addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) document.body.classList.remove("dragging");
    });
    addEventListener("drop", (event) => {
      document.body.classList.remove("dragging");
      if (event.dataTransfer.files.length === 0) return;
      event.preventDefault();
      for (const file of event.dataTransfer.files) this.#take(file);
    });
    $("words").addEventListener("paste", (event) => {
      const files = [...event.clipboardData.files];
      if (files.length === 0) return;
      event.preventDefault();
      files.forEach((file) => this.#take(file));
    });
  }
}
