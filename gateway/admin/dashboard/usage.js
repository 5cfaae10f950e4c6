import { call } from "./api.js";
import { byId, element, open, svg, table, telling, time } from "./dom.js";

// Of the chart, in its own units.
const WIDTH = 1000;
const HEIGHT = 200;

// The key whose use is looked at: a late answer on another is not shown.
let looked = null;

export function begin() {
  byId("since").addEventListener("change", show);
}

export const show = () =>
  telling(byId("usage-problem"), async () => {
    const [since, every] = byId("since").value.split(" ");
    const [steps, keys] = await Promise.all([
      call("GET", `/usage/series?since=${since}&every=${every}`),
      call("GET", `/usage/top?since=${since}&limit=10`),
    ]);
    byId("usage-body").replaceChildren(totals(steps), over(steps), card("Most active keys", keyTable(keys)));
  });

// What one key did, and what is left of its hour.
export async function detail(key) {
  looked = key;
  byId("detail-title").textContent = `${key.name} · ${key.key_id}`;
  byId("detail-body").replaceChildren();
  open(byId("detail"));
  await telling(byId("detail-problem"), async () => {
    const path = encodeURIComponent(key.key_id);
    const [hour, used] = await Promise.all([call("GET", `/limits/${path}`), call("GET", `/usage/${path}?since=7d`)]);
    if (looked !== key) return;
    byId("detail-body").replaceChildren(hourTiles(hour), element("h3", {}, "Last 7 days"), ...parts(used));
  });
}

function hourTiles({ limit, used, remaining }) {
  const number = (count) => (count === null ? "no limit" : count);
  return element("div", { class: "tiles" }, tile("Used this hour", used), tile("Remaining", number(remaining)), tile("Per hour", number(limit)));
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
  return card("Requests over time", chart(steps), axis, numbers);
}

function chart(steps) {
  const most = Math.max(1, ...steps.map((step) => step.request_count));
  const slot = WIDTH / steps.length;
  const bar = (index, count, kind) => {
    const height = (count / most) * HEIGHT;
    return svg("rect", { class: kind, x: index * slot + slot * 0.1, y: HEIGHT - height, width: slot * 0.8, height });
  };
  const bars = steps.flatMap((step, index) => [
    bar(index, step.request_count, "requests"), bar(index, step.errors_4xx + step.errors_5xx, "errors"),
  ]);
  const label = `Requests over time, at most ${most} in one step; those that failed in red`;
  return svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label }, ...bars);
}

function keyTable(keys) {
  if (keys.length === 0) return element("p", { class: "muted" }, "No requests.");
  return table(["Name", "User", "Requests ", "Mean ms "], keys.map((key) => [key.name, key.user_id, key.request_count, key.avg_response_time_ms]));
}

function card(title, ...children) {
  return element("div", { class: "columns" }, element("div", { class: "card" }, element("h2", {}, title), ...children));
}
