import { call } from "./api.js";
import { byId, element, instant, once, open, telling, time } from "./dom.js";
import { sure } from "./sure.js";
import * as usage from "./usage.js";

// Rows that are built at once, and keys that are asked for: a page of ten thousand serves nobody.
const MOST = 200;
const LOADED = 5000;

let keys = [];
let editing = null;
// The row and the action that a dialog was opened by: the focus goes back there, also when the row was drawn anew meanwhile.
let acted = null;

export function begin() {
  byId("search").addEventListener("input", list);
  byId("only-active").addEventListener("change", show);
  byId("new-key").addEventListener("click", () => edit(null));
  byId("edit-form").addEventListener("submit", save);
  byId("copy").addEventListener("click", copy);
  // Whoever comes back to the page finds the key gone.
  byId("fresh").addEventListener("close", () => byId("fresh-key").replaceChildren());
  byId("fresh").addEventListener("keydown", (event) => event.key === "Escape" && ask(event));
  byId("fresh").addEventListener("cancel", ask);
  for (const dialog of document.querySelectorAll("dialog")) dialog.addEventListener("close", refocus);
}

export function clear() {
  keys = [];
  editing = acted = null;
  byId("search").value = "";
  byId("keys-count").textContent = byId("edit-title").textContent = "";
  byId("key-list").replaceChildren();
  byId("edit-form").reset();
}

// Keys are shown once: one press of Escape, perhaps a mistaken one, does not end that.
function ask(event) {
  event.preventDefault();
  byId("fresh-ask").textContent = "Is it kept? It cannot be shown again. “Done” closes this.";
  byId("fresh-done").focus();
}

function refocus() {
  const holder = document.activeElement;
  // A button of the dialog that has just closed holds it for a moment still.
  const isHeld = holder !== document.body && holder.checkVisibility();
  if (acted === null || isHeld || document.querySelector("dialog[open]")) return;
  const row = document.querySelector(`[data-key="${CSS.escape(acted.key_id)}"]`);
  (row?.querySelector(`[data-action="${acted.name}"]`) ?? byId("new-key")).focus();
}

export const show = () =>
  telling(byId("keys-problem"), async () => {
    keys = await call("GET", `/keys?limit=${LOADED}${byId("only-active").checked ? "&active=true" : ""}`);
    list();
  });

function list() {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const text = (key) => [key.name, key.user_id, key.key_id, key.key_prefix, key.environment, ...key.scopes].join(" ").toLowerCase();
  const found = keys.filter((key) => words.every((word) => text(key).includes(word)));
  const none = keys.length === 0 ? "There is no key yet. Make the first one." : "No key matches.";
  byId("keys-count").textContent = `${Math.min(found.length, MOST)} of ${keys.length === LOADED ? `the first ${LOADED}` : keys.length} keys`;
  byId("key-list").replaceChildren(...(found.length ? found.slice(0, MOST).map(row) : [element("p", { class: "empty" }, none)]));
  refocus();
}

