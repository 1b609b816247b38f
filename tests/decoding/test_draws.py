"""Random samples: from a sequence of each window's own, for one window at a time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from elsewhere import Drawing
from fakes import Heard, LoudIsSpeech
from waiting import wait_until

from mtasr.decoding.single_windows import SingleWindows
from mtasr.decoding.window_input import WindowInput
from mtasr.decoding.windows import Window
from mtasr.engines.engine import Hypothesis
from mtasr.options import DecodingOptions
from mtasr.spans import SAMPLE_RATE, Span
from mtasr.transcribe import Model

pytestmark = pytest.mark.timeout(30)

OPTIONS = DecodingOptions(temperature=(0.0, 0.5), without_timestamps=True)


def fails_without_samples(heard: Heard, temperature: float, hypothesis: Hypothesis) -> Hypothesis:
    return hypothesis if temperature else replace(hypothesis, avg_logprob=-2.0)


class Counted(Drawing):
    """Notes the seeds in the order of the draws, and how many drew at a time. The first draw waits for `go_on`."""

    def __init__(self) -> None:
        super().__init__(judge=fails_without_samples)
        self.seeds: list[int] = []
        self.drawing = self.most = 0
        self.go_on = threading.Event()

    @contextlib.contextmanager
    def sampler(self, seed: int) -> Iterator[Drawing]:
        self.seeds.append(seed)
        self.drawing += 1
        self.most = max(self.most, self.drawing)
        with super().sampler(seed) as engine:
            self.go_on.wait(20)
            yield engine
        self.drawing -= 1


def shown(windows: SingleWindows, start: int = 0) -> WindowInput:
    samples = np.random.default_rng(start).normal(0, 0.1, 2 * SAMPLE_RATE).astype(np.float32)
    return windows.decoder.input(Window(start, samples, (Span(start, start + len(samples)),)), language="en")


def text(windows: SingleWindows, start: int) -> str:
    return " ".join(segment.text for segment in windows.decode(shown(windows, start))[0].segments)


def test_what_a_window_draws_does_not_depend_on_others() -> None:
    def fresh() -> SingleWindows:
        engine = Counted()
        engine.go_on.set()
        return Model(engine, detector=LoudIsSpeech).single_windows(OPTIONS, retries=())

    windows = fresh()
    texts = {start: text(windows, start) for start in (0, 40_000, 80_000)}
    assert all("drawn" in each for each in texts.values())
    windows = fresh()
    assert {start: text(windows, start) for start in (80_000, 0)} == {start: texts[start] for start in (80_000, 0)}
    other = Model(Counted(), detector=LoudIsSpeech).single_windows(replace(OPTIONS, seed=5), retries=())
    other._scheduler.draws._engine.go_on.set()
    assert text(other, 0) != texts[0]


def test_one_window_draws_at_a_time_and_those_of_a_higher_priority_first() -> None:
    engine = Counted()
    shared = Model(engine, detector=LoudIsSpeech)
    threads = []

    def decode(start: int, priority: int) -> None:
        windows = shared.single_windows(OPTIONS, priority=priority, retries=())
        threads.append(threading.Thread(target=windows.decode, args=(shown(windows, start),), daemon=True))
        threads[-1].start()

    waiting = shared._scheduler.draws._waiting
    decode(1, 0)
    wait_until(lambda: engine.seeds == [1])
    for count, (start, priority) in enumerate(((2, -1), (3, 0), (4, 5), (5, 0)), start=1):
        decode(start, priority)
        wait_until(lambda count=count: len(waiting) == count)  # type: ignore[misc]
    engine.go_on.set()
    for thread in threads:
        thread.join(20)
    assert engine.seeds == [1, 4, 3, 5, 2]
    assert engine.most == 1


def test_what_is_cancelled_stops_waiting_for_its_turn() -> None:
    engine = Counted()
    shared = Model(engine, detector=LoudIsSpeech)
    first, second = (shared.single_windows(OPTIONS, retries=()) for _ in range(2))
    raised = []

    def fail() -> None:
        with pytest.raises(ValueError, match="closed before its end"):
            second.decode(shown(second, 2))
        raised.append(True)

    threads = [threading.Thread(target=first.decode, args=(shown(first, 1),), daemon=True)]
    threads[0].start()
    wait_until(lambda: engine.seeds == [1])
    threads.append(threading.Thread(target=fail, daemon=True))
    threads[1].start()
    wait_until(lambda: len(shared._scheduler.draws._waiting) == 1)
    second.close()
    threads[1].join(20)
    assert raised == [True]
    engine.go_on.set()
    threads[0].join(20)
    assert engine.seeds == [1]
