"""Speakers for the segments and words of a transcript, by the turns in which they talk.

Times of words are right to a tenth of a second or two, and so are those of turns. So words do not simply take the
speaker who talks most during each of them. Of all ways to give each word of the recording a speaker, the one with the
lowest cost is taken. Costs are in seconds: how long the speaker does not talk during the word, how far from the word
their nearest turn is, and for each change of speaker a price, which is high within a phrase and low at a pause or after
the end of a sentence. Then one or two words that a change cuts off from the rest of their sentence go back to it,
unless it is clear that somebody else says them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mtasr.spans import Interval
from mtasr.speakers.speaker_times import AllSpeakerTimes, SpeakerTimes
from mtasr.transcript import Alternatives, Segment, Transcript, Turn, Word

#: The price of a change of speaker, in seconds: within a phrase, after a clause or a short pause, after a pause, and
#: after a sentence. Two changes are cheaper than `REACH`.
_IN_PHRASE, _AFTER_CLAUSE, _AFTER_PAUSE, _AFTER_SENTENCE = 0.4, 0.2, 0.1, 0.05
_SHORT_PAUSE, _PAUSE = 0.1, 0.3
#: After such a pause a capital letter begins a sentence.
_LONG_PAUSE = 0.6
_CLAUSE_ENDS, _SENTENCE_ENDS = ",;:–—-،、，；：", ".?!…。？！؟।"
#: Cost of a second that a turn without any confidence covers, where several turns cover it.
_DOUBT = 0.1
#: Seconds that a word is taken to last at least: some have no duration.
_SHORTEST = 0.001
#: A word that lasts longer than this has the time of speech without text or of a pause: it was said at one end of it,
#: in so many seconds.
_LONGEST, _SAID = 1.0, 0.5
#: So many words at the start or the end of a sentence stay with it.
_FEW = 2
#: Unless that share of their time is in a turn of the other speaker, with a pause between them and the rest or, in
#: seconds, between that turn and those of who says the rest.
_INSIDE, _APART = 0.9, 0.2
#: By so many seconds the time of one word in ten is wrong: what is beside a change of speaker may be on its other side.
_OFF = 0.1


def assign(transcript: Transcript, turns: Sequence[Turn]) -> Transcript:
    """The transcript with a speaker on every segment and word, and with these turns.

    A segment is divided where the speaker changes, between words, but not after one word of a sentence, or two, unless
    a pause shows that somebody else says them. The text stays what it was. Words that no turn covers get the speaker
    who suits best, by distance and by the words beside them; their confidence is low. Segments
    without word times stay whole and get the speaker who talks most in them, and so do alternatives. A translation is
    treated in the same way. `overlap` marks words in which another speaker talks as well.

    Without turns nobody is known, and the transcript has no speakers. Assigning the same turns again changes nothing.
    """
    turns = tuple(sorted(turns, key=lambda each: (each.start, each.end, each.speaker, each.confidence)))
    voices = AllSpeakerTimes(turns)
    readings = transcript.alternatives
    return replace(
        transcript,
        segments=assign_segments(transcript.segments, voices),
        alternatives=None if readings is None else assign_alternatives(readings, voices),
        translation=None if transcript.translation is None else assign(transcript.translation, turns),
        turns=turns,
    )


def assign_segments(segments: Sequence[Segment], voices: AllSpeakerTimes) -> tuple[Segment, ...]:
    """The segments with speakers, divided where these change, numbered from 0; see `assign`."""
    if not voices:
        return tuple(map(_unassigned, segments))
    words = [word for segment in segments for word in segment.words or ()]
    chosen = iter(_speakers_of_words(words, voices))
    pieces: list[tuple[Segment, SpeakerTimes | None]] = []
    for segment in segments:
        if segment.words:
            pieces += _divided(segment, list(itertools.islice(chosen, len(segment.words))))
        else:
            pieces.append((segment, None))
    said = iter(_said(words, [who for piece, who in pieces if who is not None for _ in piece.words or ()], voices))
    assigned = [
        _untimed(piece, voices) if who is None else _timed(piece, tuple(itertools.islice(said, len(piece.words or ()))))
        for piece, who in pieces
    ]
    return tuple(replace(piece, id=number) for number, piece in enumerate(assigned))


def assign_words(words: Sequence[Word], voices: AllSpeakerTimes) -> tuple[Word, ...]:
    """Words that follow one another, with speakers as `assign` would find them; without voices, as they are."""
    if not voices:
        return tuple(words)
    return tuple(_said(words, _speakers_of_words(words, voices), voices))


def assign_alternatives(alternatives: Sequence[Alternatives], voices: AllSpeakerTimes) -> tuple[Alternatives, ...]:
    """The readings of each window with the speaker who talks most in it."""
    return tuple(
        replace(each, speaker=_mostly(each.start, each.end, voices).speaker if voices else None)
        for each in alternatives
    )


def seconds_without_turn(transcript: Transcript) -> float:
    """How many seconds of words, or of segments without word times, none of the transcript's turns touches."""
    anybody = SpeakerTimes("", transcript.turns or ())
    said = [_span(each) for segment in transcript for each in segment.words or (segment,)]
    return sum(end - start for start, end in said if not anybody.seconds(start, end))


