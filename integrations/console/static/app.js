// The console: who is signed in, which page is shown, and what every page shares. Pages know the API and this
// module's context; they do not know each other. An address names a page or a job's id, never anything of a case.

import { ask, get, post } from "./api.js";
import { showCase } from "./case.js";
import { showDeliveries } from "./deliveries.js";
import { el, fill, say } from "./elements.js";
import { fillHelp } from "./help.js";
import * as keys from "./keys.js";
import { Live } from "./live.js";
import { cameBack, showSignIn } from "./signin.js";
import { showWorkers } from "./workers.js";
import { showWorklist } from "./worklist.js";

const ROUTES = [
  [/^#\/jobs\/([0-9A-Za-z_]{1,64})$/, "case", "Case", showCase],
  [/^#\/deliveries$/, "deliveries", "Deliveries", showDeliveries],
  [/^#\/workers$/, "workers", "Workers", showWorkers],
  [/^#\/?$/, "worklist", "Worklist", showWorklist],
];
const LINK = /^#link=([0-9A-Za-z_-]{20,100})$/;
const STATES = { live: "Live", connecting: "Reconnecting", paused: "Paused", off: "" };

const by = (id) => document.getElementById(id);
const live = new Live();
let session = null;
let end = () => {};
let shown = null;

const context = {
  live,
  may: (scope) => session?.scopes.includes(scope) ?? false,
  /** Read out, and not drawn. */
  tell: (text) => say(by("said"), text),
  go: (hash) => (location.hash = hash),
};

async function begin() {
  const link = LINK.exec(location.hash)?.[1];
  const refused = cameBack(location.hash);
  if (link || refused) history.replaceState(null, "", "#/"); // it opens once; it must not stay in the history
  try {
    session = link ? await post("/v1/session", { link }, { isSigningIn: true }) : await get("/v1/session", { isSigningIn: true });
  } catch (problem) {
    session = null;
    return signIn(link && problem.status === 401 ? "This link has been used, or is too old. Ask for another with “pathlane console”." : refused ?? "");
  }
  signedIn();
}

function signedIn() {
  by("pages").hidden = by("who").hidden = false;
  say(by("name"), session.name);
  live.start();
  route();
}

function signIn(why = "") {
  live.stop();
  session = null;
  by("pages").hidden = by("who").hidden = true;
  page("Sign in", "sign-in");
  showSignIn(by("main"), why, (opened) => {
    session = opened;
    signedIn();
  });
}

async function signOut() {
  await ask("DELETE", "/v1/session").catch(() => {});
  location.hash = "#/";
  signIn("You are signed out.");
}

function route() {
  if (!session || location.hash === shown) return;
  if (LINK.test(location.hash)) return begin();
  const found = ROUTES.map(([pattern, ...rest]) => [pattern.exec(location.hash), ...rest]).find(([match]) => match);
  if (!found) return context.go("#/");
  const [match, name, title, show] = found;
  const isFirst = shown === null;
  shown = location.hash;
  page(title, name);
  end = show(by("main"), context, match[1]) ?? (() => {});
  if (!isFirst) by("main").focus({ preventScroll: true });
}

function page(title, name) {
  end();
  end = () => {};
  if (name === "sign-in") shown = null;
  keys.onThisPage({});
  document.title = `${title} · Pathlane`;
  document.body.dataset.page = name;
  fill(by("main"));
  window.scrollTo(0, 0);
  for (const link of by("pages").children) {
    if (link.dataset.page === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function help() {
  fillHelp(by("help"));
  by("help").showModal();
}

by("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address says which page, not which part of it
  by("main").focus();
});
by("leave").addEventListener("click", signOut);
by("keys").addEventListener("click", help);
live.addEventListener("state", () => fill(by("live"), el("span.dot", { "data-state": live.state, "aria-hidden": "true" }), STATES[live.state]));
live.addEventListener("refused", () => get("/v1/session").catch(() => {}));
window.addEventListener("hashchange", route);
window.addEventListener("signed-out", () => session && signIn("Your session has ended. Sign in again."));
keys.everywhere({
  "g w": [() => context.go("#/"), "Worklist"],
  "g d": [() => context.go("#/deliveries"), "Deliveries"],
  "g s": [() => context.go("#/workers"), "Workers and queue"],
  "?": [help, "These keys"],
});
keys.listen();
begin();
