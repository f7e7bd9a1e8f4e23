// The worklist: STAT first, then what is due, then what is old; and below it what has ended. Events change it in place.

import { Problem } from "./api.js";
import { el, fill, say } from "./elements.js";
import { ageOf, groupOf, Jobs } from "./jobs.js";
import * as keys from "./keys.js";
import { shortened } from "./plain.js";
import { Rows } from "./rows.js";
import { summaryOf } from "./summary.js";
import { due, isLate, span } from "./times.js";
import { order, priorityMark, PRIORITIES, result, sender, statusMark } from "./words.js";

const COLUMNS = ["Priority", "Status", "Age", "Due", "From", "Order", "Question", "Answer"];
const EVERY_MS = 5000;
const TOGETHER_MS = 150;
const AHEAD = 60;
const AT_ONCE = 4;
const GROUPS = { all: "All", open: "Open", ended: "Ended" };

//: how the list was left; it holds what somebody searched for, so it stays in memory
let filters = { group: "all", priority: [], accession: "" };
let place = { id: "", scroll: 0 };

export function showWorklist(main, context) {
  if (!context.may("read")) return void fill(main, el("h1", {}, "Worklist"), el("p.card", {}, "This key may not read jobs (scope “read”)."));
  const page = new Page(context);
  fill(main, page.heading, page.controls, page.said, page.table, page.foot);
  page.start();
  return () => page.stop();
}

class Page {
  #context;
  #jobs;
  #stop = new AbortController();
  #list = new AbortController();
  #loading = null;
  #heard = [];
  #timers = [];
  #asking = 0;

