/**
 * Listen to a recording and read along: waveform, highlight, seek, search, follow, speed, keys.
 *
 * A module without imports, so that a page of a single file can hold it. The controls are those of controls.html. The
 * text is HTML: sections with `data-s` and `data-e`, start and end in seconds, and in them spans with the same
 * attributes, one for each word. A word of which the model was unsure has a class: c2, c1 or, for the least sure, c0.
 */

const get = (id) => document.getElementById(id);

/** "3:07" or "1:03:07". */
export function clock(seconds) {
  const whole = Math.floor(seconds), two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** The last of `count` places whose start is at `time` or before, or -1. */
function lastBy(time, count, start) {
  let low = 0, high = count;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (start(middle) <= time) low = middle + 1; else high = middle;
  }
  return low - 1;
}

const clamp = (value, low, high) => Math.max(Math.min(value, high), low);

/** The words of a text, read from its HTML. Hidden sections are as if they were not there. */
class Words {
  constructor(text) {
    this.sections = [...text.querySelectorAll("section:not([hidden])")];
    this.all = [...text.querySelectorAll("section:not([hidden]) span[data-s]")].map((span) => ({
      span, section: span.closest("section"), start: +span.dataset.s, end: +span.dataset.e, text: span.textContent,
      level: [0, 1, 2].find((level) => span.classList.contains(`c${level}`)) ?? 3,
    }));
    // Channels and translations may overlap, so the text is not in order of time; this is.
    this.inTime = [...this.all].sort((a, b) => a.start - b.start);
    // Every mark says that the model was unsure.
    this.unsure = this.inTime.filter((word) => word.level < 3);
  }

  /** The place in `inTime` of the last word that has begun, or -1. */
  placeAt(time) {
    return lastBy(time + 1e-3, this.inTime.length, (place) => this.inTime[place].start);
  }

  /** The word that is spoken. It stays for a moment, so that the highlight does not flicker between words. */
  at(time) {
    const word = this.inTime[this.placeAt(time)];
    return word && time < word.end + 0.25 ? word : null;
  }

  nextUnsure(time) {
    return this.unsure.find((word) => word.start > time + 0.01) ?? this.unsure[0];
  }

  /** The section that begins after `time` or, if `by` is negative, half a second or more before it. */
  nextSection(time, by) {
    const inTime = [...this.sections].sort((a, b) => a.dataset.s - b.dataset.s);
    if (by > 0) return inTime.find((section) => section.dataset.s > time + 0.01);
    return inTime.findLast((section) => section.dataset.s < time - 0.5) ?? inTime[0];
  }
}

/** Variables of viewer.css. */
const COLOURS = "page text muted line c2 c1 c0 now now-text speech wave quiet head doubt".split(" ");

/** What is known of a recording before anything is. `speakers` draws who talks when. */
export const NOTHING = {
  duration: 0, rate: 100, peaks: new Uint8Array(0), speech: [], speechWithoutText: [], textWithoutSpeech: [],
};

/** Two pictures of a recording: all of it, and the seconds in view with their words. */
class Waveform {
  constructor(wave, overview) {
    Object.assign(this, { wave, overview, colours: {} });
    this.load(NOTHING);
  }

  load(data) {
    this.data = data;
    this.duration = Math.max(data.duration, 0.01);
    this.still = null; // The overview without its playhead, which alone moves while the sound plays.
  }

