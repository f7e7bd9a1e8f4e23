// Charts: a few lines over time, small. Each line is told from the others by its dashes and its name at its end, and
// everything a chart shows is said in words beside it.

import { el, svg } from "./elements.js";
import { clock } from "./times.js";

const WIDTH = 560;
const HEIGHT = 150;
const LEFT = 44;
const RIGHT = 64;
const BASE = HEIGHT - 20;
const TOP = 10;

/** `times`: instants; `lines`: [{name, kind, values}], a value may be null; `told(value)`: as people read it. */
/** `least`: what the top of the chart stands for at least. */
export function chart({ title, times, lines, told, least = 1 }) {
  const most = niceMost(Math.max(least, ...lines.flatMap((line) => line.values.map((value) => value ?? 0))));
  const x = scaleOf(times);
  const y = (value) => BASE - (value / most) * (BASE - TOP);
  const shown = svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}. ${inWords(lines, told)}` },
    [0, 0.5, 1].map((part) => [svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(most * part), y2: y(most * part) }), svg("text", { class: "tick", x: LEFT - 6, y: y(most * part) + 4, "text-anchor": "end" }, told(most * part))]).flat(),
    times.length > 1 && [svg("text", { class: "tick", x: LEFT, y: HEIGHT - 4 }, clock(times[0])), svg("text", { class: "tick", x: WIDTH - RIGHT, y: HEIGHT - 4, "text-anchor": "end" }, clock(times.at(-1)))],
    lines.map((line) => svg("path", { class: `line ${line.kind}`, d: pathOf(line.values, times, x, y) })),
    names(lines, y));
  return el("figure.card", {}, el("figcaption", {}, el("h2", {}, title), el("p.hint", {}, inWords(lines, told))), shown);
}

function scaleOf(times) {
  const [from, to] = [Date.parse(times[0] ?? 0), Date.parse(times.at(-1) ?? 1)];
  return (at) => LEFT + ((Date.parse(at) - from) / Math.max(1, to - from)) * (WIDTH - RIGHT - LEFT);
}

/** Nothing is drawn where nothing waited. */
function pathOf(values, times, x, y) {
  let isPen = false;
  return values.map((value, at) => {
    if (value === null) return (isPen = false), "";
    const step = `${isPen ? "L" : "M"}${x(times[at]).toFixed(1)} ${y(value).toFixed(1)}`;
    isPen = true;
    return step;
  }).join("");
}

/** At the ends of the lines, and never on top of each other. */
function names(lines, y) {
  const placed = lines.map((line) => ({ line, at: y(line.values.at(-1) ?? 0) + 4 })).sort((a, b) => a.at - b.at);
  for (let n = placed.length - 1; n >= 0; n -= 1) placed[n].at = Math.min(placed[n].at, n === placed.length - 1 ? BASE + 4 : placed[n + 1].at - 14);
  return placed.map(({ line, at }) => svg("text", { class: `name ${line.kind}`, x: WIDTH - RIGHT + 8, y: at }, line.name));
}

function inWords(lines, told) {
  return lines.map(({ name, values }) => `${name}: ${told(values.at(-1) ?? 0)} now, at most ${told(Math.max(0, ...values.map((value) => value ?? 0)))}`).join("; ") + ".";
}

function niceMost(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((k) => k * power).find((nice) => nice >= value);
}
