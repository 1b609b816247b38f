"""Windows that their caller cuts, among those of recordings."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from fakes import FakeEngine, Heard, HearingEngine, LoudIsSpeech

from mtasr.decoding.single_windows import SingleWindows
from mtasr.decoding.window_input import WindowInput
from mtasr.decoding.windows import Window
from mtasr.engines.engine import EngineLimits, Hypothesis
from mtasr.options import DecodingOptions
from mtasr.spans import SAMPLE_RATE, Span
from mtasr.transcribe import Model

pytestmark = pytest.mark.timeout(30)

GREEDY = DecodingOptions(beam_size=1, temperature=(0.0,), without_timestamps=True)


def model(engine: HearingEngine) -> Model:
    return Model(engine, detector=LoudIsSpeech)


def window(seed: int = 0, seconds: float = 2.0) -> Window:
    samples = np.random.default_rng(seed).normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)
    return Window(0, samples, (Span(0, len(samples)),))


def shown(windows: SingleWindows, seed: int = 0, language: str = "en") -> WindowInput:
    return windows.decoder.input(window(seed), language=language)


def doubtful(heard: Heard, temperature: float, hypothesis: Hypothesis) -> Hypothesis:
    return replace(hypothesis, avg_logprob=-2.0)


def test_a_window_becomes_what_it_is_in_a_recording() -> None:
    windows = model(HearingEngine()).single_windows(DecodingOptions())
    decoded, language = windows.decode(shown(windows))
    assert language == "en"
    assert decoded.segments == model(HearingEngine()).transcribe(window().samples, language="en").segments


def test_the_language_is_judged_in_the_window() -> None:
    engine = HearingEngine()
    windows = model(engine).single_windows(DecodingOptions())
    _, language = windows.decode(shown(windows, language=""))
    (heard,) = engine.detected
    assert language == ("en" if heard.number % 2 else "fr")


def test_text_that_fails_the_checks_is_no_attempt() -> None:
    engine = HearingEngine(judge=doubtful)
    windows = model(engine).single_windows(GREEDY, retries=())
    assert windows.attempt(shown(windows)) is None
    assert len(engine.generated) == 1  # and nothing else was tried
    decoded, _ = windows.decode(shown(windows))
    assert decoded.segments  # of the attempt that failed least


def test_the_prompt_holds_what_comes_before_and_what_the_text_begins_with() -> None:
    engine = FakeEngine()
    tokenizer = engine.tokenizer
    engine.script = [engine.says(" the sound")]
    windows = Model(engine, detector=LoudIsSpeech).single_windows(GREEDY, retries=())
    previous, given = tuple(tokenizer.encode(" day")), tuple(tokenizer.encode(" the"))
    windows.attempt(replace(shown(windows), previous=previous, given=given))
    start = tokenizer.sot_sequence("en", "transcribe", timestamps=False)
    assert engine.calls[0].prompt == (tokenizer.sot_prev, *previous, *start, *given)


def test_windows_of_several_callers_share_a_batch() -> None:
    engine = HearingEngine(limits=EngineLimits(workers=1, batch_size=4), pause=0.2)
    shared = model(engine)
    callers = [shared.single_windows(GREEDY, retries=()) for _ in range(5)]
    threads = [
        threading.Thread(target=caller.attempt, args=(shown(caller, seed),), daemon=True)
        for seed, caller in enumerate(callers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sum(engine.batches) == 5
    assert max(engine.batches) > 1
    assert not shared._scheduler._groups


def test_closing_cancels_what_waits() -> None:
    started, go_on = threading.Event(), threading.Event()

    def hold(heard: Heard) -> bool:
        started.set()
        go_on.wait(20)
        return False

    windows = model(HearingEngine(fails=hold)).single_windows(GREEDY, retries=())
    errors = []

    def decode() -> None:
        try:
            windows.decode(shown(windows))
        except ValueError as exc:
            errors.append(str(exc))

    thread = threading.Thread(target=decode, daemon=True)
    thread.start()
    assert started.wait(20)
    windows.close()
    thread.join(20)
    go_on.set()
    assert errors == ["the recording was closed before its end"]


def test_all_temperatures_draw_from_one_sampler() -> None:
    class Counting(HearingEngine):
        seeds: ClassVar[list[int]] = []

        def sampler(self, seed: int) -> contextlib.nullcontext[HearingEngine]:
            self.seeds.append(seed)
            return super().sampler(seed)

    windows = model(Counting(judge=doubtful)).single_windows(DecodingOptions(seed=7), retries=())
    assert windows.decode(shown(windows))[0].segments
    assert Counting.seeds == [7]  # a model is loaded for each


def test_closing_ends_the_draws() -> None:
    drawn = []

    def close(heard: Heard, temperature: float, hypothesis: Hypothesis) -> Hypothesis:
        if temperature > 0:
            drawn.append(temperature)
            windows.close()
        return doubtful(heard, temperature, hypothesis)

    windows = model(HearingEngine(judge=close)).single_windows(DecodingOptions(), retries=())
    for _ in range(2):
        with pytest.raises(ValueError, match="closed before its end"):
            windows.decode(shown(windows))
    assert drawn == [DecodingOptions().temperature[1]]


def test_an_engine_that_fails_is_told() -> None:
    shared = model(HearingEngine(fails=lambda heard: True))
    windows = shared.single_windows(GREEDY, retries=())
    with pytest.raises(RuntimeError, match="the engine stopped"):
        windows.attempt(shown(windows))
    assert not shared._scheduler._groups