  recolour() {
    const style = getComputedStyle(document.documentElement);
    this.colours = Object.fromEntries(COLOURS.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    this.still = null;
  }

  draw(now, view, words, current) {
    this.drawOverview(now, view);
    if (!this.wave.clientWidth) return; // Small screens do without.
    const [paint, width, height] = prepared(this.wave);
    const lane = 24, axis = 16, tall = height - lane - axis;
    this.drawPeaks(paint, width, tall, view.start, view.length);
    this.drawWords(paint, width, tall, lane, view, words, current);
    this.drawAxis(paint, width, tall + lane, height, view);
    paint.fillStyle = this.colours.head;
    paint.fillRect(((now - view.start) / view.length) * width - 1, 0, 2, tall + lane);
  }

  /** Draw speech and the peaks over it, from `start` on for `length` seconds, in the upper `height` of a canvas. */
  drawPeaks(paint, width, height, start, length) {
    const { speech, speechWithoutText, textWithoutSpeech, peaks, rate, speakers } = this.data;
    const x = (time) => ((time - start) / length) * width;
    const seen = ([from, to]) => to > start && from < start + length;
    paint.fillStyle = this.colours.speech;
    for (const [from, to] of speech.filter(seen)) paint.fillRect(x(from), 0, Math.max(x(to) - x(from), 1), height);
    for (const [from, to] of [...speechWithoutText, ...textWithoutSpeech].filter(seen)) {
      this.drawStripes(paint, x(from), Math.max(x(to) - x(from), 3), height);
    }
    for (let column = 0; column < width; column++) {
      const from = start + (column / width) * length, first = Math.floor(from * rate);
      const last = Math.max(Math.floor((start + ((column + 1) / width) * length) * rate), first + 1);
      let most = 0;
      for (let place = first; place < last && place < peaks.length; place++) most = Math.max(most, peaks[place]);
      const tall = Math.max((most / 255) * (height - 4), 1);
      const at = lastBy(from, speech.length, (place) => speech[place][0]);
      paint.fillStyle = at >= 0 && from < speech[at][1] ? this.colours.wave : this.colours.quiet;
      paint.fillRect(column, (height - tall) / 2, 1, tall);
    }
    speakers?.draw(paint, width, height, start, length);
  }

  drawStripes(paint, left, width, height) {
    const lines = new Path2D(), inside = new Path2D();
    inside.rect(left, 0, width, height);
    for (let x = left - height; x < left + width; x += 7) lines.addPath(new Path2D(`M${x},${height} l${height},${-height}`));
    paint.save();
    paint.clip(inside);
    Object.assign(paint, { strokeStyle: this.colours.doubt, lineWidth: 1.5 });
    paint.stroke(lines);
    paint.restore();
  }

  drawWords(paint, width, top, height, { start, length }, words, current) {
    const x = (time) => ((time - start) / length) * width;
    paint.font = "11px system-ui, sans-serif";
    paint.textBaseline = "middle";
    for (let place = Math.max(words.placeAt(start - 30), 0); place < words.inTime.length; place++) {
      const word = words.inTime[place];
      if (word.start > start + length) break;
      if (word.end < start) continue;
      const left = x(word.start), wide = Math.max(x(word.end) - left - 1, 1);
      paint.fillStyle = word === current ? this.colours.now : this.colours[`c${word.level}`] ?? this.colours.page;
      paint.fillRect(left, top + 1, wide, height - 3);
      paint.strokeStyle = this.colours.line;
      paint.strokeRect(left + 0.5, top + 1.5, wide, height - 4);
      const inside = paint.measureText(word.text).width;
      if (inside < wide - 4) {
        paint.fillStyle = word === current ? this.colours["now-text"] : this.colours.text;
        paint.fillText(word.text, left + (wide - inside) / 2, top + height / 2);
      }
    }
  }

  drawAxis(paint, width, top, bottom, { start, length }) {
    const steps = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800];
    const step = steps.find((each) => (each / length) * width > 60) ?? 3600;
    paint.fillStyle = this.colours.muted;
    for (let time = Math.ceil(start / step) * step; time < start + length; time += step) {
      const x = ((time - start) / length) * width;
      paint.fillRect(x, top - 2, 1, 4);
      const label = step < 1 ? `${clock(time)}.${Math.round((time % 1) * 10)}` : clock(time);
      if (x + paint.measureText(label).width < width) paint.fillText(label, x + 3, (top + bottom) / 2 + 1);
    }
  }

  drawOverview(now, view) {
    const [paint, width, height] = prepared(this.overview);
    if (!width) return;
    const x = (time) => (time / this.duration) * width;
    if (this.still?.width !== this.overview.width) {
      this.drawPeaks(paint, width, height, 0, this.duration);
      this.still = new OffscreenCanvas(this.overview.width, this.overview.height);
      this.still.getContext("2d").drawImage(this.overview, 0, 0);
    }
    paint.drawImage(this.still, 0, 0, width, height);
    if (view.length < this.duration && this.wave.clientWidth) {
      paint.strokeStyle = this.colours.text;
      paint.lineWidth = 1.5;
      paint.strokeRect(x(view.start), 1, x(view.length), height - 2);
    }
    paint.fillStyle = this.colours.head;
    paint.fillRect(x(now) - 1, 0, 2, height);
  }
}

/** A canvas cleared and as fine as the screen: what paints it, and its size in CSS pixels. */
function prepared(canvas) {
  const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const paint = canvas.getContext("2d");
  paint.setTransform(ratio, 0, 0, ratio, 0, 0);
  paint.clearRect(0, 0, width, height);
  return [paint, width, height];
}

const fold = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

