// Workers: who works, how many of its slots are taken, and how the queue was in the last hour.

import { get } from "./api.js";
import { chart } from "./chart.js";
import { el, fill } from "./elements.js";
import { heardTime, serverNow, span } from "./times.js";
import { PRIORITIES } from "./words.js";

const EVERY_MS = 5000;

export function showWorkers(main, context) {
  if (!context.may("read") && !context.may("operate")) return void fill(main, el("h1", {}, "Workers"), el("p.card", {}, "This key may not see workers (scopes “read”, “operate”)."));
  const stop = new AbortController();
  const [said, devices, queue, charts] = [el("p.said", { role: "status" }), el("div.devices"), el("div"), el("div.charts")];
  fill(main, el("div.title", {}, el("h1", {}, "Workers and queue")), said, devices, queue, charts);
  const look = async () => {
    if (document.visibilityState === "hidden") return;
    try {
      const [status, history] = await Promise.all(["/v1/status", "/v1/status/history"].map((path) => get(path, { signal: stop.signal })));
      heardTime(status.at);
      fill(said);
      fill(devices, status.workers.length ? status.workers.map(device) : el("p.card", {}, "No worker is alive. Jobs wait; “pathlane worker” starts one."));
      fill(queue, queueTable(status));
      drawCharts(charts, history);
    } catch (problem) {
      if (!stop.signal.aborted) fill(said, problem.message);
    }
  };
  look();
  const timer = setInterval(look, EVERY_MS);
  stop.signal.addEventListener("abort", () => clearInterval(timer));
  return () => stop.abort();
}

function device(worker) {
  const text = `${worker.running} of ${worker.slots} slots taken`;
  const slots = Array.from({ length: Math.min(worker.slots, 64) }, (_, number) => el(number < worker.running ? "span.slot.taken" : "span.slot"));
  return el("section.card.device", { "aria-label": `${worker.host}, ${worker.device}` }, el("h2", {}, worker.device), el("p.hint", {}, `${worker.host}, process ${worker.pid}`),
    el("div.slots", { role: "img", "aria-label": text }, slots), el("p", {}, text), el("p.hint", {}, worker.model),
    el("p.hint", {}, `up ${span((serverNow() - Date.parse(worker.started_at)) / 1000)}, heard ${span((serverNow() - Date.parse(worker.seen_at)) / 1000)} ago`));
}

function queueTable({ queue, deliveries }) {
  return el("div.card", {}, el("h2", {}, "Now"), el("table.quiet", {},
    el("thead", {}, el("tr", {}, ["Priority", "Waiting", "Oldest", "Being read"].map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, Object.entries(PRIORITIES).map(([priority, name]) => {
      const { queued, oldest_seconds: oldest, running } = queue[priority];
      return el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, String(queued)), el("td", {}, oldest === null ? "–" : span(oldest)), el("td", {}, String(running)));
    }))),
    el("p.hint", {}, `Deliveries: ${deliveries.due} due, ${deliveries.failing} failing, ${deliveries.exhausted} given up.`));
}

function drawCharts(element, { items }) {
  const times = items.map((sample) => sample.at);
  const lines = (what) => Object.entries(PRIORITIES).map(([kind, name]) => ({ kind, name, values: items.map((sample) => sample.queue[kind][what]) }));
  fill(element,
    chart({ title: "Waiting", times, lines: lines("queued"), least: 10, told: (count) => String(Math.round(count * 10) / 10) }),
    chart({ title: "Age of the oldest", times, lines: lines("oldest_seconds"), least: 60, told: span }));
}
