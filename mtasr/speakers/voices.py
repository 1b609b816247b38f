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
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from mtasr.arrays import Float32Array
from mtasr.audio.extensions import EXTENSIONS
from mtasr.audio.sources import Source, openers
from mtasr.audio.tracks import Tracks
from mtasr.errors import FfmpegNotFoundError, InputError, InputNotFoundError, UsageError, VoiceError
from mtasr.models.speakers.published import CAMPPLUS_LIKENESS
from mtasr.speaker_names import numbered
from mtasr.speakers.options import SpeakerOptions
from mtasr.transcript import Turn

#: Of a clip of one person, the share of all speech that somebody else may seem to have: a cough, an echo.
_STRAY = 0.25
#: Folders whose voices are kept in memory, for each diarizer.
_KEPT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """Who spoke when, and the vector (D,) of each speaker's voice, of length 1, by name.

    A speaker who was never heard for long enough has no vector. Vectors at least as similar as `same_person` are one
    person's.
    """

    turns: tuple[Turn, ...]
    voices: dict[str, Float32Array]
    same_person: float = CAMPPLUS_LIKENESS.same_person


class Hears(Protocol):
    """What hears a recording, and knows at the end who spoke when and how each speaker sounds."""

    @property
    def position(self) -> float: ...

    def add(self, samples: Float32Array) -> None: ...

    def heard(self, options: SpeakerOptions) -> Heard: ...


class Diarizes(Protocol):
    """What tells speakers apart, in any number of recordings."""

    def listen(self) -> Hears: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KnownVoices:
    """The voices of known people: their names, and a vector (D,) of length 1 for each.

    `digest` differs for other names or clips. `warnings` name clips that were of no use, by their place in the folder.
    """

    voices: dict[str, Float32Array]
    digest: str
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<KnownVoices {', '.join(self.voices)} {self.digest}>"

    def names(
        self, heard: Mapping[str, Float32Array | None], same_person: float = CAMPPLUS_LIKENESS.same_person
    ) -> dict[str, str]:
        """What speakers are called, from how they sound, in the order in which they first talk.

        A known voice is one speaker's at most; the most similar pair is matched first. Others are numbered by their
        place.
        """
        pairs = [
            (float(voice @ known), speaker, name)
            for speaker, voice in heard.items()
            if voice is not None
            for name, known in self.voices.items()
        ]
        people: dict[str, str] = {}
        for similarity, speaker, name in sorted(pairs, key=lambda pair: -pair[0]):
            if similarity >= same_person and speaker not in people and name not in people.values():
                people[speaker] = name
        return dict(zip(heard, numbered([people.get(speaker) for speaker in heard]), strict=True))

    def named(self, heard: Heard) -> tuple[Turn, ...]:
        """The turns of what was heard, with these names."""
        sounds = {turn.speaker: heard.voices.get(turn.speaker) for turn in heard.turns}
        names = self.names(sounds, heard.same_person)
        return tuple(replace(turn, speaker=names[turn.speaker]) for turn in heard.turns)


_lock = threading.Lock()
_enrolled: weakref.WeakKeyDictionary[Diarizes, dict[str, KnownVoices]] = weakref.WeakKeyDictionary()


def known_voices(folder: str | os.PathLike[str], diarizer: Diarizes) -> KnownVoices:
    """The voices of the people whose recordings are in a folder; computed once while its files stay the same.

    Raises `InputNotFoundError` for a folder without recordings, and `VoiceError` for a recording that cannot be read,
    for one in which two people talk, and if nobody speaks in any.
    """
    clips = _clips(Path(folder))
    digest = _digest_of(clips, Path(folder))
    with _lock:
        kept = _enrolled.setdefault(diarizer, {})
        known = kept.get(digest)
        if known is None:
            known = kept[digest] = enrol(clips, diarizer, digest=digest, folder=Path(folder))
            while len(kept) > _KEPT:
                del kept[next(iter(kept))]
    return known


def enrolled(options: SpeakerOptions, diarizer: Diarizes) -> SpeakerOptions:
    """The options with voices in place of a folder with recordings of them. Raises `InputError` (`known_voices`)."""
    if options.voices is None or isinstance(options.voices, KnownVoices):
        return options
    return replace(options, voices=known_voices(options.voices, diarizer))


