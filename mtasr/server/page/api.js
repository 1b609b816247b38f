/** What the page asks of the server. */

/**
 * An answer other than success, or none: then `status` is 0. `wait` is the time in seconds after which to try again;
 * `isFinal` says that the same request cannot succeed.
 */
export class ServerError extends Error {
  constructor(message, status, { wait = null, isFinal = false } = {}) {
    super(message);
    Object.assign(this, { status, wait, isFinal });
  }
}

/** What no answer will mend: a wrong option or file (400), one too large (413) or of another kind (415), no models (501). */
const FINAL = new Set([400, 413, 415, 501]);

export const UNREACHABLE = "The server cannot be reached. Is it running, and is this device connected to its network?";

// --- the key --------------------------------------------------------------------------------------------------------

const KEY = "mtasr-key";
let key = sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY);
let askForKey = () => Promise.resolve(null);

/** Have `ask` called when the server wants a key. It returns a promise of `{ key, keep }`, or of null for none. */
export function onKeyWanted(ask) {
  let asking = null; // One question, however many requests wait for the answer.
  askForKey = (wrong) => (asking ??= ask(wrong).finally(() => { asking = null; }));
}

export function setKey(given, keep) {
  key = given;
  for (const store of [localStorage, sessionStorage]) store.removeItem(KEY);
  if (given) (keep ? localStorage : sessionStorage).setItem(KEY, given);
}

const authorization = () => (key ? { authorization: `Bearer ${key}` } : {});

/** Do `send` again with another key as long as the server refuses the one it has and the user gives one. */
async function withKey(send) {
  for (;;) {
    const used = key, answer = await send();
    if (answer.status !== 401) return answer;
    if (used !== key) continue; // Another request has been given one meanwhile.
    const given = await askForKey(Boolean(used));
    if (!given) throw new ServerError("The server wants a key.", 401);
    setKey(given.key, given.keep);
  }
}

// --- requests -------------------------------------------------------------------------------------------------------

async function request(path, options = {}) {
  const answer = await withKey(async () => {
    try {
      return await fetch(path, { ...options, headers: { ...options.headers, ...authorization() } });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ServerError(UNREACHABLE, 0);
    }
  });
  if (!answer.ok) throw errorOf(answer.status, await answer.text(), answer.headers.get("retry-after"));
  return answer;
}

/** The error of an answer, in the server's own words if it has some. */
function errorOf(status, body, retryAfter) {
  let message = null;
  try {
    message = JSON.parse(body).error.message;
  } catch { /* A proxy answers as it likes. */ }
  const known = { 413: "The recording is larger than this server takes.", 429: "The server is busy." };
  const text = message ? sentence(message) : known[status] ?? `The server answered with error ${status}.`;
  const again = status === 429 || (status >= 500 && !FINAL.has(status));
  return new ServerError(text, status, { wait: again ? Number(retryAfter) || 5 : null, isFinal: FINAL.has(status) });
}

/** The error of a job that has failed. */
export function jobError({ message, type }) {
  return new ServerError(sentence(message), null, { isFinal: type === "invalid_request_error" });
}

/** The server's words as a sentence, sizes and times as people say them. It may begin with the name of a file. */
function sentence(words) {
  const text = words
    .replace(/(\d[\d,]*) bytes\b/g, (_, count) => size(Number(count.replaceAll(",", ""))))
    .replace(/(\d[\d,]*(?:\.\d+)?) s\b/g, (_, count) => span(Number(count.replaceAll(",", ""))));
  const first = /^[^:]*\.\w+: /.test(text) ? text[0] : text[0].toUpperCase();
  return first + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

/** `words` without the name of the file that they begin with. */
export function withoutName(words, name) {
  if (!words.startsWith(`${name}: `)) return words;
  const rest = words.slice(name.length + 2);
  return /^(is|has|contains) /.test(rest) ? `This file ${rest}` : rest[0].toUpperCase() + rest.slice(1);
}

/** "2.1 GB" */
function size(bytes) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  const power = Math.min(Math.floor(Math.log10(Math.max(bytes, 1)) / 3), units.length - 1);
  return `${Math.round(bytes / 1000 ** power * 10) / 10} ${units[power]}`;
}

/** "4 hours", "1 hour 30 minutes" */
function span(seconds) {
  if (seconds < 60) return `${seconds} seconds`;
  const minutes = Math.round(seconds / 60), parts = [[Math.floor(minutes / 60), "hour"], [minutes % 60, "minute"]];
  return parts.filter(([count]) => count).map(([count, unit]) => `${count} ${unit}${count === 1 ? "" : "s"}`).join(" ");
}

const json = async (path, options) => (await request(path, options)).json();

