// From what a person has chosen to the rows of a request.

import { Problem } from "./api.js";

const NO_TIME = -(2n ** 63n);

/** The value of a missing field. */
const MISSING = { text: () => "", texts: () => [], number: () => NaN, time: () => NO_TIME, times: () => [] };

/** Reads a field of the form as the value of an input. */
export function readField(field, text) {
  const given = (text ?? "").trim();
  const parts = given.split(/[,;\s]+/).filter(Boolean);
  if (field.kind === "numbers") {
    if (!given) return field.size === null ? [] : Array(field.size).fill(NaN);
    const values = parts.map((part) => readNumber(field, part));
    if (field.size !== null && values.length !== field.size) {
      throw new Problem(`“${field.label}” needs ${field.size} numbers, separated by commas. There are ${values.length}.`);
    }
    return values;
  }
  if (!given) return MISSING[field.kind]();
  if (field.kind === "text") return given;
  if (field.kind === "texts") return given.split(",").map((part) => part.trim()).filter(Boolean);
  if (field.kind === "number") return readNumber(field, given);
  if (field.kind === "times") return given.split(",").map((part) => readTime(field, part.trim()));
  return readTime(field, given);
}

function readNumber(field, text) {
  const value = Number(text);
  if (!Number.isFinite(value)) throw new Problem(`“${field.label}” needs a number. It says “${text}”.`);
  return value;
}

function readTime(field, text) {
  const value = Date.parse(`${text}Z`); // the times of the data are in UTC
  if (Number.isNaN(value)) throw new Problem(`“${field.label}” needs a date and a time. It says “${text}”.`);
  return Math.floor(value / 1000);
}

/**
 * The inputs that describe the user.
 *
 * @param description Of the version.
 * @param who What the person has chosen.
 * @param past Events that replace the history of every input, oldest first; null takes what is given or stored.
 */
export function queryInputs(description, who, past = null) {
  const isKnown = who.mode === "known";
  const inputs = {};
  if (description.query_id !== null) inputs[description.query_id] = isKnown ? who.id : "";
  for (const field of description.fields) inputs[field.name] = readField(field, who.fields.get(field.name));
  for (const { name, rating_name } of description.histories) {
    const events = past ? past.filter((event) => !event.input || event.input === name) : isKnown ? [] : likedOf(who, name);
    inputs[name] = events.map((event) => event.candidate.id);
    if (rating_name !== null) inputs[rating_name] = events.map((event) => event.rating ?? NaN);
  }
  return inputs;
}

/** The events of a made-up user, oldest first, each with the input that it belongs to. */
export function likedEvents(description, who) {
  return description.histories.flatMap(({ name }) => likedOf(who, name).map((event) => ({ ...event, input: name })));
}

const likedOf = (who, name) => who.histories.get(name) ?? [];

/** The signature that takes what is left out and filtered, and its inputs. */
export function recommendation(description, who, narrowed) {
  const inputs = queryInputs(description, who);
  const excluded = narrowed.excluded.map((candidate) => candidate.id);
  const isFiltered = description.filters.some(({ name }) => narrowed.filters.get(name)?.size);
  if (isFiltered) {
    for (const { name } of description.filters) inputs[`filter_${name}`] = [...(narrowed.filters.get(name) ?? [])];
    return { signature: "recommend_filtered", row: { ...inputs, exclude_ids: excluded } };
  }
  if (excluded.length) return { signature: "recommend_excluding", row: { ...inputs, exclude_ids: excluded } };
  return { signature: "recommend", row: inputs };
}
