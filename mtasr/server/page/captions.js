/** Shows captions while somebody speaks: committed words plain, drafts dimmed, on the page or on the whole screen. */

import { get, make } from "./dialogs.js";

/** Stretches that are shown; older ones are kept elsewhere. */
const MOST = 200;

const STATES = {
  live: "",
  lost: "The connection is lost. Trying again; nothing is lost meanwhile.",
  failed: "There are no live captions now. The recording goes on, and will be transcribed when you stop.",
};

export class CaptionView {
  constructor() {
    get("captions-full").addEventListener("click", () => this.fill(!this.isFull));
    document.addEventListener("fullscreenchange", () => { if (!document.fullscreenElement) this.showFull(false); });
    document.addEventListener("keydown", (event) => { if (event.key === "Escape" && this.isFull) this.fill(false); });
  }

  get isFull() { return get("recorder").classList.contains("room"); }

  /** Begin anew. */
  clear() {
    this.stretches = new Map();
    for (const id of ["captions-text", "captions-said"]) get(id).replaceChildren();
    get("captions-note").textContent = "";
  }

  /** Use the whole screen, or no longer. Where the browser does not give it, the whole page. */
  fill(full) {
    this.showFull(full);
    if (full) get("recorder").requestFullscreen?.().catch(() => {});
    else if (document.fullscreenElement) document.exitFullscreen();
  }

  showFull(full) {
    get("recorder").classList.toggle("room", full);
    get("captions-full").textContent = full ? "Leave full screen" : "Full screen";
    this.follow(true);
  }

  /** Show an event of the server. */
  show(event) {
    const text = get("captions-text"), follows = text.scrollHeight - text.scrollTop - text.clientHeight < 40;
    if (event.type === "state") get("captions-note").textContent = STATES[event.state];
    else if (event.type === "lag") get("captions-note").textContent = late(event.seconds);
    else if (["draft", "committed", "final"].includes(event.type)) this.write(event);
    else if (event.type === "speakers_changed") this.correct(event);
    this.follow(follows);
  }

  write({ type, stretch, text, words, segments }) {
    const shown = this.stretchOf(stretch);
    if (type === "draft") {
      shown.draft.textContent = text;
      return;
    }
    shown.draft.textContent = "";
    if (type === "committed") append(shown, attributed(text, words));
    else replace(shown, attributed(text.trim(), segments));
    // A final text that corrects what was said is not said again, but what it adds at the end.
    const count = wordsOf(shown.said).length;
    this.say(type === "committed" ? text : wordsOf(text).slice(count).map((word) => ` ${word}`).join(""));
    shown.said += text;
    if (!shown.committed.textContent) shown.line.remove();
  }

  /** Show other speakers of a final text that is still shown. */
  correct({ stretch, segments }) {
    if (this.stretches.has(stretch)) replace(this.stretches.get(stretch), segments);
  }

  stretchOf(number) {
    if (!this.stretches.has(number)) {
      const committed = make("span"), draft = make("span", { class: "draft" });
      const line = make("p", {}, committed, draft);
      get("captions-text").append(line);
      this.stretches.set(number, { line, committed, draft, said: "", speaker: null });
      if (this.stretches.size > MOST) {
        const [first] = this.stretches.keys();
        this.stretches.get(first).line.remove();
        this.stretches.delete(first);
      }
    }
    return this.stretches.get(number);
  }

  /** Have screen readers say what will not change. */
  say(text) {
    if (!text) return;
    const said = get("captions-said");
    said.append(make("span", {}, text));
    if (said.children.length > MOST) said.firstElementChild.remove();
  }

  follow(follows) {
    if (follows) get("captions-text").scrollTop = get("captions-text").scrollHeight;
  }
}

/** Words or segments that name their speakers, or else their text as a whole. */
const attributed = (text, parts) => (parts.some(({ speaker }) => speaker) ? parts : [{ text }]);

/** Add words or segments to a line, each speaker on a line of their own after their name. */
function append(shown, parts) {
  const { committed } = shown;
  for (const { speaker, word, text = word } of parts) {
    if (speaker && speaker !== shown.speaker) {
      if (committed.hasChildNodes()) committed.append(make("br"));
      committed.append(make("b", {}, `${speaker}:`));
      shown.speaker = speaker;
    }
    committed.append(text);
  }
}

function replace(shown, parts) {
  shown.committed.replaceChildren();
  shown.speaker = null;
  append(shown, parts);
}

const wordsOf = (text) => text.split(/\s+/).filter(Boolean);

const late = (seconds) => (seconds < 3 ? "" : `The captions are ${Math.round(seconds)} s late: the server is busy.`);
