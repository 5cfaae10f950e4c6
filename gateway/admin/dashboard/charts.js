// Charts, as SVG: the page's policy lets no style in that stands in the markup.

import { element, shown, svg } from "./dom.js";

// In a chart's own units.
const WIDTH = 1000;
const HEIGHT = 200;

// Bars over time, with a scale. Each of `values` is [all, of which failed].
export function columns(values, label) {
  const top = rounded(Math.max(1, ...values.map(([all]) => all)));
  const slot = WIDTH / values.length;
  const bar = (index, count, kind) => {
    const height = (count / top) * HEIGHT;
    return svg("rect", { class: kind, x: index * slot + slot * 0.1, y: HEIGHT - height, width: slot * 0.8, height });
  };
  const lines = [0, 0.5].map((part) => svg("line", { x1: 0, x2: WIDTH, y1: part * HEIGHT, y2: part * HEIGHT }));
  const bars = values.flatMap(([all, failed], index) => [bar(index, all, "requests"), bar(index, failed, "errors")]);
  const picture = svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label }, ...lines, ...bars);
  const scale = [top, top / 2, 0].map((value) => element("span", {}, shown(value)));
  return element("div", { class: "plot" }, element("div", { class: "scale", "aria-hidden": "true" }, ...scale), picture);
}

// A bar a line: [name, value, whether it failed]. Names and values are texts beside them.
export function lines(rows, unit) {
  const most = Math.max(...rows.map(([, value]) => value), Number.MIN_VALUE);
  const bar = (value, failed) =>
    svg("svg", { viewBox: "0 0 100 1", preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("rect", { class: failed ? "errors" : "requests", width: (value / most) * 100, height: 1 }));
  const line = ([name, value, failed]) => element("li", {}, element("span", { class: "name" }, name), bar(value, failed), element("span", { class: "number" }, `${shown(value)}${unit}`));
  return element("ul", { class: "lines" }, ...rows.map(line));
}

// The next of 2, 4, 10, 20, 40, 100 …, so that its half is a round number too.
function rounded(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [2, 4, 10].map((step) => step * power).find((step) => step >= value);
}
