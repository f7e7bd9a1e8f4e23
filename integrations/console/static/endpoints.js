// Endpoints: who is told; a test event, a pause. They are made where secrets are handled: on the command line.

import { get, post } from "./api.js";
import { el, fill } from "./elements.js";
import { statusMark } from "./words.js";

export function endpointsCard(context, signal, changed) {
  const list = el("ul.endpoints");
  const said = el("p.said", { role: "status" });
  const look = async () => draw((await get("/v1/endpoints", { signal })).items);
  look().catch((problem) => signal.aborted || fill(said, problem.message));
  return el("section.card", { "aria-labelledby": "endpoints-title" }, el("h2", { id: "endpoints-title" }, "Endpoints"), list, said);

  function draw(items) {
    fill(list, items.length ? items.map(row) : el("li.none", {}, "None. “pathlane endpoint add NAME URL” makes one."));
  }

  function row(one) {
    const deed = (what, text, done) => el("button", { type: "button", on: { click: () => act(`/v1/endpoints/${one.id}/${what}`, done) } }, text, el("span.heard", {}, ` ${one.name}`));
    return el("li", {}, el("div.line", {}, statusMark(one.status), el("strong", {}, one.name), el("span.url", {}, one.url), el("span", {}, one.payload),
      deed("test", "Test", "A test event is on its way."), one.status === "active" ? deed("pause", "Pause", "Its events wait.") : deed("resume", "Resume", "What has waited is sent.")));
  }

  async function act(path, done) {
    try {
      await post(path);
      fill(said, done);
      await look();
      changed();
    } catch (problem) {
      fill(said, problem.message);
    }
  }
}
