import { readiness } from "./api.js";
import { byId, element, telling } from "./dom.js";

export const show = () =>
  telling(byId("health-problem"), async () => {
    const facts = await readiness();
    const tiles = [tile("Gateway", facts.ready, "ready", "draining"), tile("Store", facts.store_up, "answers", "cannot be asked")];
    if (facts.redis_up !== null) tiles.push(tile("Redis", facts.redis_up, "answers", "cannot be asked"));
    for (const { upstream, server, healthy } of facts.upstreams) tiles.push(tile(`${upstream}: ${server}`, healthy, "healthy", "not healthy"));
    byId("health-body").replaceChildren(...tiles);
  });

export const clear = () => byId("health-body").replaceChildren();

function tile(name, good, yes, no) {
  return element("div", { class: "tile" }, name, element("br"), element("span", { class: good ? "badge good" : "badge" }, good ? yes : no));
}
