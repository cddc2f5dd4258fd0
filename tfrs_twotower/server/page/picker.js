// A field in which people type to find something, by mouse, touch or keyboard: the ARIA pattern of a combobox.

import { make, newId, plural, showCount } from "./dom.js";

const WAIT_MS = 120;

/**
 * Makes a field with its list.
 *
 * @param {object} options
 * @param {string} options.label Its label.
 * @param {string} options.placeholder What it shows when it is empty.
 * @param {(text: string, signal: AbortSignal) => Promise<{results: any[], num_found: number}>} options.find Searches.
 * @param {(result: any) => Node|string} options.show Shows a result.
 * @param {(result: any) => void} options.choose Called with the result that was chosen.
 */
export function picker({ label, placeholder, find, show, choose }) {
  const id = newId("picker");
  const input = make("input", {
    id,
    type: "text",
    placeholder,
    autocomplete: "off",
    spellcheck: false,
    maxLength: 200,
    role: "combobox",
    "aria-autocomplete": "list",
    "aria-expanded": "false",
    "aria-controls": `${id}-list`,
  });
  const list = make("ul", { id: `${id}-list`, role: "listbox", "aria-label": "Results" });
  const status = make("p", { className: "found", role: "status" });
  const popup = make("div", { className: "popup", hidden: true }, list, status);
  const element = make("div", { className: "picker" }, make("label", { className: "field", for: id }, label), input, popup);

  let results = [];
  let active = -1;
  let timer = 0;
  let searching = null;

  function close() {
    clearTimeout(timer);
    searching?.abort();
    popup.hidden = true;
    input.setAttribute("aria-expanded", "false");
    mark(-1);
    results = [];
    list.replaceChildren();
  }

  function mark(place) {
    active = place;
    [...list.children].forEach((option, number) => option.setAttribute("aria-selected", String(number === place)));
    const option = list.children[place];
    if (option) {
      input.setAttribute("aria-activedescendant", option.id);
      option.scrollIntoView({ block: "nearest" });
    } else {
      input.removeAttribute("aria-activedescendant");
    }
  }

  function take(place) {
    const result = results[place];
    if (result === undefined) return;
    input.value = "";
    close();
    choose(result);
  }

  async function search() {
    clearTimeout(timer);
    searching?.abort();
    searching = new AbortController();
    const { signal } = searching;
    try {
      const found = await find(input.value.trim(), signal);
      if (signal.aborted) return;
      results = found.results;
      list.replaceChildren(
        ...results.map((result, place) =>
          make(
            "li",
            {
              id: `${id}-${place}`,
              role: "option",
              "aria-selected": "false",
              onpointerdown: (event) => event.preventDefault(),
              onclick: () => take(place),
            },
            show(result),
          ),
        ),
      );
      list.hidden = !results.length;
      const all = showCount(found.num_found);
      status.textContent = !results.length
        ? "Nothing found."
        : results.length < found.num_found
          ? `The first ${results.length} of ${all}. Type to narrow down.`
          : `${plural(results.length, "result")}.`;
      mark(-1);
    } catch (error) {
      if (error.name === "AbortError") return;
      results = [];
      list.replaceChildren();
      list.hidden = true;
      status.textContent = error.message;
    }
    popup.hidden = false;
    input.setAttribute("aria-expanded", "true");
  }

  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(search, WAIT_MS);
  });
  input.addEventListener("click", () => popup.hidden && search());
  input.addEventListener("blur", close);
  input.addEventListener("keydown", async (event) => {
    const count = results.length;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (popup.hidden) await search();
      const step = event.key === "ArrowDown" ? 1 : -1;
      if (results.length) mark((Math.max(active, step < 0 ? 0 : -1) + step + results.length) % results.length);
    } else if (event.key === "Enter") {
      event.preventDefault();
      // What was typed last may not have been searched for yet.
      if (active < 0) await search();
      take(Math.max(active, 0));
    } else if (event.key === "Escape" && !popup.hidden) {
      event.preventDefault();
      close();
    } else if (event.key === "Home" && active >= 0 && count) {
      event.preventDefault();
      mark(0);
    } else if (event.key === "End" && active >= 0 && count) {
      event.preventDefault();
      mark(count - 1);
    }
  });
  return { element, input };
}

/** Searches a list of texts that is here already. */
export function findIn(values, isChosen) {
  return async (text) => {
    const wanted = fold(text);
    const found = values.filter((value) => !isChosen(value) && fold(value).includes(wanted));
    return { results: found.slice(0, 50), num_found: found.length };
  };
}

const fold = (text) => text.normalize("NFKD").replace(/\p{Mn}/gu, "").toLowerCase();
