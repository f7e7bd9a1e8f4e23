// Help: which keys do what on this page.

import { el, fill } from "./elements.js";
import { areOn, listed, switchKeys } from "./keys.js";

export function fillHelp(dialog) {
  const [here, everywhere] = listed();
  const isOn = el("input", { type: "checkbox", id: "keys-on", checked: areOn(), on: { change: (e) => switchKeys(e.target.checked) } });
  fill(
    dialog,
    el("h2", { id: "help-title" }, "Keys"),
    here.length > 0 && el("h3", {}, "On this page"),
    here.length > 0 && keyList(here),
    el("h3", {}, "Everywhere"),
    keyList(everywhere),
    el("label.switch", { for: "keys-on" }, isOn, "Single keys do something"),
    el("form", { method: "dialog" }, el("button", {}, "Close")),
  );
}

function keyList(keys) {
  return el("dl.keys", {}, keys.flatMap(([key, text]) => [
    el("dt", {}, key.split(" ").map((one) => el("kbd", {}, name(one)))),
    el("dd", {}, text),
  ]));
}

function name(key) {
  return { ArrowLeft: "←", ArrowRight: "→", " ": "Space" }[key] ?? key;
}
