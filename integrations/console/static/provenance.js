// Provenance: which model said it, under which licence, how it was run, and from which pixels.

import { el } from "./elements.js";
import { factList } from "./facts.js";

export function provenance(reading) {
  const { provenance: p } = reading;
  const rows = [
    ["Model", p.model], ["Weights", digest(p.weights_digest)], ["Licence", p.license], ["Notice", p.notice], ["Prompt", `version ${p.prompt_version}`],
    ["Decoding", pairs(p.decoding)], ["Engine", `${p.engine}, ${p.rows} side by side`], ["Numbers", p.dtype], ["Device", p.device], ["Seed", p.seed],
    ["Software", pairs(p.software)], ["Tokens", `${reading.prompt_tokens} read, ${reading.completion_tokens} written`],
    ["Time", Object.entries(reading.timings).map(([stage, seconds]) => `${stage} ${seconds.toFixed(2)} s`).join(", ")],
  ];
  return el("section.card.provenance", { "aria-labelledby": "provenance-title" },
    el("h2", { id: "provenance-title" }, "Provenance"),
    factList(rows, "dl.facts.two"),
    el("h3", {}, "Pixels the model was shown"),
    el("div.wide", { tabindex: "0", role: "region", "aria-label": "Pixels the model was shown" }, patchTable(p.patches)));
}

function patchTable(patches) {
  const names = ["Patch", "Part", "Size", "Region", "µm/pixel", "Read from", "Pixels", "Source", "On the way"];
  return el("table.quiet", {},
    el("thead", {}, el("tr", {}, names.map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, patches.map((patch, number) => el("tr", {}, cells(patch, number).map((cell) => el("td", {}, cell))))));
}

function cells(patch, number) {
  return [
    number + 1, patch.part ?? "whole image", `${patch.width} × ${patch.height}`, patch.region ? patch.region.join(", ") : "–",
    patch.spacing ? patch.spacing.toFixed(3) : "–", [patch.format, patch.frame && `frame ${patch.frame}`].filter(Boolean).join(", "),
    digest(patch.pixels_digest), digest(patch.source_digest), patch.steps.join(", ") || "–",
  ];
}

/** The first twelve of a digest's letters; all of them for whoever points at it. */
function digest(text) {
  const [kind, letters = ""] = text.split(":");
  return el("code", { title: text }, letters.length > 12 ? `${kind}:${letters.slice(0, 12)}…` : text);
}

function pairs(values) {
  return Object.entries(values).map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`).join(", ");
}
