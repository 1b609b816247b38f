/** One recording: its text while it is recognised, and what one does with it afterwards. */

import * as api from "./api.js";
import { Cues } from "./cues.js";
import { ask, breakable, complain, get, make, opened, save, say } from "./dialogs.js";
import { Editor } from "./editor.js";
import * as history from "./history.js";
import { peaksOf } from "./peaks.js";
import { people, speakers } from "./people.js";
import { Speakers } from "./speakers.js";
import { fromCues } from "./transcript.js";
import { clock, NOTHING, Viewer } from "./viewer.js";
import { Who } from "./who.js";
import { isActive } from "./work.js";

export class Reader {
  /** `go` shows another recording, by its id. */
  constructor(about, work, go) {
    Object.assign(this, { about, work, go, recording: null, address: null, file: null });
    this.audio = get("audio");
    this.cues = new Cues(get("text"), about);
    // Who corrects a cue does not want to lose sight of it.
    const follows = () => !this.editor.form;
    this.viewer = new Viewer({ audio: this.audio, text: get("text"), covered, follows });
    this.speakers = new Speakers({ text: get("text"), legend: get("people"), filtered: () => this.viewer.refresh() });
    this.editor = new Editor(this.cues, (transcript) => this.edited(transcript), {
      now: () => this.viewer.now, who: (parts) => this.who.ask(parts),
    });
    this.who = new Who(this.editor, this.cues);
    Object.assign(this.viewer.keys, {
      e: () => this.editCurrent(), w: () => this.nextWarning(), d: () => this.download(), s: () => this.askWho(),
    });
    this.listen();
  }

  get isOpen() { return Boolean(this.recording); }

  // --- opening ------------------------------------------------------------------------------------------------------

  async open(recording) {
    this.close();
    this.recording = recording;
    this.data = NOTHING;
    get("title").replaceChildren(...breakable(recording.name));
    document.title = `${recording.name} · mtasr`;
    this.showLive();
    this.showState();
    get("reader").hidden = false;
    const texts = await history.texts(recording.id);
    if (this.recording !== recording) return; // The user has gone on.
    this.original = texts?.original ?? null;
    if (texts) this.editor.load(texts.edited);
    this.showState();
    this.refresh();
    await this.openSound(recording);
  }

  close() {
    this.editor.commit();
    clearTimeout(this.refreshing);
    Object.assign(this, { recording: null, original: null, file: null, refreshing: null });
    get("marks").hidden = true;
    this.editor.state = null;
    get("reader").hidden = true;
    this.audio.pause();
    this.audio.removeAttribute("src");
    if (this.address) URL.revokeObjectURL(this.address);
    this.address = null;
    this.viewer.now = 0;
  }

  showLive() {
    const { id, language } = this.recording;
    this.cues.show({ segments: [...(this.work.live.get(id) ?? [])], language }, false);
  }

  async openSound(recording) {
    this.note("");
    const file = await history.sound(recording.id);
    if (this.recording?.id !== recording.id) return;
    this.file = file ?? null;
    if (!file) {
      this.note("The browser has not kept the sound of this recording. Its text can be read, corrected and downloaded.");
      return;
    }
    this.address = URL.createObjectURL(file);
    this.audio.src = this.address;
    const duration = await durationOf(this.audio);
    if (this.recording?.id !== recording.id) return;
    this.sounds = duration;
    this.reload();
    const known = await history.peaks(recording.id), peaks = known ?? (await peaksOf(file, duration));
    if (this.recording?.id !== recording.id) return;
    if (!known) await history.putPeaks(recording.id, peaks);
    this.data = { ...this.data, peaks };
    this.reload();
  }

  note(text) {
    get("silent").textContent = text;
    get("silent").hidden = !text;
  }

  // --- showing ------------------------------------------------------------------------------------------------------

  /** The recording has changed, or has one more segment. */
  changed(recording, segment) {
    if (recording.id !== this.recording?.id) return;
    const ended = recording.status === "done" && this.recording.status !== "done";
    this.recording = recording;
    if (ended) {
      say("The text is complete.");
      this.open(recording);
      return;
    }
    if (segment) {
      this.cues.language = recording.language;
      if (this.work.live.get(recording.id).length === this.cues.segments.length + 1) this.cues.append(segment);
      else this.showLive(); // The job is followed from its start again.
      this.refreshing ??= setTimeout(() => { this.refreshing = null; this.refresh(); }, 250);
    }
    this.showState();
  }