/** Finds text whatever its case and accents, across words but within a section. */
class Search {
  constructor(go) {
    Object.assign(this, { go, box: get("search"), matches: [], chosen: -1, words: null });
    this.box.addEventListener("input", () => this.run());
    this.box.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.choose(event.shiftKey ? -1 : 1);
      if (event.key === "Escape") { this.box.value = ""; this.run(); this.box.blur(); }
    });
    get("next").addEventListener("click", () => this.choose(1));
    get("previous").addEventListener("click", () => this.choose(-1));
  }

  read(words) {
    Object.assign(this, { words, texts: null });
    this.run();
  }

  /** For each section its text, and for each character of that the word which it belongs to. */
  readTexts() {
    const texts = new Map(this.words.sections.map((section) => [section, { text: "", owners: [] }]));
    for (const word of this.words.all) {
      const own = texts.get(word.section);
      const spaced = word.span.previousSibling?.nodeType === Node.TEXT_NODE && own.text;
      const piece = (spaced ? " " : "") + fold(word.text);
      own.text += piece;
      for (let at = 0; at < piece.length; at++) own.owners.push(word);
    }
    return [...texts.values()];
  }

  run() {
    for (const word of this.matches.flat()) word.span.classList.remove("found", "at");
    Object.assign(this, { matches: [], chosen: -1 });
    const wanted = fold(this.box.value.trim());
    if (wanted && this.words) {
      this.texts ??= this.readTexts();
      for (const { text, owners } of this.texts) {
        for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + wanted.length)) {
          this.matches.push([...new Set(owners.slice(at, at + wanted.length))]);
        }
      }
      for (const word of this.matches.flat()) word.span.classList.add("found");
    }
    get("found").textContent = wanted ? `${this.matches.length} found` : "";
  }

  choose(by) {
    const count = this.matches.length;
    if (!count) return;
    for (const word of this.matches[this.chosen] ?? []) word.span.classList.remove("at");
    this.chosen = this.chosen < 0 ? (by > 0 ? 0 : count - 1) : (this.chosen + by + count) % count;
    for (const word of this.matches[this.chosen]) word.span.classList.add("at");
    get("found").textContent = `${this.chosen + 1} of ${count}`;
    this.go(this.matches[this.chosen][0]);
  }
}

/**
 * Plays `audio` beside `text`, an element. `covered` gives the pixels that lie over the text at the top and the bottom of
 * the window. `follows` says whether the text may move with the sound, besides the check box.
 */
export class Viewer {
  constructor({ audio, text, covered, follows = () => true }) {
    Object.assign(this, { audio, text, covered, follows, now: 0, current: null, view: { start: 0, length: 10 } });
    this.waveform = new Waveform(get("wave"), get("overview"));
    this.search = new Search((word) => this.go(word));
    this.keys = this.ownKeys();
    this.refresh();
    this.listenToControls();
    this.listenToWaveform();
    this.listenToText();
  }

  /** Show another recording; `data` is as in `NOTHING`. */
  load(data) {
    this.waveform.load(data);
    this.duration = this.waveform.duration;
    this.view = { start: 0, length: Math.min(this.duration, 10) };
    this.now = clamp(this.now, 0, this.duration);
    this.show(true);
  }

  /** Read the text again, which has changed. */
  refresh() {
    this.current?.section.classList.remove("now");
    this.words = new Words(this.text);
    this.current = null;
    this.search.read(this.words);
    get("unsure").disabled = !this.words.unsure.length;
    if (this.duration) this.show(false);
  }

  recolour() {
    this.waveform.recolour();
    if (this.duration) this.draw();
  }

  seek(time, play) {
    this.now = clamp(time, 0, this.duration);
    this.audio.currentTime = this.now;
    if (play) this.play();
    this.show(true);
  }

  play() { this.audio.play().catch(() => {}); }

  toggle() { if (this.audio.paused) this.play(); else this.audio.pause(); }

  show(moved) {
    this.mark(this.words.at(this.now));
    // While the sound plays, the view moves on before the playhead leaves it.
    const { start, length } = this.view, now = this.now;
    if (now < start || now > start + length * (moved ? 1 : 0.9)) this.view.start = now - length * 0.1;
    this.view.start = clamp(this.view.start, 0, Math.max(this.duration - length, 0));
    const place = `${clock(now)} / ${clock(this.duration)}`, slider = get("overview");
    if (get("clock").textContent !== place) get("clock").textContent = place;
    const shown = { min: 0, max: this.duration.toFixed(1), now: now.toFixed(1), text: place.replace("/", "of") };
    for (const [name, value] of Object.entries(shown)) slider.setAttribute(`aria-value${name}`, value);
    this.draw();
  }

  mark(word) {
    if (word === this.current) return;
    this.current?.span.classList.remove("now");
    this.current?.section.classList.remove("now");
    word?.span.classList.add("now");
    word?.section.classList.add("now");
    this.current = word;
    if (word && get("follow").checked && this.follows() && !this.audio.paused) this.intoSight(word.span);
  }

