// Facts: names and what they are, one under the other.

import { el } from "./elements.js";

export function factList(facts, kind = "dl.facts") {
  return el(kind, {}, facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}