def _unassigned(segment: Segment) -> Segment:
    words = segment.words and tuple(
        replace(word, speaker=None, speaker_confidence=None, overlap=False) for word in segment.words
    )
    return replace(segment, words=words, speaker=None, speaker_confidence=None, overlap=False)


# Which speaker


def _speakers_of_words(words: Sequence[Word], voices: AllSpeakerTimes) -> list[SpeakerTimes]:
    """The speaker of each word."""
    return _with_their_sentences(words, _cheapest(words, voices))


def _cheapest(words: Sequence[Word], voices: AllSpeakerTimes) -> list[SpeakerTimes]:
    """The speakers of the words with the lowest cost, by dynamic programming.

    Who talks near a word may have said it: with anybody else, it would cost more than two changes do.
    """
    if not words:
        return []
    costs = {voice: _cost(words[0], voice) for voice in voices.near(*_said_at(words[0]))}
    came_from: list[dict[SpeakerTimes, SpeakerTimes]] = []
    for before, word in itertools.pairwise(words):
        best = min(costs, key=costs.__getitem__)
        change = costs[best] + _price(before, word)
        reached = {voice: costs.get(voice, math.inf) for voice in voices.near(*_said_at(word))}
        came_from.append({voice: voice if cost <= change else best for voice, cost in reached.items()})
        costs = {voice: min(cost, change) + _cost(word, voice) for voice, cost in reached.items()}
    chosen = [min(costs, key=costs.__getitem__)]
    for origins in reversed(came_from):
        chosen.append(origins[chosen[-1]])
    return chosen[::-1]


def _with_their_sentences(words: Sequence[Word], chosen: Sequence[SpeakerTimes]) -> list[SpeakerTimes]:
    """The speakers, after a few words that a change cuts off from their sentence have gone back to it.

    The recogniser writes sentences, and the time of a word beside a change may be the time of what the other one said.
    """
    found = list(chosen)
    for first, end in _sentences(words):
        runs = _stretches(chosen, first, end)
        for few, rest in [(runs[0], runs[1]), (runs[-1], runs[-2])] if len(runs) > 1 else []:
            count = few.end - few.first
            speaks_once = sum(run.voice is few.voice for run in runs) == 1
            if count <= min(_FEW, rest.end - rest.first - 1) and speaks_once and not _is_clear(words, few, rest):
                found[few.first : few.end] = [rest.voice] * count
    return found


def _sentences(words: Sequence[Word]) -> Iterator[tuple[int, int]]:
    """The first word of each sentence and the one behind its last. Words without an end are no sentence."""
    first = 0
    for end, (word, after) in enumerate(itertools.zip_longest(words, words[1:]), start=1):
        mark = word.word.rstrip()[-1:]
        is_paused = after is not None and after.start - word.end >= _LONG_PAUSE and after.word.lstrip()[:1].isupper()
        if is_paused or (mark and mark in _SENTENCE_ENDS):
            yield first, end
            first = end


def _is_clear(words: Sequence[Word], few: _Run, rest: _Run) -> bool:
    """Whether the times leave no doubt that somebody else says the few words of a sentence than its rest."""
    said = words[few.first : few.end]
    start, end = said[0].start, max(said[-1].end, said[0].start + _SHORTEST)
    before, after = (few, rest) if few.first < rest.first else (rest, few)
    pause = words[after.first].start - words[before.end - 1].end
    is_timed = all(word.end - word.start <= _LONGEST for word in said)
    is_inside = few.voice.seconds(start, end) >= _INSIDE * (end - start)
    return is_timed and is_inside and (pause >= _PAUSE or rest.voice.distance(start, end) >= _APART)


def _cost(word: Word, voice: SpeakerTimes) -> float:
    """Seconds that speak against the word being this speaker's."""
    return min(_cost_of(start, end, voice) for start, end in _said_at(word))


