// Elements, numbers and messages. Text from the data only ever becomes text.

const numbers = new Intl.NumberFormat("en", { maximumFractionDigits: 3, minimumFractionDigits: 3 });
const smallNumbers = new Intl.NumberFormat("en", { maximumSignificantDigits: 3, minimumSignificantDigits: 3 });
const differences = new Intl.NumberFormat("en", { maximumSignificantDigits: 2 });
const counts = new Intl.NumberFormat("en");
const percents = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 0 });
const smallPercents = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });

export const byId = (id) => document.getElementById(id);
export const showScore = (value) => (Math.abs(value) < 0.1 ? smallNumbers : numbers).format(value);
export const showDifference = (value) => (value < 0 ? "\u2212" : "+") + differences.format(Math.abs(value));
export const showCount = (value) => counts.format(value);
export const showPercent = (value) => (value < 0.1 || value > 0.99 ? smallPercents : percents).format(value);
export const plural = (count, one, many = `${one}s`) => `${showCount(count)} ${count === 1 ? one : many}`;

/** Makes an element: properties, `data-`, `aria-` and `role` as attributes, `on...` as listeners. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.includes("-") || name === "role" || name === "for") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

let lastNumber = 0;
export const newId = (prefix) => `${prefix}-${++lastNumber}`;

/** Tells those who do not see the page what has changed. */
export function announce(text) {
  byId("live").textContent = text;
}

export function showProblem(text) {
  byId("problem").firstElementChild.textContent = text;
  byId("problem").hidden = false;
}

export function hideProblem() {
  byId("problem").hidden = true;
}

/** A name with what is known beside it. */
export function nameOf(candidate) {
  const details = candidate.name === candidate.id ? candidate.details : [...candidate.details, `id\u00a0${candidate.id}`];
  return make(
    "span",
    { className: "named" },
    make("span", { className: "name" }, candidate.name),
    details.length ? make("span", { className: "details" }, details.join(" · ")) : null,
  );
}

/** A chosen value that can be taken away again. */
export function chip(text, remove) {
  return make(
    "li",
    { className: "chip" },
    make("span", {}, text),
    make("button", { type: "button", "aria-label": `Remove ${text}`, onclick: remove }, "×"),
  );
}
