// Elements: a tag, attributes and children become a node. Text goes in as text, and nothing else does:
// there is no way through this module for a string to become markup, a script or an address of another site.

import { plain } from "./plain.js";

const SVG = "http://www.w3.org/2000/svg";
const ADDRESSES = new Set(["href", "src"]);
const OWN = /^(#|\/v1\/)/;

/** `el("td.age", {title: "..."}, "4 min", other)`; `on: {click: f}` listens, `false` and `null` are left out. */
export function el(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const made = document.createElement(name);
  if (classes.length) made.className = classes.join(" ");
  return filled(made, attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/** New children instead of the old ones. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat().filter(isThere).map(node));
  return element;
}

/** Text that is only touched when it changes, so that nothing is drawn or read out twice. */
export function say(element, text) {
  const shown = plain(text);
  if (element.textContent !== shown) element.textContent = shown;
  return element;
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, f] of Object.entries(value)) made.addEventListener(event, f);
    else if (value !== null && value !== undefined && value !== false) put(made, name, value);
  }
  made.append(...children.flat().filter(isThere).map(node));
  return made;
}

function put(made, name, value) {
  if (name.startsWith("on") || name === "style") throw new TypeError(`no attribute of ours: ${name}`);
  if (ADDRESSES.has(name) && !OWN.test(value)) throw new TypeError("no address of ours");
  made.setAttribute(name, value === true ? "" : plain(String(value)));
}

function isThere(value) {
  return value !== null && value !== undefined && value !== false && value !== "";
}

function node(value) {
  return value instanceof Node ? value : document.createTextNode(plain(String(value)));
}
