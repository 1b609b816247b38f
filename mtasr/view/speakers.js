/**
 * Who speaks: a colour and a number for each, their shares of the talking time, where two talk at once, and a legend that
 * shows one of them alone.
 *
 * A module without imports, as viewer.js. The sections of the text name their speaker in `data-speaker` and, for the
 * reader, in an element of the class `speaker`; `data-sure`, 0 to 1, may say how sure that is.
 */

/** How many colours viewer.css has. After the last they begin again, with a dashed line around them; the numbers go on. */
const PALETTE = 8;

/** Below this confidence a name is marked: the voice may be somebody else's. */
const CLEAR = 0.5;

/** Seconds between words that are one turn all the same. */
const PAUSE = 0.5;

/** The classes of the speaker with this place, from 0 on. */
export const colourOf = (place) => `w${place % PALETTE}${place >= PALETTE ? " dashed" : ""}`;

/** Intervals as few that do not touch, in order. */
function united(intervals) {
  const found = [];
  for (const [start, end] of [...intervals].sort((a, b) => a[0] - b[0])) {
    if (found.length && start <= found.at(-1)[1]) found.at(-1)[1] = Math.max(found.at(-1)[1], end);
    else found.push([start, end]);
  }
  return found;
}

/** Whether a time lies in one of some intervals that are in order. */
function holds(intervals, time) {
  let low = 0, high = intervals.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (intervals[middle][0] <= time) low = middle + 1; else high = middle;
  }
  return low > 0 && time < intervals[low - 1][1];
}

const times = (element) => [+element.dataset.s, +element.dataset.e];

/** The turns of a text that says only who speaks which words. */
function turnsOf(sections) {
  const turns = [];
  for (const section of sections) {
    const words = united([...section.querySelectorAll("span[data-s]")].map(times).map(([start, end]) => [start, end + PAUSE]));
    for (const [start, end] of words) turns.push({ start, end: end - PAUSE, speaker: section.dataset.speaker, confidence: 1 });
  }
  return turns;
}

/**
 * Marks the sections of `text`, an element, and keeps the buttons in `legend`, another one. `filtered` is called when
 * other sections are shown.
 */
export class Speakers {
  constructor({ text, legend, filtered }) {
    Object.assign(this, { text, legend, filtered, only: null, names: [], turns: [] });
    legend.addEventListener("click", (event) => {
      const { name } = event.target.closest("button")?.dataset ?? {};
      if (name !== undefined) this.show(name === this.only ? null : name);
    });
  }

  /** Read the text again. `names` gives each speaker a place; `turns` says who talks when, if that is known. */
  load({ names = null, turns = null } = {}) {
    this.sections = [...this.text.querySelectorAll("section")];
    const spoken = this.sections.filter((section) => section.dataset.speaker !== undefined);
    this.present = new Set(spoken.map((section) => section.dataset.speaker));
    this.names = names ?? [...this.present];
    const known = (turns ?? turnsOf(spoken)).filter(({ speaker }) => this.present.has(speaker));
    this.turns = known.sort((a, b) => a.start - b.start);
    this.spans = new Map([...this.present].map((name) => [name, []]));
    for (const { start, end, speaker } of this.turns) this.spans.get(speaker).push([start, end]);
    for (const [name, spans] of this.spans) this.spans.set(name, united(spans));
    this.overlaps = overlapsOf([...this.spans.values()].flat());
    if (!this.present.has(this.only)) this.only = null;
    const unclear = spoken.map((section) => this.mark(section)).some(Boolean);
    this.filter();
    this.showLegend(unclear);
  }

  place(name) { return this.names.indexOf(name); }

  /** Show what one speaker says; null for everyone. */
  show(name) {
    this.only = name;
    this.filter();
    for (const button of this.legend.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", button.dataset.name === name);
    }
    this.filtered();
  }

  filter() {
    for (const section of this.sections) section.hidden = this.only !== null && section.dataset.speaker !== this.only;
  }

  // --- marks --------------------------------------------------------------------------------------------------------

  /** Colour a section, and say who talks over it; true if it is not clear who speaks. */
  mark(section) {
    const { speaker } = section.dataset, shown = section.querySelector(".speaker"), place = this.place(speaker);
    section.classList.remove("dashed", ...[...section.classList].filter((name) => /^w\d$/.test(name)));
    section.classList.add(...colourOf(place).split(" "));
    shown.dataset.n = place + 1;
    const [start, end] = times(section), sure = section.dataset.sure ?? this.confidence(start, end, speaker);
    const unclear = sure < CLEAR;
    shown.classList.toggle("unclear", unclear);
    shown.title = `${unclear ? "Perhaps " : ""}${speaker}`;
    const others = new Set(), overlaps = this.overlaps.filter(([from, to]) => to > start && from < end);
    if (overlaps.length || section.querySelector(".over")) {
      for (const word of section.querySelectorAll("span[data-s]")) {
        const [from, to] = times(word), talking = overlaps.length ? this.at((from + to) / 2) : [];
        word.classList.toggle("over", talking.some((name) => name !== speaker));
        for (const name of talking) if (name !== speaker) others.add(name);
      }
    }
    this.tag(shown, [...others]);
    return unclear;
  }

