// Elements. Texts become text nodes, never markup: the name of a key may be anything.

export const byId = (id) => document.getElementById(id);

export function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

// Numbers stand to the right.
export function table(heading, rows) {
  const cell = (tag) => (value) =>
    element(tag, typeof value === "number" || tag === "th" && value.endsWith?.(" ") ? { class: "number" } : {}, shown(value).trim());
  const line = (tag, cells) => element("tr", {}, ...cells.map(cell(tag)));
  return element("div", { class: "scroll" },
    element("table", {},
      element("thead", {}, line("th", heading)),
      element("tbody", {}, ...rows.map((cells) => line("td", cells)))));
}

export const shown = (value) => (typeof value === "number" ? value.toLocaleString("en", { maximumFractionDigits: 1 }) : `${value}`);

// UTC, as the gateway counts.
export const time = (text, otherwise, length = 16) => (text ? `${text.slice(0, length).replace("T", " ")} UTC` : otherwise);

// The gateway's times are UTC, be it said or not.
export const instant = (text) => new Date(/(Z|[+-]\d\d:\d\d)$/.test(text) ? text : `${text}Z`);

// Runs what a person asked for, and tells what went wrong where they look.
export async function telling(place, work) {
  place.textContent = "";
  try {
    return await work();
  } catch (problem) {
    place.textContent = problem.message;
    return undefined;
  }
}

// As telling, one at a time: whoever presses twice wants it once.
export async function once(button, place, work) {
  if (button.disabled) return;
  button.disabled = true;
  try {
    await telling(place, work);
  } finally {
    button.disabled = false;
  }
}

export function open(dialog) {
  dialog.showModal();
  return dialog;
}
