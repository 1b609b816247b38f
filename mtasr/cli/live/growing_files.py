"""Files that grow while somebody speaks, and are whole at any moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path

from mtasr.batch import outputs
from mtasr.batch.outputs import Destination, Job
from mtasr.errors import OutputError
from mtasr.formats.cues import Style
from mtasr.formats.registry import OUTPUT_FORMATS
from mtasr.live import Final, SpeakersChanged
from mtasr.subtitles import Broken, Layout, lay_out
from mtasr.threads import start_thread
from mtasr.transcript import Segment, Transcript

#: Seconds from one writing to the next, at least; and how many times as long as it took.
_PAUSE, _REST = 2.0, 20.0


class _Text:
    """The segments of a text so far, and the same as cues, laid out stretch by stretch, and the files of it."""

    def __init__(self, targets: dict[str, Path], layout: Layout | None) -> None:
        self._layout = layout
        self._subtitles = {form: file for form, file in targets.items() if OUTPUT_FORMATS[form].is_subtitle}
        self._others = {form: file for form, file in targets.items() if form not in self._subtitles}
        #: By stretch.
        self._languages: dict[int, tuple[str, str]] = {}
        self._segments: dict[int, tuple[Segment, ...]] = {}
        self._cues: dict[int, tuple[Segment, ...]] = {}

    def add(self, stretch: int, segments: tuple[Segment, ...], language: str, text_language: str) -> None:
        """The text of a stretch after those before it."""
        self._languages[stretch] = language, text_language
        self.replace(stretch, segments)

    def replace(self, stretch: int, segments: tuple[Segment, ...]) -> None:
        """Other segments in place of those of a stretch."""
        self._segments[stretch] = segments
        if self._layout is not None and self._subtitles:
            text = _transcript(segments, *self._languages[stretch])
            segments = lay_out(text, self._layout).transcript.segments
        self._cues[stretch] = segments

    def documents(self, language: str, text_language: str) -> list[tuple[Transcript, dict[str, Path]]]:
        """What is to be written, and into which files."""
        texts = ((self._segments, self._others), (self._cues, self._subtitles))
        return [
            (_transcript(tuple(chain.from_iterable(text.values())), language, text_language), files)
            for text, files in texts
            if files
        ]


def _transcript(segments: tuple[Segment, ...], language: str, text_language: str) -> Transcript:
    duration = max((segment.end for segment in segments), default=0.0)
    return Transcript(
        language=language,
        language_probability=0.0,
        duration=duration,
        segments=tuple(replace(segment, id=number) for number, segment in enumerate(segments)),
        text_language=text_language,
    )


class GrowingFiles:
    """Writes the final texts so far into the files of `job`, in a thread, and at the end the transcript.

    Each writing replaces the files. The longer one takes, the later is the next, so hours cost no more than a twentieth
    of a core. What cannot be written is told to `note`, and tried again with the next text.
    """

    def __init__(
        self, job: Job, style: Style, layout: Layout | None, *, translates: bool, note: Callable[[str], None]
    ) -> None:
        self._job, self._style, self._layout, self._note = job, style, layout, note
        self._text, self._translation = _Text(_local(job.targets), layout), _Text(_local(job.translations), layout)
        self._language, self._text_language = "en", "en"
        self._translates = translates
        self._changed = threading.Condition()
        self._is_dirty, self._is_closed, self._is_written = False, False, False
        self._told: set[str] = set()
        self._thread = start_thread(self._run)

    @property
    def files(self) -> list[str]:
        """Their paths."""
        return [str(file) for file in self._job.files]

    def add(self, final: Final) -> None:
        """The text of the next stretch."""
        with self._changed:
            self._language = final.language
            self._text_language = "en" if self._translates else final.language
            self._text.add(final.stretch, final.segments, final.language, self._text_language)
            self._translation.add(final.stretch, final.translation, final.language, "en")
            self._is_dirty = True
            self._changed.notify_all()

    def correct(self, change: SpeakersChanged) -> None:
        """The same text of a stretch with other speakers."""
        with self._changed:
            self._text.replace(change.stretch, change.segments)
            self._translation.replace(change.stretch, change.translation)
            self._is_dirty = True
            self._changed.notify_all()

    def finish(self, transcript: Transcript) -> tuple[Broken, ...]:
        """Write the whole transcript; returns the rules of subtitles that it breaks. Raises `OutputError`."""
        self._stop()
        return outputs.write_job(transcript, self._job, self._style, self._layout)

    def keep(self) -> bool:
        """Write what is known so far, as nothing will follow; returns whether there are files. Raises `OutputError`."""
        self._stop()
        if self._is_dirty:
            self._write()
        return self._is_written

    def _stop(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        pause = 0.0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed, pause)
                self._changed.wait_for(lambda: self._is_dirty or self._is_closed)
                if self._is_closed:
                    return
            began = time.monotonic()
            try:
                self._write()
            except OutputError as error:
                if str(error) not in self._told:
                    self._told.add(str(error))
                    self._note(f"warning: {error}; trying again")
            pause = max(_PAUSE, _REST * (time.monotonic() - began))

    def _write(self) -> None:
        with self._changed:
            documents = self._text.documents(self._language, self._text_language)
            documents += self._translation.documents(self._language, "en")
            self._is_dirty = False
        try:
            for transcript, files in documents:
                outputs.write(transcript, files, self._style)
            self._is_written = True
        except OutputError:
            self._is_dirty = True
            raise


def _local(files: dict[str, Destination]) -> dict[str, Path]:
    return {form: file for form, file in files.items() if isinstance(file, Path)}
