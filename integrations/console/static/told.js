// Told: deliveries, what receivers answered, and sending once more. For the case's page and the deliveries' page.

import { get, post } from "./api.js";
import { el, fill } from "./elements.js";
import { clock } from "./times.js";
import { statusMark } from "./words.js";

export function deliveriesOf(deliveries, context, changed) {
  const title = el("h2", { id: "told-title" }, "Told to");
  if (!deliveries.length) return [title, el("p.none", {}, "Nobody is told of it yet.")];
  return [title, el("ul.deliveries", {}, deliveries.map((one) => el("li", {}, el("div.line", {}, statusMark(one.status, stateOf(one)), el("span", {}, one.endpoint), el("span", {}, one.event_type), el("span", {}, outcomeOf(one)), replayButton(one, context, changed)), attemptsOf(one, context))))];
}

export function stateOf(delivery) {
  return delivery.status === "pending" && delivery.attempt > 0 ? "failing" : delivery.status;
}

export function outcomeOf(delivery) {
  const last = [delivery.http_status && `HTTP ${delivery.http_status}`, delivery.reason].filter(Boolean).join(", ");
  const next = delivery.status === "pending" ? `due ${clock(delivery.next_at)}` : delivery.delivered_at ? clock(delivery.delivered_at) : "";
  return [last, delivery.attempt > 0 && `attempt ${delivery.attempt}`, next].filter(Boolean).join(" · ");
}

export function replayButton(delivery, context, changed) {
  if (!context.may("operate")) return null;
  const button = el("button", { type: "button", on: { click: send } }, "Replay", el("span.heard", {}, ` to ${delivery.endpoint}`));
  async function send() {
    button.disabled = true;
    try {
      await post(`/v1/deliveries/${delivery.id}/replay`);
      context.tell("It is due again.");
      changed();
    } catch (problem) {
      context.tell(problem.message);
    } finally {
      button.disabled = false;
    }
  }
  return button;
}

/** What came of each attempt; fetched when it is opened, for who is given it is written down. */
export function attemptsOf(delivery, context) {
  if (!context.may("operate")) return null;
  const inside = el("div.attempts");
  return el("details", { on: { toggle: (event) => event.target.open && look() } }, el("summary", {}, "Attempts", el("span.heard", {}, ` of ${delivery.endpoint}, ${delivery.event_type}`)), inside);

  async function look() {
    try {
      const { items } = await get(`/v1/deliveries/${delivery.id}/attempts`);
      fill(inside, items.length ? el("ol", {}, items.map(attempt)) : el("p.none", {}, "None yet."));
    } catch (problem) {
      fill(inside, el("p", { role: "alert" }, problem.message));
    }
  }
}

function attempt(one) {
  return el("li", {}, el("p", {}, `${clock(one.at)}: `, [one.http_status && `HTTP ${one.http_status}`, one.reason, one.status].filter(Boolean).join(", ")),
    one.answer && el("pre.words", { dir: "auto" }, one.answer));
}
