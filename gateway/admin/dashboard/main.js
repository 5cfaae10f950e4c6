// Who is signed in, and what they look at.

import * as api from "./api.js";
import * as decisions from "./decisions.js";
import { byId, telling } from "./dom.js";
import * as health from "./health.js";
import * as keys from "./keys.js";
import * as usage from "./usage.js";

const VIEWS = { keys, usage, decisions, health };

byId("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  api.signIn(byId("token").value.trim());
  const known = await telling(byId("sign-in-problem"), () => api.call("GET", "/usage/top?limit=1"));
  byId("token").value = "";
  // What is no admin token is not kept: it may be a key that somebody mistook for one.
  if (known) look();
  else api.signOut();
});

byId("sign-out").addEventListener("click", leave);
// A token that is good no more.
document.addEventListener("refused", leave);

document.querySelectorAll("[data-close]").forEach((button) => button.addEventListener("click", () => button.closest("dialog").close()));
addEventListener("hashchange", look);
keys.begin();
usage.begin();
decisions.begin();
look();

// Nothing of what was shown stays in the page.
function leave() {
  api.signOut();
  document.querySelectorAll("dialog[open]").forEach((dialog) => dialog.close());
  Object.values(VIEWS).forEach((view) => view.clear());
  look();
}

// A view's name stands behind `#/`: as the name of its section alone, the browser would scroll to that.
function look() {
  const asked = location.hash.slice(2);
  const name = Object.hasOwn(VIEWS, asked) ? asked : "keys";
  const signedIn = api.signedIn();
  byId("sign-in").hidden = signedIn;
  byId("nav").hidden = byId("sign-out").hidden = !signedIn;
  for (const view of Object.keys(VIEWS)) byId(view).hidden = !signedIn || view !== name;
  for (const link of byId("nav").children) {
    if (link.hash === `#/${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (signedIn) VIEWS[name].show();
  else byId("token").focus();
}
