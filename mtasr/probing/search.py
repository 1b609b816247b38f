"""Where something is said: an example against recordings, without training and without text.

States are standardised over the speech of the recordings (its first 20 minutes), so that all their dimensions count
alike. Dynamic time warping (`mtasr.probing.dtw`) finds the places whose states follow each other as those of the
example do. The score of a place is the cosine whose distance is the mean along its path: 1 for the same sound, about 0
for unrelated frames. Memory holds the example, what is standardised with, and two numbers a frame.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mtasr.arrays import Float32Array, FloatArray, IntArray
from mtasr.audio.ffmpeg import printable
from mtasr.audio.read import open_audio
from mtasr.encoders.extract import SPEECH, Progress, StateBlock, chosen_layers, extract, extract_blocks
from mtasr.errors import InputError, UsageError
from mtasr.networks.speech_encoder import SpeechEncoder
from mtasr.probing.dtw import Standard, align, distances
from mtasr.remote.urls import name_of
from mtasr.spans import SAMPLE_RATE
from mtasr.vad import SileroDetector, SpeechTrack

#: Seconds of an example: less has too few frames to tell words apart, more is no word or phrase.
SHORTEST, LONGEST = 0.2, 10.0
#: The score from which on a place is taken for the same words; chosen by `benchmarks/finding.py` for Whisper `base`.
THRESHOLD = 0.35
#: Seconds by which an end may lie behind that of its recording: durations are often rounded up.
_ROUNDING = 0.1
#: Seconds of a recording that an encoder hears before and after an example in it.
_AROUND = 4.0
#: Seconds of a recording in which speech is looked for if nobody says where the example is.
_SEARCHED = 600.0
#: Frames that are held in memory to standardise with: 20 minutes.
_HELD = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPlace:
    """A place of a recording that sounds like the example, and how much: up to 1."""

    source: str
    start: float
    end: float
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SpokenExample:
    """The states (Q, D) of a stretch of a recording, which begins and ends at these seconds."""

    source: str
    start: float
    end: float
    states: Float32Array
    audio_stream: int = 0


def read_example(
    encoder: SpeechEncoder,
    layer: int,
    source: str,
    *,
    start: float | None = None,
    end: float | None = None,
    audio_stream: int = 0,
) -> SpokenExample:
    """The example in a recording: from `start` to `end`, or without these from the first speech in it to the last.

    Raises `InputError` if the recording cannot be read or has no speech, and `UsageError` for a stretch that is too
    short or too long, or is not in the recording, and without a stretch for a recording of over ten minutes.
    """
    name = printable(name_of(source))
    if start is None and end is None:
        stretch = _spoken(source, name, audio_stream)
    else:
        stretch = _chosen(source, name, start or 0.0, end, audio_stream)
    blocks = list(extract_blocks(encoder, [stretch.samples], chosen_layers(encoder, layer)))
    if not blocks:
        raise InputError(f"{name}: is too short for a frame")
    times = np.concatenate([block.times for block in blocks]) + stretch.first
    inside = (times >= stretch.begin) & (times < stretch.limit)
    states = np.concatenate([block.states[0] for block in blocks])[inside]
    if len(states) * encoder.frame_seconds > LONGEST:
        raise _too_long(name)
    if len(states) * encoder.frame_seconds < SHORTEST:
        raise UsageError(f"{name}: the example lasts less than {SHORTEST:g} s, which is too short to tell words apart")
    middle = times[inside]
    half = encoder.frame_seconds / 2
    return SpokenExample(
        source=source,
        start=float(middle[0]) - half,
        end=float(middle[-1]) + half,
        states=states,
        audio_stream=audio_stream,
    )


class _Stretch(NamedTuple):
    """From `begin` to `limit` seconds, with the samples of that and of what is around it, from `first` seconds on."""

    samples: Float32Array
    first: float
    begin: float
    limit: float


def _chosen(source: str, name: str, begin: float, end: float | None, audio_stream: int) -> _Stretch:
    """The stretch that somebody named. One that has no end goes on for a second more than an example may last."""
    limit = begin + LONGEST + 1 if end is None else end
    if limit <= begin:
        raise UsageError(f"an example from {begin:g} to {limit:g} s has no length")
    if end is not None and end - begin > LONGEST:
        raise UsageError(
            f"an example from {begin:g} to {end:g} s is too long: take a word or phrase, {LONGEST:g} s at most"
        )
    samples, first, seconds = _around(source, begin, limit, audio_stream)
    if seconds < begin + SHORTEST:
        raise UsageError(f"{name}: lasts {seconds:.2f} s, and no example begins at {begin:g} s")
    if end is not None and seconds < end - _ROUNDING:
        raise UsageError(f"{name}: lasts {seconds:.2f} s, and no example ends at {end:g} s")
    return _Stretch(samples, first, begin, limit)


def _spoken(source: str, name: str, audio_stream: int) -> _Stretch:
    """From the first speech of a recording to the last."""
    samples, _, seconds = _around(source, 0.0, _SEARCHED, audio_stream)
    if seconds > _SEARCHED:
        raise _too_long(name)
    track = SpeechTrack(SPEECH, SileroDetector())
    for _ in track.follow([samples]):
        pass
    spans = track.intervals()
    if not spans:
        raise InputError(f"{name}: no speech was found in it; choose a stretch with --start and --end")
    begin, limit = spans[0][0], spans[-1][1]
    if limit - begin > LONGEST:
        raise _too_long(name)
    first, last = (max(0, round(at * SAMPLE_RATE)) for at in (begin - _AROUND, limit + _AROUND))
    return _Stretch(samples[first:last], first / SAMPLE_RATE, begin, limit)


def _too_long(name: str) -> UsageError:
    return UsageError(f"{name}: is too long for an example; choose a word or phrase with --start and --end")


def _around(source: str, begin: float, limit: float, audio_stream: int) -> tuple[Float32Array, float, float]:
    """The samples of a stretch and of what is around it, the second of their first one, and seconds that were read."""
    first, last = (max(0, round(at * SAMPLE_RATE)) for at in (begin - _AROUND, limit + _AROUND))
    parts, place = [np.zeros(0, np.float32)], 0
    with open_audio(source, track=audio_stream) as stream:
        for block in stream:
            parts.append(block[max(0, first - place) : max(0, last - place)])
            place += len(block)
            if place >= last:
                break
    return np.concatenate(parts), first / SAMPLE_RATE, place / SAMPLE_RATE


class Search:
    """Looks for one example in recordings, which are listened to one after the other."""

    def __init__(self, encoder: SpeechEncoder, layer: int, example: SpokenExample) -> None:
        self._encoder, self._layers = encoder, chosen_layers(encoder, layer)
        self._example = example
        self._tracks: list[_Track] = []
        self._standard: Standard | None = None
        #: What waits until there is enough to standardise with.
        self._held: list[tuple[_Track, StateBlock]] = []
        self._frames = 0

    def listen(self, source: str, *, audio_stream: int = 0, progress: Progress | None = None) -> None:
        """Compare a recording with the example. Raises what `extract` raises, and then forgets the recording."""
        blocks = extract(self._encoder, source, self._layers, audio_stream=audio_stream, progress=progress)
        self.hear(source, blocks, audio_stream=audio_stream)

    def hear(self, source: str, blocks: Iterable[StateBlock], *, audio_stream: int = 0) -> None:
        """As `listen`, from the states of the recording in one layer."""
        track = _Track(source, audio_stream)
        self._tracks.append(track)
        try:
            for block in blocks:
                self._held.append((track, block))
                self._frames += len(block.times)
                if self._standard is not None or self._frames >= _HELD:
                    self._compare()
        except BaseException:
            self._tracks.remove(track)
            self._held = [(each, block) for each, block in self._held if each is not track]
            raise

    def _compare(self) -> None:
        """Compare what is held, after standardising with it if that is not settled yet."""
        if self._standard is None and self._held:
            spoken = [block.states[0][block.speech] for _, block in self._held]
            everything = [block.states[0] for _, block in self._held]
            self._standard = Standard.of(spoken if any(map(len, spoken)) else everything)
        if self._standard is not None:
            example = self._standard.applied(self._example.states)
            for track, block in self._held:
                track.compare(example, self._standard.applied(block.states[0]))
        self._held.clear()

    def places(self, least: float, most: int) -> list[FoundPlace]:
        """At most `most` places that score `least` or more, the best first; none overlaps another, nor the example.

        If no place is that good, the best place there is.
        """
        self._compare()
        found = [place for track in self._tracks for place in self._of_track(track, least, most)]
        found.sort(key=lambda place: -place.score)
        good = [place for place in found if place.score >= least][:most]
        return good or found[:1]

    def _of_track(self, track: _Track, least: float, most: int) -> list[FoundPlace]:
        if not track.costs:
            return []
        costs, starts = np.concatenate(track.costs), np.concatenate(track.starts)
        step = self._encoder.frame_seconds
        origin = self._encoder.offset_seconds - step / 2
        free = np.ones(len(costs), np.bool_)
        same_stream = track.audio_stream == self._example.audio_stream
        if same_stream and _same_file(track.source, self._example.source):
            own = (round((each - origin) / step) for each in (self._example.start, self._example.end))
            free[slice(*own)] = False
        found: list[FoundPlace] = []
        for end in np.argsort(costs, kind="stable"):
            score = 1 - float(np.log1p(costs[end]))
            if len(found) == most or not np.isfinite(score) or (found and score < least):
                break
            inside = slice(starts[end], end + 1)
            if free[inside].all():
                free[inside] = False
                begin, stop = (max(0.0, origin + int(place) * step) for place in (starts[end], end + 1))
                found.append(FoundPlace(source=track.source, start=begin, end=stop, score=score))
        return found


class _Track:
    """One recording: for each frame, the cost of the best path that ends there, and the frame where it begins."""

    def __init__(self, source: str, audio_stream: int) -> None:
        self.source, self.audio_stream = source, audio_stream
        self.costs: list[FloatArray] = []
        self.starts: list[IntArray] = []
        self._frames = 0
        #: The states in which a path to the next frame may begin.
        self._before: Float32Array | None = None

    def compare(self, example: Float32Array, states: Float32Array) -> None:
        """Align the next states (S, D) of the recording with the example (Q, D)."""
        before = states[:0] if self._before is None else self._before
        heard = np.concatenate([before, states])
        if not len(states):
            return
        costs, starts = align(distances(example, heard))
        self.costs.append(costs[len(before) :])
        self.starts.append(starts[len(before) :] + self._frames - len(before))
        self._frames += len(states)
        # For each frame of the example, the recording advances by two frames at most.
        self._before = heard[-2 * len(example) :]


def _same_file(one: str, other: str) -> bool:
    if one == other:
        return True
    with contextlib.suppress(OSError, ValueError):
        return Path(one).samefile(other)
    return False
