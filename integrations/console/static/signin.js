// Signing in: an API key, shown once, becomes a session. The key is kept nowhere on this side.

import { post } from "./api.js";
import { el, fill } from "./elements.js";

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
}
