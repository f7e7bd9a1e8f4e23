// Rows: a table that may be ten thousand rows long, of which only those near the window are in the document. All rows
// are equally high (the style sheet says how high), so where a row is follows from its number.

import { el } from "./elements.js";

const AROUND = 12;

export class Rows {
  #table;
  #body;
  #before = el("tr.space", { "aria-hidden": "true" });
  #after = el("tr.space", { "aria-hidden": "true" });
  #drawn = new Map();
  #items = [];
  #make;
  #update;
  #frame = 0;

  /** `make(item)` gives a `<tr>`; `update(tr, item)` makes it say what the item says now. */
  constructor(table, { make, update, seen }) {
    this.#table = table;
    this.#body = table.tBodies[0];
    this.#make = make;
    this.#update = update;
    this.seen = seen;
    this.#body.append(this.#before, this.#after);
    addEventListener("scroll", this.#later, { passive: true });
    addEventListener("resize", this.#later, { passive: true });
  }

  close() {
    removeEventListener("scroll", this.#later);
    removeEventListener("resize", this.#later);
    cancelAnimationFrame(this.#frame);
  }

  get items() {
    return this.#items;
  }

  set items(items) {
    this.#items = items;
    this.#table.setAttribute("aria-rowcount", items.length + 1);
    this.draw();
  }

  /** Those in the window now. */
  get inSight() {
    const [from, to] = this.#range(0);
    return this.#items.slice(from, to);
  }

  row(id) {
    return this.#drawn.get(id);
  }

  /** Bring a row into the window, and the keyboard to it. */
  focus(index) {
    const item = this.#items[index];
    if (!item) return;
    this.#scrollTo(index);
    this.draw();
    this.#drawn.get(item.id)?.querySelector("a")?.focus({ preventScroll: true });
  }

  draw() {
    const height = this.#height; // asked once, before anything changes: each question costs a layout
    const [from, to] = this.#range(AROUND, height);
    const wanted = this.#items.slice(from, to);
    const ids = new Set(wanted.map((item) => item.id));
    const focused = document.activeElement?.closest?.("tr")?.dataset.id;
    for (const [id, row] of this.#drawn) if (!ids.has(id) && id !== focused) this.#drop(id, row);
    let last = this.#before;
    for (const [offset, item] of wanted.entries()) {
      const row = this.#drawn.get(item.id) ?? this.#made(item);
      this.#update(row, item);
      row.setAttribute("aria-rowindex", from + offset + 2);
      if (last.nextElementSibling !== row) last.after(row);
      last = row;
    }
    this.#space(from * height, (this.#items.length - from - wanted.length) * height);
    if (focused && !document.activeElement?.closest("tr")) this.#drawn.get(focused)?.querySelector("a")?.focus({ preventScroll: true });
    this.seen?.(to);
  }

  #made(item) {
    const row = this.#make(item);
    row.dataset.id = item.id;
    this.#drawn.set(item.id, row);
    return row;
  }

  #drop(id, row) {
    row.remove();
    this.#drawn.delete(id);
  }

  #later = () => {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.draw());
  };

  #space(above, below) {
    for (const [row, height] of [[this.#before, above], [this.#after, below]]) {
      row.style.height = `${height}px`;
      row.hidden = height === 0;
    }
  }

  get #height() {
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    return parseFloat(getComputedStyle(this.#table).getPropertyValue("--row")) * rem;
  }

  get #top() {
    return this.#body.getBoundingClientRect().top + scrollY;
  }

  #range(around, height = this.#height) {
    const from = Math.floor((scrollY - this.#top) / height) - around;
    const count = Math.ceil(innerHeight / height) + 2 * around;
    return [Math.max(0, from), Math.max(0, Math.min(this.#items.length, from + count))];
  }

  #scrollTo(index) {
    const margin = 3 * this.#height;
    const top = this.#top + index * this.#height;
    if (top < scrollY + margin) scrollTo({ top: top - margin });
    else if (top + this.#height > scrollY + innerHeight - margin) scrollTo({ top: top + this.#height - innerHeight + margin });
  }
}
