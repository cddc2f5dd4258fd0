// The page: which versions and which user are chosen, and what follows from that.

import { Problem, ask, currentToken, describe, getModels, predict, predictionPath, writeJson } from "./api.js";
import { announce, byId, hideProblem, make, plural, showCount, showProblem } from "./dom.js";
import { recommendation } from "./request.js";
import { showHistory, showLists, toEntries } from "./results.js";
import { buildSide, exclude, itemPicker } from "./who.js";
import { explain } from "./why.js";

const STEP = 10;
const WAIT_MS = 2000;

const state = {
  models: [],
  limits: null,
  asked: null, // {model, number}
  first: null, // the same with its description
  second: null,
  view: "user",
  who: { mode: "known", id: "", fields: new Map(), histories: new Map() },
  narrowed: { filters: new Map(), excluded: [] },
  item: null,
  shown: STEP,
};
let running = new AbortController();

const version = () => state.first;
const wordsOf = ({ model, number }) => `${state.models.length > 1 ? `${model}, ` : ""}version ${number}`;
const titleOf = (each) => wordsOf(each).replace(/^version/, "Version");
const keyOf = ({ model, number }) => JSON.stringify([model, number]);

/** Runs what may fail, and says in the page what went wrong. */
async function guard(work) {
  try {
    return await work();
  } catch (error) {
    if (error.name === "AbortError") return undefined;
    byId("results").setAttribute("aria-busy", "false");
    byId("loading").hidden = true;
    if (!(error instanceof Problem)) console.error(error);
    const isGone = error.status === 404 && (await replaceGone());
    if (!isGone) showProblem(error instanceof Problem ? error.message : "Something went wrong in the page. Load it again.");
    return undefined;
  }
}

/** Takes the newest version in place of one that is no longer served; tells whether there was one. */
async function replaceGone() {
  const gone = state.asked;
  try {
    await loadModels();
    const versions = allVersions();
    const isServed = (each) => versions.some((other) => keyOf(other) === keyOf(each));
    const next = isServed(gone) ? gone : (versions.find((other) => other.model === gone.model) ?? versions[0]);
    const lost = [gone, state.second].find((each) => each && !isServed(each));
    if (!next || !lost) return false;
    await choose(next, null);
    showProblem(`${titleOf(lost)} is no longer served. This is ${wordsOf(next)}.`);
    return true;
  } catch {
    return false;
  }
}

async function loadModels() {
  const { models, limits } = await getModels();
  Object.assign(state, { models, limits });
}

const allVersions = () => state.models.flatMap(({ name, versions }) => versions.map((number) => ({ model: name, number })));

/** Chooses the version that is shown, and the one beside it, or null. */
async function choose(first, second) {
  state.asked = first;
  const [one, other] = await Promise.all([describe(first), second && describe(second)]);
  state.first = { ...first, description: one };
  state.second = second && { ...second, description: other };
  showVersions();
  showAbout();
  byId("loading").hidden = true;
  for (const id of ["choices", "tabs", "columns"]) byId(id).hidden = false;
  buildSide({ state, change, version });
  await update();
}

function showVersions() {
  const versions = allVersions();
  const optionsOf = (chosen) =>
    versions.map((each) => {
      const { labels } = state.models.find((model) => model.name === each.model);
      const names = Object.keys(labels).filter((label) => labels[label] === each.number);
      const text = `${titleOf(each)}${names.length ? ` (${names.join(", ")})` : ""}`;
      return make("option", { value: keyOf(each), textContent: text, selected: chosen !== null && keyOf(each) === keyOf(chosen) });
    });
  byId("version").replaceChildren(...optionsOf(state.first));
  const none = make("option", { value: "", textContent: "nothing", selected: state.second === null });
  byId("other").replaceChildren(none, ...optionsOf(state.second).filter((option) => option.value !== keyOf(state.first)));
  byId("other-choice").hidden = versions.length < 2;
  byId("choices").classList.toggle("short", versions.length > 1 && state.models.length === 1);
  const name = state.models.length === 1 ? state.first.model : "Explorer";
  byId("title").textContent = name;
  document.title = name === "Explorer" ? name : `${name} – Explorer`;
  const report = byId("report");
  report.hidden = !state.first.description.has_report;
  report.elements.model.value = state.first.model;
  report.elements.version.value = state.first.number;
  report.onsubmit = () => {
    report.elements.token.value = currentToken();
  };
}

