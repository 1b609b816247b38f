/** The questions who speaks where, what the speakers are called, and who is the same person. */

import { get, make, opened, say } from "./dialogs.js";
import { confirmed, give, people, rename, speakers } from "./people.js";
import { colourOf } from "./speakers.js";

const counted = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;

export class Who {
  constructor(editor, cues) {
    Object.assign(this, { editor, cues, answer: null });
    for (const id of ["who-new-form", "who-name-form", "who-same-form"]) {
      get(id).addEventListener("submit", () => { this.answer = id; });
    }
    get("who-dialog").addEventListener("keydown", (event) => {
      const inField = event.target.matches("input, select"), digit = /^[1-9]$/.test(event.key) && !inField;
      const chosen = digit && get("who-names").querySelector(`[data-n="${event.key}"]`);
      if (chosen) chosen.click();
    });
  }

  // --- some of the text ---------------------------------------------------------------------------------------------

  /**
   * Ask who says parts of the text, as `give` has them. `renames` puts the cursor where the speaker's name can be changed.
   */
  async ask(parts, { renames = false } = {}) {
    const { transcript } = this.editor, [{ index, from, to }] = parts, { speaker = "", text } = transcript.segments[index];
    const last = transcript.segments[parts.at(-1).index].text.trim().slice(0, parts.at(-1).to);
    const quoted = parts.length > 1 ? `${text.trim().slice(from).trim()} … ${last}` : text.trim().slice(from, to).trim();
    get("who-text").textContent = `“${quoted.length > 120 ? `${quoted.slice(0, 118).trimEnd()} …` : quoted}”`;
    this.answer = null;
    this.offer(transcript, speaker);
    const answer = opened(get("who-dialog"));
    if (renames && speaker) get("who-name").select();
    else (get("who-names").querySelector("[aria-current]") ?? get("who-names").querySelector("button") ?? get("who-new")).focus();
    await answer;
    this.act(transcript, parts, speaker);
  }

  offer(transcript, speaker) {
    const places = people(transcript), names = [...speakers(transcript).keys()];
    names.sort((a, b) => places.indexOf(a) - places.indexOf(b));
    get("who-names").replaceChildren(...names.map((name) => make("button", {
      type: "button", class: colourOf(places.indexOf(name)), "data-n": places.indexOf(name) + 1,
      "aria-current": name === speaker && "true", click: () => { this.answer = { name }; get("who-dialog").close(); },
    }, name)));
    get("who-new").value = "";
    get("who-everywhere").hidden = !speaker;
    get("who-count").textContent = `${speaker} speaks in ${counted(speakers(transcript).get(speaker) ?? 0, "cue")}.`;
    get("who-name").value = speaker;
    const others = names.filter((name) => name !== speaker);
    get("who-same-form").hidden = !others.length;
    get("who-same").replaceChildren(...others.map((value) => make("option", { value }, value)));
  }

  act(transcript, parts, speaker) {
    const name = { "who-new-form": "who-new", "who-name-form": "who-name", "who-same-form": "who-same" }[this.answer];
    const given = this.answer?.name ?? (name && get(name).value.trim());
    if (!given) return;
    if (this.answer === "who-name-form" || this.answer === "who-same-form") {
      if (given !== speaker) this.rename(transcript, new Map([[speaker, given]]));
    } else if (parts.every(({ index }) => transcript.segments[index].speaker === given)) {
      if (this.isUnclear(parts)) this.editor.apply("confirmed speaker", confirmed(transcript, parts.map(({ index }) => index)));
    } else if (this.editor.apply("other speaker", give(transcript, parts, given))) say(`${given} says it.`);
  }

  isUnclear(parts) {
    return parts.some(({ index }) => this.cues.at(index).querySelector(".unclear"));
  }

  rename(transcript, changes) {
    const isMerged = [...changes].some(([, to]) => speakers(transcript).has(to) && !changes.has(to));
    this.editor.apply(isMerged ? "speakers made one" : "renaming", rename(transcript, changes));
  }

  /** All of a segment. */
  whole(index) {
    return { index, from: 0, to: this.editor.transcript.segments[index].text.trim().length };
  }

  /** What is selected in the text, as parts of the transcript; none if that is nothing. */
  selected() {
    const selection = getSelection();
    if (!this.editor.state || selection.isCollapsed || !this.cues.container.contains(selection.anchorNode)) return [];
    const range = selection.getRangeAt(0);
    return [...this.cues.container.querySelectorAll("section:not([hidden])")]
      .filter((section) => range.intersectsNode(section))
      .map((section) => this.partOf(section, range)).filter(Boolean);
  }

  partOf(section, range) {
    const index = this.cues.indexOf(section), { text, words } = this.editor.transcript.segments[index];
    const spans = [...section.querySelectorAll("span[data-s]")].map((span) => isWithin(span, range));
    const first = spans.indexOf(true), last = spans.lastIndexOf(true);
    if (first < 0) return null;
    if (!words?.length) return this.whole(index);
    const space = text.length - text.trimStart().length, before = (end) => {
      return Math.max(words.slice(0, end).reduce((sum, { word }) => sum + word.length, 0) - space, 0);
    };
    return { index, from: before(first), to: before(last + 1) };
  }

  // --- all speakers -------------------------------------------------------------------------------------------------

  async askForAll() {
    this.editor.commit();
    const { transcript } = this.editor, names = [...speakers(transcript)];
    get("speakers-text").textContent = names.length
      ? "A name is changed everywhere. Choose the same person, or write the same name, to make two speakers one."
      : "No cue says who speaks. Choose words, or go to a cue, and press S to say who.";
    get("speaker-names").replaceChildren(...names.map(([name, count]) => this.row(transcript, name, count, names)));
    get("speakers-form").querySelector(".main").hidden = !names.length;
    if ((await opened(get("speakers-dialog"))) !== "rename") return;
    const fields = (kind) => [...get("speaker-names").querySelectorAll(kind)].map((field) => field.value.trim());
    const given = fields("input"), same = fields("select");
    const changes = new Map();
    names.forEach(([name], index) => {
      const to = given[chosen(index, same)];
      if (to && to !== name) changes.set(name, to);
    });
    if (changes.size) this.rename(transcript, changes);
  }

  row(transcript, name, count, names) {
    const place = people(transcript).indexOf(name);
    const others = names.map(([other], index) => [other, index]).filter(([other]) => other !== name);
    return make(
      "div", { class: `speaker-row ${colourOf(place)}` },
      make(
        "label", {}, make("span", { "data-n": place + 1 }, `${name} (${counted(count, "cue")})`),
        make("input", { value: name, required: true, autocomplete: "off" }),
      ),
      others.length ? make(
        "label", {}, "Same person as ",
        make("select", { "aria-label": `${name} is the same person as` }, make("option", { value: "" }, "nobody else"),
          ...others.map(([other, index]) => make("option", { value: index }, other))),
      ) : make("select", { hidden: true }),
    );
  }
}

/** The row whose name counts for a row: `same` has, for each, the row of the same person, or "". */
function chosen(index, same) {
  const seen = new Set();
  for (; same[index] !== "" && !seen.has(index); index = Number(same[index])) seen.add(index);
  return index;
}

/** Whether a selection takes part of an element, and not only its edge. */
function isWithin(element, range) {
  const own = document.createRange();
  own.selectNodeContents(element);
  return range.compareBoundaryPoints(Range.END_TO_START, own) < 0 && range.compareBoundaryPoints(Range.START_TO_END, own) > 0;
}
