"""One run of a job: a batch of one recording, so that it continues where a dead server left it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mtasr.batch import BatchRun, Job, Observer
from mtasr.errors import InputError, MtasrError
from mtasr.formats.cues import Style
from mtasr.formats.transcript_json import coverage_document, segment_document
from mtasr.server.jobs.feed import Feed
from mtasr.server.jobs.files import JobFiles
from mtasr.server.jobs.lending import Lend
from mtasr.server.jobs.request import JobRequest
from mtasr.server.jobs.store import JobStore, StoredJob
from mtasr.subtitles import STYLES

if TYPE_CHECKING:
    from mtasr.decoding.transcription import Transcription
    from mtasr.transcript import Segment, Transcript

#: Windows that somebody waits for are decoded first, those of long recordings too (`mtasr.server.transcribing`).
PRIORITY = -2

#: Seconds between two notes on a job's progress.
_BETWEEN_NOTES = 1.0


class JobRun(Observer):
    """Runs a job once, and tells its followers and the store how it goes."""

    def __init__(
        self, job: StoredJob, feed: Feed, files: JobFiles, store: JobStore, *, most_seconds: float | None = None
    ) -> None:
        self.job, self.feed = job, feed
        self._files, self._store = files, store
        self._most_seconds = most_seconds
        self._transcription: Transcription | None = None
        self._stopping = threading.Event()
        self._noted = 0.0
        self._got_further = False
        self._segments = 0

    @property
    def is_stopped(self) -> bool:
        return self._stopping.is_set()

    def stop(self) -> None:
        """Have the run end soon; any thread may call it. What is decoded stays for a later run."""
        self._stopping.set()
        if self._transcription is not None:
            self._transcription.close()

    def run(self, lend: Lend, settle: Callable[[], None]) -> None:
        """Run the job with a model that is lent. Call `settle` when its results are on disk.

        Afterwards its notes are deleted, so the store should say by then that it has ended. Raises what the job fails
        with; if the run was stopped, that may be any error.
        """
        request = JobRequest.of(self.job.request)
        recording = self._files.recording(self.job.id, self.job.size)
        work = self._files.work(self.job.id, recording, translated=request.options.also_translate)
        with lend(request.model, lambda: not self.is_stopped) as model:
            with contextlib.suppress(MtasrError):  # a full disk costs a note, which only a restart would miss
                self._store.note_start(self.job.id)
            batch = BatchRun(
                [work],
                model,
                request.options,
                tracks=request.tracks,
                style=Style(highlight_words=request.highlight_words, recording=Path(self.job.name).stem),
                layout=STYLES[request.subtitle_style],
                existing="resume",
                priority=PRIORITY,
                most_seconds=self._most_seconds,
                diarize=request.speakers or False,
                observer=self,
            )
            for ending in batch.run():
                if ending.error is not None:
                    raise ending.error
                settle()

    @contextlib.contextmanager
    def transcribing(self, job: Job, transcription: Transcription) -> Iterator[None]:
        self._transcription = transcription
        self._require_wanted()  # `stop` may have come before there was anything to close
        transcription.on_progress = self._progress
        yield

    def segment(self, segment: Segment) -> None:
        self._segments += 1
        if self._segments == 1 and self._transcription is not None:
            self.feed.publish_language(self._transcription.language)
        if self._segments > self.feed.state.segments:  # else an earlier run has published it
            self.feed.publish_segment(segment_document(segment))

    def transcribed(self, job: Job, transcription: Transcription, transcript: Transcript) -> None:
        self._store.note_findings(
            self.job.id,
            {
                "language": transcript.language if transcript.text else None,
                "language_probability": transcript.language_probability,
                "duration": transcript.duration,
                "coverage": None if transcript.coverage is None else coverage_document(transcript.coverage),
                "warnings": [warning.replace(job.source, self.job.name) for warning in transcription.warnings],
            },
        )

    def _progress(self, position: float, total: float | None) -> None:
        self._require_wanted()
        # The first is noted before anyone hears of it: a server that dies after it is not this job's fault.
        gets_further = position > self.job.position and not self._got_further
        if gets_further or time.monotonic() - self._noted >= _BETWEEN_NOTES:
            with contextlib.suppress(MtasrError):  # a full disk costs a note, which only a restart would miss
                self._store.note_progress(self.job.id, position, total)
            self._noted, self._got_further = time.monotonic(), self._got_further or gets_further
        self.feed.publish_progress(position, total)

    def _require_wanted(self) -> None:
        if self.is_stopped:
            raise InputError("the run was stopped")
