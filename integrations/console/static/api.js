// The API: one way to ask it, and one kind of error. The session is a cookie that scripts cannot read; the header
// says that it was this page that asked, which no other site's form or picture can say.

const CONSOLE = { "X-Pathlane-Console": "1" };

export class Problem extends Error {
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

/** JSON in, JSON out. Throws Problem; `signed-out` is told to the window with each 401. */
export async function ask(method, path, body, options = {}) {
  const response = await fetch(path, request(method, body, options));
  if (response.ok) return response.status === 204 ? null : response.json();
  const said = await response.json().catch(() => ({}));
  if (response.status === 401 && !options.isSigningIn) window.dispatchEvent(new Event("signed-out"));
  const fields = (said.errors ?? []).map((one) => `${one.field} ${one.reason}`).join("; ");
  throw new Problem(response.status, said.code ?? "", fields || said.detail || said.title || `HTTP ${response.status}`);
}

export const get = (path, options) => ask("GET", path, undefined, options);
export const post = (path, body = {}, options = {}) => ask("POST", path, body, options);

/** `query({status: ["queued", "running"], limit: 100})`; what is empty is left out. */
export function query(values) {
  const pairs = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    for (const one of [value].flat()) if (one !== null && one !== undefined && one !== "") pairs.append(name, one);
  }
  return pairs.toString();
}

function request(method, body, { signal, headers }) {
  const sent = { method, signal, headers: { ...CONSOLE, ...headers }, credentials: "same-origin" };
  if (body === undefined) return sent;
  return { ...sent, body: JSON.stringify(body), headers: { ...sent.headers, "Content-Type": "application/json" } };
}