function showAbout() {
  const { description } = state.first;
  const day = new Date(description.created).toLocaleDateString("en", { year: "numeric", month: "long", day: "numeric" });
  const users = description.query_id === null ? "" : ` and knows ${plural(description.num_queries, "user")}`;
  byId("about").textContent = `Recommends from ${plural(description.num_candidates, "item")}${users}. Exported on ${day}.`;
}

/** Follows a change of the form. */
function change({ showsResults = false } = {}) {
  state.shown = STEP;
  hideProblem();
  return guard(async () => {
    await update();
    const title = byId("results-title");
    // What had the focus may be gone with what was shown before.
    if (document.activeElement === document.body) title.focus({ preventScroll: true });
    if (showsResults && title.getBoundingClientRect().top > 0.8 * innerHeight) title.scrollIntoView();
  });
}

async function update() {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  writeAddress();
  const isUser = state.view === "user";
  for (const id of ["who", "narrow"]) byId(id).hidden = !isUser;
  byId("which").hidden = isUser;
  byId("results").setAttribute("aria-busy", "true");
  await (isUser ? updateUser(signal) : updateItem(signal));
  byId("results").setAttribute("aria-busy", "false");
}

async function updateUser(signal) {
  const { who, first, second } = state;
  byId("results-title").textContent =
    who.mode === "known" ? (who.id ? `Recommendations for user ${who.id}` : "Recommendations") : "Recommendations for a made-up user";
  if (who.mode === "known" && !who.id) {
    showHistory(null, {});
    showNothing("Find a user by id, or pick one at random, to see what the model recommends and why.");
    return;
  }
  const compared = [first, second].filter(Boolean);
  const asked = compared.map(({ description }) => recommendation(description, who, state.narrowed));
  const [lists, past] = await Promise.all([
    Promise.all(compared.map((each, number) => recommend(each, asked[number], signal))),
    who.mode === "known" && first.description.remembers ? ask(first, "remember", { query_id: who.id }, signal) : null,
  ]);
  const similar = { label: "Similar", act: showSimilar };
  const leaveOut = {
    label: "Leave out",
    act: async (candidate, { list, place }) => {
      await exclude(state, change, candidate);
      // The next item has come to the place of this one.
      document.querySelectorAll("#lists .list")[list]?.querySelectorAll(".entry")[place]?.querySelector(".actions button:last-child")?.focus();
    },
  };
  const reasons = (number, entry) =>
    explain({ version: compared[number], description: compared[number].description, limits: state.limits, who, candidate: entry.candidate, signal });
  const render = () => showLists(lists, { shown: state.shown, actions: [similar, leaveOut], explain: reasons });
  render();
  byId("more").onclick = () => {
    state.shown += STEP;
    render();
  };
  byId("lead").textContent = leadOf(lists, past);
  showHistory(past, { id: who.id, threshold: first.description.positive_threshold, actions: [similar] });
  showRequest(first, asked[0]);
  const found = lists[0].entries.length;
  announce(`${plural(Math.min(found, state.shown), "recommendation")}. ${compareWords(lists)}`);
}

async function recommend(each, { signature, row }, signal) {
  const [outputs] = await predict(each, signature, [row], signal);
  return { title: titleOf(each), entries: await toEntries(each, outputs, signal) };
}

function leadOf(lists, past) {
  const { description } = state.first;
  const parts = [];
  if (past && !past.is_known) parts.push("The model does not know this user: these are general recommendations.");
  if (!description.recommends_seen && past?.num_events) parts.push(`Without the ${plural(past.num_events, "item")} that this user has met.`);
  if (description.has_probabilities && lists.length === 1) parts.push("Each has its probability of a positive rating, and its score.");
  parts.push(compareWords(lists));
  return parts.filter(Boolean).join(" ");
}

function compareWords(lists) {
  if (lists.length < 2) return "";
  const [one, other] = lists.map((list) => list.entries.slice(0, state.shown).map((entry) => entry.candidate.id));
  const both = one.filter((id) => other.includes(id)).length;
  return `${showCount(both)} of the first ${state.shown} are in both lists.`;
}

