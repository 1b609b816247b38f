"""Retries in their order, and one from outside the package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from fakes import Heard, HearingEngine, LoudIsSpeech

from mtasr.decoding.retries import RETRIES, Decoding, Retry, RetryFacts
from mtasr.decoding.window_decoder import WindowDecoder
from mtasr.decoding.window_input import WindowInput
from mtasr.decoding.windows import Window
from mtasr.engines.engine import Hypothesis
from mtasr.options import DecodingOptions
from mtasr.spans import SAMPLE_RATE
from mtasr.stopwatch import Stopwatch
from mtasr.transcribe import Model


@dataclass
class Noted:
    """Applies while the decoding is open, and gives what a test says."""

    name: str
    log: list[str]
    gives: Decoding | None = None

    def inputs(self, decoding: Decoding, facts: RetryFacts) -> Sequence[WindowInput]:
        return [decoding.input] if decoding.is_open else ()

    def result(self, decoding: Decoding, tried: Sequence[Decoding], facts: RetryFacts) -> Decoding | None:
        assert [each.input.window for each in tried] == [decoding.input.window]
        self.log.append(self.name)
        return self.gives


OPEN = Decoding(input=WindowInput(window=Window(0, np.zeros(SAMPLE_RATE, np.float32), ()), language="en", context=9.0))


def retried(*rules: Retry) -> Decoding:
    engine = HearingEngine(judge=lambda heard, temperature, hypothesis: replace(hypothesis, avg_logprob=-3.0))
    return WindowDecoder(engine, DecodingOptions(), Stopwatch(), retries=rules).retry(OPEN)


def test_each_rule_is_tried_once_in_order() -> None:
    log: list[str] = []
    assert retried(Noted("first", log), Noted("second", log, OPEN), Noted("third", log)) is OPEN
    assert log == ["first", "second", "third"]


def test_parts_end_the_retries() -> None:
    log: list[str] = []
    assert retried(Noted("first", log, replace(OPEN, parts=(OPEN,))), Noted("second", log)).parts
    assert log == ["first"]


@dataclass(frozen=True)
class FirstHalfOnly:
    """A rule from outside: of a window that failed, only the first half is decoded."""

    used: list[float] = field(default_factory=list)

    def inputs(self, decoding: Decoding, facts: RetryFacts) -> Sequence[WindowInput]:
        if not decoding.is_open:
            return ()
        window = decoding.input.window
        half, _ = window.split(window.start + len(window.samples) // 2)
        self.used.append(half.seconds)
        return [replace(decoding.input, window=half, context=facts.context_of(half, "transcribe"), encoded=None)]

    def result(self, decoding: Decoding, tried: Sequence[Decoding], facts: RetryFacts) -> Decoding | None:
        return tried[0]


@pytest.mark.parametrize("own", [True, False])
def test_a_rule_from_outside(own: bool) -> None:
    def judge(heard: Heard, temperature: float, hypothesis: Hypothesis) -> Hypothesis:
        return hypothesis if heard.frames == 900 else replace(hypothesis, avg_logprob=-3.0)

    rule = FirstHalfOnly()
    engine = HearingEngine(judge=judge)
    model = Model(engine, detector=LoudIsSpeech, retries=(rule,) if own else RETRIES)
    samples = np.tile(np.repeat([0.5, 0.0], SAMPLE_RATE // 4), 20).astype(np.float32)  # 10 s of syllables
    transcript = model.transcribe(samples, language="en", temperature=0.0)
    lengths = [heard.frames for heard in engine.encoded]
    if own:
        assert rule.used == [pytest.approx(5, abs=0.1)]
        assert lengths[1:] == [900]
        assert transcript.segments[-1].end <= 5.1
        assert transcript.segments[0].avg_logprob > -1
    else:
        assert rule.used == []
        assert lengths[1:] == [3000]


def test_a_rule_that_never_succeeds_comes_to_an_end() -> None:
    rule = FirstHalfOnly()
    whole = replace(OPEN, input=replace(OPEN.input, window=Window(0, np.zeros(16 * SAMPLE_RATE, np.float32), ())))
    engine = HearingEngine(judge=lambda heard, temperature, hypothesis: replace(hypothesis, avg_logprob=-3.0))
    assert WindowDecoder(engine, DecodingOptions(), Stopwatch(), retries=(rule,)).retry(whole).is_open
    assert rule.used == sorted(rule.used, reverse=True)
