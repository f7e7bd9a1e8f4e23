// Words: statuses, priorities and outcomes as the console shows them: always a word, never a colour alone.

import { el } from "./elements.js";

export const OPEN = ["queued", "running"];
export const ENDED = ["succeeded", "failed", "cancelled"];
export const LEVELS = { stat: 0, urgent: 1, routine: 2 };
export const PRIORITIES = { stat: "STAT", urgent: "Urgent", routine: "Routine" };

const SIGNS = {
  queued: "○", running: "◐", succeeded: "●", failed: "✕", cancelled: "–",
  pending: "○", delivered: "●", exhausted: "✕", gone: "✕", dropped: "–",
  active: "●", paused: "‖",
};

const OUTCOMES = {
  answered: "Answered",
  unparsed: "No answer: the model did not keep to the format",
  truncated: "No answer: the model ran into its token limit",
  deadline: "No answer: the model ran out of time",
  cancelled: "No answer: the job was taken back",
  no_tissue_found: "No answer: no tissue was found on the slide",
};

const BRIEF = {
  unparsed: "not in the format", truncated: "cut at the limit", deadline: "out of time",
  cancelled: "taken back", no_tissue_found: "no tissue found",
};

export function priorityMark(priority) {
  return el("span.priority", { "data-priority": priority }, PRIORITIES[priority] ?? priority);
}

export function statusMark(status, word = status) {
  return el("span.status", { "data-status": status }, el("span.sign", { "aria-hidden": "true" }, SIGNS[status] ?? "·"), word);
}

export function outcomeText(outcome) {
  return OUTCOMES[outcome] ?? `No answer: ${outcome}`;
}

/** What came of a job, in a few words: its answer, or why there is none. */
export function result(job) {
  if (job.answer) return job.answer;
  if (job.outcome && job.outcome !== "answered") return BRIEF[job.outcome] ?? job.outcome;
  if (job.status === "failed") return (job.error_code ?? "failed").replaceAll("_", " ");
  return "";
}

/** Where a job came from: site or sender, and its order. */
export function sender(job) {
  const origin = job.origin;
  return origin ? [origin.facility, origin.application].filter(Boolean).join(" · ") || origin.domain : job.submitter;
}

export function order(job) {
  return job.origin ? job.origin.slide || job.origin.accession : job.correlation_id ?? "";
}
