// A case: what the model saw, what it was asked, what it wrote and answered, what people say about it, where it was
// told, and everything needed to trace it. The reading never changes; events bring what does.

import { get, post } from "./api.js";
import { el, fill } from "./elements.js";
import { factList } from "./facts.js";
import * as keys from "./keys.js";
import { pictures } from "./pictures.js";
import { provenance } from "./provenance.js";
import { reviewing } from "./review.js";
import { clock, due, span } from "./times.js";
import { deliveriesOf } from "./told.js";
import { order, outcomeText, priorityMark, sender, statusMark } from "./words.js";

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const RESEARCH = "Research use only: not for diagnosis.";
const LOOK_AGAIN_MS = 4000;

export function showCase(main, context, id) {
  const stop = new AbortController();
  const page = new Case(main, context, id, stop.signal);
  page.start();
  return () => stop.abort();
}

class Case {
  #main;
  #context;
  #id;
  #signal;
  #drawn = "";
  #isAsking = false;
  #told = el("section.card.told", { "aria-labelledby": "told-title" });

  constructor(main, context, id, signal) {
    [this.#main, this.#context, this.#id, this.#signal] = [main, context, id, signal];
  }

  start() {
    const { live } = this.#context;
    fill(this.#main, el("h1", {}, "Case"), el("p.said", { role: "status" }, "Fetching…"));
    live.addEventListener("job", (event) => event.detail.id === this.#id && this.look(), { signal: this.#signal });
    live.addEventListener("reset", () => this.look(), { signal: this.#signal });
    const timer = setInterval(() => this.#isWaiting && document.visibilityState === "visible" && this.look(), LOOK_AGAIN_MS);
    this.#signal.addEventListener("abort", () => clearInterval(timer));
    this.#keys({});
    this.look();
  }

  get #isWaiting() {
    return this.#job?.deliveries.some((one) => one.status === "pending") ?? false;
  }

  #job = null;

  async look() {
    if (this.#isAsking) return;
    this.#isAsking = true;
    try {
      this.#job = await get(`/v1/jobs/${this.#id}`, { signal: this.#signal });
      await this.#draw();
    } catch (problem) {
      if (!this.#signal.aborted && !this.#drawn) fill(this.#main, el("h1", {}, "Case"), el("p.card", { role: "alert" }, problem.status === 404 ? "There is no such job." : problem.message));
    } finally {
      this.#isAsking = false;
    }
  }

  /** Only what changed is drawn anew: somebody may be writing a review, or looking closely. */
  async #draw() {
    const job = this.#job;
    const state = [job.status, job.attempt, job.cancel_requested, Boolean(job.reading)].join(" ");
    if (state !== this.#drawn) {
      const kept = job.reading ? await get(`/v1/jobs/${this.#id}/reading`, { signal: this.#signal }) : null;
      this.#drawn = state;
      this.#whole(job, kept?.pictures ?? []);
    }
    fill(this.#told, deliveriesOf(job.deliveries, this.#context, () => this.look()));
  }

  #whole(job, patches) {
    const seen = job.reading ? pictures(patches) : null;
    const review = job.reading ? reviewing(job, this.#context, this.#signal) : null;
    fill(
      this.#main,
      this.#head(job),
      el("p.notice", {}, noticeOf(job.reading)),
      el("div.case", {},
        seen?.element ?? el("section.card.pictures.empty", { "aria-label": "What the model saw" }, el("p", {}, waitingText(job))),
        el("div.text", {}, question(job), job.reading ? reading(job) : ending(job), review?.element)),
      el("div.below", {}, this.#told, about(job), job.reading && provenance(job.reading)),
    );
    this.#keys({ ...seen?.keys, ...review?.keys });
  }

  #head(job) {
    const { may } = this.#context;
    const isOpen = ["queued", "running"].includes(job.status);
    return el("div.title", {},
      el("div", {},
        el("h1", {}, ["Case", order(job)].filter(Boolean).join(" ")),
        el("p.state", {}, priorityMark(job.priority), statusMark(job.status, job.cancel_requested && isOpen ? "being taken back" : job.status), el("span", {}, sender(job)), el("time", { datetime: job.created_at }, clock(job.created_at)))),
      (may("submit") || may("operate")) && el("div.actions", {},
        isOpen && !job.cancel_requested && el("button", { type: "button", on: { click: () => this.#cancel() } }, "Take back"),
        el("button", { type: "button", on: { click: (event) => this.#rerun(event.target) } }, "Read again"),
        el("span.said", { role: "status", id: "did" })));
  }

  async #cancel() {
    await this.#do(() => post(`/v1/jobs/${this.#id}/cancel`), "It is taken back.");
    this.look();
  }

  async #rerun(button) {
    button.disabled = true; // one press, one job; the key makes a second press the same
    const again = await this.#do(() => post(`/v1/jobs/${this.#id}/rerun`, {}, { headers: { "Idempotency-Key": crypto.randomUUID() } }), "It is read again.");
    if (again) this.#context.go(`#/jobs/${again.id}`);
    else button.disabled = false;
  }

  async #do(deed, text) {
    const said = this.#main.querySelector("#did");
    try {
      const done = await deed();
      fill(said, text);
      return done;
    } catch (problem) {
      fill(said, problem.message);
      return null;
    }
  }

  #keys(others) {
    keys.onThisPage({ u: [() => this.#context.go("#/"), "Back to the worklist"], ...others });
  }
}

/** The model's own notice, and always what every reading is. */
function noticeOf(reading) {
  const own = reading?.provenance.notice ?? "";
  return own.includes(RESEARCH) ? own : `${own} ${RESEARCH}`.trim();
}

function waitingText(job) {
  return {
    queued: "It waits for a worker. What the model is shown is seen here once it has been read.",
    running: "A worker reads it now.",
    failed: "Nothing was shown to a model, or it was not kept.",
    cancelled: "It was taken back before a model was asked.",
  }[job.status] ?? "";
}

function question(job) {
  const choice = job.reading?.choice;
  const options = job.options.map((text, number) => {
    const letter = LETTERS[number];
    const isChosen = letter === choice;
    return el(isChosen ? "li.chosen" : "li", { "aria-current": isChosen ? "true" : null }, el("span.letter", {}, letter), el("span.words", { dir: "auto" }, text), isChosen && el("span.mark", {}, "the model’s choice"));
  });
  return el("section.question", { "aria-labelledby": "question-title" },
    el("h2", { id: "question-title" }, "Question"),
    el("p.words.asked", { dir: "auto" }, job.question),
    options.length > 0 && el("ol.options", {}, options));
}

function reading(job) {
  const { reading: found } = job;
  const isAnswered = found.outcome === "answered";
  return el("div.reading", {},
    el("section.reasoning", { "aria-labelledby": "reasoning-title" },
      el("h2", { id: "reasoning-title" }, "Reasoning"),
      found.reasoning ? el("p.words", { dir: "auto" }, found.reasoning) : el("p.none", {}, "None was written."),
      !isAnswered && found.raw_text && el("details", {}, el("summary", {}, "Everything the model wrote"), el("p.words", { dir: "auto" }, found.raw_text))),
    el("section.answer", { "aria-labelledby": "answer-title" },
      el("h2", { id: "answer-title" }, "Answer"),
      isAnswered ? el("p.words.answered", { dir: "auto" }, found.answer) : el("p.none", {}, outcomeText(found.outcome)),
      el("p.hint", {}, `${found.provenance.model} · ${took(job)}`)));
}

function took(job) {
  return job.finished_at ? `${span((Date.parse(job.finished_at) - Date.parse(job.created_at)) / 1000)} after it came` : "";
}

function ending(job) {
  if (!job.error) return null;
  return el("section.reading.failed", { "aria-labelledby": "failed-title" },
    el("h2", { id: "failed-title" }, "No reading"),
    el("p", {}, job.error.text || job.error.code.replaceAll("_", " ")), el("p.hint", {}, `Code ${job.error.code}, attempt ${job.attempt}`));
}

function about(job) {
  const origin = job.origin;
  const facts = [
    ["Job", el("code", {}, job.id)],
    job.rerun_of && ["Reads again", el("a", { href: `#/jobs/${job.rerun_of}` }, job.rerun_of)],
    ["Came", clock(job.created_at)], job.due_at && ["Due", job.finished_at ? clock(job.due_at) : `${clock(job.due_at)}, ${due(job.due_at)}`],
    job.finished_at && ["Ended", clock(job.finished_at)], ["Asked by", job.submitter], ["Attempts", job.attempt],
    origin && ["Order", `${origin.accession}, slide ${origin.slide}`], origin && ["Sender", [origin.channel, origin.application, origin.facility].filter(Boolean).join(" · ")],
    origin && ["Protocol", origin.protocol], job.correlation_id && ["Asker’s id", job.correlation_id],
    ...Object.entries(job.labels).map(([name, value]) => [name, value]),
  ].filter(Boolean);
  return el("section.card", { "aria-labelledby": "about-title" }, el("h2", { id: "about-title" }, "Where it came from"), factList(facts));
}
