// Jobs: what of a list has been fetched so far, in order, and what becomes of it meanwhile. It knows no page.
//
// Two lists follow each other: open jobs as the worklist has them, then those that ended, the newest first. Each is
// fetched page by page with the API's cursors; events change rows at once, and what an event does not say (an answer,
// a due time) is asked for when the row is looked at.

import { get, post, query } from "./api.js";
import { ENDED, LEVELS, OPEN } from "./words.js";

const PAGE = 100;
const FAR = "9999";
const SUMMARY = 200;

export class Jobs {
  #rows = new Map();
  #lists;
  #filters;

  /** `filters`: {group: "all" | "open" | "ended", priority: [..], accession: ""} */
  constructor(filters) {
    this.#filters = filters;
    const groups = filters.group === "all" ? ["open", "ended"] : [filters.group];
    this.#lists = groups.map((group) => new List(group, filters));
  }

  get isComplete() {
    return this.#lists.every((list) => list.isComplete);
  }

  /** The next page. Throws Problem. */
  async more(signal) {
    const list = this.#lists.find((one) => !one.isComplete);
    if (!list) return;
    for (const job of await list.page(signal)) this.#keep(job);
  }

  /** Every row in order; `{heading, count}` before those that ended, where both are shown. */
  ordered() {
    const shown = [];
    for (const list of this.#lists) {
      const rows = [...this.#rows.values()].filter((job) => groupOf(job) === list.group && list.reaches(job)).sort(list.order);
      if (list.group === "ended" && this.#lists.length > 1 && rows.length) shown.push({ id: "ended", heading: "Ended, the newest first" });
      shown.push(...rows);
      if (!list.isComplete) break;
    }
    return shown;
  }

  /** One event. Whether anything here changed. */
  heard(event) {
    const job = this.#rows.get(event.id);
    if (!job) return this.#isNews(event) && Boolean(this.#keep(unseen(event)));
    const wasOpen = groupOf(job) === "open";
    Object.assign(job, { status: event.status, priority: event.priority, attempt: event.attempt, isStale: true });
    if (wasOpen && groupOf(job) === "ended") job.age_seconds = Math.max(0, (Date.parse(event.at) - Date.parse(job.created_at)) / 1000);
    return true;
  }

  /** What an event did not say. */
  async refresh(job, signal) {
    job.isStale = false;
    const now = await fetched(job, signal);
    if (now && this.#rows.has(job.id)) this.#keep(now);
  }

  #isNews(event) {
    const { priority, accession } = this.#filters;
    return !accession && event.change === "submitted" && (!priority.length || priority.includes(event.priority));
  }

  #keep(job) {
    const known = this.#rows.get(job.id);
    const kept = Object.assign(known ?? {}, { isStale: false, bornAt: Date.now() - job.age_seconds * 1000 }, job);
    this.#rows.set(job.id, kept);
    return kept;
  }
}

class List {
  #filters;
  #cursor = null;
  #last = null;
  isComplete = false;

  constructor(group, filters) {
    this.group = group;
    this.#filters = filters;
    this.order = group === "open" ? byUrgency : byNewest;
  }

  async page(signal) {
    const { priority, accession } = this.#filters;
    const asked = {
      status: this.group === "open" ? OPEN : ENDED, priority, order: this.group === "open" ? "worklist" : "newest",
      cursor: this.#cursor, limit: PAGE,
    };
    const page = accession
      ? await post("/v1/jobs/search", JSON.parse(JSON.stringify({ ...asked, accession, cursor: this.#cursor ?? undefined })), { signal })
      : await get(`/v1/jobs?${query(asked)}`, { signal });
    this.#cursor = page.next;
    this.isComplete = page.next === null;
    this.#last = page.items.at(-1) ?? this.#last;
    return page.items;
  }

  /** Whether the list has been fetched as far as this: what lies beyond comes with its page. */
  reaches(job) {
    return this.isComplete || (this.#last !== null && this.order(job, this.#last) <= 0);
  }
}

export function groupOf(job) {
  return ENDED.includes(job.status) ? "ended" : "open";
}

/** Seconds since it came; of one that has ended, until its end. */
export function ageOf(job) {
  return groupOf(job) === "ended" ? job.age_seconds : (Date.now() - job.bornAt) / 1000;
}

function byUrgency(a, b) {
  return LEVELS[a.priority] - LEVELS[b.priority]
    || compare(a.due_at ?? FAR, b.due_at ?? FAR) || compare(a.created_at, b.created_at) || compare(a.id, b.id);
}

function byNewest(a, b) {
  return compare(b.created_at, a.created_at) || compare(b.id, a.id);
}

function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** A job of which only an event is known. */
function unseen(event) {
  return {
    id: event.id, status: event.status, priority: event.priority, attempt: event.attempt, created_at: event.at,
    due_at: null, age_seconds: 0, question: "", answer: null, outcome: null, origin: null, submitter: "",
    correlation_id: null, error_code: null, reviews: 0, isStale: true, isUnseen: true,
  };
}

/** The row as it is now. A list of one says less than the job, and is written down as what it is: a glance. */
async function fetched(job, signal) {
  if (job.isUnseen) return summary(await get(`/v1/jobs/${job.id}`, { signal }));
  const next = new Date(Date.parse(job.created_at) + 1).toISOString();
  const { items } = await get(`/v1/jobs?${query({ created_after: job.created_at, created_before: next, limit: 1000 })}`, { signal });
  return items.find((one) => one.id === job.id);
}

function summary(job) {
  const end = job.finished_at ? Date.parse(job.finished_at) : Date.now();
  return {
    ...job, isUnseen: false, question: job.question.slice(0, SUMMARY), answer: job.reading?.answer.slice(0, SUMMARY) ?? null,
    outcome: job.reading?.outcome ?? null, choice: job.reading?.choice ?? null, error_code: job.error?.code ?? null,
    age_seconds: Math.max(0, (end - Date.parse(job.created_at)) / 1000), reading: undefined,
  };
}