  /** The text has changed: read it again. */
  refresh() {
    if (!this.isOpen) return;
    const { transcript } = this.editor;
    this.speakers.load(transcript ? { names: people(transcript), turns: transcript.turns } : {});
    this.viewer.refresh();
    get("marks").hidden = !this.unsure;
    this.reload();
    this.showFacts();
  }

  /** How many words are marked, whoever says them. */
  get unsure() { return get("text").querySelectorAll(".c0, .c1, .c2").length; }

  /** Give the viewer what is known of the recording. */
  reload() {
    const { segments } = this.cues, transcript = this.editor.transcript, coverage = transcript?.coverage;
    const latest = segments.reduce((most, segment) => Math.max(most, segment.end), 0);
    const duration = transcript?.duration ?? Math.max(this.sounds || 0, this.recording?.total || 0, latest);
    this.data = {
      ...this.data, duration, speech: spoken(segments), speechWithoutText: coverage?.speech_without_text ?? [],
      textWithoutSpeech: coverage?.text_without_speech ?? [], speakers: this.speakers,
    };
    this.viewer.load(this.data);
  }

  showState() {
    const { recording } = this, active = isActive(recording), done = recording.status === "done";
    get("progress").hidden = !active;
    get("failure").hidden = recording.status !== "failed";
    get("failure-text").textContent = recording.error ?? "";
    get("retry").hidden = Boolean(recording.isFinal);
    get("tools").hidden = !this.editor.state;
    get("retitle").hidden = !done;
    get("player").hidden = !done && !this.cues.segments.length;
    const text = get("text");
    for (const [name, value] of [["role", "log"], ["aria-label", "Text so far"]]) {
      if (active) text.setAttribute(name, value); else text.removeAttribute(name);
    }
    if (active) this.showProgress(recording);
    get("translate").hidden = recording.options.task === "translate" || this.isEnglish;
    this.showFacts();
  }

  get isEnglish() {
    const { language, segments = [] } = this.editor.transcript ?? {};
    return language === "en" && segments.every((segment) => (segment.language ?? "en") === "en");
  }

  showProgress(recording) {
    // A screen reader says what keeps us waiting, but not each second.
    get("stage").setAttribute("aria-live", recording.note ? "polite" : "off");
    get("stage").textContent = stageText(recording);
    if (recording.share == null) get("share").removeAttribute("value"); else get("share").value = recording.share;
  }

  showFacts() {
    const { recording } = this, transcript = this.editor.transcript, facts = [];
    const duration = transcript?.duration ?? recording.total;
    if (duration) facts.push(clock(duration));
    const language = transcript?.language ?? recording.language;
    if (language) facts.push(languageText(this.about, language, transcript?.language_probability));
    if (recording.options.task === "translate") facts.push("translated into English");
    if (transcript) facts.push(...this.factsOfText(transcript));
    get("facts").replaceChildren(...facts.map((fact) => make("li", {}, fact)));
    get("undo").disabled = !this.editor.canUndo;
    get("redo").disabled = !this.editor.canRedo;
  }

  *factsOfText(transcript) {
    const fact = (text, click) => make("button", { type: "button", class: "fact", click }, text);
    const words = transcript.segments.flatMap((segment) => segment.words ?? []);
    if (words.length) yield `${counted(words.length, "word")}, ${this.unsure} unsure`;
    const names = speakers(transcript).size;
    if (names) yield counted(names, "speaker");
    const { speech_without_text: unwritten = [], text_without_speech: unspoken = [] } = transcript.coverage ?? {};
    for (const [start] of unwritten) yield fact(`Speech without text at ${clock(start)}`, () => this.viewer.seek(start, true));
    for (const [start] of unspoken) yield fact(`Text without speech at ${clock(start)}`, () => this.viewer.seek(start, true));
    if (this.cues.warned.length) yield fact(`⚠ ${counted(this.cues.warned.length, "warning")}`, () => this.nextWarning());
    if (!transcript.segments.length) yield "no speech was found";
    if (this.original !== transcript) {
      yield fact("Corrected: back to the original", () => this.editor.take("back to the original", this.original));
    }
  }

