// The side of the page where a person says for whom, and what to leave out.

import { ask } from "./api.js";
import { byId, chip, make, nameOf, newId, plural } from "./dom.js";
import { findIn, picker } from "./picker.js";

const MAX_RESULTS = 12;

/** Finds items of a version by title or id. */
export function itemPicker(label, placeholder, version, choose) {
  const find = (text, signal) => ask(version(), "find_candidates", { text, limit: MAX_RESULTS }, signal);
  return picker({ label, placeholder, find, show: nameOf, choose });
}

/** Fits the form to a version, with what has been chosen so far. */
export function buildSide({ state, change, version }) {
  const { description } = state.first;
  const canFind = description.query_id !== null;
  const canMakeUp = description.histories.length > 0 || (!canFind && description.fields.length > 0);
  byId("modes").hidden = !(canFind && canMakeUp);
  if (!canFind) state.who.mode = "made-up";
  else if (!canMakeUp) state.who.mode = "known";
  for (const radio of document.querySelectorAll("input[name=mode]")) {
    radio.checked = radio.value === state.who.mode;
    radio.onchange = () => {
      state.who.mode = radio.value;
      showMode();
      change();
    };
  }
  showMode();
  byId("find-user").replaceChildren(userPicker({ state, change, version }));
  byId("draw").onclick = () => drawUser({ state, change, version });
  byId("made-up").replaceChildren(...description.histories.map((history) => likedItems(history, { state, change, version })));
  buildFields({ state, change });
  const { filters } = description;
  byId("filters").replaceChildren(...filters.map((filter) => filterPicker(filter, { state, change })));
  byId("exclude").replaceChildren(excludePicker({ state, change, version }));

  function showMode() {
    byId("known").hidden = state.who.mode !== "known";
    byId("made-up").hidden = state.who.mode !== "made-up";
  }
}

function userPicker({ state, change, version }) {
  const find = (text, signal) => ask(version(), "find_queries", { text, limit: MAX_RESULTS }, signal);
  const choose = (id) => {
    state.who.id = id;
    change({ showsResults: true });
  };
  const label = `Find one of ${plural(state.first.description.num_queries, "user")}`;
  return picker({ label, placeholder: "Id of a user", find, show: (id) => id, choose }).element;
}

async function drawUser({ state, change, version }) {
  const { results } = await ask(version(), "draw_query", {});
  if (results.length) {
    state.who.id = results[0];
    change({ showsResults: true });
  }
}

/** Items that a made-up user has met, with ratings where the model takes them. */
function likedItems({ name, rating_name }, { state, change, version }) {
  const { description } = state.first;
  const events = () => state.who.histories.get(name) ?? [];
  const list = make("ul", { className: "liked" });
  const empty = make("p", { className: "note" }, "Add a few items that this user has liked.");

  function set(changed) {
    state.who.histories.set(name, changed);
    render();
    change();
  }

  function ratingField(event, place) {
    if (rating_name === null) return null;
    const label = `Rating of ${event.candidate.name}`;
    return make("input", {
      type: "number",
      step: "any",
      className: "rating",
      value: event.rating ?? "",
      "aria-label": label,
      title: label,
      onchange: ({ target }) => {
        const rating = target.value === "" ? null : Number(target.value);
        set(events().map((other, number) => (number === place ? { ...other, rating } : other)));
      },
    });
  }

  function render() {
    empty.hidden = events().length > 0;
    list.replaceChildren(
      ...events().map((event, place) =>
        make(
          "li",
          {},
          nameOf(event.candidate),
          ratingField(event, place),
          make("button", {
            type: "button",
            className: "remove",
            "aria-label": `Remove ${event.candidate.name}`,
            textContent: "×",
            onclick: () => {
              set(events().filter((_, number) => number !== place));
              input.focus();
            },
          }),
        ),
      ),
    );
  }

  const several = description.histories.length > 1;
  const label = several ? `Add an item to “${name}”` : "Add an item";
  const { element, input } = itemPicker(label, "Title or id", version, (candidate) => {
    const others = events().filter((event) => event.candidate.id !== candidate.id);
    set([...others, { candidate, rating: rating_name === null ? null : description.highest_rating }]);
  });
  render();
  return make("div", { className: "history-input" }, element, empty, list);
}

const WIDGETS = {
  text: { type: "text" },
  texts: { type: "text", placeholder: "Values, separated by commas" },
  number: { type: "number", step: "any" },
  numbers: { type: "text", inputMode: "decimal" },
  time: { type: "datetime-local", step: 1 },
  times: { type: "text", placeholder: "2025-01-31T12:00, …" },
};

function buildFields({ state, change }) {
  const { description } = state.first;
  byId("features").hidden = !description.fields.length;
  byId("features-note").textContent =
    description.query_id === null ? "An empty field is a missing value." : "An empty field is what the model remembers of the user, if anything.";
  if (description.query_id === null && !description.histories.length) byId("features").open = true;
  byId("fields").replaceChildren(
    ...description.fields.map((field) => {
      const id = newId("field");
      const placeholder = field.kind === "numbers" && field.size !== null ? `${field.size} numbers, separated by commas` : "";
      const unit = field.kind === "time" ? " (UTC)" : "";
      return make(
        "div",
        {},
        make("label", { className: "field", for: id }, `${field.label}${unit}`),
        make("input", {
          id,
          placeholder,
          ...WIDGETS[field.kind],
          value: state.who.fields.get(field.name) ?? "",
          onchange: ({ target }) => {
            state.who.fields.set(field.name, target.value);
            change();
          },
        }),
      );
    }),
  );
}

function filterPicker({ name, label, values, num_values }, { state, change }) {
  const chosen = () => state.narrowed.filters.get(name) ?? new Set();
  const list = make("ul", { className: "chips" });

  function set(changed) {
    state.narrowed.filters.set(name, changed);
    render();
    change();
  }

  function render() {
    list.replaceChildren(
      ...[...chosen()].map((value) =>
        chip(value, () => {
          set(new Set([...chosen()].filter((other) => other !== value)));
          input.focus();
        }),
      ),
    );
    list.hidden = !chosen().size;
  }

  const isWhole = values.length === num_values;
  const { element, input } = picker({
    label: `Only ${label.replaceAll("_", " ")}`,
    placeholder: "All",
    find: findIn(values, (value) => chosen().has(value)),
    show: (value) => value,
    choose: (value) => set(new Set([...chosen(), value])),
  });
  render();
  const note = isWhole ? null : make("p", { className: "note" }, `The ${values.length} most frequent of ${num_values} values.`);
  return make("div", { className: "filter" }, element, note, list);
}

function excludePicker({ state, change, version }) {
  const list = make("ul", { className: "chips" });
  const { element, input } = itemPicker("Leave out", "Title or id", version, (candidate) => exclude(state, change, candidate));

  function takeIn(candidate) {
    state.narrowed.excluded = state.narrowed.excluded.filter((other) => other.id !== candidate.id);
    showExcluded();
    input.focus();
    change();
  }

  showExcluded = () => {
    list.hidden = !state.narrowed.excluded.length;
    list.replaceChildren(...state.narrowed.excluded.map((candidate) => chip(candidate.name, () => takeIn(candidate))));
  };
  showExcluded();
  return make("div", { className: "filter" }, element, list);
}

/** Leaves an item out of the recommendations. */
export function exclude(state, change, candidate) {
  const others = state.narrowed.excluded.filter((other) => other.id !== candidate.id);
  state.narrowed.excluded = [...others, candidate];
  showExcluded();
  return change();
}

let showExcluded = () => {};
