/** Correcting a transcript: the form that opens in a cue, and undo. */

import { make, say } from "./dialogs.js";
import { settled, speakers, withSpeaker } from "./people.js";
import * as change from "./transcript.js";

/** A value with its past and its future. */
class Undoable {
  constructor(value) {
    Object.assign(this, { value, past: [], future: [] });
  }

  set(label, value) {
    this.past.push([label, this.value]);
    Object.assign(this, { value, future: [] });
  }

  /** Go one step back or, with the lists swapped, forward; returns its label. */
  step(from, to) {
    const [label, value] = from.pop();
    to.push([label, this.value]);
    this.value = value;
    return label;
  }
}

/**
 * Changes the transcript that `cues` shows, and tells `changed` after each change. `now` gives the time of the player;
 * `who` asks who says some parts of the text.
 */
export class Editor {
  constructor(cues, changed, { now, who }) {
    Object.assign(this, { cues, changed, now, who, state: null, form: null });
    cues.container.addEventListener("click", (event) => {
      if (event.target.closest(".edit")) this.open(cues.indexOf(event.target.closest("section")));
    });
  }

  load(transcript) {
    this.close();
    this.state = new Undoable(transcript);
    this.cues.show(transcript, true);
  }

  get transcript() { return this.state?.value; }

  get canUndo() { return Boolean(this.state?.past.length); }

  get canRedo() { return Boolean(this.state?.future.length); }

  /** Take a changed transcript as one step that can be undone; false if nothing is different. */
  apply(label, transcript) {
    return transcript !== this.state.value && this.take(label, settled(this.state.value, transcript));
  }

  /** The same for one that is right as it is. */
  take(label, transcript) {
    this.state.set(label, transcript);
    this.show();
    return true;
  }

  show() {
    this.cues.show(this.state.value, true);
    this.changed(this.state.value);
  }

  undo() {
    this.commit();
    if (this.canUndo) this.go("Undone", this.state.past, this.state.future);
  }

  redo() {
    this.commit();
    if (this.canRedo) this.go("Redone", this.state.future, this.state.past);
  }

  go(what, from, to) {
    const before = this.state.value.segments, label = this.state.step(from, to), after = this.state.value.segments;
    this.show();
    const place = after.findIndex((segment, index) => segment !== before[index]), section = this.cues.at(Math.max(place, 0));
    section?.scrollIntoView({ block: "nearest" });
    if (document.activeElement === document.body) section?.querySelector(".edit").focus(); // Its element is gone.
    say(`${what}: ${label}`);
  }

  // --- the form -----------------------------------------------------------------------------------------------------

  /** Open the cue; `caret` is the place of the cursor in its text. */
  open(index, caret = null) {
    this.commit();
    const segment = this.transcript?.segments[index], section = this.cues.at(index);
    if (!segment) return;
    this.index = index;
    this.form = this.made(segment);
    section.classList.add("editing");
    section.append(this.form);
    const { text } = this.fields;
    text.focus();
    const place = caret ?? text.value.length;
    text.setSelectionRange(place, place);
    this.measure();
    section.scrollIntoView({ block: "nearest" });
  }

  made(segment) {
    const input = (name, value, more) => make("input", { name, value, autocomplete: "off", spellcheck: "false", ...more });
    const time = (name) => input(name, change.timeText(segment[name]), { class: "clock", inputmode: "decimal" });
    const now = (name) => make("button", {
      type: "button", "aria-label": `Take the time of the player as ${name}`, click: () => this.takeTime(name),
    }, "Now");
    const button = (label, act) => make("button", { type: "button", click: act }, label);
    const text = make("textarea", { name: "text", dir: "auto", rows: 2, lang: segment.language, "aria-label": "Text" });
    text.value = segment.text.trim();
    const form = make(
      "form", { class: "cue-form", novalidate: true },
      text,
      make(
        "div", { class: "fields" },
        make("label", {}, "Start ", time("start")), now("start"),
        make("label", {}, "End ", time("end")), now("end"),
        make("label", {}, "Speaker ", input("speaker", segment.speaker ?? "", { list: "speaker-list" })),
        this.speakerList(),
      ),
      make("p", { class: "measure", role: "status" }),
      make(
        "p", { class: "buttons" },
        make("button", { class: "main" }, "Done"), button("Split at the cursor", () => this.split()),
        button("Who says the selection", () => this.giveSelection()),
        button("Join with the next", () => this.join(this.index)), button("Delete", () => this.remove()),
        button("Cancel", () => this.cancel()),
      ),
    );
    form.addEventListener("submit", (event) => { event.preventDefault(); this.done(); });
    form.addEventListener("input", () => this.measure());
    form.addEventListener("keydown", (event) => this.press(event));
    return form;
  }

  speakerList() {
    const names = [...speakers(this.transcript).keys()];
    return make("datalist", { id: "speaker-list" }, ...names.map((value) => make("option", { value })));
  }

  get fields() { return this.form.elements; }

  takeTime(name) {
    this.fields[name].value = change.timeText(this.now());
    this.measure();
  }