  // --- acting -------------------------------------------------------------------------------------------------------

  listen() {
    const acts = {
      undo: () => this.editor.undo(), redo: () => this.editor.redo(), speakers: () => this.who.askForAll(),
      divide: () => this.divide(), translate: () => this.translate(), copy: () => this.copy(),
      download: () => this.download(), retitle: () => this.retitle(), cancel: () => this.go.cancel(this.recording),
      retry: () => this.work.retry(this.recording),
    };
    for (const [id, act] of Object.entries(acts)) get(id).addEventListener("click", act);
    addEventListener("pagehide", () => this.editor.commit());
    let held = []; // What was selected before a press on a name, which ends that.
    get("text").addEventListener("pointerdown", () => { held = this.who.selected(); }, true);
    get("text").addEventListener("click", (event) => {
      const section = event.target.closest(".speaker")?.closest("section");
      if (section && this.editor.state) this.askWho(section, held);
    });
    this.audio.addEventListener("error", () => {
      if (!this.audio.getAttribute("src")) return;
      this.note("This browser cannot play the sound of this recording. Its text can be corrected all the same.");
    });
    for (const [name, what] of Object.entries(this.about.formats)) {
      const label = make("b", {}, name.toUpperCase()), click = () => this.downloadAs(name);
      get("formats").append(make("li", {}, make("button", { type: "button", click }, label, ` ${what}`)));
    }
  }

  press(event) {
    const control = event.ctrlKey || event.metaKey;
    const inField = event.target.matches("input:not([type=checkbox]), textarea");
    const alt = { KeyK: () => this.viewer.toggle(), KeyJ: () => this.move(-3), KeyL: () => this.move(3) }[event.code];
    if (event.altKey && !control && alt) alt();
    else if (control && !inField && this.editor.state && event.key.toLowerCase() === "z") {
      if (event.shiftKey) this.editor.redo(); else this.editor.undo();
    } else if (control && !inField && this.editor.state && event.key.toLowerCase() === "y") this.editor.redo();
    else return this.viewer.press(event);
    event.preventDefault();
    return true;
  }

  move(by) {
    this.viewer.seek(this.viewer.now + by, false);
  }

  async edited(transcript) {
    this.refresh();
    const { recording, original } = this, changed = { ...recording, edited: transcript !== original };
    if (this.recording === recording) this.recording = changed;
    // Both at once, for a page that is closed the next moment.
    const writing = [history.putTexts(recording.id, { original, edited: transcript })];
    if (changed.edited !== Boolean(recording.edited)) writing.push(history.putRecording(changed));
    await Promise.all(writing);
  }

  editCurrent() {
    const section = this.currentSection();
    if (this.editor.state && section) this.editor.open(this.cues.indexOf(section));
  }

  currentSection() {
    const { words, now } = this.viewer, word = this.viewer.current ?? words.inTime[Math.max(words.placeAt(now), 0)];
    return word?.section;
  }

  nextWarning() {
    const { warned, segments } = this.cues;
    const index = warned.find((each) => segments[each].start > this.viewer.now + 0.01) ?? warned[0];
    if (index === undefined) return;
    this.viewer.seek(segments[index].start, false);
    this.viewer.intoSight(this.cues.at(index));
  }

  /** Ask who says what is selected; if nothing is, who says a cue: the one whose name was pressed, or that is spoken. */
  askWho(section = null, selected = this.who.selected()) {
    if (!this.editor.state) return;
    const index = this.cues.indexOf(section ?? this.currentSection());
    this.editor.commit();
    if (selected.length) this.who.ask(selected);
    else if (index >= 0) this.who.ask([this.who.whole(index)], { renames: Boolean(section) });
  }

  async divide() {
    this.editor.commit();
    const style = await opened(get("divide-dialog"));
    if (!style) return;
    try {
      const before = this.editor.transcript, { people: order, turns } = before, divided = await api.divide(before, style);
      const kept = { ...(order && { people: order }), ...(turns && { turns: [...turns] }) };
      this.editor.apply("division into cues", fromCues({ ...divided, ...kept }));
      complain("");
    } catch (error) {
      complain(error.message);
    }
  }

