from __future__ import annotations

import threading

import pytest

from mtasr import stopwatch
from mtasr.stopwatch import Stopwatch


def test_stages_add_up_even_when_they_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 2.0, 10.0, 13.5, 20.0, 20.25])
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: next(times))
    watch = Stopwatch()
    with watch.measure("encode"):
        pass
    with pytest.raises(OSError, match="broken"), watch.measure("encode"):
        raise OSError("broken")
    with watch.measure("decode"):
        pass
    assert watch.seconds == {"encode": 5.5, "decode": 0.25}


def test_what_it_tells_is_a_copy() -> None:
    watch = Stopwatch()
    watch.seconds["encode"] = 1.0
    assert watch.seconds == {}


def test_threads_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    local = threading.local()

    def clock() -> float:
        local.now = getattr(local, "now", 0.0) + 1.0
        return local.now

    monkeypatch.setattr(stopwatch.time, "perf_counter", clock)
    watch = Stopwatch()

    def work() -> None:
        for _ in range(200):
            with watch.measure("encode"):
                pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert watch.seconds == {"encode": 1600.0}
