// Why an item is recommended: its score without each item of the history, and which liked items are near it.

import { ask, predict } from "./api.js";
import { make, nameOf, plural, showDifference } from "./dom.js";
import { likedEvents, queryInputs } from "./request.js";

// Items of the history that are left out, one at a time, the latest ones.
const MAX_LEFT_OUT = 100;
const MAX_PULLING = 5;
const MAX_HOLDING = 3;
const MAX_NEAR = 3;
// Scores are float32: smaller differences, as parts of the greatest one, say nothing.
const NOTICEABLE = 0.02;

/** Explains a recommendation; returns what the page shows. */
export async function explain({ version, description, limits, who, candidate, signal }) {
  const isKnown = who.mode === "known";
  const events = isKnown ? await storedEvents(version, description, who, signal) : likedEvents(description, who);
  if (!events.length) {
    return make("p", { className: "note" }, "There is no history to explain it by: these are general recommendations.");
  }
  const parts = [];
  if (description.histories.length) {
    parts.push(await showPulls({ version, description, limits, who, candidate, signal, events, isKnown }));
  }
  parts.push(await showNear({ version, description, candidate, signal, events }));
  return make("div", { className: "reasons" }, ...parts);
}

/** The events that the bundle remembers, oldest first. */
async function storedEvents(version, description, who, signal) {
  if (!description.remembers) return [];
  const past = await ask(version, "remember", { query_id: who.id }, signal);
  return past.events.reverse();
}

async function showPulls({ version, description, limits, who, candidate, signal, events, isKnown }) {
  const title = make("h4", {}, "What the history does");
  if (isKnown && events.length === 1) {
    const text = "The history has a single item, and without it there is nothing to compare with.";
    return make("section", {}, title, make("p", { className: "note" }, text));
  }
  const used = events.slice(-limits.list_length);
  const count = Math.min(MAX_LEFT_OUT, used.length, limits.rows - 1, Math.floor(limits.values / used.length) - 1);
  const first = used.length - count;
  const left = used.slice(first);
  const histories = [used, ...left.map((_, place) => used.toSpliced(first + place, 1))];
  const rows = histories.map((past) => ({ ...queryInputs(description, who, past), candidate_id: candidate.id }));
  const [whole, ...without] = await predict(version, "score", rows, signal);
  const pulls = without
    .map((row, place) => ({ event: left[place], score: scoreOf(whole) - scoreOf(row) }))
    .sort((one, other) => other.score - one.score);
  const greatest = Math.max(...pulls.map((pull) => Math.abs(pull.score)));
  const isNoticeable = (pull) => Math.abs(pull.score) > NOTICEABLE * greatest;
  const up = pulls.filter((pull) => pull.score > 0 && isNoticeable(pull)).slice(0, MAX_PULLING);
  const down = pulls.filter((pull) => pull.score < 0 && isNoticeable(pull)).slice(-MAX_HOLDING).reverse();
  const of = count < events.length ? ` Of ${plural(events.length, "item")}, the latest ${count} were left out.` : "";
  const note = `How much the score changes because an item is in the history: the score with it minus the score without it.${of}`;
  return make(
    "section",
    {},
    title,
    make("p", { className: "note" }, note),
    up.length ? make("h5", {}, "Raises the score") : null,
    up.length ? make("ul", { className: "pulls" }, ...up.map((pull) => showPull(pull, greatest))) : null,
    down.length ? make("h5", {}, "Lowers the score") : null,
    down.length ? make("ul", { className: "pulls" }, ...down.map((pull) => showPull(pull, greatest))) : null,
    up.length || down.length ? null : make("p", { className: "note" }, "No item of the history changes it noticeably."),
  );
}

const scoreOf = (row) => (typeof row === "number" ? row : row.scores);

function showPull({ event, score }, greatest) {
  const bar = make("span", { className: score < 0 ? "bar lowers" : "bar raises", "aria-hidden": "true" }, make("span"));
  bar.firstChild.style.width = `${Math.max(2, (100 * Math.abs(score)) / greatest)}%`;
  return make(
    "li",
    {},
    make("span", { className: "name" }, event.candidate.name),
    make("span", { className: "details" }, event.rating === null || event.rating === undefined ? "" : `rated ${event.rating}`),
    bar,
    make("span", { className: "amount" }, showDifference(score)),
  );
}

async function showNear({ version, description, candidate, signal, events }) {
  const [found] = await predict(version, "similar", [candidate.id], signal);
  const rankOf = new Map(found.candidate_ids.filter(Boolean).map((id, place) => [id, place + 1]));
  const isLiked = (event) => (event.rating ?? Infinity) >= description.positive_threshold;
  const near = events
    .filter((event) => isLiked(event) && rankOf.has(event.candidate.id))
    .sort((one, other) => rankOf.get(one.candidate.id) - rankOf.get(other.candidate.id))
    .slice(0, MAX_NEAR);
  const title = make("h4", {}, "Near it among what the user likes");
  if (!near.length) {
    const text = `None of the ${rankOf.size} items that are most similar to it is liked by this user.`;
    return make("section", {}, title, make("p", { className: "note" }, text));
  }
  const items = near.map((event) =>
    make("li", {}, nameOf(event.candidate), make("span", { className: "amount" }, `no. ${rankOf.get(event.candidate.id)} of the most similar`)),
  );
  return make("section", {}, title, make("ul", { className: "near" }, ...items));
}
