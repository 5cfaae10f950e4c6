// The admin API. The token lives in sessionStorage: in this tab alone, over a reload of the page, and not longer than the tab. A
// cookie would be sent by itself, by whatever page asks for it.

const TOKEN = "admin-token";

export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export const signedIn = () => sessionStorage.getItem(TOKEN) !== null;
export const signIn = (token) => sessionStorage.setItem(TOKEN, token);
export const signOut = () => sessionStorage.removeItem(TOKEN);

// The JSON of an answer; null where there is none. Throws a Problem for any other.
export async function call(method, path, body) {
  const headers = { Authorization: `Bearer ${sessionStorage.getItem(TOKEN)}` };
  const init = { method, headers, cache: "no-store" };
  if (body !== undefined) init.body = JSON.stringify(body);
  let answer;
  try {
    answer = await fetch(`/api/v1${path}`, init);
  } catch {
    throw new Problem(0, "The gateway cannot be reached.");
  }
  const text = await answer.text();
  const json = text && answer.headers.get("content-type")?.includes("json") ? JSON.parse(text) : null;
  if (answer.ok) return json;
  if (answer.status === 401) document.dispatchEvent(new CustomEvent("refused"));
  throw new Problem(answer.status, json?.detail ?? `The gateway answered ${answer.status}.`);
}

export async function readiness() {
  try {
    return await (await fetch("/readyz?verbose", { cache: "no-store" })).json();
  } catch {
    throw new Problem(0, "The gateway cannot be reached.");
  }
}
