from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import pytest
from stand_in_nodes import MANNER, WINDOW, outlines, placed_result

from mtasr.cluster.tasks import ChunkResults, ChunkTask
from mtasr.cluster.worker import NodeWorker
from mtasr.decoding.submission import PlacedResult
from mtasr.decoding.windows import WindowOutline
from mtasr.errors import AudioDecodeError
from mtasr.spans import SAMPLE_RATE


@pytest.mark.parametrize("error", [None, AudioDecodeError("talk is broken")])
def test_a_worker_tells_how_far_a_chunk_is(error: Exception | None):
    """Of eight windows, the seventh needs random samples and has no result yet."""
    seen: list[dict[int, int]] = []

    def decode_windows(source: str, some: Sequence[WindowOutline], *_: object, **__: object) -> Iterator[PlacedResult]:
        for each in some:
            seen.append(dict(worker.signs_of_life().decoded))
            yield placed_result(source, each.place, draws=False)
        if error is not None:
            raise error

    worker = NodeWorker()
    worker._model = SimpleNamespace(decode_windows=decode_windows, timings={})  # type: ignore[assignment]
    found = worker.work(ChunkTask(3, "8.wav", MANNER, 0, "en", tuple(outlines("8.wav"))))
    assert isinstance(found, ChunkResults)
    assert (len(found.results), found.error) == (8, error)
    assert seen == [{3: windows * WINDOW * SAMPLE_RATE} for windows in (0, 1, 2, 3, 4, 5, 6, 6)]
    assert not worker.signs_of_life().decoded
