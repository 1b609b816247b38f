/** Who speaks in a transcript, and what a person changes of that. As in transcript.js, a change makes another transcript. */

import { split, withSegment, withSegments } from "./transcript.js";

/** The names of the speakers, in the order in which they speak, with the number of their segments. */
export function speakers(transcript) {
  const counts = new Map();
  for (const { speaker } of transcript.segments) {
    if (speaker != null) counts.set(speaker, (counts.get(speaker) ?? 0) + 1);
  }
  return counts;
}

/**
 * The names in the order of their colours. `people` in the transcript holds that order once a change would move it, so
 * that nobody changes colour; somebody new takes the first place whose owner says nothing.
 */
export function people(transcript) {
  const speaking = speakers(transcript), names = [...(transcript.people ?? [])];
  for (const name of speaking.keys()) {
    if (names.includes(name)) continue;
    const free = names.findIndex((each) => !speaking.has(each));
    if (free < 0) names.push(name); else names[free] = name;
  }
  return names;
}

/** The transcript in which speakers have other names everywhere; `names` maps old to new. Two with one name are one. */
export function rename(transcript, names) {
  const renamed = (each) => (names.has(each.speaker) ? { ...each, speaker: names.get(each.speaker) } : each);
  const segments = transcript.segments.map((segment) => {
    const changed = renamed(segment);
    return changed !== segment && segment.words ? { ...changed, words: segment.words.map(renamed) } : changed;
  });
  const changed = { ...transcript };
  if (transcript.alternatives) changed.alternatives = transcript.alternatives.map(renamed);
  if (transcript.turns) changed.turns = united(transcript.turns.map(renamed));
  const order = people(transcript).map((name) => names.get(name) ?? name);
  changed.people = order.map((name, place) => (order.indexOf(name) === place ? name : null));
  return withSegments(changed, segments);
}

/** Turns of which no two of one speaker overlap, in order of start. */
function united(turns) {
  const found = [], last = new Map();
  for (const turn of [...turns].sort((a, b) => a.start - b.start)) {
    const before = last.get(turn.speaker);
    if (before && turn.start < before.end) {
      const [first, second] = [before.end - before.start, turn.end - turn.start];
      before.confidence = (before.confidence * first + turn.confidence * second) / Math.max(first + second, 1e-6);
      before.end = Math.max(before.end, turn.end);
    } else {
      last.set(turn.speaker, { ...turn });
      found.push(last.get(turn.speaker));
    }
  }
  return found;
}

/** The segment with another speaker; an empty name is none. */
export function withSpeaker(segment, name) {
  return (segment.speaker ?? "") === name ? segment : named(segment, name);
}

/** The segment with a speaker whom a person has named: nothing is uncertain any longer. */
function named(segment, name) {
  const certain = ({ speaker, speaker_confidence: confidence, ...rest }) => (name ? { ...rest, speaker: name } : rest);
  const changed = certain(segment);
  if (segment.words?.some((word) => word.speaker != null)) changed.words = segment.words.map(certain);
  return changed;
}

/**
 * The transcript in which `name` says some parts of it, each `{ index, from, to }`: a segment, and the characters of its
 * text, counted from the first that is no space. Segments of which that is not all are split.
 */
export function give(transcript, parts, name) {
  let given = transcript;
  for (const { index, from, to } of [...parts].sort((a, b) => b.index - a.index)) {
    if ((given.segments[index].speaker ?? "") === name) continue;
    given = split(given, index, to);
    const count = given.segments.length;
    given = split(given, index, from);
    const at = index + given.segments.length - count;
    given = withSegment(given, at, withSpeaker(given.segments[at], name));
  }
  return given;
}

/** The transcript in which it is sure that these segments are their speakers'. */
export function confirmed(transcript, indices) {
  let sure = transcript;
  for (const index of indices) sure = withSegment(sure, index, named(sure.segments[index], sure.segments[index].speaker));
  if (!transcript.turns) return sure;
  let { turns } = transcript;
  for (const { start, end, speaker } of indices.map((index) => sure.segments[index])) {
    turns = moved(turns, start, end, speaker, speaker);
  }
  return { ...sure, turns };
}

/** What a change of segments means for the turns and for the order of colours. */
export function settled(before, after) {
  const changed = { ...after };
  if (after.turns && after.turns === before.turns) changed.turns = turnsAfter(before, after);
  if (after.people === before.people) {
    const names = people({ ...after, people: people(before) });
    if (names.join("\n") !== people(after).join("\n")) changed.people = names;
  }
  return changed;
}

/** The turns after segments, or parts of them, have got other speakers. */
function turnsAfter(before, after) {
  const [old, now] = [new Set(before.segments), new Set(after.segments)];
  const gone = before.segments.filter((each) => !now.has(each)), come = after.segments.filter((each) => !old.has(each));
  let { turns } = before;
  for (const { start, end, speaker } of gone) {
    for (const other of come) {
      const from = Math.max(start, other.start), to = Math.min(end, other.end), middle = (from + to) / 2;
      if (to <= from || other.speaker === speaker) continue;
      const stays = come.some((each) => each.speaker === speaker && each.start <= middle && middle < each.end);
      if (!stays) turns = moved(turns, from, to, speaker, other.speaker);
    }
  }
  return turns;
}

/** The turns in which the time of one speaker is, with certainty, another's; null is nobody. */
function moved(turns, start, end, from, to) {
  const found = [];
  let shared = to == null;
  for (const turn of turns) {
    const [first, last] = [Math.max(turn.start, start), Math.min(turn.end, end)];
    if (turn.speaker !== from || last <= first) {
      found.push(turn);
      continue;
    }
    if (turn.start < first) found.push({ ...turn, end: first });
    if (to != null) found.push({ start: first, end: last, speaker: to, confidence: 1 });
    if (last < turn.end) found.push({ ...turn, start: last });
    shared = true;
  }
  if (!shared) found.push({ start, end, speaker: to, confidence: 1 });
  return united(found);
}
