import { byId, once, open } from "./dom.js";

// Asks before what cannot be taken back. Stays open with what went wrong.
export function sure(title, text, yes, act) {
  byId("sure-title").textContent = title;
  byId("sure-text").textContent = text;
  byId("sure-yes").textContent = yes;
  byId("sure-problem").textContent = "";
  byId("sure-yes").onclick = () => once(byId("sure-yes"), byId("sure-problem"), async () => {
    await act();
    byId("sure").close();
  });
  open(byId("sure"));
}
