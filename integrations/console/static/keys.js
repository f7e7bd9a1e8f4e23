// Keys: one letter, or `g` and a letter, does something, unless somebody is writing. They can be switched off
// (WCAG 2.1.4), which this browser remembers.

const SWITCH = "pathlane-keys";
const PAIR_MS = 1200;
const WRITING = "input:not([type=radio], [type=checkbox]), textarea, select";
const PRESSED = "a, button, summary, input, [role=button]";

let own = new Map();
let first = "";
let firstAt = 0;
const always = new Map();

export function areOn() {
  return localStorage.getItem(SWITCH) !== "off";
}

export function switchKeys(isOn) {
  localStorage.setItem(SWITCH, isOn ? "on" : "off");
}

/** Of every page: `{"g w": [f, "Worklist"]}`. */
export function everywhere(keys) {
  for (const [key, value] of Object.entries(keys)) always.set(key, value);
}

/** Of the page that is shown now, instead of the last one's. */
export function onThisPage(keys) {
  own = new Map(Object.entries(keys));
}

/** [key, what it does] of this page, then of every page. */
export function listed() {
  return [[...own], [...always]].map((part) => part.map(([key, [, text]]) => [key, text]));
}

export function listen() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (!areOn() || event.target.closest(WRITING) || document.querySelector("dialog[open]")) return;
    if (["Enter", " "].includes(event.key) && event.target.closest(PRESSED)) return; // it presses what has the focus
    const isPair = first && event.timeStamp - firstAt < PAIR_MS;
    const found = find((isPair ? `${first} ` : "") + event.key) ?? find(event.key);
    first = event.key === "g" ? "g" : "";
    firstAt = event.timeStamp;
    if (!found) return;
    event.preventDefault();
    found[0](event);
  });
}

function find(key) {
  return own.get(key) ?? always.get(key);
}
