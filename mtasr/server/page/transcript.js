/**
 * What a person changes in a transcript. A transcript is the server's JSON; no function changes the one that it is given.
 *
 * Words keep the space before them, so that joining the words of a segment gives its text.
 */

/** Characters of scripts, by their names in Unicode. */
const of = (...scripts) => new RegExp(`[${scripts.map((name) => `\\p{sc=${name}}`).join("")}]`, "u");

/** Scripts without spaces between words. */
const UNSPACED = of("Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan");
const CJK = of("Han", "Hiragana", "Katakana", "Hangul");

const round = (seconds) => Math.round(seconds * 1000) / 1000;

const length = (text) => [...text].length;

/** The transcript with other segments. */
export function withSegments(transcript, segments) {
  const text = segments.map((segment) => segment.text).join("").trim();
  return { ...transcript, text, segments: segments.map((each, id) => (each.id === id ? each : { ...each, id })) };
}

/** The transcript with another segment in the place of one. */
export function withSegment(transcript, index, segment) {
  return segment === transcript.segments[index] ? transcript : replaced(transcript, index, 1, segment);
}

function replaced(transcript, index, count, ...segments) {
  return withSegments(transcript, transcript.segments.toSpliced(index, count, ...segments));
}

/** A text with single spaces; line breaks stay. */
export const tidy = (text) => text.trim().replace(/[^\S\n]*\n\s*/g, "\n").replace(/[^\S\n]+/g, " ");

// --- text -----------------------------------------------------------------------------------------------------------

/** The segment with another text. Words that stay keep their times and probabilities. */
export function withText(segment, text) {
  const spaced = /^\s/.test(segment.text) ? " " : "";
  const given = spaced + tidy(text);
  if (given === segment.text) return segment;
  const changed = { ...segment, text: given };
  if (segment.words?.length) {
    const isNamed = segment.words.some((word) => word.speaker != null), { speaker } = segment;
    const words = withRoom(aligned(segment.words, given, segment.start, segment.end));
    changed.words = isNamed ? words.map((word) => (word.speaker == null ? { ...word, speaker } : word)) : words;
  }
  delete changed.tokens;
  return changed;
}

/** Words of `text`: those of `old` that are still in it, in order, and new ones in the time of those that they replace. */
function aligned(old, text, start, end) {
  const run = longestRun(old, text);
  if (!run) return fitted(text, old.length ? old[0].start : start, old.length ? old.at(-1).end : end);
  const [first, count, at] = run, before = text.slice(0, at).trimEnd();
  let place = at;
  const taken = (characters) => text.slice(place, place += characters);
  const kept = old.slice(first, first + count).map((word) => ({ ...word, word: taken(word.word.length) }));
  kept[0].word = text.slice(before.length, at) + kept[0].word;
  const after = text.slice(place);
  const left = aligned(old.slice(0, first), before, start, kept[0].start);
  const right = aligned(old.slice(first + count), after, kept.at(-1).end, end);
  return [...left, ...kept, ...right];
}

/**
 * The most words in a row that `text` holds, as [first, count, place in the text]; null if there are none. A line break
 * is as good as a space.
 */
function longestRun(words, given) {
  const flat = (text) => text.replaceAll("\n", " "), text = flat(given);
  let best = null, most = 0;
  for (let first = 0; first < words.length; first++) {
    let joined = "";
    for (let last = first; last < words.length; last++) {
      joined += flat(words[last].word);
      const at = placeOf(joined, text);
      if (at < 0) { if (!text.includes(joined)) break; else continue; }
      if (joined.length > most) { best = [first, last - first + 1, at]; most = joined.length; }
    }
  }
  return best;
}

