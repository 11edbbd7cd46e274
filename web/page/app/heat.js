// The heat map: for each token a column, for each layer a band with a line for each of its sections.
//
// Only the columns in sight are drawn, on a canvas that stays in sight, so that a long conversation costs no more
// than a short one.

import { $, el } from "./dom.js";

/** Columns that are kept, oldest first to go. */
const MOST = 4000;
const COLUMN = 8;
const GAP = 8;
const STRIP = 6;
const KINDS = { word: "words", sound: "sound", picture: "picture", answer: "answer" };

export class HeatMap {
  #columns = [];
  /** The first column of the turn under way. */
  #turn = 0;
  #layers = 0;
  #sections = 0;
  /** Strongest gate of each layer so far: layers differ a lot. */
  #most = [];
  #cursor = null;
  #due = false;
  /** Whether the newest columns stay in sight: until somebody scrolls back. */
  #follow = true;
  #width = 0;
  /** Where this put it: columns that come meanwhile move the end away from there. */
  #put = 0;
  #box = $("heat");
  #canvas = $("heat-canvas");

  constructor() {
    const entries = Object.entries(KINDS).map(([kind, name]) => el("li", {}, el("i", { className: kind }), name));
    $("legend").replaceChildren(...entries);
    this.#box.addEventListener("scroll", () => {
      const { scrollLeft, clientWidth, scrollWidth } = this.#box;
      // A view that is hidden or gets another size scrolls by itself.
      if (clientWidth === this.#width) this.#follow = scrollLeft === this.#put || scrollLeft + clientWidth >= scrollWidth - 2 * COLUMN;
      this.draw();
    });
    this.#box.addEventListener("pointermove", (event) => this.#point(event));
    this.#box.addEventListener("pointerdown", (event) => this.#point(event));
    this.#box.addEventListener("keydown", (event) => this.#key(event));
    this.#box.addEventListener("focus", () => this.#columns.length > 0 && !this.#cursor && this.#move(0, 0));
    new ResizeObserver(() => this.draw()).observe(this.#box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** The model's sizes. */
  shape({ layers, sections }) {
    [this.#layers, this.#sections] = [layers, sections];
    if (sections === 0) $("readout").textContent = "Every token wakes all of this model.";
    this.draw();
  }

  clear() {
    this.#columns = [];
    this.#turn = 0;
    this.#cursor = null;
    $("readout").textContent = "Nothing was said yet.";
    this.draw();
  }

  /** A turn begins. */
  turn() {
    this.#turn = this.#columns.length;
  }

  /** The turn begins anew: what it woke comes again. */
  restart() {
    this.#columns.length = Math.min(this.#columns.length, this.#turn);
    this.#cursor = null;
    this.draw();
  }

  /** What a person's turn woke. */
  prompt(route) {
    if (!route) return;
    this.#add(route.rows.map((row, i) => ({ text: row.text, kindOf: row.kind, picks: route.picks[i] })));
  }

  /** What a token of the answer woke. */
  token(route) {
    if (route) this.#add([{ text: route.row.text, kindOf: "answer", picks: route.picks }]);
  }

  /** What an answer woke, where it comes at once. */
  answer(route) {
    if (!route) return;
    this.#add(route.rows.map((row, i) => ({ text: row.text, kindOf: "answer", picks: route.picks[i] })));
  }

  #add(columns) {
    for (const column of columns) {
      column.kind = column.kindOf === "mark" ? "word" : column.kindOf;
      column.picks.forEach((picks, layer) => {
        for (let i = 1; i < picks.length; i += 2) this.#most[layer] = Math.max(this.#most[layer] ?? 0, picks[i]);
      });
    }
    this.#columns.push(...columns);
    const gone = Math.max(0, this.#columns.length - MOST);
    this.#columns.splice(0, gone);
    this.#turn = Math.max(0, this.#turn - gone);
    this.#canvas.parentElement.style.width = `${this.#columns.length * COLUMN}px`;
    if (!this.#cursor) $("readout").textContent = "Point at a column, or go through them with the arrow keys.";
    this.draw();
  }

  /** Draws at the next frame. */
  draw() {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      this.#paint();
    });
  }

  /** Height of a band: what there is room for, two pixels a section at most. */
  #band() {
    const room = Math.max(260, Math.min(innerHeight - 330, 720));
    const each = (room - STRIP) / Math.max(1, this.#layers) - GAP;
    return Math.max(24, Math.min(each, 2 * this.#sections));
  }

  #paint() {
    const width = (this.#width = this.#box.clientWidth);
    if (width === 0 || this.#sections === 0) return;
    if (this.#follow) {
      this.#box.scrollLeft = this.#box.scrollWidth;
      this.#put = this.#box.scrollLeft;
    }
    const band = this.#band();
    const height = STRIP + this.#layers * (band + GAP);
    const scale = devicePixelRatio || 1;
    const canvas = this.#canvas;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      Object.assign(canvas, { width: Math.round(width * scale), height: Math.round(height * scale) });
      Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
    }
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const colours = Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, colour(kind)]));
    const context = canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    context.fillStyle = colour("band");
    for (let layer = 0; layer < this.#layers; layer++) {
      context.fillRect(0, STRIP + GAP / 2 + layer * (band + GAP), width, band);
    }
    const first = Math.floor(this.#box.scrollLeft / COLUMN);
    const last = Math.min(this.#columns.length, first + Math.ceil(width / COLUMN) + 1);
    const line = Math.max(1.5, band / this.#sections);
    for (let at = first; at < last; at++) {
      const { kind, picks } = this.#columns[at];
      const x = at * COLUMN - this.#box.scrollLeft;
      context.fillStyle = colours[kind];
      context.globalAlpha = 1;
      context.fillRect(x, 0, COLUMN - 1, STRIP - 2);
      picks.forEach((layer, l) => {
        const top = STRIP + GAP / 2 + l * (band + GAP);
        for (let i = 0; i < layer.length; i += 2) {
          context.globalAlpha = 0.25 + 0.75 * Math.min(1, layer[i + 1] / (this.#most[l] || 1));
          context.fillRect(x, top + (layer[i] / this.#sections) * band, COLUMN - 1, line);
        }
      });
    }
    context.globalAlpha = 1;
    if (this.#cursor) {
      const { at, layer } = this.#cursor;
      context.strokeStyle = colour("text");
      const top = STRIP + GAP / 2 + layer * (band + GAP);
      context.strokeRect(at * COLUMN - this.#box.scrollLeft - 0.5, top - 1.5, COLUMN, band + 3);
    }
  }

  #point(event) {
    if (this.#columns.length === 0) return;
    const { left, top } = this.#canvas.getBoundingClientRect();
    const at = Math.floor((event.clientX - left + this.#box.scrollLeft) / COLUMN);
    const y = (event.clientY - top - STRIP - GAP / 2) / (this.#band() + GAP);
    const layer = Math.floor(y);
    if (!this.#columns[at] || layer < 0 || layer >= this.#layers) return;
    const inBand = ((y - layer) * (this.#band() + GAP)) / this.#band();
    this.#read(at, layer, Math.floor(inBand * this.#sections));
  }

  #key(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const far = { Home: -MOST, End: MOST, PageUp: -16, PageDown: 16 };
    if (this.#columns.length === 0) return;
    if (steps[event.key]) this.#move(...steps[event.key]);
    else if (far[event.key]) this.#move(far[event.key], 0);
    else return;
    event.preventDefault();
  }

  #move(columns, layers) {
    const { at, layer } = this.#cursor ?? { at: this.#columns.length - 1, layer: 0 };
    const within = (n, end) => Math.max(0, Math.min(end - 1, n));
    const to = within(at + columns, this.#columns.length);
    this.#read(to, within(layer + layers, this.#layers));
    const [left, right] = [to * COLUMN, (to + 1) * COLUMN];
    if (left < this.#box.scrollLeft) this.#box.scrollLeft = left;
    if (right > this.#box.scrollLeft + this.#box.clientWidth) this.#box.scrollLeft = right - this.#box.clientWidth;
  }

  /** Says what lies under the cursor. */
  #read(at, layer, section = null) {
    this.#cursor = { at, layer };
    const { kind, kindOf, text, picks } = this.#columns[at];
    const what = { sound: "40 ms of sound", picture: "a part of the picture" }[kindOf] ?? `“${text.replaceAll("\n", "↵")}”`;
    const pairs = [];
    for (let i = 0; i < picks[layer].length; i += 2) {
      const here = section !== null && Math.abs(picks[layer][i] - section) <= 1;
      pairs.push(`${here ? "▸ " : ""}${picks[layer][i]} (${picks[layer][i + 1].toPrecision(2)})`);
    }
    $("readout").textContent =
      `Token ${at + 1} of ${this.#columns.length}, ${KINDS[kind]}: ${what}. Layer ${layer + 1}: sections ${pairs.join(", ")}.`;
    this.draw();
  }
}
