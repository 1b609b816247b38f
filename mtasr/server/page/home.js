/** The first view: what to transcribe and how, and the list of recordings. */

import { CaptionView } from "./captions.js";
import { ask, breakable, complain, get, make } from "./dialogs.js";
import * as history from "./history.js";
import { LiveCaptions } from "./live.js";
import { Recorder } from "./recorder.js";
import { languageText, stageText } from "./reader.js";
import { clock } from "./viewer.js";
import { isActive } from "./work.js";

const OPTIONS = ["language", "task", "model", "hotwords", "apart", "count", "names"];

/** What the names of speakers follow, for each way to tell speakers apart. */
const ORDER = { voices: "in order of appearance", channels: "channel by channel" };

export class Home {
  /** `go` shows a recording, by its id. */
  constructor(about, work, go) {
    Object.assign(this, { about, work, go, recordings: [], items: new Map() });
    this.captions = new CaptionView();
    this.prepareOptions();
    this.listen();
  }

  // --- options ------------------------------------------------------------------------------------------------------

  prepareOptions() {
    const languages = Object.entries(this.about.languages).sort(([, a], [, b]) => a.localeCompare(b));
    get("language").append(...languages.map(([value, name]) => make("option", { value }, name)));
    const defaults = Object.fromEntries(OPTIONS.map((name) => [name, get(name).value]));
    for (const name of OPTIONS) {
      const held = localStorage.getItem(`mtasr-${name}`);
      if (held !== null) get(name).value = held;
      get(name).addEventListener("change", () => localStorage.setItem(`mtasr-${name}`, get(name).value));
    }
    get("apart").addEventListener("change", () => this.showSpeakers());
    this.showSpeakers();
    const isChosen = OPTIONS.some((name) => get(name).value !== defaults[name]);
    get("more").open = isChosen || matchMedia("(min-width: 40rem)").matches;
    get("options").addEventListener("submit", (event) => event.preventDefault());
  }

  showSpeakers() {
    const apart = get("apart").value;
    get("count-label").hidden = apart !== "voices";
    get("names-label").hidden = !apart;
    get("names-text").textContent = `Names, ${ORDER[apart] ?? ""}`;
  }

  /** Offer the server's models, if there is a choice. */
  offerModels(models) {
    get("model-label").hidden = models.length < 2;
    get("model").replaceChildren(...models.map((value) => make("option", { value }, value)));
    const held = localStorage.getItem("mtasr-model");
    if (models.includes(held)) get("model").value = held;
  }

  get options() {
    const all = Object.fromEntries(OPTIONS.map((name) => [name, get(name).value.trim()]));
    const { apart, count, names, ...chosen } = all, named = names.split(",").map((name) => name.trim());
    if (get("model-label").hidden) chosen.model = "";
    if (apart && named.some(Boolean)) chosen.speakers = named.join(); // One value: an empty one would be left out.
    if (apart === "channels") chosen.channels = "split";
    if (apart === "voices") Object.assign(chosen, { diarize: "true", num_speakers: count });
    return chosen.language === "*" ? { ...chosen, language: "", multilingual: "true" } : chosen;
  }

  // --- files --------------------------------------------------------------------------------------------------------

  listen() {
    get("choose").addEventListener("click", () => get("files").click());
    get("files").addEventListener("change", () => {
      this.take([...get("files").files]);
      get("files").value = "";
    });
    get("record").addEventListener("click", () => this.record());
    get("clear").addEventListener("click", () => this.clear());
    this.listenToDrops();
  }

  listenToDrops() {
    const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
    let depth = 0; // Elements that the pointer is over.
    const show = () => { get("drop-here").hidden = depth <= 0; };
    addEventListener("dragenter", (event) => { if (hasFiles(event)) { depth++; show(); } });
    addEventListener("dragleave", (event) => { if (hasFiles(event)) { depth--; show(); } });
    addEventListener("dragover", (event) => { if (hasFiles(event)) event.preventDefault(); });
    addEventListener("drop", (event) => {
      depth = 0;
      show();
      if (!hasFiles(event)) return;
      event.preventDefault();
      this.take([...event.dataTransfer.files]);
    });
  }

  async take(files) {
    complain("");
    const added = [];
    for (const file of files) added.push(await this.work.add(file, file.name, this.options));
    if (added.length === 1) this.go(added[0].id); else if (added.length) this.go(null);
  }

  // --- the microphone -----------------------------------------------------------------------------------------------

  async record() {
    let recorder;
    try {
      recorder = await Recorder.start();
    } catch (error) {
      return complain(error.message);
    }
    complain("");
    const leaving = (event) => event.preventDefault();
    addEventListener("beforeunload", leaving);
    this.showRecorder(true);
    const timer = setInterval(() => this.showRecording(recorder), 100);
    this.showRecording(recorder);
    this.captions.clear();
    const { options } = this, captions = await LiveCaptions.start(recorder, options, (event) => this.captions.show(event));
    const use = await this.recorded(recorder);
    clearInterval(timer);
    const file = await recorder.stop();
    const transcript = use ? await this.finished(captions) : captions.discard();
    removeEventListener("beforeunload", leaving);
    document.title = "mtasr";
    this.captions.fill(false);
    this.showRecorder(false);
    if (!use) return;
    // Captions hear one channel.
    if (!transcript || get("apart").value === "channels") await this.take([file]);
    else this.go((await this.work.keep(file, file.name, options, transcript)).id);
  }

