// What was said, and answers as they come.

import { $, el, time } from "./dom.js";

export class Chat {
  #log = $("log");
  #scroll = $("scroll");
  /** Whether the end stays in sight: unless somebody scrolled up to read. */
  #following = true;
  #height = 0;
  /** Where this put it: what comes meanwhile moves the end away from there. */
  #put = 0;

  constructor() {
    this.#scroll.addEventListener("scroll", () => {
      const { scrollHeight, scrollTop, clientHeight } = this.#scroll;
      // A view that is hidden or gets another size scrolls by itself.
      if (clientHeight === this.#height) this.#following = scrollTop === this.#put || scrollHeight - scrollTop - clientHeight < 120;
    });
    new ResizeObserver(() => {
      this.#height = this.#scroll.clientHeight;
      this.#follow();
    }).observe(this.#scroll);
  }

  /** A person's turn. */
  said({ text, picture, sound }) {
    const parts = [el("span", { className: "hidden" }, "You: ")];
    if (picture) parts.push(el("img", { src: picture.url, alt: `Picture: ${picture.name}` }));
    if (sound) parts.push(el("audio", { src: sound.url, controls: true, title: sound.name }));
    if (text) parts.push(el("div", { className: "said" }, text));
    this.#add(el("li", { className: "mine" }, ...parts));
  }

  /** An answer that begins. */
  answer() {
    const item = el("li", { className: "theirs" }, el("span", { className: "who" }, "Lichen"));
    item.setAttribute("aria-busy", "true");
    this.#add(item);
    return new Answer(item, () => this.#follow());
  }

  clear() {
    this.#log.replaceChildren();
    $("spoken").textContent = "";
  }

  #add(item) {
    this.#log.append(item);
    this.#following = true;
    this.#follow();
  }

  #follow() {
    if (!this.#following) return;
    this.#scroll.scrollTop = this.#scroll.scrollHeight;
    this.#put = this.#scroll.scrollTop;
  }
}

class Answer {
  #item;
  #follow;
  #said = null;

  constructor(item, follow) {
    this.#item = item;
    this.#follow = follow;
  }

  token({ text, action }, about) {
    if (action) this.#item.append(card(action, about));
    if (text) {
      if (!this.#said) this.#item.append((this.#said = el("div", { className: "said" })));
      this.#said.append(this.#said.textContent ? text : text.trimStart());
    }
    if (text || action) this.#follow();
  }

  /** An answer of an earlier visit. */
  recalled(text, actions, about) {
    this.#item.removeAttribute("aria-busy");
    this.#item.append(...actions.map((action) => card(action, about)), el("div", { className: "said" }, text));
    this.#follow();
  }

  /** What came so far is void. */
  restart() {
    this.#item.replaceChildren(this.#item.firstChild);
    this.#said = null;
  }

  end({ text, actions, stop, tokens, seconds, promptTokens, promptSeconds }) {
    this.#item.removeAttribute("aria-busy");
    if (!text && actions.length === 0) this.#item.append(el("div", { className: "said muted" }, "(no words)"));
    const ended = { length: ", cut at its longest", stopped: ", stopped", end: "" }[stop];
    const cost = `${promptTokens} tokens read in ${time(promptSeconds)}, ${tokens} written in ${time(seconds)}${ended}`;
    this.#item.append(el("div", { className: "cost" }, cost));
    // Read out once and whole, not token by token.
    const would = actions.map((action) => `Would do: ${action.name}, ${Object.values(action.arguments).join(", ")}.`);
    $("spoken").textContent = ["Lichen:", ...would, text].join(" ");
    this.#follow();
  }

  /** An answer that is not the model's. */
  say(text) {
    this.#item.removeAttribute("aria-busy");
    this.#item.append(el("div", { className: "said" }, text), el("div", { className: "cost" }, "from its memory"));
    $("spoken").textContent = `Lichen: ${text}`;
    this.#follow();
  }

  /** Something that can be done with it, once. */
  offer(text, run) {
    const button = el("button", { type: "button", className: "offer" }, text);
    button.addEventListener("click", () => {
      button.remove();
      run();
    });
    this.#item.append(button);
    this.#follow();
  }

  fail(error) {
    this.#item.removeAttribute("aria-busy");
    if (error.name === "AbortError") return;
    this.#item.append(el("div", { className: "said problem", role: "alert" }, error.message));
    this.#follow();
  }
}

/** What an app would do; this page never does it. */
function card(action, about) {
  if (action.name === "unknown") {
    return el("div", { className: "action" }, el("div", {}, "Nothing that it could do."));
  }
  const rows = Object.entries(action.arguments).flatMap(([name, value]) => {
    const at = action.resolved?.[name];
    return [el("dt", {}, name), el("dd", {}, at ? `${value} (${at.replace("T", ", ")})` : value)];
  });
  return el(
    "div",
    { className: "action" },
    el("div", {}, el("strong", {}, "Would do: "), `${action.name} – ${lower(about[action.name] ?? "")}`),
    rows.length > 0 ? el("dl", {}, ...rows) : null,
    el("code", {}, JSON.stringify({ name: action.name, arguments: action.arguments })),
  );
}

const lower = (text) => text.slice(0, 1).toLowerCase() + text.slice(1);
