// Signing in: an API key, shown once, becomes a session. The key is kept nowhere on this side. Where the hospital has
// a provider, its page is a link away: the browser comes back with a link that opens once.

import { get, post } from "./api.js";
import { el, fill } from "./elements.js";

const SAID = {
  denied: "You are signed in there, but in no group that may use this console.",
  failed: "That sign-in could not be confirmed. Try it once more.",
  unavailable: "The provider does not answer. Try again later, or use an API key.",
};
const COME_BACK = /^#sign-in=(denied|failed|unavailable)$/;

/** What is to be said to somebody who came back from the provider; null to everybody else. */
export const cameBack = (hash) => SAID[COME_BACK.exec(hash)?.[1]] ?? null;

export function showSignIn(main, why, opened) {
  const field = el("input", {
    id: "api-key", type: "password", autocomplete: "current-password", spellcheck: "false", required: true,
    "aria-describedby": "sign-in-said",
  });
  const said = el("p.said", { id: "sign-in-said", role: "alert" }, why);
  const form = el("form.card.sign-in", {
    on: {
      submit: async (event) => {
        event.preventDefault();
        try {
          opened(await post("/v1/session", { key: field.value.trim() }, { isSigningIn: true }));
        } catch (problem) {
          fill(said, problem.status === 401 ? "That key opens nothing: it is unknown, revoked or has ended." : problem.message);
          field.select();
        }
      },
    },
  },
    el("h1", {}, "Sign in"),
    el("label", { for: "api-key" }, "API key"),
    field,
    el("button.primary", {}, "Sign in"),
    said,
    el("p.hint", {}, "“pathlane up” prints a link that signs you in; “pathlane console” makes another. A key is made with “pathlane key add”."),
  );
  fill(main, form);
  field.focus();
  get("/v1/session/ways", { isSigningIn: true })
    .then(({ provider }) => provider && said.before(elsewhere(provider)))
    .catch(() => {});
}

const elsewhere = (host) => el("a.elsewhere", { href: "/v1/session/provider" }, `Sign in at ${host}`);