  /** The transcript when the captions have ended; null if there is none. */
  async finished(captions) {
    const buttons = ["recorder-stop", "recorder-pause", "recorder-cancel"].map(get);
    get("recorder-state").textContent = "Finishing the text";
    for (const button of buttons) button.disabled = true;
    const transcript = await captions.finish();
    for (const button of buttons) button.disabled = false;
    return transcript;
  }

  showRecorder(shown) {
    get("recorder").hidden = !shown;
    for (const id of ["drop", "more"]) get(id).hidden = shown;
    get("history").hidden = shown || !this.recordings.length;
    get(shown ? "recorder-stop" : "record").focus();
  }

  showRecording(recorder) {
    get("recorder-time").textContent = clock(recorder.seconds);
    document.title = `● ${clock(recorder.seconds)} · mtasr`;
    const level = recorder.isPaused ? 0 : Math.round(recorder.level * 100);
    get("level").setAttribute("aria-valuenow", level);
    get("level").firstElementChild.style.width = `${level}%`;
    const state = recorder.isPaused ? "Paused" : "Recording";
    if (get("recorder-state").textContent !== state) get("recorder-state").textContent = state;
    this.loudest = recorder.seconds < 0.5 ? 0 : Math.max(this.loudest, recorder.level);
    const silence = "Nothing is heard. Is this the right microphone, and is it switched on?";
    get("recorder-hint").textContent = recorder.seconds > 4 && this.loudest < 0.15 ? silence : "";
  }

  /** Whether the recording shall be used, when the user has decided. */
  recorded(recorder) {
    const listening = new AbortController(), { signal } = listening;
    return new Promise((resolve) => {
      get("recorder-stop").addEventListener("click", () => resolve(true), { signal });
      get("recorder-cancel").addEventListener("click", () => resolve(false), { signal });
      get("recorder-pause").addEventListener("click", () => {
        recorder.toggle();
        get("recorder-pause").textContent = recorder.isPaused ? "Go on" : "Pause";
        this.showRecording(recorder);
      }, { signal });
    }).finally(() => {
      listening.abort();
      get("recorder-pause").textContent = "Pause";
    });
  }

  // --- the list -----------------------------------------------------------------------------------------------------

  async refresh() {
    this.recordings = await history.recordings();
    const items = this.recordings.map((recording) => this.itemOf(recording));
    get("recordings").replaceChildren(...items);
    get("history").hidden = !items.length;
    get("not-kept").hidden = history.isKept();
  }

  /** Show a recording that has changed. */
  changed(recording) {
    const before = this.items.get(recording.id);
    if (before?.isConnected) before.replaceWith(this.itemOf(recording, before));
    else if (!this.recordings.some((each) => each.id === recording.id)) this.refresh();
  }

  itemOf(recording, before) {
    const held = before?.contains(document.activeElement) ? document.activeElement.className : null;
    const item = make(
      "li", { class: recording.status },
      make("a", { class: "open", href: `#/${recording.id}` }, make("b", {}, ...breakable(recording.name))),
      make("span", { class: "muted" }, this.factsOf(recording)),
      isActive(recording)
        ? make("progress", { max: 1, value: recording.share, "aria-label": `Progress of ${recording.name}` })
        : null,
      recording.status === "failed" && !recording.isFinal
        ? make("button", {
          type: "button", class: "retry", "aria-label": `Try ${recording.name} again`, click: () => this.work.retry(recording),
        }, "Try again")
        : null,
      make("button", {
        type: "button", class: "quiet delete", "aria-label": `Delete ${recording.name}`, click: () => this.remove(recording),
      }, isActive(recording) ? "Cancel" : "Delete"),
    );
    this.items.set(recording.id, item);
    if (held) queueMicrotask(() => item.querySelector(`.${held.split(" ").at(-1)}`)?.focus());
    return item;
  }

  factsOf(recording) {
    if (recording.status === "failed") return `⚠ ${recording.error}`;
    if (isActive(recording)) return stageText(recording);
    const { duration, language, languageProbability, options, created, edited } = recording, facts = [clock(duration)];
    if (language) facts.push(languageText(this.about, language, languageProbability));
    if (options.task === "translate") facts.push("translated into English");
    if (edited) facts.push("corrected");
    facts.push(new Date(created).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }));
    return facts.join(" · ");
  }

  async remove(recording) {
    const active = isActive(recording);
    const title = active ? `Cancel ${recording.name}?` : `Delete ${recording.name}?`;
    const text = active ? "" : "Its sound and its text are deleted from this browser.";
    if (!(await ask({ title, text, yes: active ? "Cancel the recording" : "Delete" }))) return false;
    await this.forget(recording);
    await this.refresh();
    return true;
  }

  async forget(recording) {
    await this.work.cancel(recording);
    await history.remove(recording.id);
  }

  async clear() {
    const text = "All sounds and texts are deleted from this browser. This cannot be undone.";
    if (!(await ask({ title: "Delete all recordings?", text, yes: "Delete all" }))) return;
    for (const recording of await history.recordings()) await this.forget(recording);
    await this.refresh();
    get("choose").focus();
  }
}