function row(key) {
  const expired = key.expires_at !== null && instant(key.expires_at) <= new Date();
  const standing = key.revoked_at ? "revoked" : !key.is_active ? "disabled" : expired ? "expired" : "active";
  const state = element("span", { class: standing === "active" ? "badge good" : "badge" }, standing);
  const limit = key.rate_limit_per_hour === null ? "no limit" : `${key.rate_limit_per_hour.toLocaleString("en")} per hour`;
  const facts = [key.user_id, key.environment, limit, key.expires_at ? `until ${time(key.expires_at)}` : "for good", key.awaits_first_use ? "awaits its first use" : `last used ${time(key.last_used_at, "never")}`];
  const limits = [...key.allowed_ips.map((network) => `from ${network}`), ...key.scopes.map((scope) => `may ${scope}`)].join(", ");
  const action = (name, act) => {
    const start = () => {
      acted = { key_id: key.key_id, name };
      act();
    };
    return element("button", { type: "button", class: "quiet small", "aria-label": `${name} ${key.name}`, "data-action": name, onclick: start }, name);
  };
  // None of a key that was revoked: that is for good.
  const changes = [
    action("Edit", () => edit(key)),
    action("Rotate", () => sure(`Rotate ${key.name}?`, "It gets a new secret; the one before works for 24 hours more.", "Rotate", () => rotate(key))),
    action("Revoke", () => sure(`Revoke ${key.name}?`, "Every secret of it ends on every gateway, for good.", "Revoke", () => revoke(key))),
  ];
  return element("article", { class: "row", "data-key": key.key_id },
    element("div", {},
      element("h3", {}, key.name, state),
      element("p", {}, element("code", {}, `${key.key_prefix}…`), ` · ${facts.join(" · ")}`),
      limits ? element("p", {}, limits) : null),
    element("div", { class: "actions" }, action("Usage", () => usage.detail(key)), ...(key.revoked_at ? [] : changes)));
}

function edit(key) {
  editing = key;
  const fields = byId("edit-form").elements;
  byId("edit-title").textContent = key ? `Edit ${key.name}` : "New key";
  byId("edit-problem").textContent = "";
  byId("edit-environment").hidden = key !== null;
  fields.name.value = key?.name ?? "";
  fields.user_id.value = key?.user_id ?? "admin";
  fields.rate_limit_per_hour.value = key ? key.rate_limit_per_hour ?? "" : 1000;
  fields.expires_at.value = key?.expires_at?.slice(0, 16) ?? "";
  fields.allowed_ips.value = key?.allowed_ips.join("\n") ?? "";
  fields.scopes.value = key?.scopes.join(" ") ?? "";
  open(byId("edit"));
}

async function save(event) {
  event.preventDefault();
  const fields = event.target.elements;
  const words = (text) => text.split(/\s+/).filter(Boolean);
  const wanted = {
    name: fields.name.value,
    user_id: fields.user_id.value,
    rate_limit_per_hour: fields.rate_limit_per_hour.value === "" ? null : Number(fields.rate_limit_per_hour.value),
    allowed_ips: words(fields.allowed_ips.value),
    scopes: words(fields.scopes.value),
  };
  // The field knows minutes: an expiry that was not touched keeps its seconds.
  const end = fields.expires_at.value;
  if (end !== (editing?.expires_at?.slice(0, 16) ?? "")) wanted.expires_at = end === "" ? null : `${end}:00+00:00`;
  await once(byId("edit-form").querySelector("[type=submit]"), byId("edit-problem"), async () => {
    if (editing) {
      await call("PATCH", path(editing), wanted);
      byId("edit").close();
    } else {
      const created = await call("POST", "/keys", { ...wanted, environment: fields.environment.value });
      byId("edit").close();
      fresh(created, "");
    }
    await show();
  });
}

async function rotate(key) {
  const rotated = await call("POST", `${path(key)}/rotate`);
  fresh(rotated, `The secret before works until ${time(rotated.previous_valid_until)}.`);
  await show();
}

async function revoke(key) {
  await call("DELETE", path(key));
  await show();
}

const path = (key) => `/keys/${encodeURIComponent(key.key_id)}`;

function fresh(key, note) {
  byId("fresh-key").textContent = key.api_key;
  byId("fresh-note").textContent = note;
  byId("fresh-ask").textContent = "";
  byId("copy").textContent = "Copy";
  open(byId("fresh"));
}

async function copy() {
  try {
    await navigator.clipboard.writeText(byId("fresh-key").textContent);
    byId("copy").textContent = "Copied";
  } catch {
    // Over plain HTTP from elsewhere the browser keeps the clipboard shut.
    getSelection().selectAllChildren(byId("fresh-key"));
    byId("copy").textContent = "Selected: press Ctrl-C";
  }
}
