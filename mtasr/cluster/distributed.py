"""A recording that workers decode, as its driver sees it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

from mtasr.decoding.submission import DecodedWindow, PlacedResult, ResumeNotes
from mtasr.decoding.survey import ChannelSurvey, Survey
from mtasr.decoding.windows import Place, WindowOutline
from mtasr.recordings.decoded import DecodedRecording
from mtasr.spans import SAMPLE_RATE

#: Seconds between looks at what else there is to tell while one waits.
_LOOK = 0.5


class Distributed:
    """A recording decoded elsewhere, whole or in chunks; results wait here for whoever iterates in order.

    One thread adds results, another asks for them. `changed` guards all of it.
    """

    def __init__(
        self,
        source: str,
        notes: Callable[[int], ResumeNotes],
        changed: threading.Condition,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> None:
        """`meanwhile` is called now and then in the thread that waits for results; what it raises ends the waiting."""
        self.source, self.notes = source, notes
        self._changed, self._meanwhile = changed, meanwhile
        self._survey: Survey | None = None
        self._whole: list[list[PlacedResult]] | None = None
        self._windows: dict[tuple[int, Place], DecodedWindow] = {}
        self._begun: set[int] = set()
        #: Samples of the windows that came, of all channels.
        self._samples = 0
        #: Samples decoded of chunks that have not come yet, by their numbers.
        self._advanced: dict[int, int] = {}
        self._error: Exception | None = None
        #: What was raised where results are missing.
        self.raised: Exception | None = None
        self.is_closed = False

    @property
    def is_over(self) -> bool:
        """Whether nobody asks for it any more, or it has failed."""
        return self.is_closed or self._error is not None

    # --- for the thread that asks -----------------------------------------------------------------------------------

    def survey(self) -> Survey:
        self._wait(lambda: self._survey is not None)
        if self._survey is None:
            raise ValueError("the recording was closed before its end")
        return self._survey

    def results(self, channel: int) -> Iterator[DecodedWindow]:
        """The windows of a channel in file order, once: they are not kept. Raises `ValueError` the second time."""
        if channel in self._begun:
            raise ValueError("the results of a recording from a cluster can be read once")
        self._begun.add(channel)
        survey = self.survey()
        if self._whole is not None:
            for placed in self._whole[channel]:
                if placed.result is not None:
                    yield placed.result
            return
        for outline in survey.channels[channel].outlines:
            key = channel, outline.place
            self._wait(lambda key=key: key in self._windows)  # type: ignore[misc]
            yield self._windows.pop(key)

    def came(self) -> float:
        with self._changed:
            if self._survey is None or not self._survey.channels:
                return 0.0
            samples = self._samples + sum(self._advanced.values())
            return samples / SAMPLE_RATE / len(self._survey.channels)

    def _wait(self, ready: Callable[[], bool]) -> None:
        while True:
            with self._changed:
                if ready():
                    return
                if self._error is not None:
                    self.raised = self._error
                    raise self._error.with_traceback(None)
                if self.is_closed:
                    raise ValueError("the recording was closed before its end")
                self._changed.wait(_LOOK)
            self._meanwhile()

    def close(self) -> None:
        with self._changed:
            self.is_closed = True
            self._whole, self._windows = None, {}
            self._changed.notify_all()

    # --- for the thread that adds -----------------------------------------------------------------------------------

    def add_whole(self, decoded: DecodedRecording) -> None:
        decoded.note(self.notes)
        with self._changed:
            self._whole = [list(each) for each in decoded.results]
            self._survey = decoded.survey
            self._changed.notify_all()

    def add_survey(self, survey: Survey) -> dict[int, list[WindowOutline]]:
        """Take the survey. Returns the windows of each channel that are not known from an earlier run."""
        unknown: dict[int, list[WindowOutline]] = {}
        known: dict[tuple[int, Place], DecodedWindow] = {}
        for channel, each in enumerate(survey.channels):
            self._note_guesses(channel, each)
            unknown[channel] = []
            for outline in each.outlines:
                result = self.notes(channel).result(outline.place)
                if result is None:
                    unknown[channel].append(outline)
                else:
                    known[channel, outline.place] = result
        with self._changed:
            self._windows |= known
            self._samples += sum(place.samples for _, place in known)
            self._survey = survey
            self._changed.notify_all()
        return unknown

    def _note_guesses(self, channel: int, survey: ChannelSurvey) -> None:
        kept = self.notes(channel)
        if survey.guesses and kept.guesses() is None:
            kept.note_guesses(survey.guesses)

    def advance(self, chunk: int, samples: int) -> None:
        """So much of a chunk is decoded, and will come with the rest of it."""
        with self._changed:
            self._advanced[chunk] = samples

    def add_windows(self, channel: int, results: Sequence[PlacedResult], chunk: int) -> list[Place]:
        """Take results of a chunk. Returns the places of windows that need random samples."""
        kept = self.notes(channel)
        came = [each.place for each in results if each.place is not None and each.result is not None]
        for each in results:
            if each.to_note and each.place is not None and each.result is not None:
                kept.note_result(each.place, each.result)
        with self._changed:
            self._advanced.pop(chunk, None)
            self._samples += sum(place.samples for place in came)
            if not self.is_closed:
                self._windows |= {
                    (channel, each.place): each.result
                    for each in results
                    if each.place is not None and each.result is not None
                }
            self._changed.notify_all()
        return [each.place for each in results if each.place is not None and each.result is None]

    def fail(self, error: Exception) -> None:
        """Raise the error where results are missing. The first one counts."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()
