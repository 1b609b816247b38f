"""Speakers for the segments and words of a transcript, by the turns in which they talk.

Times of words are right to a tenth of a second or two, and so are those of turns. So words do not simply take the
speaker who talks most during each of them. Of all ways to give each word of the recording a speaker, the one with the
lowest cost is taken. Costs are in seconds: how long the speaker does not talk during the word, how far from the word
their nearest turn is, and for each change of speaker a price, which is high within a phrase and low at a pause or after
the end of a sentence.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mtasr.speakers.speaker_times import SpeakerTimes, times_of_speakers
from mtasr.transcript import Alternatives, Segment, Transcript, Turn, Word

#: The price of a change of speaker, in seconds: within a phrase, after a clause or a short pause, after a pause, and
#: after a sentence.
_IN_PHRASE, _AFTER_CLAUSE, _AFTER_PAUSE, _AFTER_SENTENCE = 0.4, 0.2, 0.1, 0.05
_SHORT_PAUSE, _PAUSE = 0.1, 0.3
_CLAUSE_ENDS, _SENTENCE_ENDS = ",;:–—-،、，；：", ".?!…。？！؟।"
#: Cost of a second that a turn without any confidence covers, where several turns cover it.
_DOUBT = 0.1
#: Seconds that a word is taken to last at least: some have no duration.
_SHORTEST = 0.001
#: A word that lasts longer than this has the time of speech without text or of a pause: it was said at one end of it,
#: in so many seconds.
_LONGEST, _SAID = 1.0, 0.5


def assign(transcript: Transcript, turns: Sequence[Turn]) -> Transcript:
    """The transcript with a speaker on every segment and word, and with these turns.

    A segment is divided where the speaker changes, between words. The text stays what it was. Words that no turn
    covers get the speaker who suits best, by distance and by the words beside them; their confidence is low. Segments
    without word times stay whole and get the speaker who talks most in them, and so do alternatives. A translation is
    treated in the same way. `overlap` marks words in which another speaker talks as well.

    Without turns nobody is known, and the transcript has no speakers. Assigning the same turns again changes nothing.
    """
    turns = tuple(sorted(turns, key=lambda each: (each.start, each.end, each.speaker, each.confidence)))
    readings = transcript.alternatives
    return replace(
        transcript,
        segments=assign_segments(transcript.segments, turns),
        alternatives=None if readings is None else assign_alternatives(readings, turns),
        translation=None if transcript.translation is None else assign(transcript.translation, turns),
        turns=turns,
    )


def assign_segments(segments: Sequence[Segment], turns: Sequence[Turn]) -> tuple[Segment, ...]:
    """The segments with speakers, divided where these change, numbered from 0; see `assign`."""
    voices = times_of_speakers(turns)
    if not voices:
        return tuple(map(_unassigned, segments))
    chosen = iter(_speakers_of_words([word for segment in segments for word in segment.words or ()], voices))
    pieces: list[Segment] = []
    for segment in segments:
        if segment.words:
            found = list(itertools.islice(chosen, len(segment.words)))
            pieces += [_timed(piece, voices, who) for piece, who in _divided(segment, found)]
        else:
            pieces.append(_untimed(segment, voices))
    return tuple(replace(piece, id=number) for number, piece in enumerate(pieces))


def assign_words(words: Sequence[Word], turns: Sequence[Turn]) -> tuple[Word, ...]:
    """Words that follow one another, with speakers as `assign` would find them; without turns, as they are."""
    voices = times_of_speakers(turns)
    if not voices:
        return tuple(words)
    chosen = _speakers_of_words(words, voices)
    return tuple(_said_by(word, voice, voices) for word, voice in zip(words, chosen, strict=True))


def assign_alternatives(alternatives: Sequence[Alternatives], turns: Sequence[Turn]) -> tuple[Alternatives, ...]:
    """The readings of each window with the speaker who talks most in it."""
    voices = times_of_speakers(turns)
    return tuple(
        replace(each, speaker=_mostly(each.start, each.end, voices).speaker if voices else None)
        for each in alternatives
    )


def _unassigned(segment: Segment) -> Segment:
    words = segment.words and tuple(
        replace(word, speaker=None, speaker_confidence=None, overlap=False) for word in segment.words
    )
    return replace(segment, words=words, speaker=None, speaker_confidence=None, overlap=False)


# Which speaker


def _speakers_of_words(words: Sequence[Word], voices: Sequence[SpeakerTimes]) -> list[SpeakerTimes]:
    """The speaker of each word: the cheapest sequence, by dynamic programming."""
    if not words:
        return []
    costs = [_cost(words[0], voice) for voice in voices]
    came_from: list[list[int]] = []
    for before, word in itertools.pairwise(words):
        best = min(range(len(voices)), key=costs.__getitem__)
        change = costs[best] + _price(before, word)
        came_from.append([place if cost <= change else best for place, cost in enumerate(costs)])
        costs = [min(cost, change) + _cost(word, voice) for cost, voice in zip(costs, voices, strict=True)]
    places = [min(range(len(voices)), key=costs.__getitem__)]
    for origins in reversed(came_from):
        places.append(origins[places[-1]])
    return [voices[place] for place in reversed(places)]


def _cost(word: Word, voice: SpeakerTimes) -> float:
    """Seconds that speak against the word being this speaker's."""
    start, end = _span(word)
    if end - start <= _LONGEST:
        return _cost_of(start, end, voice)
    return min(_cost_of(start, start + _SAID, voice), _cost_of(end - _SAID, end, voice))


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


