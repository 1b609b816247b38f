"""Runners of jobs, with a stand-in for the network."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from fakes import Heard, HearingEngine
from speech import SAMPLE_RATE, speak, write_wav

from mtasr.audio.tracks import Tracks
from mtasr.engines.engine import EngineLimits
from mtasr.options import DecodingOptions
from mtasr.server.jobs.request import JobRequest
from mtasr.server.jobs.runner import JobRunner
from mtasr.server.jobs.store import StoredJob
from mtasr.transcribe import Model


def hearing(pause: float = 0.0, batch_size: int = 1, **settings: Any) -> Model:
    """A model that writes words by what it hears, in steps of up to `pause` seconds."""
    limits = EngineLimits(workers=1, batch_size=batch_size)
    return Model(HearingEngine(limits=limits, pause=pause, **settings), lambda: "hearing")


def write_sentences(path: Path, count: int) -> None:
    """A recording of so many sentences, which take six seconds each."""
    sentence = speak("The train leaves at noon from the second platform, and the last one at ten.")
    write_wav(path, np.tile(np.concatenate([sentence, np.zeros(SAMPLE_RATE, np.float32)]), count))


#: Seconds to wait on a busy machine before a test counts as stuck.
_PATIENCE = 60.0


class Gate:
    """Lets an engine encode so many windows; the others wait until the gate is opened."""

    def __init__(self, windows: int) -> None:
        self._left, self._opened = threading.Semaphore(windows), threading.Event()
        #: Whether a window has come to the closed gate.
        self.is_reached = False

    def __call__(self, heard: Heard) -> bool:
        """For `HearingEngine.fails`: waits, and lets nothing fail."""
        if not self._left.acquire(blocking=False):
            self.is_reached = True
            self._opened.wait(_PATIENCE)
        return False

    def open(self) -> None:
        self._opened.set()


class Jobs:
    """A runner, and what tests do with it."""

    def __init__(self, folder: Path, model: Model, **settings: Any) -> None:
        self.folder, self.lent, self._lock = folder, 0, threading.Lock()
        self.runner = JobRunner(folder, lambda name, is_wanted: self._lend(model), **settings)

    @contextlib.contextmanager
    def _lend(self, model: Model) -> Iterator[Model]:
        with self._lock:
            self.lent += 1
        try:
            yield model
        finally:
            with self._lock:
                self.lent -= 1

    def add(self, recording: Path, client: str = "anna", tracks: Tracks | None = None, **options: Any) -> StoredJob:
        """Add a job for a copy of the recording."""
        received = self.folder / f"received{recording.suffix}"
        shutil.copyfile(recording, received)
        decoding = DecodingOptions(**{"word_timestamps": True} | options)
        request = JobRequest(model="base", options=decoding, tracks=tracks or Tracks()).document()
        return self.runner.add(received, client=client, name=recording.name, request=request)

    def ended(self, job: StoredJob, *, within: float = _PATIENCE) -> StoredJob:
        """The job, once it has ended."""
        # Its notes are deleted after the store says that it is done.
        found: StoredJob = until(
            lambda: (found := self.get(job)).has_ended and job.id not in self.runner._runs and found, within=within
        )
        return found

    def get(self, job: StoredJob) -> StoredJob:
        found = self.runner.store.get(job.id)
        assert found is not None
        return found

    def results(self, job: StoredJob) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.kept(job) if path.name.startswith("transcript")}

    def kept(self, job: StoredJob) -> list[Path]:
        """All that is in the job's folder."""
        return sorted(self.runner.files.folder(job.id).iterdir())


def until(check: Callable[[], Any], *, within: float = _PATIENCE) -> Any:
    """What `check` returns, once it is true."""
    deadline = time.monotonic() + within
    while not (found := check()):
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.01)
    return found
