"use strict";
const byId = (id) => document.getElementById(id);
const viewer = byId("viewer");
const keys = byId("keys");
const filter = byId("filter");
let shown = null;

const parts = (link) => {
  const [, section, row, column] = link.id.match(/^(.*)-(\d+)-(\d+)$/);
  return { section, row: Number(row), column: Number(column) };
};
const at = (section, row, column) => byId(section + "-" + row + "-" + column);
const visible = () => [...document.querySelectorAll("section:not([hidden])")].map((one) => one.id);

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function show(link) {
  shown = link;
  const { section, row, column } = parts(link);
  const image = byId("viewer-image");
  image.src = link.href;
  image.alt = link.querySelector("img").alt;
  byId("viewer-caption").textContent = link.dataset.caption;
  const facts = byId("facts");
  facts.replaceChildren(
    element("span", "Seed " + link.dataset.seed + "; " + link.dataset.source + "; with its figure again: "),
    element("code", link.dataset.command)
  );
  const systems = byId("systems");
  systems.replaceChildren();
  for (let other = 0; at(section, other, column); other += 1) {
    const button = element("button", other + 1 + " " + at(section, other, column).dataset.system);
    button.type = "button";
    button.setAttribute("aria-pressed", String(other === row));
    button.addEventListener("click", () => show(at(section, other, column)));
    systems.append(button);
  }
  byId("link").href = "#" + link.id;
  history.replaceState(null, "", "#" + link.id);
  if (!viewer.open) viewer.showModal();
}

function system(step) {
  const { section, row, column } = parts(shown);
  let count = 0;
  while (at(section, count, column)) count += 1;
  show(at(section, (row + step + count) % count, column));
}

function prompt(step) {
  const { section, row, column } = parts(shown);
  const here = at(section, row, column + step);
  if (here) return show(here);
  const order = visible();
  const next = order[(order.indexOf(section) + step + order.length) % order.length];
  let last = 0;
  while (at(next, 0, last + 1)) last += 1;
  const place = step > 0 ? 0 : last;
  show(at(next, row, place) || at(next, 0, place));
}

function zoom() {
  const zoomed = byId("frame").classList.toggle("zoomed");
  byId("zoom").setAttribute("aria-pressed", String(zoomed));
}

function only(prompts) {
  for (const section of document.querySelectorAll("section")) {
    section.hidden = prompts !== "" && section.dataset.prompts !== prompts;
  }
}

const inViewer = {
  ArrowLeft: () => prompt(-1),
  ArrowRight: () => prompt(1),
  ArrowUp: () => system(-1),
  ArrowDown: () => system(1),
  z: zoom,
};
const anywhere = {
  f: () => { viewer.close(); filter.focus(); },
  "/": () => { viewer.close(); filter.focus(); },
  "?": () => keys.showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || keys.open || event.target === filter) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  let act = anywhere[key] || (viewer.open ? inViewer[key] : undefined);
  if (viewer.open && /^[1-9]$/.test(key)) {
    const { section, column } = parts(shown);
    const other = at(section, Number(key) - 1, column);
    act = other ? () => show(other) : undefined;
  }
  if (act) {
    event.preventDefault();
    act();
  }
});
for (const link of document.querySelectorAll("td a")) {
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    show(link);
  });
}
viewer.addEventListener("close", () => shown && shown.focus());
byId("previous").addEventListener("click", () => prompt(-1));
byId("next").addEventListener("click", () => prompt(1));
byId("zoom").addEventListener("click", zoom);
byId("close").addEventListener("click", () => viewer.close());
byId("help").hidden = false;
byId("help").addEventListener("click", () => keys.showModal());
filter.addEventListener("change", () => only(filter.value));
const asked = byId(location.hash.slice(1));
if (asked && asked.matches("td a")) show(asked);