/** Languages, formats and limits; needs no key. */
export const about = () => json("/page/about.json");

export const models = async () => (await json("/v1/models")).data.map((model) => model.id);

export const jobResult = (job) => json(`/v1/jobs/${job}/result?format=json`);

/** Whether the job is no longer there. */
export async function removeJob(job) {
  try {
    await request(`/v1/jobs/${job}`, { method: "DELETE" });
    return true;
  } catch (error) {
    return error.status === 404;
  }
}

/** A transcript in a format, as a blob. `style` says how subtitles are divided: "raw" leaves the segments as they are. */
export async function render(transcript, format, style, more = {}) {
  const query = new URLSearchParams({ format, subtitle_style: style, ...more });
  const body = JSON.stringify(transcript), headers = { "content-type": "application/json" };
  return (await request(`/v1/render?${query}`, { method: "POST", headers, body })).blob();
}

/** The transcript with the subtitle cues of a style for segments. */
export async function divide(transcript, style) {
  return JSON.parse(await (await render(transcript, "json", style, { cues: true })).text());
}

/** Send a recording; resolves to the job. `fields` are form fields, `progress` is told the share that has been sent. */
export function createJob(file, name, fields, progress, signal) {
  const form = new FormData();
  for (const [field, value] of Object.entries(fields)) {
    if (value) form.append(field, value);
  }
  form.append("file", file, name);
  const send = () => new Promise((resolve, reject) => {
    // Unlike fetch, this tells how much has been sent.
    const sending = new XMLHttpRequest();
    sending.open("POST", "/v1/jobs");
    for (const [header, value] of Object.entries(authorization())) sending.setRequestHeader(header, value);
    sending.upload.onprogress = (event) => progress(event.total ? event.loaded / event.total : 0);
    sending.onload = () => resolve(sending);
    sending.onerror = () => reject(new ServerError(UNREACHABLE, 0));
    sending.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    signal.addEventListener("abort", () => sending.abort());
    sending.send(form);
  });
  return withKey(send).then((answer) => {
    if (answer.status >= 300) throw errorOf(answer.status, answer.responseText, answer.getResponseHeader("retry-after"));
    return JSON.parse(answer.responseText);
  });
}

/** A WebSocket. It cannot send headers, so the name of a subprotocol holds the key. */
export function socket(path) {
  const protocols = ["mtasr", ...(key ? [`openai-insecure-api-key.${key}`] : [])];
  return new WebSocket(new URL(path, location.href.replace(/^http/, "ws")), protocols);
}

// --- events ---------------------------------------------------------------------------------------------------------

/**
 * The events of a job, as `{ name, data }`, until it has ended. `EventSource` could not send the key. When the connection
 * is lost, it continues after the last event, and tells `lost` how often that has failed in a row.
 */
export async function* jobEvents(job, signal, lost = () => {}) {
  let last = null;
  for (let failures = 0; ;) {
    try {
      const headers = { accept: "text/event-stream", ...(last && { "last-event-id": last }) };
      const answer = await request(`/v1/jobs/${job}/events`, { headers, signal });
      for await (const event of events(answer.body)) {
        if (failures) lost(failures = 0);
        last = event.id ?? last;
        yield event;
        if (event.name === "done") return;
      }
      failures++; // The server has stopped, and will be back.
    } catch (error) {
      if (error.name === "AbortError" || (error.status >= 400 && error.wait === null)) throw error;
      failures++;
    }
    lost(failures);
    await pause(Math.min(2 ** failures * 0.25, 10), signal);
  }
}

/** Server-sent events of a stream. */
async function* events(stream) {
  let held = "";
  for await (const piece of chunks(stream.pipeThrough(new TextDecoderStream()))) {
    const blocks = (held + piece).split(/\r?\n\r?\n/);
    held = blocks.pop();
    for (const block of blocks) {
      const event = { name: "message", id: null };
      let data = "";
      for (const line of block.split(/\r?\n/)) {
        const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line);
        if (field === "event") event.name = value;
        if (field === "id") event.id = value;
        if (field === "data") data += value;
      }
      if (data) yield { ...event, data: JSON.parse(data) };
    }
  }
}

/** Not every browser can iterate a stream. */
async function* chunks(stream) {
  const reader = stream.getReader();
  try {
    for (let next; !(next = await reader.read().catch(fail)).done;) yield next.value;
  } finally {
    reader.cancel().catch(() => {});
  }
}

function fail(error) {
  throw error.name === "AbortError" ? error : new ServerError(UNREACHABLE, 0, { wait: 1 });
}

/** Wait for some seconds, or until the signal says that nobody waits any longer. */
export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("cancelled", "AbortError"));
    }, { once: true });
  });
}
