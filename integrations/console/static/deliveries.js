// Deliveries: what was told to whom, what failed, and sending it once more, one or all of a stretch of time.

import { get, post, query } from "./api.js";
import { el, fill } from "./elements.js";
import { endpointsCard } from "./endpoints.js";
import * as keys from "./keys.js";
import { attemptsOf, outcomeOf, replayButton, stateOf } from "./told.js";
import { clock, instant } from "./times.js";
import { statusMark } from "./words.js";

const PAGE = 50;
const EVERY_MS = 5000;
const GROUPS = { all: ["All", []], waiting: ["Waiting or failing", ["pending"]], failed: ["Failed", ["exhausted", "gone"]], delivered: ["Delivered", ["delivered"]] };

export function showDeliveries(main, context) {
  if (!context.may("operate")) return void fill(main, el("h1", {}, "Deliveries"), el("p.card", {}, "This key may not see deliveries (scope “operate”)."));
  const stop = new AbortController();
  const page = new Page(context, stop.signal);
  fill(main, el("div.title", {}, el("h1", {}, "Deliveries")), page.controls, page.said, page.table, page.more, el("div.below", {}, endpointsCard(context, stop.signal, () => page.look()), page.range));
  page.start();
  return () => stop.abort();
}

class Page {
  #context;
  #signal;
  #group = "all";
  #cursors = [null];
  #body = el("tbody");

  constructor(context, signal) {
    [this.#context, this.#signal] = [context, signal];
    this.controls = el("div.controls", {}, el("fieldset.segments", {}, el("legend.heard", {}, "Which deliveries"), Object.entries(GROUPS).map(([value, [text]]) => el("label", {}, el("input", { type: "radio", name: "state", value, checked: value === "all", on: { change: () => this.#choose(value) } }), el("span", {}, text)))));
    this.said = el("p.said", { role: "status" });
    this.table = el("div.wide", { tabindex: "0", role: "region", "aria-label": "Deliveries" }, el("table.quiet.spread", {}, el("thead", {}, el("tr", {}, ["Status", "Event", "To", "Job", "What came of it", "Since", "Again"].map((name) => el("th", { scope: "col" }, name)))), this.#body));
    this.more = el("button", { type: "button", hidden: true, on: { click: () => this.#next() } }, "Earlier ones");
    this.range = this.#rangeForm();
  }

  start() {
    const timer = setInterval(() => this.#isQuiet && this.#fetch(null, true, { unasked: true }), EVERY_MS);
    this.#signal.addEventListener("abort", () => clearInterval(timer));
    keys.onThisPage({ f: [() => this.#choose("failed"), "Those that failed"], a: [() => this.#choose("all"), "All deliveries"] });
    this.look();
  }

  /** Nobody looks into an attempt, or has turned a page: rows may change under the eyes. */
  get #isQuiet() {
    return document.visibilityState === "visible" && this.#cursors.length === 1 && !this.#body.querySelector("details[open]") && !this.#body.contains(document.activeElement);
  }

  async look() {
    await this.#fetch(null, true);
  }

  #choose(group) {
    this.#group = group;
    this.controls.querySelector(`[value="${group}"]`).checked = true;
    this.#cursors = [null];
    this.look();
  }

  async #next() {
    const cursor = this.more.dataset.cursor;
    this.#cursors.push(cursor);
    await this.#fetch(cursor, false);
  }

  async #fetch(cursor, isFirst, { unasked = false } = {}) {
    try {
      const page = await get(`/v1/deliveries?${query({ status: GROUPS[this.#group][1], cursor, limit: PAGE })}`, { signal: this.#signal });
      if (unasked && !this.#isQuiet) return; // somebody has opened an attempt while this was on its way
      const rows = page.items.map((one) => this.#row(one));
      if (isFirst) fill(this.#body, rows.length ? rows : el("tr", {}, el("td", { colspan: 7 }, "None.")));
      else this.#body.append(...rows);
      this.more.hidden = !page.next;
      this.more.dataset.cursor = page.next ?? "";
      fill(this.said);
    } catch (problem) {
      if (!this.#signal.aborted) fill(this.said, problem.message);
    }
  }

  #row(one) {
    return el("tr", { "data-id": one.id }, el("td", {}, statusMark(one.status, stateOf(one))), el("td", {}, one.event_type), el("td", {}, one.endpoint),
      el("td", {}, one.job_id ? el("a", { href: `#/jobs/${one.job_id}` }, "Case", el("span.heard", {}, ` ${one.job_id}`)) : "test"),
      el("td", {}, outcomeOf(one), attemptsOf(one, this.#context)), el("td", {}, el("time", { datetime: one.created_at }, clock(one.created_at))),
      el("td", {}, replayButton(one, this.#context, () => this.look())));
  }

  #rangeForm() {
    const day = 86400e3;
    const since = el("input", { type: "datetime-local", id: "since", required: true, value: local(Date.now() - day) });
    const until = el("input", { type: "datetime-local", id: "until", required: true, value: local(Date.now() + 60e3) });
    const said = el("p.said", { role: "status" });
    const send = async (event) => {
      event.preventDefault();
      try {
        const { count, more } = await post("/v1/deliveries/replay", { since: instant(since.value), until: instant(until.value) });
        fill(said, `${count} ${count === 1 ? "is" : "are"} due again${more ? "; there are more, ask once more" : ""}.`);
        this.look();
      } catch (problem) {
        fill(said, problem.message);
      }
    };
    return el("form.card.range", { on: { submit: send } }, el("h2", {}, "Replay what failed"), el("p.hint", {}, "All deliveries of that time that were given up, under their old ids, the oldest first."),
      el("div.fields", {}, el("label", { for: "since" }, "Since"), since, el("label", { for: "until" }, "Until"), until), el("button", {}, "Replay them"), said);
  }
}

function local(ms) {
  return new Date(ms - new Date(ms).getTimezoneOffset() * 60e3).toISOString().slice(0, 16);
}
