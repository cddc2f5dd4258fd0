// Lists of recommendations and of similar items, of one version or of two side by side, and a user's history.

import { ask } from "./api.js";
import { byId, make, nameOf, newId, plural, showPercent, showScore } from "./dom.js";

const EVENTS_STEP = 10;

/**
 * Shows a list for each version.
 *
 * @param {object[]} lists {title, entries, hasProbabilities} of each; entries are {candidate, score, probability}.
 * @param {object} options
 * @param {number} options.shown Entries that are shown.
 * @param {object[]} options.actions {label, act(candidate, {list, place})} for each entry.
 * @param {(list: number, entry: object) => Promise<Node>} options.explain Explains an entry; null for no explanation.
 */
export function showLists(lists, { shown, actions, explain }) {
  const others = lists.map((_, number) => lists[number ? 0 : lists.length - 1].entries);
  const places = others.map((entries) => new Map(entries.map((entry, place) => [entry.candidate.id, place])));
  byId("lists").replaceChildren(
    ...lists.map((list, number) => {
      const entries = list.entries.slice(0, shown);
      const rows = entries.map((entry, place) => {
        const other = places[number].get(entry.candidate.id);
        const move = other === undefined || number ? showMove(place, other) : null;
        return showEntry(entry, { list: number, place, move, actions, explain: explain && ((row) => explain(number, row)) });
      });
      const empty = make("p", { className: "empty" }, "No item is left. Take a filter or an item away.");
      return make(
        "div",
        { className: "list" },
        make("h3", { className: lists.length > 1 ? "" : "unseen" }, list.title),
        entries.length ? make("ol", { className: "entries" }, ...rows) : empty,
      );
    }),
  );
  byId("lists").classList.toggle("two", lists.length > 1);
  byId("more").hidden = lists.every((list) => list.entries.length <= shown);
}

function showEntry(entry, { list, place, move, actions, explain }) {
  const { candidate, score, probability } = entry;
  const row = make("li", { className: "entry" });
  const buttons = actions.map(({ label, act }) =>
    make("button", { type: "button", "aria-label": `${label}: ${candidate.name}`, textContent: label, onclick: () => act(candidate, { list, place }) }),
  );
  if (explain) buttons.unshift(whyButton(entry, row, explain));
  row.append(
    make("span", { className: "rank" }, String(place + 1)),
    nameOf(candidate),
    ...[move].filter(Boolean),
    make(
      "span",
      { className: "numbers" },
      probability === null ? null : showProbability(probability),
      make("span", { className: "score", title: "Score: only the order of scores has a meaning" }, make("span", { className: "unseen" }, "Score "), showScore(score)),
    ),
    make("span", { className: "actions" }, ...buttons),
  );
  return row;
}

function showProbability(probability) {
  const bar = make("span", { className: "bar", "aria-hidden": "true" }, make("span"));
  bar.firstChild.style.width = `${100 * probability}%`;
  return make(
    "span",
    { className: "probability", title: "Probability of a positive rating" },
    bar,
    make("span", { className: "unseen" }, "Probability "),
    showPercent(probability),
  );
}

/** How much higher or lower an entry is than in the first list; null if it is at the same place. */
function showMove(place, before) {
  if (before === undefined) return make("span", { className: "move only" }, "only here");
  if (before === place) return null;
  const steps = before - place;
  const words = `${Math.abs(steps)} ${steps > 0 ? "higher" : "lower"} than in the first list`;
  return make(
    "span",
    { className: steps > 0 ? "move up" : "move down", title: words },
    make("span", { "aria-hidden": "true" }, `${steps > 0 ? "▲" : "▼"} ${Math.abs(steps)}`),
    make("span", { className: "unseen" }, words),
  );
}

function whyButton(entry, row, explain) {
  const id = newId("why");
  const button = make("button", {
    type: "button",
    "aria-expanded": "false",
    "aria-controls": id,
    "aria-label": `Why: ${entry.candidate.name}`,
    textContent: "Why",
  });
  let reasons = null;
  button.addEventListener("click", async () => {
    const isOpen = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!isOpen));
    if (isOpen) {
      reasons.remove();
      return;
    }
    reasons = make("div", { id, className: "why", role: "region", "aria-label": `Why ${entry.candidate.name}` });
    reasons.append(make("p", { className: "note", role: "status" }, "Looking for reasons …"));
    row.append(reasons);
    try {
      reasons.replaceChildren(await explain(entry));
    } catch (error) {
      if (error.name !== "AbortError") reasons.replaceChildren(make("p", { className: "wrong", role: "alert" }, error.message));
    }
  });
  return button;
}

/** Joins the outputs of a row with the names of the candidates; empty slots are left out. */
export async function toEntries(version, outputs, signal) {
  const ids = outputs.candidate_ids.filter(Boolean);
  const candidates = await ask(version, "name_candidates", { ids }, signal);
  return candidates.map((candidate, place) => ({
    candidate,
    score: outputs.scores[place],
    probability: "probabilities" in outputs ? outputs.probabilities[place] : null,
  }));
}

/** Shows what a known user has met, the latest first. */
export function showHistory(past, { id, threshold, actions }) {
  byId("history").hidden = past === null;
  if (past === null) return;
  byId("history-title").textContent = `History of user ${id}`;
  const isCut = past.num_events > past.events.length ? `, of which the latest ${past.events.length} are shown` : "";
  byId("history-note").textContent = past.num_events
    ? `${plural(past.num_events, "item")}${isCut}, the latest first.`
    : "The model remembers nothing of this user.";
  let shown = EVENTS_STEP;
  const more = byId("more-events");
  const render = () => {
    byId("events").replaceChildren(...past.events.slice(0, shown).map((event) => showEvent(event, threshold, actions)));
    more.hidden = past.events.length <= shown;
  };
  more.onclick = () => {
    shown += 5 * EVENTS_STEP;
    render();
  };
  render();
}

function showEvent({ candidate, rating }, threshold, actions) {
  return make(
    "li",
    { className: "event" },
    nameOf(candidate),
    rating === null ? null : make("span", { className: rating < threshold ? "rated low" : "rated" }, make("span", { className: "unseen" }, "rated "), String(rating)),
    make(
      "span",
      { className: "actions" },
      ...(candidate.is_served ? actions : []).map(({ label, act }) =>
        make("button", { type: "button", "aria-label": `${label}: ${candidate.name}`, textContent: label, onclick: () => act(candidate) }),
      ),
    ),
  );
}
