// Two inputs side by side: which sections each wakes, and what they share.

import { $, el } from "./dom.js";

const HEIGHT = 56;

export class Compare {
  #lichen;
  #sides = [];

  /** `lichen()` gives the engine. */
  constructor(lichen) {
    this.#lichen = lichen;
    $("compare").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#run();
    });
  }

  /** Inputs can be compared; `senses` says whether sounds and pictures are among them. */
  ready(sections, senses) {
    $("compare").hidden = !sections;
    this.#sides = [["First", "a rooster"], ["Second", "a hen"]].map(([name, example]) => side(name, example, senses));
    $("compare").querySelector(".sides").replaceChildren(...this.#sides.map(({ box }) => box));
    $("compare").querySelector("button").disabled = false;
  }

  async #run() {
    const button = $("compare").querySelector("button");
    button.disabled = true;
    try {
      const result = await this.#lichen().compare(...this.#sides.map((side) => side.turn()));
      $("compared").replaceChildren(...show(result));
    } catch (error) {
      const message = error.code === "input" ? `${error.message}. Both sides need words or a file.` : error.message;
      $("compared").replaceChildren(el("p", { className: "bad", role: "alert" }, message));
    } finally {
      button.disabled = false;
    }
  }
}

function side(name, example, senses) {
  const words = el("input", { type: "text", placeholder: example, ariaLabel: `${name}: words`, maxLength: 2000 });
  const file = el("input", { type: "file", accept: "image/*,audio/*", ariaLabel: `${name}: picture or sound`, hidden: !senses });
  const box = el("fieldset", {}, el("legend", {}, name), words, file);
  const turn = () => {
    const [given] = file.files;
    const sense = given && (given.type.startsWith("image/") ? { picture: given } : { sound: given });
    return { text: words.value, ...sense };
  };
  return { box, turn };
}

function show({ heat, jaccard, weighted_jaccard: weighted, a, b }) {
  const percent = (x) => `${Math.round(100 * x)}%`;
  const rows = heat.map(([first, second], layer) => {
    const woken = (heat) => heat.filter((x) => x > 0).length;
    const both = first.filter((x, i) => x > 0 && second[i] > 0).length;
    const any = first.filter((x, i) => x > 0 || second[i] > 0).length;
    const cells = [layer + 1, woken(first), woken(second), both, percent(any ? both / any : 0)];
    return el("tr", {}, ...cells.map((cell) => el("td", { className: "number" }, String(cell))));
  });
  const heads = ["Layer", "First", "Second", "Both", "Shared"].map((name) => el("th", { scope: "col", className: "number" }, name));
  const table = el(
    "table",
    {},
    el("caption", {}, "Sections that were woken at least once"),
    el("thead", {}, el("tr", {}, ...heads)),
    el("tbody", {}, ...rows),
  );
  return [
    el("p", { className: "big" }, `${percent(jaccard)} of the woken sections are the same; weighed by how strongly, ${percent(weighted)}.`),
    el("p", { className: "muted" }, `${a.rows.length} and ${b.rows.length} tokens. Up: the first, down: the second; green where both.`),
    ...heat.map((pair, layer) => mirror(pair, layer)),
    table,
  ];
}

/** A layer's sections from left to right: up how much the first input woke each, down the second. */
function mirror([first, second], layer) {
  const canvas = el("canvas", { className: "mirror", role: "img", ariaLabel: `Layer ${layer + 1}; its numbers are in the table below` });
  const width = 4 * first.length;
  Object.assign(canvas, { width: 2 * width, height: 2 * HEIGHT });
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const context = canvas.getContext("2d");
  context.scale(2, 2);
  const most = Math.max(...first, ...second) || 1;
  const middle = HEIGHT / 2;
  first.forEach((x, i) => {
    const both = x > 0 && second[i] > 0;
    // Square roots, so that what is weak can still be seen.
    const [up, down] = [x, second[i]].map((heat) => Math.sqrt(heat / most) * (middle - 2));
    context.fillStyle = colour(both ? "answer" : "word");
    context.fillRect(4 * i, middle - up, 3, up);
    context.fillStyle = colour(both ? "answer" : "sound");
    context.fillRect(4 * i, middle, 3, down);
  });
  context.fillStyle = colour("line");
  context.fillRect(0, middle - 0.25, width, 0.5);
  return canvas;
}
