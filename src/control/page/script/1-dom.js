// Elements, from text alone: nothing that the API says is ever read as markup, and the page's policy allows no such thing.

const byId = (id) => document.getElementById(id);

/** Gives a node its attributes, listeners (`onclick`) and children; `null`, `undefined` and `false` are left out. */
function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) node.style.setProperty(name, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(2).filter((child) => child !== undefined && child !== null && child !== false));
  return node;
}

/** An HTML element. */
const el = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);

/** An SVG element. */
const svg = (name, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

const shown = new WeakMap();

/**
 * Shows what `make` returns in a node, anew only if `data` is other than last time: what a person has focused, opened or
 * scrolled stays so.
 */
function show(node, data, make) {
  const key = JSON.stringify(data);
  if (shown.get(node) === key) return;
  shown.set(node, key);
  const restore = keep(node);
  node.replaceChildren();
  fill(node, {}, [make()]);
  restore();
}

/** What identifies an element that can have the focus among those of its node. */
const keyOf = (element) => element.getAttribute("href") ?? element.getAttribute("aria-label") ?? element.textContent;

/** Remembers what a person has opened, scrolled and focused in a node; returns what brings it back. */
function keep(node) {
  const all = (selector) => [...node.querySelectorAll(selector)];
  const opened = all("details[open] > summary").map((summary) => summary.textContent);
  const scrolled = all(".scroll").map(({ scrollLeft, scrollTop }) => [scrollLeft, scrollTop]);
  const focused = node.contains(document.activeElement) ? keyOf(document.activeElement) : null;
  return () => {
    for (const summary of all("details > summary")) summary.parentElement.open = opened.includes(summary.textContent);
    all(".scroll").forEach((region, at) => region.scrollTo(...(scrolled[at] ?? [0, 0])));
    const again = focused !== null && all("a, button, input, summary, [tabindex]").find((element) => keyOf(element) === focused);
    if (again) again.focus({ preventScroll: true });
  };
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Says a sentence to those who listen to the page. */
function say(sentence) {
  setText(byId("said"), sentence);
}
