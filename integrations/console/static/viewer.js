// The viewer: one picture as large as there is room for, moved and enlarged by pointer, wheel, fingers and keys.

import { el, svg } from "./elements.js";

const STEP = 1.4;
const MOST = 24; //: screen pixels for one of the picture
const PART = 0.15;

export class Viewer {
  #box = { x: 0, y: 0, width: 1, height: 1 };
  #size = { width: 1, height: 1 };
  #pointers = new Map();
  #layer = svg("g");
  #scale = el("span.scale", { "aria-hidden": "true" });

  constructor() {
    this.svg = svg("svg", { class: "picture", role: "img", preserveAspectRatio: "xMidYMid meet" });
    this.frame = el("div.frame", { tabindex: "0", role: "group", "aria-label": "Picture: plus and minus enlarge, arrows move, 0 shows all" }, this.svg);
    this.element = el("div.viewer", {}, this.frame, el("div.tools", { role: "group", "aria-label": "Size" },
      button("−", "Smaller", () => this.zoom(1 / STEP)), this.#scale, button("+", "Larger", () => this.zoom(STEP)), button("Fit", "Show all", () => this.fit())));
    this.#listen();
  }

  /** `{url, width, height, text}`, and nodes drawn over it in its own pixels. */
  show(picture, over = []) {
    this.#size = { width: picture.width, height: picture.height };
    this.svg.setAttribute("aria-label", picture.text);
    this.svg.setAttribute("role", over.length ? "group" : "img"); // boxes can be pressed, parts of a picture cannot
    const shown = picture.url
      ? svg("image", { href: picture.url, width: picture.width, height: picture.height })
      : svg("rect", { class: "blank", width: picture.width, height: picture.height });
    this.#layer = svg("g", {}, shown, over);
    this.svg.replaceChildren(this.#layer);
    this.fit();
  }

  fit() {
    this.#show({ x: 0, y: 0, ...this.#size });
  }

  zoom(by, at) {
    const { x, y, width, height } = this.#box;
    const point = at ?? { x: x + width / 2, y: y + height / 2 };
    const least = (this.frame.clientWidth || 400) / MOST;
    const next = Math.min(Math.max(width / by, Math.min(least, this.#size.width)), this.#size.width);
    const k = next / width;
    this.#show({ x: point.x - (point.x - x) * k, y: point.y - (point.y - y) * k, width: next, height: height * k });
  }

  move(dx, dy) {
    const { x, y, width, height } = this.#box;
    this.#show({ x: x + dx * width, y: y + dy * height, width, height });
  }

  #show({ x, y, width, height }) {
    const free = (at, part, whole) => Math.min(Math.max(at, -part / 2), whole - part / 2);
    const isAll = width >= this.#size.width;
    this.#box = { x: isAll ? 0 : free(x, width, this.#size.width), y: isAll ? 0 : free(y, height, this.#size.height), width, height };
    this.svg.setAttribute("viewBox", Object.values(this.#box).join(" "));
    this.#scale.textContent = `${Math.round((this.#size.width / width) * 100)} %`;
    this.svg.classList.toggle("close", this.#onScreen() > 3);
  }

  /** Screen pixels for one of the picture. */
  #onScreen() {
    return Math.min(this.svg.clientWidth / this.#box.width, this.svg.clientHeight / this.#box.height) || 1;
  }

  #at(event) {
    const { left, top, width, height } = this.svg.getBoundingClientRect();
    const k = this.#onScreen();
    return {
      x: this.#box.x + this.#box.width / 2 + (event.clientX - left - width / 2) / k,
      y: this.#box.y + this.#box.height / 2 + (event.clientY - top - height / 2) / k,
    };
  }

  #listen() {
    const { frame } = this;
    frame.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), this.#at(event));
    }, { passive: false });
    frame.addEventListener("pointerdown", (event) => {
      if (event.button > 0) return;
      this.#pointers.set(event.pointerId, event);
      if (!event.target.closest("[data-patch]")) frame.setPointerCapture(event.pointerId);
    });
    frame.addEventListener("pointermove", (event) => this.#pointers.has(event.pointerId) && this.#dragged(event));
    for (const name of ["pointerup", "pointercancel", "pointerleave"]) frame.addEventListener(name, (event) => this.#pointers.delete(event.pointerId));
    frame.addEventListener("dblclick", (event) => this.zoom(2, this.#at(event)));
    frame.addEventListener("keydown", (event) => this.#pressed(event));
  }

  #dragged(event) {
    const before = this.#pointers.get(event.pointerId);
    const other = [...this.#pointers.values()].find((one) => one.pointerId !== event.pointerId);
    this.#pointers.set(event.pointerId, event);
    if (other) {
      const far = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
      return this.zoom(far(event) / Math.max(1, far(before)), this.#at({ clientX: (event.clientX + other.clientX) / 2, clientY: (event.clientY + other.clientY) / 2 }));
    }
    const k = this.#onScreen();
    this.move((before.clientX - event.clientX) / k / this.#box.width, (before.clientY - event.clientY) / k / this.#box.height);
  }

  #pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const deed = {
      "+": () => this.zoom(STEP), "=": () => this.zoom(STEP), "-": () => this.zoom(1 / STEP), 0: () => this.fit(),
      ArrowLeft: () => this.move(-PART, 0), ArrowRight: () => this.move(PART, 0), ArrowUp: () => this.move(0, -PART), ArrowDown: () => this.move(0, PART),
    }[event.key];
    if (!deed) return;
    event.preventDefault();
    deed();
  }
}

function button(sign, text, pressed) {
  return el("button", { type: "button", "aria-label": text === sign ? null : text, title: text, on: { click: pressed } }, sign);
}