  /** The segment as the form has it, or the field that is wrong, and why. */
  read() {
    const { text, start, end, speaker } = this.fields, segment = this.transcript.segments[this.index];
    const time = (field, before) => (field.value === change.timeText(before) ? before : change.secondsOf(field.value));
    const from = time(start, segment.start), to = time(end, segment.end);
    for (const [field, value] of [[start, from], [end, to]]) {
      if (Number.isNaN(value)) return [field, "Write a time such as 1:02.5."];
    }
    if (to <= from) return [end, "The end must come after the start."];
    if (to > this.transcript.duration + 0.001 && to > segment.end) {
      return [end, `The recording ends at ${change.timeText(this.transcript.duration)}.`];
    }
    if (!text.value.trim()) return [text, "Write a text, or delete the cue."];
    return withSpeaker(change.withTimes(change.withText(segment, text.value), from, to), speaker.value.trim());
  }

  /** Say how the cue reads, or what is wrong. Returns the segment as the form has it; null if something is wrong. */
  measure() {
    const read = this.read(), wrong = Array.isArray(read) ? read : null, shown = this.form.querySelector(".measure");
    for (const field of this.form.querySelectorAll("input, textarea")) {
      if (wrong?.[0] === field) field.setAttribute("aria-invalid", "true"); else field.removeAttribute("aria-invalid");
    }
    shown.classList.toggle("problem", Boolean(wrong));
    if (wrong) {
      shown.textContent = wrong[1];
      return null;
    }
    const found = change.warnings(read, this.transcript.segments[this.index + 1], this.cues.about.limits);
    const sizes = `${[...read.text.trim()].length} characters in ${(read.end - read.start).toFixed(1)} seconds`;
    shown.textContent = found.length ? `${sizes}. ⚠ ${found.join(" ")}` : `${sizes}, easy to read.`;
    return read;
  }

  /** Keep what the form has and close it. A form with a mistake stays open unless it must go: then its text counts. */
  commit(forced = true) {
    if (!this.form) return true;
    if (!this.measure() && !forced) return false;
    const changed = this.written();
    this.close();
    this.apply("correction", changed);
    return true;
  }

  /** The transcript with what the form has; of a form with a mistake, with its text alone. */
  written() {
    const segment = this.transcript.segments[this.index];
    const changed = this.measure() ?? change.withText(segment, this.fields.text.value.trim() || segment.text);
    return change.withSegment(this.transcript, this.index, changed);
  }

  close() {
    this.form?.closest("section")?.classList.remove("editing");
    this.form?.remove();
    this.form = null;
  }

  done() {
    if (!this.commit(false)) return;
    this.cues.at(this.index)?.querySelector(".edit").focus();
  }

  cancel() {
    const { index, transcript } = this, written = this.written();
    this.close();
    // Two steps, so that undo brings back what was written.
    if (this.apply("correction", written)) {
      this.apply("cancelled correction", transcript);
      say("The cue is as it was. Undo brings back what you wrote.");
    }
    this.cues.at(index)?.querySelector(".edit").focus();
  }

  split() {
    const { text } = this.fields, read = this.measure(), { index } = this;
    if (!read) return;
    const before = text.value.slice(0, text.selectionStart), whole = change.withSegment(this.transcript, index, read);
    // Tidy up to the cursor, but for a space just before it.
    const changed = change.split(whole, index, change.tidy(`${before}.`).length - 1);
    if (changed === whole) {
      say("Put the cursor where the cue shall be split.");
      return;
    }
    this.close();
    this.apply("split", changed);
    this.open(index + 1, 0);
    say("Split");
  }

  /** Ask who says what is selected in the text. */
  giveSelection() {
    const { text } = this.fields, read = this.measure(), { index } = this;
    if (!read) return;
    // As in `split`, places in the text as it will be kept.
    const [from, to] = [text.selectionStart, text.selectionEnd].map((at) => change.tidy(`${text.value.slice(0, at)}.`).length - 1);
    if (from >= to) {
      say("Select the words that somebody else says.");
      text.focus();
      return;
    }
    this.commit();
    this.who([{ index, from, to }]);
  }

  /** Make one cue of that at `index` and the next. */
  join(index) {
    const read = this.measure();
    if (!read || index < 0 || index + 1 >= this.transcript.segments.length) return;
    const whole = change.withSegment(this.transcript, this.index, read);
    const caret = whole.segments[index].text.trim().length, changed = change.join(whole, index);
    this.close();
    this.apply("join", changed);
    this.open(index, caret);
    say("Joined");
  }

  remove() {
    const { index } = this;
    this.close();
    this.apply("deletion", change.remove(this.transcript, index));
    say("Deleted");
    (this.cues.at(index) ?? this.cues.at(index - 1))?.querySelector(".edit").focus();
  }

  next() {
    const { index } = this;
    if (this.commit(false)) this.open(Math.min(index + 1, this.transcript.segments.length - 1));
  }

  press(event) {
    const { text } = this.fields, inText = event.target === text;
    const [from, to] = [text.selectionStart, text.selectionEnd];
    const control = event.ctrlKey || event.metaKey;
    const plain = event.target.matches("input, textarea");
    let act = null;
    if (event.key === "Escape") act = () => this.cancel();
    else if (event.isComposing || !plain) return;
    else if (event.key === "Enter" && control) act = () => this.split();
    else if (event.key === "Enter" && event.altKey && inText) act = () => text.setRangeText("\n", from, to, "end");
    else if (event.key === "Enter") act = () => (event.shiftKey ? this.next() : this.done());
    else if (event.key === "Backspace" && inText && to === 0 && this.index > 0) act = () => this.join(this.index - 1);
    else if (event.key === "Delete" && inText && from === text.value.length) act = () => this.join(this.index);
    if (!act) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  }
}
