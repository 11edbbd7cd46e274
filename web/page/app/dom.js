// Elements without a framework.

/** The element with this id. */
export const $ = (id) => document.getElementById(id);

/** An element with properties and children; text is never read as markup. */
export function el(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children.filter((child) => child != null));
  return element;
}

/** A name with its value in a list of facts. */
export const fact = (name, value) => [el("dt", {}, name), el("dd", {}, value)];

/** `12345678` as `12.3 million`. */
export function count(n) {
  if (n >= 1e6) return `${(n / 1e6).toFixed(1)} million`;
  return n.toLocaleString("en");
}

/** Bytes for people. */
export function bytes(n) {
  const [unit, name] = n >= 2 ** 20 ? [2 ** 20, "MiB"] : n >= 2 ** 10 ? [2 ** 10, "KiB"] : [1, "bytes"];
  return `${unit === 1 ? n : (n / unit).toFixed(1)} ${name}`;
}

/** Seconds for people. */
export const time = (s) => (s < 1 ? `${Math.round(s * 1000)} ms` : `${s.toFixed(1)} s`);

/** A device's name at the start of a line or after "on". */
export const named = ({ name }) => name.replace(/^cpu/, "CPU");
