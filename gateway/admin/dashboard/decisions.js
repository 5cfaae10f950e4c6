// What this gateway refused lately, and why. Asks on while it is looked at.

import { call, signedIn } from "./api.js";
import { byId, element, table, telling, time } from "./dom.js";

const PAUSE = 2000;
// Rows that are shown, and refusals that are asked for at once.
const MOST = 300;
const ASKED = 1000;

const REASONS = {
  missing_key: "no key was presented",
  ambiguous_key: "two different keys were presented",
  unknown: "there is no such key",
  inactive: "the key is disabled",
  revoked: "the key was revoked",
  expired: "the key, or this secret of it, has expired",
  ip_not_allowed: "the address is not on the key's list",
  insufficient_scope: "the key lacks a scope of the route",
  hour_spent: "the key's hour is spent",
  too_fast: "too many requests a second",
  too_many_at_once: "too many requests at once",
  store_unavailable: "the key could not be looked up",
  no_route: "no route takes it",
  bad_request: "the request can be read in more than one way, or in none",
  header_too_large: "its headers are too large",
  uri_too_long: "its address is too long",
  body_too_large: "its body is too large",
  request_timeout: "it came too slowly",
  internal: "the gateway failed",
};

let rows = [];
let next = null;
let missed = 0;
let paused = false;
let timer;
// Which filters rows were asked with: a late answer to others is not shown.
let asking = 0;

export function begin() {
  byId("reason").append(...Object.entries(REASONS).map(([reason, words]) => element("option", { value: reason }, words)));
  byId("decision-filters").addEventListener("submit", (event) => event.preventDefault());
  byId("decision-filters").addEventListener("change", show);
  byId("pause").addEventListener("click", pause);
  document.addEventListener("visibilitychange", () => isSeen() && look());
}

// From the beginning, with the filters as they are.
export function show() {
  forget();
  return look();
}

export function clear() {
  forget();
  byId("decision-filters").reset();
  byId("decision-list").replaceChildren();
}

function forget() {
  clearTimeout(timer);
  asking += 1;
  rows = [];
  next = null;
  missed = 0;
}

function pause() {
  paused = !paused;
  byId("pause").textContent = paused ? "Go on" : "Pause";
  look();
}

const isSeen = () => signedIn() && !byId("decisions").hidden && document.visibilityState === "visible";

async function look() {
  clearTimeout(timer);
  const asked = asking;
  if (!paused || next === null) await telling(byId("decisions-problem"), () => fetchNew(asked));
  if (asked !== asking || paused || !isSeen()) return;
  clearTimeout(timer);
  timer = setTimeout(look, PAUSE);
}

async function fetchNew(asked) {
  const told = await call("GET", `/decisions?${query()}`);
  if (asked !== asking) return;
  const isFirst = next === null;
  next = told.next;
  missed += told.missed;
  if (isFirst || told.decisions.length > 0 || told.missed > 0) {
    rows = [...told.decisions.reverse(), ...rows].slice(0, MOST);
    draw();
  }
}

function query() {
  const query = new URLSearchParams(next === null ? { limit: MOST } : { limit: ASKED, after: next });
  for (const [name, value] of new FormData(byId("decision-filters"))) if (value.trim()) query.set(name, value.trim());
  return query;
}

function draw() {
  const heading = ["Time", "Why", "Status", "Key", "Address", "Request", "Request id"];
  const list = rows.length ? table(heading, rows.map(cells)) : element("p", { class: "empty" }, "Nothing was refused.");
  byId("decisions-missed").textContent = missed ? `${missed.toLocaleString("en")} more were gone before they could be told.` : "";
  byId("decision-list").replaceChildren(list);
}

function cells(row) {
  const key = row.key_id === null ? "—" : `${row.name} (${row.user_id}) ${row.key_id}`;
  return [time(row.time, "", 19), REASONS[row.reason] ?? row.reason, `${row.status}`, key, row.client_ip ?? "unknown", `${row.method} ${row.path}`, row.request_id];
}