def _mostly(start: float, end: float, voices: Sequence[SpeakerTimes]) -> SpeakerTimes:
    """Who talks most in an interval, or else nearest to it."""
    return min(voices, key=lambda voice: (-voice.seconds(start, end), voice.distance(start, end)))


def _span(word: Word) -> tuple[float, float]:
    return word.start, max(word.end, word.start + _SHORTEST)


def _confidence(start: float, end: float, voice: SpeakerTimes) -> float:
    return round(min(1.0, voice.sure_seconds(start, end) / (end - start)), 3)


def _overlap(start: float, end: float, voice: SpeakerTimes, voices: Sequence[SpeakerTimes]) -> bool:
    """Whether another speaker talks for half of the interval or more."""
    return any(other is not voice and 2 * other.seconds(start, end) >= end - start for other in voices)


def _timed(segment: Segment, voices: Sequence[SpeakerTimes], voice: SpeakerTimes) -> Segment:
    """A segment of one speaker, all of whose words are timed."""
    words = tuple(_said_by(word, voice, voices) for word in segment.words or ())
    total, sure = 0.0, 0.0
    for word in words:
        start, end = _span(word)
        total, sure = total + end - start, sure + (word.speaker_confidence or 0.0) * (end - start)
    return replace(
        segment,
        words=words,
        speaker=voice.speaker,
        speaker_confidence=round(sure / total, 3),
        overlap=any(word.overlap for word in words),
    )


def _said_by(word: Word, voice: SpeakerTimes, voices: Sequence[SpeakerTimes]) -> Word:
    start, end = _span(word)
    return replace(
        word,
        speaker=voice.speaker,
        speaker_confidence=_confidence(start, end, voice),
        overlap=_overlap(start, end, voice, voices),
    )


def _untimed(segment: Segment, voices: Sequence[SpeakerTimes]) -> Segment:
    start, end = segment.start, max(segment.end, segment.start + _SHORTEST)
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
    runs: list[_Run] = []
    for place, voice in enumerate(chosen):
        before = runs[-1] if runs else None
        if before is not None and before.voice is voice:
            runs[-1] = replace(before, end=place + 1)
        else:
            runs.append(_Run(voice, place, place + 1))
    kept: list[_Run] = []
    for run in runs:
        if kept and (kept[-1].voice is run.voice or not _is_said(words[run.first : run.end])):
            kept[-1] = replace(kept[-1], end=run.end)
        elif kept and not _is_said(words[kept[-1].first : kept[-1].end]):
            kept[-1] = replace(run, first=kept[-1].first)
        else:
            kept.append(run)
    return kept


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
