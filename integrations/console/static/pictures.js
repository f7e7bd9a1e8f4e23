// Pictures: what the model was shown, one large and all of them small, and where on the slide each of them lies.

import { el, fill, svg } from "./elements.js";
import { Viewer } from "./viewer.js";

/** Of patches as the API gives them with their `url`: the element, and the keys it understands. */
export function pictures(patches) {
  const page = new Pictures(patches);
  return { element: page.element, keys: page.keys };
}

class Pictures {
  #patches;
  #viewer = new Viewer();
  #said = el("p.where", { "aria-live": "polite" });
  #map = el("div.map");
  #strip;
  #chosen = 0;

  constructor(patches) {
    this.#patches = patches;
    this.#strip = el("ol.strip", { "aria-label": "Patches" }, patches.map((patch, number) => el("li", {}, this.#thumbnail(patch, number))));
    this.element = el("section.pictures", { "aria-label": "What the model saw" }, this.#viewer.element, el("div.under", {}, el("div", {}, this.#said, patches.length > 1 && this.#strip), this.#map));
    this.#choose(0);
  }

  get keys() {
    return {
      "[": [() => this.#choose(this.#chosen - 1), "Picture before"], "]": [() => this.#choose(this.#chosen + 1), "Next picture"],
      "+": [() => this.#viewer.zoom(1.4), "Larger"], "-": [() => this.#viewer.zoom(1 / 1.4), "Smaller"], 0: [() => this.#viewer.fit(), "Show all of it"],
      i: [() => this.#viewer.frame.focus(), "To the picture: arrows move it"],
    };
  }

  #choose(number) {
    const count = this.#patches.length;
    if (!count) return;
    this.#chosen = (number + count) % count;
    const patch = this.#patches[this.#chosen];
    this.#viewer.show({ ...patch, text: nameOf(patch, this.#chosen, count) }, patch.part === "overview" ? this.#boxes(patch.image, patch.width, patch.height) : []);
    fill(this.#said, el("strong", {}, nameOf(patch, this.#chosen, count)), whereOf(patch), patch.url ? null : "Its picture was not kept.");
    this.#drawMap(patch);
    for (const [at, item] of [...this.#strip.children].entries()) {
      if (at === this.#chosen) item.firstChild.setAttribute("aria-current", "true");
      else item.firstChild.removeAttribute("aria-current");
    }
  }

  /** Where the chosen patch lies: on the overview where there is one, else on a blank of the slide's shape. */
  #drawMap(patch) {
    const overview = this.#patches.find((one) => one.image === patch.image && one.part === "overview");
    const size = patch.slide_size;
    this.#map.hidden = !size || patch === overview; // the overview says it itself
    if (this.#map.hidden) return fill(this.#map);
    const [width, height] = overview ? [overview.width, overview.height] : size;
    const base = overview?.url ? svg("image", { href: overview.url, width, height }) : svg("rect", { class: "blank", width, height });
    fill(this.#map, svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "Where the patches lie on the slide" }, base, this.#boxes(patch.image, width, height)));
  }

  /** A box for each patch of the image, in the pixels of what is `width` and `height` large; a press shows it. */
  #boxes(image, width, height) {
    return this.#patches.flatMap((patch, number) => {
      if (patch.image !== image || patch.part === "overview" || !patch.region || !patch.slide_size) return [];
      const [kx, ky] = [width / patch.slide_size[0], height / patch.slide_size[1]];
      const [x, y, w, h] = patch.region;
      const at = { x: x * kx, y: y * ky, width: Math.max(w * kx, width / 200), height: Math.max(h * ky, width / 200) };
      const name = nameOf(patch, number, this.#patches.length);
      return [svg("g", {
        class: number === this.#chosen ? "box chosen" : "box", "data-patch": number, role: "button", tabindex: "0", "aria-label": `Show ${name}`,
        on: { click: () => this.#choose(number), keydown: (event) => (event.key === "Enter" || event.key === " ") && (event.preventDefault(), this.#choose(number)) },
      }, svg("rect", { class: "under-line", ...at }), svg("rect", { class: "line", ...at }))];
    });
  }

  #thumbnail(patch, number) {
    const name = nameOf(patch, number, this.#patches.length);
    const inside = patch.url ? el("img", { src: patch.url, alt: "", width: 72, height: 72, loading: "lazy", decoding: "async" }) : el("span.blank", {}, "not kept");
    return el("button.thumbnail", { type: "button", "aria-label": name, title: name, on: { click: () => this.#choose(number) } }, inside, el("span", { "aria-hidden": "true" }, number + 1));
  }
}

function nameOf(patch, number, count) {
  const part = { overview: "overview", window: "window", region: "region" }[patch.part] ?? (patch.region ? "region" : "image");
  return count === 1 ? `The ${part} the model saw` : `Patch ${number + 1} of ${count}: ${part}`;
}

function whereOf(patch) {
  const at = patch.region && patch.part !== "overview" ? `at ${patch.region[0]}, ${patch.region[1]}, ${patch.region[2]} × ${patch.region[3]} of ${patch.slide_size ? `${patch.slide_size[0]} × ${patch.slide_size[1]}` : "the image’s"} pixels` : "";
  const fine = patch.spacing ? `${patch.spacing.toFixed(2)} µm/pixel` : "";
  const covered = typeof patch.tissue_covered === "number" && patch.part === "overview" ? `the windows cover ${Math.round(patch.tissue_covered * 100)} % of the tissue` : "";
  return el("span", {}, [`${patch.width} × ${patch.height} pixels`, at, fine, covered].filter(Boolean).join(" · "));
}
