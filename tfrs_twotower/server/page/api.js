// What the page asks the server, and what it says when that goes wrong.

const TOKEN_KEY = "tfrs-twotower-token";
let token = sessionStorage.getItem(TOKEN_KEY) ?? "";
let asking = null;

/** Something that went wrong, in words for the person at the page. */
export class Problem extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

export const currentToken = () => token;

export const getModels = () => call("/explorer/models");
export const describe = (version) => call(pathOf(version));
export const ask = (version, question, content, signal) => call(`${pathOf(version)}/${question}`, content, signal);

/** The path of predictions of a version, which any client may use. */
export const predictionPath = ({ model, number }) => `/v1/models/${encodeURIComponent(model)}/versions/${number}:predict`;

/** Calls a signature with rows; returns a row of outputs for each. */
export async function predict(version, signature, rows, signal) {
  const body = { signature_name: signature, instances: rows };
  return (await call(predictionPath(version), body, signal)).predictions;
}

/** Writes JSON with NaN and the lowest int64, by which requests say that a number or a time is missing. */
export function writeJson(value, indent = "", step = "") {
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const inner = indent + step;
  const isList = Array.isArray(value);
  const parts = isList
    ? value.map((item) => writeJson(item, inner, ""))
    : Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${writeJson(item, inner, step)}`);
  const [open, close] = isList ? "[]" : "{}";
  if (!step || isList || !parts.length) return open + parts.join(", ") + close;
  return `${open}\n${parts.map((part) => inner + part).join(",\n")}\n${indent}${close}`;
}

const pathOf = ({ model, number }) => `/explorer/models/${encodeURIComponent(model)}/versions/${number}`;

async function call(path, content, signal) {
  for (;;) {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const options = content === undefined ? {} : { method: "POST", body: writeJson(content) };
    let response;
    try {
      response = await fetch(path, { ...options, headers, signal });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem("The server does not respond. Is it still running?");
    }
    if (response.ok) return response.json();
    if (response.status !== 401) throw await problemOf(response);
    await askForToken();
  }
}

async function problemOf(response) {
  let said = "";
  try {
    said = (await response.json()).error;
  } catch {
    // It says nothing that can be read.
  }
  const words = {
    404: "This version is no longer served.",
    413: "The request is too long for this server.",
    429: "The server is busy. Try again in a moment.",
    503: "This version is being started again. Try again in a moment.",
    504: "The server took too long. Try again, or ask for less.",
  };
  const status = response.status;
  return new Problem(words[status] ?? `The server refused the request: ${said || `status ${status}`}`, status);
}

/** Shows the dialog, once for all requests that wait for it. */
function askForToken() {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("ask-token");
    const input = document.getElementById("token-input");
    document.getElementById("token-problem").textContent = token ? "The server does not accept this token." : "";
    input.value = "";
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.addEventListener(
      "close",
      () => {
        token = input.value.trim();
        sessionStorage.setItem(TOKEN_KEY, token);
        asking = null;
        resolve();
      },
      { once: true },
    );
    dialog.showModal();
  });
  return asking;
}
