import { call, download } from "./api.js";
import { columns, lines } from "./charts.js";
import { byId, element, once, open, table, telling, time } from "./dom.js";
import { sure } from "./sure.js";

// The key whose use is looked at: a late answer on another is not shown.
let looked = null;

export function begin() {
  byId("since").addEventListener("change", show);
  for (const button of document.querySelectorAll("[data-export]")) button.addEventListener("click", () => save(button));
}

// Each part by itself: one that cannot be told leaves the others.
export async function show() {
  const [since, every] = byId("since").value.split(" ");
  const [series, all, keys] = ["Requests over time", "All keys", "Most active keys"].map((title) => part(title));
  byId("usage-body").replaceChildren(series, all, keys);
  await Promise.all([
    filled(series, `/usage/series?since=${since}&every=${every}`, (steps) => [totals(steps), over(steps)]),
    filled(all, `/usage/breakdown?since=${since}`, together),
    filled(keys, `/usage/top?since=${since}&limit=10`, (keys) => [card("Most active keys", keyTable(keys))]),
  ]);
}

export function clear() {
  byId("usage-body").replaceChildren();
  byId("detail-body").replaceChildren();
  byId("detail-title").textContent = "";
}

function part(title) {
  return element("div", { role: "group", "aria-label": title, "aria-busy": "true" });
}

async function filled(place, path, draw) {
  const problem = element("p", { class: "problem", role: "alert" });
  place.append(problem);
  await telling(problem, async () => place.replaceChildren(...draw(await call("GET", path))));
  if (problem.textContent) problem.prepend(`${place.getAttribute("aria-label")}: `);
  place.removeAttribute("aria-busy");
}

function save(button) {
  const [since] = byId("since").value.split(" ");
  const format = button.dataset.export;
  return once(button, byId("usage-problem"), () => download(`/usage/export?format=${format}&since=${since}`, `usage.${format}`));
}

// What one key did, and what is left of its hour.
export async function detail(key) {
  looked = key;
  byId("detail-title").textContent = `${key.name} · ${key.key_id}`;
  byId("detail-body").replaceChildren();
  if (!byId("detail").open) open(byId("detail"));
  await telling(byId("detail-problem"), async () => {
    const path = encodeURIComponent(key.key_id);
    const [hour, used] = await Promise.all([call("GET", `/limits/${path}`), call("GET", `/usage/${path}?since=7d`)]);
    if (looked !== key) return;
    byId("detail-body").replaceChildren(...hourParts(key, hour), element("h3", {}, "Last 7 days"), ...parts(used));
  });
}

function hourParts(key, { limit, used, remaining, reset }) {
  const number = (count) => (count === null ? "no limit" : count);
  const ends = time(new Date(reset * 1000).toISOString());
  const anew = async () => {
    await call("POST", `/limits/${encodeURIComponent(key.key_id)}/reset`);
    await detail(key);
  };
  const button = element("button", { type: "button", class: "quiet small", onclick: () =>
    sure(`Begin the hour of ${key.name} anew?`, "What it has used of this hour is forgotten, on every gateway.", "Begin anew", anew) }, "Begin the hour anew");
  return [
    element("div", { class: "tiles" }, tile("Used this hour", used), tile("Remaining", number(remaining)), tile("Per hour", number(limit))),
    element("div", { class: "title spaced" }, element("span", { class: "muted" }, `The hour ends at ${ends}.`), button),
  ];
}

function parts(used) {
  const endpoint = (row) => [row.endpoint, row.request_count, row.avg_response_time_ms];
  const headings = ["Endpoint", "Requests ", "Mean ms "];
  if (used.request_count === 0) return [element("p", { class: "empty" }, "No requests.")];
  return [
    table(["Status", "Requests "], used.statuses.map((row) => [`${row.status_code}`, row.request_count])),
    element("h3", {}, "Most used"), table(headings, used.top_endpoints.map(endpoint)),
    element("h3", {}, "Slowest"), table(headings, used.slowest_endpoints.map(endpoint)),
    element("h3", {}, "From"), table(["Address", "Requests "], used.client_addresses.map((row) => [row.client_ip ?? "unknown", row.request_count])),
  ];
}

function totals(steps) {
  const sum = (field) => steps.reduce((total, step) => total + step[field], 0);
  return element("div", { class: "tiles" },
    tile("Requests", sum("request_count")), tile("Refused by the app (4xx)", sum("errors_4xx")), tile("Failed (5xx)", sum("errors_5xx")));
}

function tile(name, value) {
  return element("div", { class: "tile" }, name, element("strong", {}, value.toLocaleString("en")));
}

function over(steps) {
  const rows = steps.map((step) => [time(step.start), step.request_count, step.errors_4xx, step.errors_5xx, step.avg_response_time_ms, step.p95_response_time_ms]);
  const numbers = element("details", {}, element("summary", {}, "As a table"),
    table(["From", "Requests ", "4xx ", "5xx ", "Mean ms ", "95 % within ms "], rows));
  const axis = element("div", { class: "axis" }, element("span", {}, time(steps[0].start)), element("span", {}, "now"));
  const chart = columns(steps.map((step) => [step.request_count, step.errors_4xx + step.errors_5xx]), "Requests over time; those that failed in red");
  return card("Requests over time", chart, axis, numbers);
}

// What all keys together were used for.
function together(used) {
  if (used.request_count === 0) return [];
  const statuses = used.statuses.map((row) => [`${row.status_code}`, row.request_count, row.status_code >= 400]);
  const slowest = used.slowest_endpoints.map((row) => [row.endpoint, row.avg_response_time_ms]);
  return [element("div", { class: "columns" },
    element("div", { class: "card" }, element("h2", {}, "Status codes"), lines(statuses, "")),
    element("div", { class: "card" }, element("h2", {}, "Slowest endpoints"), lines(slowest, " ms")))];
}

function keyTable(keys) {
  if (keys.length === 0) return element("p", { class: "muted" }, "No requests.");
  return table(["Name", "User", "Requests ", "Mean ms "], keys.map((key) => [key.name, key.user_id, key.request_count, key.avg_response_time_ms]));
}

function card(title, ...children) {
  return element("div", { class: "columns" }, element("div", { class: "card" }, element("h2", {}, title), ...children));
}
