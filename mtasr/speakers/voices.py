"""Known voices: people whom recordings of their own introduce, so that they are called by their names.

A folder has a recording of each person, `Anna.wav`, or a subfolder with several, `Anna/1.wav`, `Anna/2.wav`. Vectors of
the voices are computed each time a program starts, and nothing about them is written anywhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.audio.extensions import EXTENSIONS
from mtasr.audio.sources import Source, openers
from mtasr.audio.tracks import Tracks
from mtasr.errors import InputNotFoundError, VoiceError
from mtasr.speaker_names import checked_names, numbered
from mtasr.speakers.options import SpeakerOptions
from mtasr.transcript import Turn

#: Voices at least so similar are taken for one person's: the cosine of the angle between their vectors.
SAME_PERSON = 0.5
#: Of a clip of one person, the share of all speech that somebody else may seem to have: a cough, an echo.
_STRAY = 0.25
#: Folders whose voices are kept in memory.
_KEPT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """Who spoke when, and the vector (D,) of each speaker's voice, of length 1, by name.

    A speaker who was never heard for long enough has no vector.
    """

    turns: tuple[Turn, ...]
    voices: dict[str, Float32Array]


class HearsVoices(Protocol):
    """What hears a recording, and knows how each speaker sounds."""

    def add(self, samples: Float32Array) -> None: ...

    def heard(self, options: SpeakerOptions) -> Heard: ...


class TellsVoices(Protocol):
    """A diarizer that knows how speakers sound."""

    def listen(self) -> HearsVoices: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KnownVoices:
    """The voices of known people: their names, and a vector (D,) of length 1 for each.

    `digest` differs for other names or clips. `warnings` name clips that were of no use.
    """

    voices: dict[str, Float32Array]
    digest: str
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<KnownVoices {', '.join(self.voices)} {self.digest}>"

    def names(self, heard: Mapping[str, Float32Array | None]) -> dict[str, str]:
        """What speakers are called, from how they sound, in the order in which they first talk.

        A known voice is one speaker's at most; the most similar pairs count. Others are numbered by their place.
        """
        from scipy.optimize import linear_sum_assignment

        likely = np.zeros((len(heard), len(self.voices)))
        for place, voice in enumerate(heard.values()):
            if voice is not None:
                likely[place] = [voice @ known for known in self.voices.values()]
        likely[likely < SAME_PERSON] = 0.0
        people: list[str | None] = [None] * len(heard)
        for place, person in zip(*linear_sum_assignment(likely, maximize=True), strict=True):
            if likely[place, person]:
                people[place] = [*self.voices][person]
        return dict(zip(heard, numbered(people), strict=True))

    def named(self, heard: Heard) -> tuple[Turn, ...]:
        """The turns of what was heard, with these names."""
        names = self.names({turn.speaker: heard.voices.get(turn.speaker) for turn in heard.turns})
        return tuple(replace(turn, speaker=names[turn.speaker]) for turn in heard.turns)


_lock = threading.Lock()
_enrolled: dict[str, KnownVoices] = {}


def known_voices(folder: str | os.PathLike[str], diarizer: TellsVoices) -> KnownVoices:
    """The voices of the people whose recordings are in a folder; computed once while its files stay the same.

    Raises `InputError` for a folder without recordings and for a recording that cannot be read, `VoiceError` for one in
    which two people talk.
    """
    clips = _clips(Path(folder))
    digest = _digest_of(clips)
    with _lock:
        known = _enrolled.get(digest)
        if known is None:
            known = enrol(clips, diarizer, digest=digest)
            _enrolled[digest] = known
            while len(_enrolled) > _KEPT:
                del _enrolled[next(iter(_enrolled))]
    return known


def enrol(clips: Mapping[str, Sequence[Source]], diarizer: TellsVoices, *, digest: str) -> KnownVoices:
    """The voices of people, each with one or more recordings of them alone.

    Raises `UsageError` for names that are none, `InputError` as `known_voices`, and `VoiceError` if nobody speaks in
    any clip.
    """
    voices: dict[str, Float32Array] = {}
    warnings: list[str] = []
    for name, own in zip(checked_names([*clips]), clips.values(), strict=True):
        vectors = []
        for clip in own:
            vector = _voice_in(clip, diarizer)
            if vector is None:
                warnings.append(f"{_called(clip, name)}: nobody speaks in it, so it is no voice of {name}")
            else:
                vectors.append(vector)
        if vectors:
            mean = np.sum(vectors, axis=0)
            voices[name] = mean / max(float(np.linalg.norm(mean)), 1e-6)
    if not voices:
        raise VoiceError(f"nobody speaks in the recordings of {', '.join(clips)}: no voice is known")
    return KnownVoices(voices=voices, digest=digest, warnings=tuple(warnings))


def _voice_in(clip: Source, diarizer: TellsVoices) -> Float32Array | None:
    """How the one person in a clip sounds, None if nobody speaks."""
    hearing = diarizer.listen()
    (open_,) = openers(clip, Tracks())
    with contextlib.closing(open_()) as audio:
        for block in audio:
            hearing.add(block)
    heard = hearing.heard(SpeakerOptions())
    seconds = dict.fromkeys(heard.voices, 0.0)
    for turn in heard.turns:
        if turn.speaker in seconds:
            seconds[turn.speaker] += turn.end - turn.start
    if not seconds:
        return None
    most = max(seconds, key=seconds.__getitem__)
    if sum(seconds.values()) - seconds[most] > _STRAY * sum(seconds.values()):
        raise VoiceError(f"{_called(clip, 'the clip')}: two people talk in it; give a recording of one alone")
    return heard.voices[most]


def _called(clip: Source, otherwise: str) -> str:
    return str(clip) if isinstance(clip, str | os.PathLike) else otherwise


def _clips(folder: Path) -> dict[str, list[Source]]:
    """The recordings of each person, by name."""
    found: dict[str, list[Source]] = {}
    try:
        for entry in sorted(folder.iterdir()):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                own = [each for each in sorted(entry.iterdir()) if _is_clip(each)]
                found.setdefault(entry.name, []).extend(own)
            elif _is_clip(entry):
                found.setdefault(entry.stem, []).append(entry)
    except OSError as exc:
        raise InputNotFoundError(f"{folder}: cannot be read: {exc.strerror or exc}") from exc
    clips = {unicodedata.normalize("NFC", name): own for name, own in found.items() if own}
    if not clips:
        raise InputNotFoundError(f"{folder}: has no recordings of voices, such as Anna.wav or Anna/1.wav")
    return clips


def _is_clip(path: Path) -> bool:
    is_recording = not path.name.startswith(".") and path.suffix[1:].lower() in EXTENSIONS
    return is_recording and path.is_file()


def voices_digest(folder: str | os.PathLike[str]) -> str:
    """A text that differs for other names or recordings in the folder. Raises `InputError`."""
    return _digest_of(_clips(Path(folder)))


def _digest_of(clips: Mapping[str, Sequence[Source]]) -> str:
    total = hashlib.sha256()
    for name, own in clips.items():
        total.update(f"{name}\0{len(own)}\0".encode("utf-8", "surrogateescape"))
        for clip in own:
            try:
                with Path(str(clip)).open("rb") as stream:
                    total.update(hashlib.file_digest(stream, "sha256").digest())
            except OSError as exc:
                raise InputNotFoundError(f"{clip}: cannot be read: {exc.strerror or exc}") from exc
    return total.hexdigest()[:16]
