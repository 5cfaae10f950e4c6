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
  const answer = await ask(method, path, body);
  return json(await answer.text());
}

// Saves the body of an answer as a file. A link would not do: it carries no token.
export async function download(path, name) {
  const answer = await ask("GET", path);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await read(() => answer.blob()));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

async function ask(method, path, body) {
  const token = sessionStorage.getItem(TOKEN);
  const init = { method, headers: authorization(token), cache: "no-store" };
  if (body !== undefined) init.body = JSON.stringify(body);
  const answer = await read(() => fetch(`/api/v1${path}`, init));
  // Whoever signed out meanwhile is shown nothing more.
  if (sessionStorage.getItem(TOKEN) !== token) throw new Problem(0, "");
  if (answer.ok) return answer;
  const detail = json(await answer.text())?.detail;
  if (answer.status === 401) document.dispatchEvent(new CustomEvent("refused"));
  throw new Problem(answer.status, detail ?? `The gateway answered ${answer.status}.`);
}

function authorization(token) {
  try {
    return new Headers({ Authorization: `Bearer ${token}` });
  } catch {
    throw new Problem(0, "The token has a character that no token can have.");
  }
}

async function read(work) {
  try {
    return await work();
  } catch {
    throw new Problem(0, "The gateway cannot be reached.");
  }
}

function json(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

export async function readiness() {
  return read(async () => (await fetch("/readyz?verbose", { cache: "no-store" })).json());
}