def _said_at(word: Word) -> tuple[Interval, ...]:
    """When the word was said: in one of these intervals."""
    start, end = _span(word)
    return ((start, end),) if end - start <= _LONGEST else ((start, start + _SAID), (end - _SAID, end))


def _cost_of(start: float, end: float, voice: SpeakerTimes) -> float:
    spoken = voice.seconds(start, end)
    doubt = _DOUBT * (spoken - voice.sure_seconds(start, end))
    return end - start - spoken + doubt + (0.0 if spoken else voice.distance(start, end))


def _price(before: Word, word: Word) -> float:
    """What a change of speaker between two words costs."""
    pause, mark = word.start - before.end, before.word.rstrip()[-1:]
    if mark and mark in _SENTENCE_ENDS:
        return _AFTER_SENTENCE
    if pause >= _PAUSE:
        return _AFTER_PAUSE
    return _AFTER_CLAUSE if pause >= _SHORT_PAUSE or (mark and mark in _CLAUSE_ENDS) else _IN_PHRASE


def _mostly(start: float, end: float, voices: AllSpeakerTimes) -> SpeakerTimes:
    """Who talks most in an interval, or else nearest to it."""
    return min(voices.near((start, end)), key=lambda voice: (-voice.seconds(start, end), voice.distance(start, end)))


def _span(said: Word | Segment) -> tuple[float, float]:
    return said.start, max(said.end, said.start + _SHORTEST)


def _confidence(start: float, end: float, voice: SpeakerTimes) -> float:
    return round(min(1.0, voice.sure_seconds(start, end) / (end - start)), 3)


def _overlap(start: float, end: float, voice: SpeakerTimes, voices: AllSpeakerTimes) -> bool:
    """Whether another speaker talks for half of the interval or more."""
    return any(
        other is not voice and 2 * other.seconds(start, end) >= end - start for other in voices.near((start, end))
    )


def _said(words: Sequence[Word], chosen: Sequence[SpeakerTimes], voices: AllSpeakerTimes) -> Iterator[Word]:
    """The words, said by those who were chosen for them.

    A word beside another speaker's has the confidence that it would have if it was `_OFF` seconds nearer to that.
    """
    for place, (word, voice) in enumerate(zip(words, chosen, strict=True)):
        start, end = _span(word)
        times = [(start, end)]
        if place and _is_beside(words, chosen, place):
            times.append((start - _OFF, end - _OFF))
        if place + 1 < len(words) and _is_beside(words, chosen, place + 1):
            times.append((start + _OFF, end + _OFF))
        yield replace(
            word,
            speaker=voice.speaker,
            speaker_confidence=min(_confidence(*time, voice) for time in times),
            overlap=_overlap(start, end, voice, voices),
        )


def _is_beside(words: Sequence[Word], chosen: Sequence[SpeakerTimes], place: int) -> bool:
    """Whether the speaker changes before the word at this place without a pause: one of the two may be the other's."""
    return chosen[place] is not chosen[place - 1] and words[place].start - words[place - 1].end < 2 * _OFF


def _timed(segment: Segment, words: tuple[Word, ...]) -> Segment:
    """A segment whose words, which are not none, one speaker says."""
    total, sure = 0.0, 0.0
    for word in words:
        start, end = _span(word)
        total, sure = total + end - start, sure + (word.speaker_confidence or 0.0) * (end - start)
    return replace(
        segment,
        words=words,
        speaker=words[0].speaker,
        speaker_confidence=round(sure / total, 3),
        overlap=any(word.overlap for word in words),
    )


def _untimed(segment: Segment, voices: AllSpeakerTimes) -> Segment:
    start, end = _span(segment)
    voice = _mostly(start, end, voices)
    return replace(
        segment,
        speaker=voice.speaker,
        speaker_confidence=_confidence(start, end, voice),
        overlap=_overlap(start, end, voice, voices),
    )


# Where to divide


@dataclass(frozen=True, slots=True)
class _Run:
    """Words of a segment that one speaker says, from `first` up to, not including, `end`."""

    voice: SpeakerTimes
    first: int
    end: int


