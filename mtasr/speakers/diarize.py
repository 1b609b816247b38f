"""Who speaks when in a recording, without its text."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtasr import atomic
from mtasr.audio.sources import Source, openers
from mtasr.audio.tracks import Tracks
from mtasr.errors import UsageError
from mtasr.formats import turns as turn_formats
from mtasr.models import Progress
from mtasr.models.speakers import find
from mtasr.options import merge_options
from mtasr.spans import SAMPLE_RATE
from mtasr.speakers.diarized import listeners
from mtasr.speakers.diarizer import Diarizer
from mtasr.speakers.options import SpeakerOptions
from mtasr.speakers.voices import Diarizes
from mtasr.speakers.weights import load_speaker_models, networks_in
from mtasr.transcript import Turn

#: Called with the seconds heard so far and the seconds in all, None if the recording does not state its duration.
OnHeard = Callable[[float, float | None], None]

_loading = threading.Lock()
_loaded: list[Diarizes] = []


def load_diarizer(progress: Progress | None = None) -> Diarizes:
    """What tells speakers apart, loaded once for all models; its weights are downloaded the first time.

    `progress(file, bytes_done, bytes_total)` follows a download. Raises `ModelError`.
    """
    with _loading:
        if not _loaded:
            model = find(None)
            networks = load_speaker_models(model.name, progress=progress)
            _loaded.append(Diarizer(*networks, model.likeness))
        return _loaded[0]


def diarizer_in(folder: Path, name: str) -> Diarizes:
    """The same of the speaker model of this name, from a folder that holds a copy. Raises `ModelError`."""
    model = find(name)
    return Diarizer(*networks_in(folder, model), model.likeness)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diarization:
    """Who speaks when in one recording.

    `turns` are in order of start, `duration` is the decoded length in seconds, and `warnings` tell what was wrong with
    the recording, or was asked for and cannot be had.
    """

    turns: tuple[Turn, ...]
    duration: float
    warnings: tuple[str, ...] = ()

    @property
    def speakers(self) -> tuple[str, ...]:
        """Their names, in the order in which they first talk."""
        return tuple(turn_formats.speakers_of(self.turns))

    def to_dict(self) -> dict[str, Any]:
        """The document of the format json: times in seconds."""
        return turn_formats.to_dict(self.turns, self.duration)

    def to_rttm(self, recording: str = "recording") -> str:
        """RTTM, with `recording` as the name of the file."""
        return self.to_format("rttm", recording)

    def to_format(self, output_format: str, recording: str = "recording") -> str:
        """The text that `write` writes to a file in this format. Raises `UsageError` for an unknown one."""
        if output_format not in turn_formats.TURN_FORMATS:
            formats = ", ".join(turn_formats.TURN_FORMATS)
            raise UsageError(f"no format of turns is called {output_format!r}; choose one of {formats}")
        stream = io.StringIO()
        turn_formats.TURN_FORMATS[output_format](self.turns, self.duration, recording, stream)
        return stream.getvalue()

    def write(self, path: str | os.PathLike[str], output_format: str | None = None) -> None:
        """Write the turns to a file, which appears whole or not at all and replaces one of that name.

        The format is `output_format`, or by default the ending of the name: rttm, json, csv or txt. Raises `UsageError`
        for an unknown format, and `OutputError` if the file cannot be written.
        """
        target = Path(path)
        text = self.to_format(output_format or target.suffix.removeprefix(".").lower(), target.stem)
        atomic.check_replaceable(target)
        atomic.write_text(target, lambda stream: stream.write(text))


def diarize(
    source: Source,
    options: SpeakerOptions | None = None,
    *,
    audio_stream: int = 0,
    progress: OnHeard | None = None,
    at_end: Callable[[], object] | None = None,
    diarizer: Diarizes | None = None,
    **changes: Any,
) -> Diarization:
    """Who speaks when in a recording. No speech recogniser is loaded, and no text is written.

    `source` is what `Model.transcribe` takes. Options are the fields of `SpeakerOptions`, as one object, as keywords,
    or both (keywords win). `audio_stream` chooses one of several audio tracks, counted from 0. `progress(seconds,
    total)` is called after each block of samples; the networks hear many together, so `seconds` rises in steps.
    `at_end()` is called when all has been read, before the last ones are heard and the speakers told apart, which takes
    seconds. `diarizer` is what `load_diarizer` returns, which is called without it, and downloads the weights the first
    time.

    Raises `InputError` if the recording or one of known voices cannot be read, `UsageError` for options that make no
    sense, and `ModelError` if the weights cannot be had.
    """
    options = merge_options(options or SpeakerOptions(), changes)
    (open_,) = openers(source, Tracks(audio_stream=audio_stream))
    (listener,) = listeners(diarizer or load_diarizer(), options, 1)
    samples = 0
    with contextlib.closing(open_()) as audio:
        for block in audio:
            listener.add(block)
            samples += len(block)
            if progress is not None:
                progress(listener.position, audio.duration)
        if at_end is not None:
            at_end()
        turns, duration = listener.turns(), round(samples / SAMPLE_RATE, 3)
        if progress is not None:
            progress(duration, audio.duration)
        return Diarization(turns=turns, duration=duration, warnings=(*audio.warnings, *listener.warnings))