  async translate() {
    if (!this.file) return complain("The browser has not kept the recording. Choose the file again.");
    const options = { ...this.recording.options, task: "translate" };
    const name = this.recording.name.replace(/(\.\w{1,5})?$/, " (translation)$1");
    this.go((await this.work.add(this.file, name, options)).id);
  }

  async copy() {
    this.editor.commit();
    const text = this.editor.transcript.segments.map((segment) => segment.text.trim()).join("\n");
    try {
      await navigator.clipboard.writeText(text);
    } catch { // Plain http has no clipboard of that kind.
      const held = make("textarea", { class: "hidden", "aria-hidden": "true" });
      held.value = text;
      document.body.append(held);
      held.select();
      document.execCommand("copy");
      held.remove();
    }
    get("copy").textContent = "Copied";
    say("The text has been copied.");
    setTimeout(() => { get("copy").textContent = "Copy text"; }, 2000);
  }

  async retitle() {
    const name = await ask({ title: "Rename the recording", name: "Name", value: this.recording.name, yes: "Rename" });
    if (!name) return;
    this.recording = { ...this.recording, name };
    get("title").replaceChildren(...breakable(name));
    document.title = `${name} · mtasr`;
    await history.putRecording(this.recording);
  }

  // --- downloads ----------------------------------------------------------------------------------------------------

  async download() {
    if (!this.editor.state) return;
    this.editor.commit();
    get("download-problem").textContent = "";
    if (this.isRestructured()) get("download-dialog").querySelector("[value=raw]").checked = true;
    await opened(get("download-dialog"));
  }

  /** Whether a person has made the cues, which then should stay as they are. */
  isRestructured() {
    const places = ({ segments }) => segments.map(({ start, end, text }) => [start, end, text.includes("\n")]).join();
    return places(this.editor.transcript) !== places(this.original);
  }

  async downloadAs(format) {
    const style = get("download-dialog").querySelector("[name=style]:checked").value;
    try {
      const recording = this.recording.name.replace(/\.\w{1,5}$/, "");
      save(await api.render(this.editor.transcript, format, style, { recording }), `${recording}.${format}`);
      get("download-problem").textContent = "";
      say(`${format} was downloaded.`);
    } catch (error) {
      get("download-problem").textContent = error.message;
    }
  }
}

const counted = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;

/** How far a recording is on its way to text. */
export function stageText({ status, note, share, seconds, total }) {
  if (note) return note;
  if (status === "sending") return `Sending: ${Math.round((share ?? 0) * 100)} %`;
  if (status === "running") return total ? `Recognising: ${clock(seconds)} of ${clock(total)}` : "Recognising";
  return status === "queued" ? "Waiting for the server" : "Waiting";
}

/** "English, 91 % sure". */
export function languageText(about, code, probability) {
  const name = about.languages[code] ?? code;
  return probability != null && probability < 1 ? `${name}, ${Math.round(probability * 100)} % sure` : name;
}

/** Pixels that lie over the text at the top and the bottom of the window: the player, at either. */
function covered() {
  const box = get("player").getBoundingClientRect(), isBelow = getComputedStyle(get("player")).bottom === "0px";
  return isBelow ? [0, box.height] : [box.height, 0];
}

/** The stretches of time that have text. */
function spoken(segments) {
  const stretches = [];
  for (const { start, end } of [...segments].sort((a, b) => a.start - b.start)) {
    const last = stretches.at(-1);
    if (last && start <= last[1] + 0.05) last[1] = Math.max(last[1], end); else stretches.push([start, end]);
  }
  return stretches;
}

/** Seconds of what a player plays; NaN if it cannot. Browsers must seek the end of what they have recorded themselves. */
function durationOf(audio) {
  return new Promise((resolve) => {
    audio.addEventListener("error", () => resolve(NaN), { once: true });
    audio.addEventListener("loadedmetadata", () => {
      if (audio.duration !== Infinity) return resolve(audio.duration);
      audio.addEventListener("durationchange", () => {
        audio.currentTime = 0;
        resolve(audio.duration);
      }, { once: true });
      audio.currentTime = 1e7;
      return undefined;
    }, { once: true });
  });
}