  tag(shown, others) {
    const next = shown.nextElementSibling, held = next?.classList.contains("with") ? next : null;
    if (!others.length) return held?.remove();
    const tag = held ?? document.createElement("span");
    tag.className = "tag with";
    tag.textContent = `with ${others.join(", ")}`;
    if (!held) shown.after(" ", tag);
    return undefined;
  }

  /** Who talks at a time. */
  at(time) {
    return [...this.spans].filter(([, spans]) => holds(spans, time)).map(([name]) => name);
  }

  /** How sure it is, by the turns, that a stretch is this speaker's. */
  confidence(start, end, speaker) {
    let sum = 0, total = 0;
    for (const turn of this.turns) {
      if (turn.start >= end) break;
      const shared = Math.min(turn.end, end) - Math.max(turn.start, start);
      if (turn.speaker !== speaker || shared <= 0) continue;
      sum += shared * turn.confidence;
      total += shared;
    }
    return total ? sum / total : 1;
  }

  // --- pictures -----------------------------------------------------------------------------------------------------

  showLegend(unclear) {
    const seconds = (name) => this.spans.get(name).reduce((sum, [start, end]) => sum + end - start, 0);
    const shown = this.names.filter((name) => this.present.has(name)).map((name) => [name, seconds(name)]);
    const total = shown.reduce((sum, each) => sum + each[1], 0) || 1;
    const buttons = shown.map(([name, own]) => this.button(name, own / total));
    const marks = [
      this.overlaps.length && this.text.querySelector(".over") ? "A line over words: somebody else talks at the same time." : "",
      unclear ? "A name with “?”: it may be somebody else." : "",
    ].filter(Boolean).join(" ");
    const held = this.legend.contains(document.activeElement) ? document.activeElement.dataset.name : null;
    const hint = document.createElement("p");
    hint.textContent = marks;
    this.legend.replaceChildren(...(buttons.length > 1 ? buttons : []), ...(marks ? [hint] : []));
    this.legend.hidden = buttons.length < 2 && !marks;
    if (held) buttons.find((button) => button.dataset.name === held)?.focus();
  }

  button(name, share) {
    const button = document.createElement("button"), bar = document.createElement("i"), percent = document.createElement("span");
    const label = document.createElement("b");
    button.type = "button";
    button.className = colourOf(this.place(name));
    button.title = `Show only ${name}`;
    Object.assign(button.dataset, { name, n: this.place(name) + 1 });
    button.setAttribute("aria-pressed", name === this.only);
    label.textContent = name;
    percent.textContent = `${Math.round(share * 100)} %`;
    bar.style.width = `${share * 100}%`;
    button.append(label, " ", percent, bar);
    return button;
  }

  /** Draw who talks when at the bottom of a picture of the sound, from `start` on for `length` seconds. */
  draw(paint, width, height, start, length) {
    const { theme = "" } = document.documentElement.dataset, tall = 5;
    if (this.theme !== theme) {
      const style = getComputedStyle(document.documentElement);
      this.colours = Array.from({ length: PALETTE }, (_, place) => style.getPropertyValue(`--w${place}`).trim());
      this.theme = theme;
    }
    if (this.present.size < 2) return;
    for (const [name, spans] of this.spans) {
      paint.fillStyle = this.colours[this.place(name) % PALETTE];
      for (const [from, to] of spans) {
        if (to <= start || from >= start + length) continue;
        const left = ((from - start) / length) * width, right = ((to - start) / length) * width;
        // Who begins to talk while somebody talks, and goes on, is drawn above.
        const before = this.at(from - 1e-3), above = this.at(from + 1e-3).some((other) => {
          return other !== name && (before.includes(other) || this.place(other) < this.place(name));
        }) ? tall : 0;
        paint.fillRect(left, height - tall - above, Math.max(right - left, 1), tall);
      }
    }
  }
}

/** Where intervals overlap, in order. */
function overlapsOf(intervals) {
  const found = [];
  let latest = -Infinity;
  for (const [start, end] of [...intervals].sort((a, b) => a[0] - b[0])) {
    if (start < latest) found.push([start, Math.min(end, latest)]);
    latest = Math.max(latest, end);
  }
  return united(found);
}
