"""What followers of an unfinished job hear: its state, how far it is, and its segments as they come."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mtasr.server.jobs.store import StoredJob


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedState:
    """A feed at one moment."""

    job: StoredJob
    #: Code of the language, None until it is known.
    language: str | None = None
    #: How many segments there are.
    segments: int = 0
    #: Whether nothing will change any more: the job has ended or was removed, or the server stops.
    is_closed: bool = False


class Feed:
    """The news of one job. The runner publishes, and any number of followers in any thread read.

    Segments are numbered from 1 in the order of the transcript. A job that continues after a restart has the same
    segments again, so a follower who has seen the first n continues with the next, whichever server it asks.
    """

    def __init__(self, job: StoredJob) -> None:
        self._lock = threading.Lock()
        self._state = FeedState(job=job)
        self._segments: list[Mapping[str, Any]] = []
        self._listeners: set[Callable[[], object]] = set()

    @property
    def state(self) -> FeedState:
        return self._state

    def segments_after(self, count: int) -> list[Mapping[str, Any]]:
        """All segments but the first `count`, as the JSON format describes them."""
        return self._segments[count:]

    @contextlib.contextmanager
    def listening(self, listener: Callable[[], object]) -> Iterator[None]:
        """Have `listener` called, in any thread, whenever there is news. It must return at once."""
        with self._lock:
            self._listeners.add(listener)
        try:
            yield
        finally:
            with self._lock:
                self._listeners.discard(listener)

    def publish(self, job: StoredJob) -> None:
        """The job's state has changed. Its progress never goes back, as when a run repeats what an earlier one did."""
        self._change(job=replace(job, position=max(job.position, self._state.job.position)))

    def publish_progress(self, position: float, total: float | None) -> None:
        """The recording is decoded up to `position`."""
        self.publish(replace(self._state.job, position=position, total=total))

    def publish_language(self, language: str) -> None:
        self._change(language=language)

    def publish_segment(self, segment: Mapping[str, Any]) -> None:
        """There is one more segment."""
        self._segments.append(segment)
        self._change(segments=len(self._segments))

    def close(self, job: StoredJob | None = None) -> None:
        """Tell followers that nothing more will come. With a job, that is how it ended."""
        self._change(job=job or self._state.job, is_closed=True)

    def _change(self, **news: object) -> None:
        with self._lock:
            if self._state.is_closed:
                return
            self._state = replace(self._state, **news)  # type: ignore[arg-type]
            listeners = list(self._listeners)
        for listener in listeners:
            with contextlib.suppress(RuntimeError):  # the listener's event loop has ended
                listener()