def _divided(segment: Segment, chosen: Sequence[SpeakerTimes]) -> Iterator[tuple[Segment, SpeakerTimes]]:
    """The pieces of a segment, each with its speaker."""
    words = segment.words or ()
    runs = _runs(words, chosen)
    places = _places(segment.text, words) if len(runs) > 1 else None
    if places is None:
        yield (
            segment,
            max(runs, key=lambda run: sum(word.end - word.start for word in words[run.first : run.end])).voice,
        )
        return
    counts = _token_counts(segment, runs)
    tokens, logprobs = _cut_tokens(segment, counts)
    bounds = [words[run.first].start for run in runs[1:]]
    starts, ends = [segment.start, *bounds], [*(words[run.end - 1].end for run in runs[:-1]), segment.end]
    cuts = [0, *(places[run.first] for run in runs[1:]), len(segment.text)]
    heard = _cut_heard(segment, bounds)
    for place, run in enumerate(runs):
        piece = replace(
            segment,
            start=starts[place],
            end=ends[place],
            text=segment.text[cuts[place] : cuts[place + 1]],
            words=words[run.first : run.end],
            tokens=tokens[place],
            token_logprobs=logprobs[place],
            heard=heard[place],
        )
        yield piece, run.voice


def _runs(words: Sequence[Word], chosen: Sequence[SpeakerTimes]) -> list[_Run]:
    """Stretches of words of one speaker. One without a duration or a letter belongs to the one before it."""
    kept: list[_Run] = []
    for run in _stretches(chosen, 0, len(chosen)):
        if kept and (kept[-1].voice is run.voice or not _is_said(words[run.first : run.end])):
            kept[-1] = replace(kept[-1], end=run.end)
        elif kept and not _is_said(words[kept[-1].first : kept[-1].end]):
            kept[-1] = replace(run, first=kept[-1].first)
        else:
            kept.append(run)
    return kept


def _stretches(chosen: Sequence[SpeakerTimes], first: int, end: int) -> list[_Run]:
    """Words from `first` up to `end` that one speaker says after the other."""
    runs: list[_Run] = []
    for place in range(first, end):
        if runs and runs[-1].voice is chosen[place]:
            runs[-1] = replace(runs[-1], end=place + 1)
        else:
            runs.append(_Run(chosen[place], place, place + 1))
    return runs


def _is_said(words: Sequence[Word]) -> bool:
    """Whether the words can be a segment: they take time and have a letter or a digit."""
    return words[-1].end > words[0].start and any(map(str.isalnum, "".join(word.word for word in words)))


def _places(text: str, words: Sequence[Word]) -> list[int] | None:
    """Where each word begins in the text, None if they are not found there one after the other."""
    places, end = [], 0
    for word in words:
        place = text.find(word.word, end)
        if place < 0:
            return None
        places.append(place)
        end = place + len(word.word)
    return places


def _token_counts(segment: Segment, runs: Sequence[_Run]) -> list[int]:
    """How many text tokens each run has: those of its words, or, where these are not known, by their length."""
    words = segment.words or ()
    sizes = [word.tokens for word in words]
    if not all(sizes) or (segment.token_logprobs and sum(sizes) != len(segment.token_logprobs)):
        sizes = [len(word.word) for word in words]
    whole = len(segment.token_logprobs) or len(segment.tokens)
    ends = [round(whole * sum(sizes[: run.end]) / max(sum(sizes), 1)) for run in runs]
    return [end - start for start, end in itertools.pairwise([0, *ends])]


def _cut_tokens(
    segment: Segment, counts: Sequence[int]
) -> tuple[list[tuple[int, ...]], list[tuple[tuple[int, float], ...]]]:
    """The tokens and their log-probabilities, cut after so many text tokens each. Timestamp tokens are no text."""
    ends = list(itertools.accumulate(counts))[:-1]
    text = [token for token, _ in segment.token_logprobs] or list(segment.tokens)
    cuts, seen = [0], 0
    for place, token in enumerate(segment.tokens):
        while len(cuts) <= len(ends) and seen >= ends[len(cuts) - 1]:
            cuts.append(place)
        seen += seen < len(text) and token == text[seen]
    cuts += [len(segment.tokens)] * (len(counts) + 1 - len(cuts))
    bounds = [0, *ends, len(segment.token_logprobs)]
    return (
        [segment.tokens[start:end] for start, end in itertools.pairwise(cuts)],
        [segment.token_logprobs[start:end] for start, end in itertools.pairwise(bounds)],
    )


def _cut_heard(segment: Segment, bounds: Sequence[float]) -> list[tuple[float, float] | None]:
    """What the model heard, cut where the pieces begin."""
    if segment.heard is None:
        return [None] * (len(bounds) + 1)
    start, end = segment.heard
    edges = [start, *(min(max(bound, start), end) for bound in bounds), end]
    return list(itertools.pairwise(edges))
