// Teaching, and what was learned: the list, taking back, files.

import { $, bytes, el, time } from "./dom.js";

/** What a person fills in, the file aside. */
const FIELDS = ["lesson", "ask", "answer", "thing-name"];
const PHASES = {
  preparing: "Preparing, once for this model",
  hearing: "Listening",
  asking: "Asking itself",
  answering: "Finding what changes",
  choosing: "Choosing what opens it",
  training: "Writing into its sections",
  checking: "Checking",
};

export class MemoryPanel {
  #lichen = null;
  #stopping = null;
  #setStatus;

  constructor({ setStatus }) {
    this.#setStatus = setStatus;
    $("teach").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#teach();
    });
    $("teach-stop").addEventListener("click", () => this.#stopping?.abort());
    $("export").addEventListener("click", () => this.#act(() => this.#export()));
    $("import").addEventListener("click", () => $("memory-file").click());
    $("memory-file").addEventListener("change", () => this.#act(() => this.#import()));
    $("erase").addEventListener("click", () => this.#act(() => this.#erase()));
    $("clear").addEventListener("click", () => this.#act(() => this.#clear()));
  }

  /** The engine started. */
  ready(lichen) {
    this.#lichen = lichen;
    const { learns } = lichen.info.model;
    $("cannot-learn").hidden = learns;
    $("cannot-learn").textContent = "This model cannot learn on a device.";
    $("teach").hidden = $("learned").hidden = !learns;
    this.refresh();
  }

  /** Shows what is known now. */
  async refresh() {
    if (!this.#lichen?.info?.model.learns) return;
    const lessons = await this.#lichen.lessons().catch(() => null);
    if (!lessons) return;
    $("lessons").replaceChildren(...lessons.map((lesson) => this.#item(lesson)));
    $("no-lessons").hidden = lessons.length > 0;
    for (const id of ["export", "erase", "clear"]) $(id).disabled = lessons.length === 0;
  }

  /** Teaches what was said in the conversation. */
  teach(said) {
    if (this.#stopping) return;
    $("lesson").value = said;
    $("thing").value = "";
    this.#teach();
  }

  /** What a person asks of the memory in plain words, as the command understands it too; null for anything else. */
  async answer(text) {
    if (!this.#lichen.info.model.learns) return null;
    const plain = text.trim().replace(/\p{P}+$/u, "").toLowerCase();
    if (plain === "what do you know about me" || plain === "what have you learned") {
      const lessons = (await this.#lichen.lessons()).filter(({ replaced_by: by }) => !by);
      const lines = lessons.map(({ id, said }) => `${id}. ${said ?? "(what was said is erased)"}`);
      return lines.length > 0 ? `What I learned here:\n${lines.join("\n")}` : "Nothing was learned here yet.";
    }
    if (plain !== "forget that") return null;
    const last = (await this.#lichen.lessons()).at(-1);
    if (!last) return "Nothing was learned here yet.";
    const done = await this.#undo(last.id);
    this.refresh();
    return done;
  }

  #item(lesson) {
    const { id, said, created, receipt, replaced_by: by } = lesson;
    const day = new Date(created * 1000).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" });
    const facts = `Lesson ${id}, ${day}, ${bytes(lesson.bytes)}, ${receipt.passed} of ${receipt.checked} checks passed`;
    const undo = el("button", { type: "button", onclick: () => this.#act(() => this.#undo(id)) }, "Take back");
    undo.setAttribute("aria-label", `Take back lesson ${id}${said ? `: ${said}` : ""}`);
    return el(
      "li",
      { className: by ? "replaced" : "" },
      el("div", {}, el("div", { className: said ? "" : "muted" }, said ?? "(what was said is erased)"),
        el("div", { className: "cost" }, by ? `${facts}; lesson ${by} took its place` : facts)),
      undo,
    );
  }

  async #teach() {
    const [said, ask, answer, name] = FIELDS.map((id) => $(id).value.trim());
    const [thing] = $("thing").files;
    // "This is Biscuit." in the first field is a name, too.
    const called = name || said;
    if (thing ? !called : !said && !(ask && answer)) {
      if (thing || name) $("taught").textContent = "Both the file and the name are needed.";
      else if (ask || answer) $("taught").textContent = "Both the question and the answer are needed.";
      else $("taught").textContent = "Write what it should know.";
      return;
    }
    const shown = thing && { name: called, [thing.type.startsWith("image/") ? "picture" : "sound"]: thing };
    const teaching = shown || said || { ask, answer };
    this.#stopping = new AbortController();
    $("teach-go").disabled = true;
    $("teach-stop").hidden = false;
    $("teaching").hidden = false;
    $("taught").textContent = "";
    const onProgress = ({ phase, share }) => {
      $("teach-phase").textContent = PHASES[phase];
      $("teach-progress").value = share;
    };
    try {
      // Without this a browser in need of room may throw away what was learned.
      await navigator.storage?.persist?.().catch(() => false);
      const learned = await this.#lichen.learn(teaching, { signal: this.#stopping.signal, onProgress });
      const { receipt, replaces } = learned;
      const place = replaces ? `, in place of lesson ${replaces}` : "";
      $("taught").textContent =
        `Learned as lesson ${learned.id}${place}, in ${time(learned.seconds)}: ${bytes(learned.bytes)} of weights; ` +
        `${receipt.frames} answers change, ${receipt.guards} were guarded; ${receipt.passed} of ${receipt.checked} checks passed.`;
      for (const id of [...FIELDS, "thing"]) $(id).value = "";
      this.#setStatus("Learned");
    } catch (error) {
      $("taught").textContent = error.message;
    } finally {
      this.#stopping = null;
      $("teach-go").disabled = false;
      $("teach-stop").hidden = true;
      $("teaching").hidden = true;
      this.refresh();
    }
  }

  /** Does something and says how it ended. */
  async #act(act) {
    try {
      $("memory-said").textContent = (await act()) ?? "";
    } catch (error) {
      $("memory-said").textContent = error.message;
    }
    this.refresh();
  }

  async #undo(id) {
    const { again } = await this.#lichen.undo(id);
    return `Lesson ${id} is taken back.${again ? ` Lesson ${again}, which it had replaced, counts again.` : ""}`;
  }

  async #export() {
    const file = await this.#lichen.exportMemory();
    const url = URL.createObjectURL(new Blob([file]));
    el("a", { href: url, download: "lichen.memory" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
    return `Saved, ${bytes(file.length)}: open it on another device with the same model.`;
  }

  async #import() {
    const [file] = $("memory-file").files;
    $("memory-file").value = "";
    if (!file) return "";
    const { added, known, model, texts, untold } = await this.#lichen.importMemory(file);
    if (model) {
      const rest = untold > 0 ? ` Of ${untold} the file does not say what was said.` : "";
      return `Another model learned these; teach this one again: ${texts.map((text) => `“${text}”`).join(", ")}.${rest}`;
    }
    return `${added.length} learned${known.length > 0 ? `, ${known.length} known before` : ""}.`;
  }

  async #erase() {
    const sure = await confirm("Erase what was said?", "What it learned stays and works. The list then no longer shows your words, and another model cannot be taught them from a file.", "Erase the words");
    return sure ? `What was said in ${await this.#lichen.eraseTexts()} lessons is erased; what was learned stays.` : "";
  }

  async #clear() {
    const sure = await confirm("Forget all lessons?", "All that it learned on this device is taken back. This cannot be undone.", "Forget all");
    return sure ? `${await this.#lichen.clearMemory()} lessons taken back.` : "";
  }
}

/** Asks before what cannot be undone. */
function confirm(title, text, yes) {
  $("confirm-title").textContent = title;
  $("confirm-text").textContent = text;
  $("confirm-yes").textContent = yes;
  const dialog = $("confirm");
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}