async function updateItem(signal) {
  const { item, first, second } = state;
  byId("results-title").textContent = item ? `Items like ${item.name}` : "Similar items";
  showHistory(null, {});
  if (!item) {
    showNothing("Find an item by its title or id to see which items the model takes for similar.");
    return;
  }
  const compared = [first, second].filter(Boolean);
  const lists = await Promise.all(
    compared.map(async (each) => {
      const [outputs] = await predict(each, "similar", [item.id], signal);
      return { title: titleOf(each), entries: await toEntries(each, outputs, signal) };
    }),
  );
  const render = () => showLists(lists, { shown: state.shown, actions: [{ label: "Similar", act: showSimilar }], explain: null });
  render();
  byId("more").onclick = () => {
    state.shown += STEP;
    render();
  };
  byId("lead").textContent = [item.details.join(" · "), compareWords(lists)].filter(Boolean).join(". ");
  showRequest(first, { signature: "similar", row: item.id });
  announce(`${plural(Math.min(lists[0].entries.length, state.shown), "similar item")}. ${compareWords(lists)}`);
}

function showSimilar(candidate) {
  state.item = candidate;
  setView("item");
  byId("results-title").scrollIntoView({ block: "nearest" });
  byId("main").focus({ preventScroll: true });
}

function setView(view) {
  showView(view);
  change();
}

function showView(view) {
  state.view = view;
  for (const [name, id] of [["user", "tab-user"], ["item", "tab-item"]]) {
    if (name === view) byId(id).setAttribute("aria-current", "page");
    else byId(id).removeAttribute("aria-current");
  }
}

function showNothing(text) {
  byId("lead").textContent = "";
  byId("lists").classList.remove("two");
  byId("lists").replaceChildren(make("p", { className: "empty" }, text));
  byId("more").hidden = true;
  byId("request").hidden = true;
}

function showRequest(each, { signature, row }) {
  byId("request").hidden = false;
  const body = writeJson({ signature_name: signature, instances: [0] }, "", "  ").replace("[0]", `[${writeJson(row, "  ", "  ")}]`);
  byId("request-text").textContent = `POST ${predictionPath(each)}\n\n${body}`;
}

/** The address keeps what is chosen, behind the #, so that it stays in the browser. */
function writeAddress() {
  const parts = { model: state.first.model, version: String(state.first.number) };
  if (state.second) parts.compare = keyOf(state.second);
  if (state.view === "item" && state.item) parts.item = state.item.id;
  if (state.view === "user" && state.who.mode === "known" && state.who.id) parts.user = state.who.id;
  const address = `#${new URLSearchParams(parts)}`;
  if (location.hash === address) return;
  if (location.hash) window.history.pushState(null, "", address);
  else window.history.replaceState(null, "", address);
}

async function readAddress() {
  const parts = new URLSearchParams(location.hash.slice(1));
  const versions = allVersions();
  const named = versions.find((each) => each.model === parts.get("model") && String(each.number) === parts.get("version"));
  const first = named ?? versions[0];
  const second = versions.find((each) => keyOf(each) === parts.get("compare") && keyOf(each) !== keyOf(first)) ?? null;
  state.who.id = parts.get("user") ?? "";
  if (state.who.id) state.who.mode = "known";
  const [item] = parts.get("item") ? await ask(first, "name_candidates", { ids: [parts.get("item")] }) : [];
  if (item?.is_served) state.item = item;
  showView(item?.is_served ? "item" : "user");
  await choose(first, second);
}

function listen() {
  byId("narrow").open = matchMedia("(min-width: 60rem)").matches;
  const chosen = (id) => allVersions().find((each) => keyOf(each) === byId(id).value) ?? null;
  const follow = () => {
    hideProblem();
    const [first, second] = [chosen("version"), chosen("other")];
    guard(() => choose(first, second && keyOf(second) !== keyOf(first) ? second : null));
  };
  byId("version").addEventListener("change", follow);
  byId("other").addEventListener("change", follow);
  // What follows the # is what is chosen, and not a place in the page.
  byId("skip").addEventListener("click", (event) => {
    event.preventDefault();
    byId("main").focus();
  });
  addEventListener("popstate", () => guard(readAddress));
  byId("problem").querySelector("button").addEventListener("click", hideProblem);
  for (const [id, view] of [["tab-user", "user"], ["tab-item", "item"]]) {
    byId(id).addEventListener("click", (event) => {
      event.preventDefault();
      setView(view);
    });
  }
  const find = itemPicker("Find an item", "Title or id", version, (item) => {
    state.item = item;
    change({ showsResults: true });
  });
  byId("find-item").append(find.element);
}

listen();
guard(async () => {
  await loadModels();
  while (!allVersions().length) {
    byId("loading").textContent = "No model is ready yet. The page goes on as soon as one is.";
    await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
    await loadModels();
  }
  await readAddress();
});
