"""Figures for Prometheus."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from mtasr.errors import OutputError
from mtasr.server.admission import Admission
from mtasr.server.jobs.runner import JobRunner
from mtasr.server.model_pool import ModelPool
from mtasr.server.openapi import answer, route

router = APIRouter()

#: Seconds, from a clip to an hour.
_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1200, 3600)


class Metrics:
    """What the server counts."""

    def __init__(self, admission: Admission, pool: ModelPool) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self._requests = Counter("mtasr_requests", "Requests.", ["route", "status"], registry=registry)
        self._seconds = Histogram(
            "mtasr_request_seconds",
            "From the head of a request to the end of its answer.",
            ["route"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._received = Counter("mtasr_received_bytes", "Bytes of requests.", registry=registry)
        self._audio = Counter("mtasr_audio_seconds", "Length of what was transcribed.", ["model"], registry=registry)
        self._waited = Histogram(
            "mtasr_wait_seconds", "How long recordings waited for their turn.", buckets=_BUCKETS, registry=registry
        )
        self._lag = Histogram(
            "mtasr_live_lag_seconds",
            "How late live captions are, whenever it changes.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._jobs: JobRunner | None = None
        self._now = _Now(admission, pool)
        self.registry.register(self._now)
        ProcessCollector(registry=self.registry)

    def watch(self, jobs: JobRunner) -> None:
        """Count these jobs from now on."""
        self._jobs = jobs

    async def text(self) -> bytes:
        """All figures. Looks for jobs in a thread: the disk may take its time."""
        with contextlib.suppress(OutputError):  # The other figures do not depend on the disk.
            self._now.jobs = await asyncio.to_thread(self._jobs.store.counts) if self._jobs is not None else {}
        return generate_latest(self.registry)

    def request(self, route: str, status: int, seconds: float, received: int) -> None:
        """A request has ended."""
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)
        self._received.inc(received)

    def waited(self, seconds: float) -> None:
        """A recording's turn has come."""
        self._waited.observe(seconds)

    def lag(self, seconds: float) -> None:
        """A live session is so late."""
        self._lag.observe(seconds)

    def transcribed(self, model: str, seconds: float) -> None:
        """A recording of so many seconds is transcribed."""
        self._audio.labels(model).inc(seconds)


class _Now(Collector):
    """What can be looked up at any time."""

    def __init__(self, admission: Admission, pool: ModelPool) -> None:
        self._admission, self._pool = admission, pool
        #: How many jobs there are, by state.
        self.jobs: Mapping[str, int] = {}

    def collect(self) -> Iterator[Metric]:
        places = GaugeMetricFamily("mtasr_places", "Requests here, by what they do.", labels=["state"])
        active, waiting = self._admission.active.total(), self._admission.waiting
        places.add_metric(["transcribing"], active)
        places.add_metric(["waiting"], waiting)
        places.add_metric(["receiving"], max(0, self._admission.taken.total() - active - waiting))
        yield places
        loaded = GaugeMetricFamily("mtasr_model_loaded", "1 for each model in memory.", labels=["model"])
        for name in self._pool.loaded:
            loaded.add_metric([name], 1)
        yield loaded
        live = self._admission.live.total()
        yield GaugeMetricFamily("mtasr_live_sessions", "Live sessions, those that may be resumed too.", value=live)
        jobs = GaugeMetricFamily("mtasr_jobs", "Jobs that have not ended.", labels=["state"])
        for state, count in self.jobs.items():
            jobs.add_metric([state], count)
        yield jobs


_ANSWERS = {200: answer("Figures in Prometheus' text format.", text_plain='mtasr_places{state="waiting"} 0.0\n')}


@router.get("/metrics", tags=["Server"], **route(_ANSWERS))
async def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    found: Metrics = request.app.state.service.metrics
    return Response(await found.text(), media_type=CONTENT_TYPE_LATEST)
