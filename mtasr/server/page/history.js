/**
 * What the browser keeps: recordings (what is known of each), their texts (as recognised and as corrected), sounds and
 * the peaks of their waveforms.
 * Nothing of it leaves the browser. Where it keeps nothing, as in some private windows, a list in memory takes its place.
 */

const STORES = ["recordings", "texts", "sounds", "peaks"];

/** Bytes of the largest sound that is kept. */
const LARGEST = 2_000_000_000;

const memory = new Map(STORES.map((name) => [name, new Map()]));
let database = null;
let kept = true;
const others = "BroadcastChannel" in globalThis ? new BroadcastChannel("mtasr-history") : null;

/** Whether the browser keeps what is put here. */
export const isKept = () => kept;

/** Have `changed` called when another window has changed something. */
export function onChangeElsewhere(changed) {
  others?.addEventListener("message", changed);
}

function opened() {
  database ??= new Promise((resolve, reject) => {
    const opening = indexedDB.open("mtasr", 1);
    opening.onupgradeneeded = () => { for (const name of STORES) opening.result.createObjectStore(name); };
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
    opening.onblocked = () => reject(new Error("blocked"));
  });
  return database;
}

/** What `work` asks of one store of the database. */
async function stored(name, mode, work) {
  const transaction = (await opened()).transaction(name, mode), request = work(transaction.objectStore(name));
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(request.result);
    transaction.onabort = transaction.onerror = () => reject(transaction.error ?? request.error);
  });
}

/** The same; `instead` is given the list in memory if the browser has no database or no room. */
async function within(name, mode, work, instead) {
  if (kept || mode === "readonly") {
    try {
      return await stored(name, mode, work);
    } catch {
      kept = false;
    }
  }
  return instead(memory.get(name));
}

const put = (store, id, value) =>
  within(store, "readwrite", (kept) => kept.put(value, id), (held) => void held.set(id, value));

const get = async (store, id) =>
  memory.get(store).get(id) ?? within(store, "readonly", (kept) => kept.get(id), () => undefined);

/** All recordings, the newest first. */
export async function recordings() {
  const stored = (await within("recordings", "readonly", (kept) => kept.getAll(), () => [])) ?? [];
  const all = new Map([...stored, ...memory.get("recordings").values()].map((each) => [each.id, each]));
  return [...all.values()].sort((a, b) => b.created - a.created);
}

export const recording = (id) => get("recordings", id);

export async function putRecording(value) {
  await put("recordings", value.id, value);
  others?.postMessage(value.id);
}

/** `{ original, edited }`, two transcripts; undefined until the recording is recognised. */
export const texts = (id) => get("texts", id);

export const putTexts = (id, value) => put("texts", id, value);

export const peaks = (id) => get("peaks", id);

export const putPeaks = (id, value) => put("peaks", id, value);

export const sound = (id) => get("sounds", id);

/** Keep the file of a recording, if there is room. It can be asked for at once, and as long as this page is open. */
export async function putSound(id, file) {
  const held = memory.get("sounds").set(id, file);
  if (file.size > LARGEST) return;
  try {
    await stored("sounds", "readwrite", (kept) => kept.put(file, id));
    held.delete(id);
  } catch { /* It stays in memory. */ }
}

/** Forget a recording. */
export async function remove(id) {
  for (const store of STORES) {
    memory.get(store).delete(id);
    await within(store, "readwrite", (kept) => kept.delete(id), () => undefined);
  }
  others?.postMessage(id);
}

/** A name that no other recording has. Browsers offer `randomUUID` to secure pages only. */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