def enrol(
    clips: Mapping[str, Sequence[Source]], diarizer: Diarizes, *, digest: str, folder: Path = Path()
) -> KnownVoices:
    """The voices of people, each with one or more recordings of them alone; `folder` is left out of warnings.

    Raises `UsageError` for names that are none, or not all different, and `VoiceError` as `known_voices`.
    """
    voices: dict[str, Float32Array] = {}
    warnings: list[str] = []
    for name, own in zip(_checked([*clips]), clips.values(), strict=True):
        vectors = []
        for clip in own:
            vector = _voice_in(clip, diarizer)
            if vector is None:
                called = _inside(clip, folder) if isinstance(clip, str | os.PathLike) else f"a clip of {name}"
                warnings.append(f"nobody speaks in {called}, so it is no voice of {name}")
            else:
                vectors.append(vector)
        if vectors:
            mean = np.sum(vectors, axis=0)
            voices[name] = mean / max(float(np.linalg.norm(mean)), 1e-6)
    if not voices:
        raise VoiceError(f"nobody speaks in the recordings of {', '.join(clips)}: no voice is known")
    return KnownVoices(voices=voices, digest=digest, warnings=tuple(warnings))


def _voice_in(clip: Source, diarizer: Diarizes) -> Float32Array | None:
    """How the one person in a clip sounds, None if nobody speaks."""
    hearing = diarizer.listen()
    try:
        (open_,) = openers(clip, Tracks())
        with contextlib.closing(open_()) as audio:
            for block in audio:
                hearing.add(block)
    except FfmpegNotFoundError:
        raise
    except InputError as exc:
        raise VoiceError(str(exc)) from exc
    heard = hearing.heard(SpeakerOptions())
    seconds = dict.fromkeys(heard.voices, 0.0)
    for turn in heard.turns:
        if turn.speaker in seconds:
            seconds[turn.speaker] += turn.end - turn.start
    if not seconds:
        return None
    most = max(seconds, key=seconds.__getitem__)
    if sum(seconds.values()) - seconds[most] > _STRAY * sum(seconds.values()):
        called = str(clip) if isinstance(clip, str | os.PathLike) else "the clip"
        raise VoiceError(f"{called}: two people talk in it; give a recording of one alone")
    return heard.voices[most]


def _checked(names: Sequence[str]) -> list[str]:
    """The names without space around them. They have no places, so one may be "Speaker 2"."""
    checked = [name.strip() for name in names]
    for name in checked:
        if not name:
            raise UsageError("a known voice has no name")
        if checked.count(name) > 1:
            raise UsageError(f"two speakers are called {name!r}")
    return checked


def _inside(clip: str | os.PathLike[str], folder: Path) -> str:
    path = Path(clip)
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()


def _clips(folder: Path) -> dict[str, list[Path]]:
    """The recordings of each person, by name."""
    found: dict[str, list[Path]] = {}
    try:
        for entry in sorted(folder.iterdir()):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                own = [each for each in sorted(entry.iterdir()) if _is_clip(each)]
                found.setdefault(_normalised(entry.name), []).extend(own)
            elif _is_clip(entry):
                found.setdefault(_normalised(entry.stem), []).append(entry)
    except OSError as exc:
        raise InputNotFoundError(f"{folder}: cannot be read: {exc.strerror or exc}") from exc
    clips = {name: own for name, own in found.items() if own}
    if not clips:
        raise InputNotFoundError(f"{folder}: has no recordings of voices, such as Anna.wav or Anna/1.wav")
    return clips


def _is_clip(path: Path) -> bool:
    is_recording = not path.name.startswith(".") and path.suffix[1:].lower() in EXTENSIONS
    return is_recording and path.is_file()


def _normalised(name: str) -> str:
    """As other systems write the same name; the characters of "Zoé" are four or five."""
    return unicodedata.normalize("NFC", name).strip()


def _digest_of(clips: Mapping[str, Sequence[Path]], folder: Path) -> str:
    total = hashlib.sha256()
    for name, own in clips.items():
        total.update(f"{name}\0{len(own)}\0".encode("utf-8", "surrogateescape"))
        for clip in own:
            total.update(f"{_inside(clip, folder)}\0".encode("utf-8", "surrogateescape"))
            try:
                with clip.open("rb") as stream:
                    total.update(hashlib.file_digest(stream, "sha256").digest())
            except OSError as exc:
                raise InputNotFoundError(f"{clip}: cannot be read: {exc.strerror or exc}") from exc
    return total.hexdigest()[:16]