  constructor(context) {
    this.#context = context;
    this.summary = summaryOf(context);
    this.heading = el("div.title", {}, el("h1", {}, "Worklist"), this.summary.element);
    this.controls = this.#controls();
    this.said = el("p.said", { role: "status" });
    this.table = el("table.list", { role: "table", "aria-label": "Jobs" }, this.#head(), el("tbody", { role: "rowgroup" }));
    this.foot = el("p.foot", { "aria-live": "off" });
    this.rows = new Rows(this.table, { make: rowOf, update: (row, job) => draw(row, job), seen: (to) => this.#seen(to) });
  }

  start() {
    const { live } = this.#context;
    const { signal } = this.#stop;
    live.addEventListener("job", (event) => this.#hear(event.detail), { signal });
    live.addEventListener("reset", () => this.#anew({ isQuiet: true }), { signal });
    this.table.addEventListener("click", (event) => this.#clicked(event), { signal });
    this.table.addEventListener("focusin", (event) => (place.id = event.target.closest("tr")?.dataset.id ?? place.id), { signal });
    this.#timers.push(setInterval(() => this.rows.draw(), EVERY_MS));
    this.summary.start(signal);
    keys.onThisPage({
      j: [() => this.#step(1), "Next job"],
      k: [() => this.#step(-1), "Job before"],
      Enter: [() => this.#step(0), "Open the job"],
      "/": [() => this.search.focus(), "Search by accession"],
      o: [() => this.#choose("group", "open"), "Open jobs"],
      e: [() => this.#choose("group", "ended"), "Jobs that ended"],
      a: [() => this.#choose("group", "all"), "All jobs"],
    });
    this.#anew({ scroll: place.scroll });
  }

  stop() {
    place.scroll = scrollY;
    this.#stop.abort();
    this.#list.abort();
    for (const timer of this.#timers) clearInterval(timer);
    this.rows.close();
  }

  #head() {
    const cells = COLUMNS.map((name) => el("th", { role: "columnheader", scope: "col", "data-column": name.toLowerCase() }, name));
    return el("thead", { role: "rowgroup" }, el("tr", { role: "row", "aria-rowindex": "1" }, cells));
  }

  #controls() {
    this.search = el("input", { id: "search", type: "search", autocomplete: "off", spellcheck: "false", value: filters.accession, placeholder: "S26-0001" });
    const search = el("form.search", { role: "search", on: { submit: (event) => { event.preventDefault(); this.#choose("accession", this.search.value.trim()); this.search.blur(); } } },
      el("label", { for: "search" }, "Accession"), this.search, el("button", {}, "Search"));
    this.search.addEventListener("input", () => this.search.value || this.#choose("accession", ""));
    this.search.addEventListener("keydown", (event) => event.key === "Escape" && this.search.blur());
    const groups = Object.entries(GROUPS).map(([value, text]) => radio("group", value, text, filters.group === value, () => this.#choose("group", value)));
    const levels = Object.entries(PRIORITIES).map(([value, text]) => check(value, text, filters.priority.includes(value), (isOn) => this.#level(value, isOn)));
    return el("div.controls", {},
      el("fieldset.segments", {}, el("legend.heard", {}, "Which jobs"), groups),
      el("fieldset.segments", {}, el("legend.heard", {}, "Priorities"), levels), search);
  }

  #level(value, isOn) {
    const others = filters.priority.filter((one) => one !== value);
    this.#choose("priority", isOn ? [...others, value] : others);
  }

  #choose(name, value) {
    filters = { ...filters, [name]: value };
    const button = this.controls.querySelector(`input[name="group"][value="${filters.group}"]`);
    if (button) button.checked = true;
    this.#anew({});
  }

  /** The list from its beginning. Quietly: what is drawn stays until the new rows are there. */
  async #anew({ scroll = 0, isQuiet = false }) {
    this.#list.abort();
    this.#list = new AbortController();
    const jobs = new Jobs(filters);
    this.#loading = null;
    this.#jobs = jobs;
    const known = isQuiet ? this.rows.items.length : Math.max(0, Math.round(scroll / 40));
    if (!isQuiet) this.rows.items = [];
    do await this.#more();
    while (jobs === this.#jobs && !this.#loading && !jobs.isComplete && jobs.ordered().length < known);
    if (scroll && jobs === this.#jobs) scrollTo(0, scroll);
  }

  /** The next page; whoever asks while it is on its way waits for the same one. */
  #more() {
    if (this.#jobs.isComplete) return Promise.resolve();
    return (this.#loading ??= this.#fetch(this.#jobs, this.#list.signal));
  }

  async #fetch(jobs, signal) {
    try {
      await jobs.more(signal);
    } catch (problem) {
      if (signal.aborted) return;
      if (!(problem instanceof Problem) && !(problem instanceof TypeError)) throw problem;
      say(this.said, `The list could not be fetched: ${problem.message}`);
      setTimeout(() => jobs === this.#jobs && !signal.aborted && ((this.#loading = null), this.#more()), EVERY_MS);
      return;
    }
    if (jobs !== this.#jobs) return;
    this.#loading = null;
    say(this.said, "");
    this.#redraw();
  }

  #redraw() {
    this.rows.items = this.#jobs.ordered();
    const count = this.rows.items.filter((item) => !item.heading).length;
    const more = this.#jobs.isComplete ? "" : ", more as you scroll";
    say(this.foot, count ? `${count} ${count === 1 ? "job" : "jobs"}${more}` : this.#jobs.isComplete ? nothing() : "");
  }

  #seen(to) {
    if (!this.#jobs) return;
    if (to > this.rows.items.length - AHEAD) this.#more();
    this.#lookAfterStale();
  }

  #lookAfterStale() {
    for (const job of this.rows.inSight) {
      if (this.#asking >= AT_ONCE) return;
      if (!job.isStale) continue;
      this.#asking += 1;
      const jobs = this.#jobs;
      jobs.refresh(job, this.#list.signal).catch(() => {}).finally(() => {
        this.#asking -= 1;
        if (jobs === this.#jobs && !this.#stop.signal.aborted) this.#redraw();
      });
    }
  }

  /** Events come in bursts: they are drawn together. */
  #hear(event) {
    this.#heard.push(event);
    if (this.#heard.length === 1) setTimeout(() => this.#apply(), TOGETHER_MS);
  }

  #apply() {
    const heard = this.#heard.splice(0);
    if (this.#stop.signal.aborted || !this.#jobs) return;
    const stat = heard.filter((one) => one.priority === "stat" && one.change === "submitted").length;
    if (stat) this.#context.tell(stat === 1 ? "A new STAT case." : `${stat} new STAT cases.`);
    const changed = heard.map((one) => this.#jobs.heard(one)).some(Boolean);
    if (changed) this.#redraw();
  }

  #clicked(event) {
    const row = event.target.closest("tr[data-id]");
    const isChosen = String(getSelection()).length > 0;
    if (row && !isChosen && !event.target.closest("a")) row.querySelector("a")?.click();
  }

  #step(by) {
    const items = this.rows.items;
    const now = items.findIndex((item) => item.id === place.id);
    let next = now < 0 ? 0 : now + by;
    if (items[next]?.heading) next += by || 1;
    if (!items[next]) return;
    if (by === 0 && now >= 0) return this.#context.go(`#/jobs/${items[next].id}`);
    this.rows.focus(next);
  }
}

function nothing() {
  if (filters.accession || filters.priority.length) return "No job matches.";
  return { open: "Nothing waits.", ended: "Nothing has ended yet.", all: "No job yet. “pathlane submit tile.png --question …” asks the first." }[filters.group];
}

function radio(name, value, text, isOn, chosen) {
  return el("label", {}, el("input", { type: "radio", name, value, checked: isOn, on: { change: chosen } }), el("span", {}, text));
}

function check(value, text, isOn, changed) {
  return el("label", {}, el("input", { type: "checkbox", value, checked: isOn, on: { change: (event) => changed(event.target.checked) } }), el("span", {}, text));
}

function rowOf(item) {
  if (item.heading) return el("tr.between", { role: "row" }, el("th", { role: "rowheader", scope: "rowgroup", colspan: COLUMNS.length }, item.heading));
  const cells = COLUMNS.map((name) => el("td", { role: "cell", "data-column": name.toLowerCase() }));
  cells[6].append(el("a", { href: `#/jobs/${item.id}` }));
  return el("tr", { role: "row" }, cells);
}

function draw(row, job) {
  if (job.heading) return;
  const [priority, status, age, wanted, from, origin, question, answer] = row.cells;
  if (row.dataset.state !== `${job.priority} ${job.status}`) {
    row.dataset.state = `${job.priority} ${job.status}`;
    row.dataset.group = groupOf(job);
    fill(priority, priorityMark(job.priority));
    fill(status, statusMark(job.status));
  }
  say(age, span(ageOf(job)));
  say(wanted, groupOf(job) === "open" ? due(job.due_at) : "");
  wanted.classList.toggle("late", groupOf(job) === "open" && isLate(job.due_at));
  say(from, sender(job));
  say(origin, order(job));
  say(question.firstChild, shortened(job.question, 200) || "Open the job");
  say(answer, shortened(result(job), 200));
  answer.classList.toggle("none", job.outcome !== "answered");
}
