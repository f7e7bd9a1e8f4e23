// Summary: one line of what waits and who works, for the head of the worklist.

import { get } from "./api.js";
import { el, fill } from "./elements.js";
import { heardTime, span } from "./times.js";
import { PRIORITIES } from "./words.js";

const EVERY_MS = 5000;

export function summaryOf(context) {
  const element = el("dl.summary", { "aria-label": "Queue" });
  async function look() {
    if (document.visibilityState === "hidden") return;
    const status = await get("/v1/status").catch(() => null);
    if (status) draw(element, status);
  }
  return {
    element,
    start(signal) {
      look();
      const timer = setInterval(look, EVERY_MS);
      let isAsked = false;
      context.live.addEventListener("job", () => {
        if (isAsked) return;
        isAsked = true;
        setTimeout(() => ((isAsked = false), signal.aborted || look()), 1500);
      }, { signal });
      signal.addEventListener("abort", () => clearInterval(timer));
    },
  };
}

function draw(element, status) {
  heardTime(status.at);
  const waiting = Object.entries(PRIORITIES).map(([priority, name]) => {
    const { queued, oldest_seconds: oldest } = status.queue[priority];
    return pair(name, queued ? `${queued}, oldest ${span(oldest ?? 0)}` : "0");
  });
  const [running, slots] = ["running", "slots"].map((what) => status.workers.reduce((sum, worker) => sum + worker[what], 0));
  fill(element, waiting, pair("Slots", slots ? `${running} of ${slots}` : "no worker"));
}

function pair(name, text) {
  return el("div", {}, el("dt", {}, name), el("dd", {}, text));
}
