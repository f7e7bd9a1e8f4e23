// Reviews: what people say about a reading. They are added to it, and never change it.

import { get, post } from "./api.js";
import { el, fill } from "./elements.js";
import { clock } from "./times.js";

const VERDICTS = { agree: "Agree", disagree: "Disagree", correct: "Correct it" };
const SAID = { agree: "agrees", disagree: "disagrees", correct: "corrects" };
const SIGNS = { agree: "✓", disagree: "✕", correct: "✎" };

export function reviewing(job, context, signal) {
  const list = el("ol.reviews", { "aria-label": "Reviews" });
  const look = async () => draw(list, await all(job.id, signal));
  look().catch(() => {});
  context.live.addEventListener("job", (event) => event.detail.id === job.id && look().catch(() => {}), { signal });
  const form = context.may("review") ? new Form(job, context, look) : null;
  const element = el("section.review", { "aria-labelledby": "review-title" }, el("h2", { id: "review-title" }, "Review"), form?.element ?? el("p.hint", {}, "This key may not review (scope “review”)."), list);
  return { element, keys: form?.keys ?? {} };
}

class Form {
  #job;
  #context;
  #look;
  #key = crypto.randomUUID();
  #verdicts = {};

  constructor(job, context, look) {
    [this.#job, this.#context, this.#look] = [job, context, look];
    this.corrected = el("input", { id: "corrected", maxlength: 4000, autocomplete: "off", list: job.options.length ? "options" : null });
    this.comment = el("textarea", { id: "comment", maxlength: 4000, rows: 2 });
    this.said = el("p.said", { role: "status" });
    this.right = el("div.right", { hidden: true }, el("label", { for: "corrected" }, "The right answer"), this.corrected, job.options.length > 0 && el("datalist", { id: "options" }, job.options.map((text) => el("option", { value: text }))));
    this.element = el("form", { on: { submit: (event) => (event.preventDefault(), this.#send()), keydown: (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && this.#send() } },
      el("fieldset.segments", {}, el("legend.heard", {}, "Is the reading right?"), Object.entries(VERDICTS).map(([value, text]) => this.#verdict(value, text))),
      this.right, el("label", { for: "comment" }, "Comment"), this.comment,
      el("div.actions", {}, el("button.primary", {}, "Record the review"), this.said),
      el("p.hint", {}, "It is kept with your key’s name, cannot be changed, and leaves the reading as it is."));
    this.element.addEventListener("keydown", (event) => event.key === "Escape" && document.activeElement.blur());
  }

  get keys() {
    const press = (value) => [() => this.#press(value), VERDICTS[value]];
    return { y: press("agree"), n: press("disagree"), c: press("correct") };
  }

  #verdict(value, text) {
    const input = el("input", { type: "radio", name: "verdict", value, required: true, on: { change: () => this.#chosen() } });
    this.#verdicts[value] = input;
    return el("label", {}, input, el("span", {}, el("span", { "aria-hidden": "true" }, `${SIGNS[value]} `), text));
  }

  #chosen() {
    const isCorrect = this.#verdicts.correct.checked;
    this.right.hidden = !isCorrect;
    this.corrected.required = isCorrect;
  }

  #press(value) {
    this.#verdicts[value].checked = true;
    this.#chosen();
    (value === "correct" ? this.corrected : this.comment).focus();
  }

  async #send() {
    if (!this.element.reportValidity()) return;
    const verdict = Object.keys(VERDICTS).find((value) => this.#verdicts[value].checked);
    const body = { verdict, comment: this.comment.value, ...(verdict === "correct" && { corrected_answer: this.corrected.value }) };
    try {
      await post(`/v1/jobs/${this.#job.id}/reviews`, body, { headers: { "Idempotency-Key": this.#key } });
    } catch (problem) {
      return void fill(this.said, problem.message);
    }
    this.#key = crypto.randomUUID(); // a review sent twice is one review; the next is another
    this.element.reset();
    this.#chosen();
    fill(this.said, "Recorded.");
    await this.#look().catch(() => {});
  }
}

async function all(id, signal) {
  const found = [];
  let cursor = "";
  do {
    const page = await get(`/v1/jobs/${id}/reviews?limit=1000${cursor && `&cursor=${cursor}`}`, { signal });
    found.push(...page.items);
    cursor = page.next;
  } while (cursor);
  return found;
}

function draw(list, reviews) {
  fill(list, reviews.toReversed().map((one) => el("li", { "data-verdict": one.verdict },
    el("p", {}, el("span.sign", { "aria-hidden": "true" }, SIGNS[one.verdict]), el("strong", {}, one.reviewer.split(":")[1] ?? one.reviewer), ` ${SAID[one.verdict]}`, one.corrected_answer && ": ", one.corrected_answer && el("span.words", { dir: "auto" }, one.corrected_answer), " ", el("time", { datetime: one.created_at }, clock(one.created_at))),
    one.comment && el("p.words", { dir: "auto" }, one.comment))));
  list.hidden = !reviews.length;
}