/** Where `piece` stands in `text` as whole words, or -1. */
function placeOf(piece, text) {
  const inWord = (char) => char && /[\p{L}\p{N}\p{M}'’]/u.test(char) && !UNSPACED.test(char);
  for (let at = text.indexOf(piece); at >= 0; at = text.indexOf(piece, at + 1)) {
    const cutsBefore = inWord(text[at - 1]) && inWord(piece[0]);
    const cutsAfter = inWord(piece.at(-1)) && inWord(text[at + piece.length]);
    if (!cutsBefore && !cutsAfter) return at;
  }
  return -1;
}

/** The pieces of a text that become words. */
function pieces(text) {
  const spaced = text.match(/\s*\S+/g) ?? [];
  const segmenter = Intl.Segmenter && new Intl.Segmenter(undefined, { granularity: "word" });
  return spaced.flatMap((piece) => {
    if (!segmenter || !UNSPACED.test(piece)) return [piece];
    const parts = [];
    for (const { segment, isWordLike } of segmenter.segment(piece)) {
      // Marks and spaces belong to a word.
      if (parts.length && (!isWordLike || !parts.at(-1).trim())) parts[parts.length - 1] += segment;
      else parts.push(segment);
    }
    return parts;
  });
}

/** `text` as words between two times. Nobody knows how probable they are. */
function fitted(text, start, end) {
  return spread(pieces(text).map((word) => ({ word, probability: null })), start, end);
}

/** Words that have been put where there was no time share that of a neighbour. */
function withRoom(words) {
  const given = [...words];
  for (let at = 0; at < given.length; at++) {
    if (given[at].end - given[at].start >= 0.02) continue;
    let last = at;
    while (last + 1 < given.length && given[last + 1].end - given[last + 1].start < 0.02) last++;
    const first = at > 0 ? at - 1 : at, stop = at > 0 ? last : Math.min(last + 1, given.length - 1);
    const shared = given.slice(first, stop + 1);
    const timed = spread(shared, shared[0].start, shared.at(-1).end);
    given.splice(first, shared.length, ...timed);
    at = stop;
  }
  return given;
}

/** Words one after the other between two times, each as long as its share of the characters. */
function spread(words, start, end) {
  const total = length(words.map((word) => word.word).join("")) || 1, edges = [start];
  let done = 0;
  for (const { word } of words.slice(0, -1)) {
    done += length(word);
    edges.push(Math.min(Math.max(round(start + ((end - start) * done) / total), start), end));
  }
  edges.push(end);
  return words.map((word, at) => ({ ...word, start: edges[at], end: edges[at + 1] }));
}

// --- cues -----------------------------------------------------------------------------------------------------------

/** The transcript with a segment cut in two at a place in its text, counted from the first character that is no space. */
export function split(transcript, index, place) {
  const segment = transcript.segments[index];
  const at = place + segment.text.length - segment.text.trimStart().length;
  const texts = [segment.text.slice(0, at).trimEnd(), segment.text.slice(at)];
  if (!texts[0].trim() || !texts[1].trim()) return transcript;
  if (/\s/.test(segment.text.slice(texts[0].length, at + 1))) texts[1] = ` ${texts[1].trimStart()}`;
  const [left, right] = segment.words?.length ? splitWords(segment, texts[0].length) : [null, null];
  const share = length(texts[0]) / length(segment.text);
  const middle = round(segment.start + (segment.end - segment.start) * share);
  const first = { ...segment, text: texts[0], end: left ? left.at(-1).end : middle };
  const second = { ...segment, text: texts[1], start: right ? right[0].start : middle };
  if (left) {
    first.words = left;
    second.words = [{ ...right[0], word: right[0].word.replace(/^\s/, " ") }, ...right.slice(1)];
  }
  for (const half of [first, second]) delete half.tokens;
  return replaced(transcript, index, 1, first, second);
}

/**
 * Words before and after `at` characters of their text; null for both if one side has none. Each side lasts, even where
 * words did not.
 */
function splitWords({ words, start, end }, at) {
  const left = [], right = [];
  let begin = 0;
  for (const word of words) {
    const inside = at - begin;
    begin += word.word.length;
    if (inside >= word.word.length) left.push(word);
    else if (inside <= 0 || !word.word.slice(0, inside).trim()) right.push(word);
    else {
      const middle = round(word.start + ((word.end - word.start) * inside) / word.word.length);
      left.push({ ...word, word: word.word.slice(0, inside), end: middle });
      right.push({ ...word, word: word.word.slice(inside), start: middle });
    }
  }
  if (!left.length || !right.length) return [null, null];
  if (left.at(-1).end > start && right[0].start < end) return [left, right];
  return splitWords({ words: spread(words, start, end), start: -Infinity, end: Infinity }, at);
}

/** The transcript with a segment and the one after it as one. */
export function join(transcript, index) {
  const [first, second] = transcript.segments.slice(index, index + 2);
  if (!second) return transcript;
  const [before, after] = [length(first.text), length(second.text)];
  const joined = {
    ...first, text: first.text.trimEnd() + second.text, start: Math.min(first.start, second.start),
    end: Math.max(first.end, second.end),
  };
  if (first.avg_logprob != null && second.avg_logprob != null) {
    joined.avg_logprob = (first.avg_logprob * before + second.avg_logprob * after) / Math.max(before + after, 1);
  }
  if (first.words && second.words) joined.words = inOrder([...first.words, ...spokenBy(first.speaker, second.words)]);
  else delete joined.words;
  delete joined.tokens;
  return replaced(transcript, index, 2, joined);
}

/** Words that name their speaker, as somebody else's. */
function spokenBy(speaker, words) {
  return words.map((word) => (word.speaker != null && word.speaker !== speaker ? { ...word, speaker } : word));
}

/** Words none of which begins before the one before it has ended, as those of two speakers may. */
function inOrder(words) {
  let latest = 0;
  return words.map((word) => {
    const start = Math.max(word.start, latest);
    latest = Math.max(word.end, start);
    return start === word.start && latest === word.end ? word : { ...word, start, end: latest };
  });
}

export function remove(transcript, index) {
  return replaced(transcript, index, 1);
}

/**
 * The segment at other times. Its words stay where they are as long as they fit; the first begins and the last ends with
 * the segment.
 */
export function withTimes(segment, start, end) {
  if (segment.start === start && segment.end === end) return segment;
  const changed = { ...segment, start, end };
  if (segment.words?.length) changed.words = moved(segment.words, segment, start, end);
  return changed;
}

function moved(words, segment, start, end) {
  const clamp = (time) => Math.min(Math.max(time, start), end);
  const kept = words.map((word) => ({ ...word, start: clamp(word.start), end: clamp(word.end) }));
  kept[0].start = start;
  kept[kept.length - 1].end = end;
  if (kept.every((word) => word.end - word.start >= 0.02)) return kept;
  const scale = (end - start) / Math.max(segment.end - segment.start, 1e-3);
  const place = (time) => clamp(round(start + (time - segment.start) * scale));
  const scaled = words.map((word) => ({ ...word, start: place(word.start), end: place(word.end) }));
  scaled[0].start = start;
  scaled[scaled.length - 1].end = end;
  return scaled;
}

/** A transcript whose segments the server has made cues, with the spaces between them that joining its texts needs. */
export function fromCues(transcript) {
  const spaced = (text) => (/^\s/.test(text) || UNSPACED.test(text[0] ?? "") ? text : ` ${text}`);
  const segments = transcript.segments.map((segment) => {
    const [first, ...rest] = segment.words ?? [];
    const words = first && { words: [{ ...first, word: spaced(first.word) }, ...rest] };
    return { ...segment, text: spaced(segment.text), ...words };
  });
  return withSegments(transcript, segments);
}

// --- what readers need ----------------------------------------------------------------------------------------------

/** Characters per second, spaces included. */
export function readingSpeed(segment) {
  return length(segment.text.trim()) / Math.max(segment.end - segment.start, 0.01);
}

/**
 * What makes a segment hard to read as a subtitle, as sentences. `limits` holds `cps`, `cps_cjk` (characters per second)
 * and `shortest` (seconds).
 */
export function warnings(segment, next, limits) {
  const found = [], speed = readingSpeed(segment), most = CJK.test(segment.text) ? limits.cps_cjk : limits.cps;
  const lasts = segment.end - segment.start;
  if (speed > most + 0.5) found.push(`Fast to read: ${Math.round(speed)} characters per second, at most ${most} are easy.`);
  if (lasts < limits.shortest - 0.01) found.push(`Short: shown for ${lasts.toFixed(1)} seconds.`);
  if (next && next.speaker === segment.speaker && next.start < segment.end - 0.001) found.push("Overlaps the next one.");
  return found;
}

/** "1:02:03.450" or "2:03.450". */
export function timeText(seconds) {
  const thousandths = Math.round(seconds * 1000), two = (number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(thousandths / 3_600_000), Math.floor(thousandths / 60_000) % 60];
  const rest = `${two(Math.floor(thousandths / 1000) % 60)}.${String(thousandths % 1000).padStart(3, "0")}`;
  return hours ? `${hours}:${two(minutes)}:${rest}` : `${minutes}:${rest}`;
}

/** Seconds of "1:02:03.450", "2:03,45" or "123.45"; NaN for anything else. */
export function secondsOf(text) {
  const match = /^(?:(?:(\d+):)?(\d{1,2}):)?(\d+(?:[.,]\d*)?)$/.exec(text.trim());
  if (!match) return NaN;
  const [, hours = 0, minutes = 0, seconds] = match;
  return round(hours * 3600 + minutes * 60 + Number(seconds.replace(",", ".")));
}
