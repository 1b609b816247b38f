/** The text of a transcript as HTML, as the viewer reads it. */

import { make } from "./dialogs.js";
import { warnings } from "./transcript.js";
import { clock } from "./viewer.js";

/** Shows transcripts in `container`, and touches only what has changed since the last one. */
export class Cues {
  /** `about` is what the server says of languages, levels and limits. */
  constructor(container, about) {
    this.container = container;
    this.about = about;
    this.sections = new WeakMap(); // segment -> its element
    this.segments = [];
    this.warned = [];
  }

  /** `editable` says whether the cues have buttons that open them. */
  show(transcript, editable) {
    const { segments } = transcript;
    this.language = transcript.language;
    let next = this.container.firstElementChild;
    for (const segment of segments) {
      const section = this.sectionOf(segment);
      section.querySelector(".edit").hidden = !editable;
      if (section === next) next = next.nextElementSibling;
      else this.container.insertBefore(section, next);
    }
    while (next) {
      const gone = next;
      next = next.nextElementSibling;
      gone.remove();
    }
    this.segments = segments;
    this.warned = [];
    segments.forEach((segment, index) => this.showWarnings(segment, segments[index + 1], index));
  }

  append(segment) {
    this.segments = [...this.segments, segment];
    const section = this.sectionOf(segment);
    section.querySelector(".edit").hidden = true;
    this.container.append(section);
  }

  at(index) {
    return this.sections.get(this.segments[index]);
  }

  indexOf(section) {
    return this.segments.findIndex((segment) => this.sections.get(segment) === section);
  }

  sectionOf(segment) {
    if (!this.sections.has(segment)) this.sections.set(segment, this.made(segment));
    return this.sections.get(segment);
  }

  made(segment) {
    const from = clock(segment.start);
    const foreign = this.language && segment.language !== this.language ? segment.language : null;
    const text = make("p", { dir: "auto", lang: segment.language });
    if (segment.speaker != null) {
      text.append(make("button", { type: "button", class: "speaker", "aria-haspopup": "dialog" }, segment.speaker), " ");
    }
    if (foreign) text.append(make("span", { class: "tag" }, this.about.languages[foreign] ?? foreign), " ");
    text.append(...this.words(segment));
    return make(
      "section", { "data-s": segment.start.toFixed(3), "data-e": segment.end.toFixed(3), "data-speaker": segment.speaker,
        "data-sure": segment.speaker_confidence },
      make("button", { type: "button", class: "time", "aria-label": `Play from ${from}` }, from),
      text,
      make("button", { type: "button", class: "edit quiet", "aria-label": `Edit from ${from}` }, "Edit"),
      make("span", { class: "warning", hidden: true }),
    );
  }

  /** A segment without words is a word of its own. */
  *words(segment) {
    if (!segment.words?.length) {
      const sure = segment.avg_logprob == null ? null : Math.exp(Math.min(segment.avg_logprob, 0));
      yield this.word(segment.text.trim(), segment.start, segment.end, sure);
      return;
    }
    for (const [place, { word, start, end, probability }] of segment.words.entries()) {
      const bare = word.trimStart();
      // The highlight of a word does not include the space or the line break before it.
      if (place && bare.length < word.length) yield word.slice(0, word.length - bare.length).includes("\n") ? "\n" : " ";
      yield this.word(bare, start, end, probability);
    }
  }

  word(text, start, end, probability) {
    const level = probability == null ? 0 : this.about.levels.filter((limit) => probability < limit).length;
    return make("span", {
      "data-s": start.toFixed(3), "data-e": end.toFixed(3), "data-p": probability?.toFixed(2),
      class: level ? `c${this.about.levels.length - level}` : null,
    }, text);
  }

  showWarnings(segment, next, index) {
    const found = warnings(segment, next, this.about.limits), shown = this.sections.get(segment).querySelector(".warning");
    if (found.length) this.warned.push(index);
    const text = found.join(" ");
    if (shown.textContent !== text) shown.textContent = text;
    shown.hidden = !text;
  }
}