  draw() { this.waveform.draw(this.now, this.view, this.words, this.current); }

  intoSight(element) {
    const box = element.getBoundingClientRect(), [top, bottom] = this.covered();
    if (box.top < top + 20 || box.bottom > innerHeight - bottom - 60) {
      scrollTo({ top: scrollY + box.top - top - (innerHeight - top - bottom) * 0.3, behavior: "instant" });
    }
  }

  /** Go to a word without playing it. */
  go(word) {
    this.seek(word.start, false);
    this.intoSight(word.span);
  }

  step(by) {
    const { inTime } = this.words, place = clamp(this.words.placeAt(this.now) + by, 0, inTime.length - 1);
    if (inTime.length) this.go(inTime[place]);
  }

  stepSection(by) {
    const section = this.words.nextSection(this.now, by);
    if (!section) return;
    this.seek(+section.dataset.s, !this.audio.paused);
    this.intoSight(section);
  }

  unsure() { if (this.words.nextUnsure(this.now)) this.go(this.words.nextUnsure(this.now)); }

  zoom(factor) {
    const length = clamp(this.view.length * factor, 1, this.duration);
    this.view = { start: this.now - ((this.now - this.view.start) / this.view.length) * length, length };
    this.show(true);
  }

  speed(by) {
    const choice = get("speed");
    choice.selectedIndex = clamp(choice.selectedIndex + by, 0, choice.options.length - 1);
    this.audio.playbackRate = this.audio.defaultPlaybackRate = +choice.value;
  }

  frame() {
    this.now = Math.min(this.audio.currentTime, this.duration);
    this.show(false);
    if (!this.audio.paused) requestAnimationFrame(() => this.frame());
  }

  ownKeys() {
    return {
      " ": () => this.toggle(), k: () => this.toggle(), u: () => this.unsure(), "/": () => get("search").focus(),
      "[": () => this.speed(-1), "]": () => this.speed(1), "-": () => this.zoom(1.5),
      "+": () => this.zoom(1 / 1.5), "=": () => this.zoom(1 / 1.5),
      ArrowUp: () => this.stepSection(-1), ArrowDown: () => this.stepSection(1),
    };
  }

  /** Do what a key means; true if it means something. */
  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    const on = event.target, by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (on.matches("input:not([type=checkbox]), select, textarea")) return false;
    // The key presses the control that has the focus.
    if (event.key === " " && on.matches("a, button, summary, input")) return false;
    if (by) { if (event.shiftKey) this.step(by); else this.seek(this.now + 3 * by, false); }
    else if (this.keys[event.key] && !(event.key.startsWith("Arrow") && event.shiftKey)) this.keys[event.key](event);
    else return false;
    event.preventDefault();
    return true;
  }

  listenToControls() {
    const playing = (word) => () => { get("play").textContent = word; this.frame(); };
    this.audio.addEventListener("play", playing("Pause"));
    this.audio.addEventListener("pause", playing("Play"));
    const keys = { play: "k", wider: "-", closer: "+", unsure: "u" };
    for (const [id, key] of Object.entries(keys)) get(id).addEventListener("click", () => this.keys[key]());
    get("speed").addEventListener("change", () => this.speed(0));
    addEventListener("resize", () => this.duration && this.draw());
  }

  listenToWaveform() {
    const { wave, overview } = this.waveform, place = (event) => event.offsetX / event.target.clientWidth;
    wave.addEventListener("click", (event) => this.seek(this.view.start + place(event) * this.view.length, true));
    overview.addEventListener("click", (event) => {
      this.seek(place(event) * this.duration, true);
      const word = this.words.inTime[this.words.placeAt(this.now)];
      if (word) this.intoSight(word.span);
    });
    wave.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.deltaX) return;
      event.preventDefault();
      if (event.ctrlKey) return this.zoom(event.deltaY > 0 ? 1.25 : 0.8);
      const start = this.view.start + (event.deltaX / wave.clientWidth) * this.view.length;
      this.view.start = clamp(start, 0, this.duration - this.view.length);
      this.draw();
    }, { passive: false });
  }

  listenToText() {
    this.text.addEventListener("click", (event) => {
      if (!getSelection().isCollapsed) return; // A selection is for copying.
      const span = event.target.closest("span[data-s]"), time = event.target.closest("button.time");
      if (span ?? time) this.seek(+(span ?? time.closest("section")).dataset.s, true);
    });
    this.text.addEventListener("mouseover", (event) => {
      const span = event.target.closest("span[data-s]");
      if (!span || span.title) return;
      span.title = clock(+span.dataset.s) + (span.dataset.p ? `, ${Math.round(span.dataset.p * 100)} % sure` : "");
    });
  }
}
