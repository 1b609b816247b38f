from __future__ import annotations

import numpy as np
import pytest
from fakes import FakeEngine
from hypothesis import given
from hypothesis import strategies as st

from mtasr.decoding.checks import Attempt, Checks, attempt_of, compression_ratio
from mtasr.decoding.retries import decode_at_temperatures
from mtasr.engines.engine import Hypothesis
from mtasr.options import DecodingOptions

ENGINE = FakeEngine()
LOOP = " the water" * 40


def run(results: dict[float, Hypothesis], **changes: object) -> tuple[Attempt, list[float]]:
    asked: list[float] = []

    def decode(temperature: float) -> Hypothesis:
        asked.append(temperature)
        return results[temperature]

    options = DecodingOptions(temperature=tuple(results), **changes)  # type: ignore[arg-type]
    return decode_at_temperatures(decode, ENGINE.tokenizer, options, Checks().for_options(options)), asked


def test_a_good_result_is_taken_at_once() -> None:
    attempt, asked = run({0.0: ENGINE.hypothesis(" the day"), 0.2: ENGINE.hypothesis(" no")})
    assert asked == [0.0]
    assert attempt.temperature == 0.0


def test_a_loop_is_decoded_again() -> None:
    attempt, asked = run({0.0: ENGINE.hypothesis(LOOP), 0.2: ENGINE.hypothesis(" the day")})
    assert asked == [0.0, 0.2]
    assert attempt.temperature == 0.2
    assert attempt.compression_ratio < 2.4


def test_an_improbable_result_is_decoded_again() -> None:
    _, asked = run({0.0: ENGINE.hypothesis(" day", avg_logprob=-1.4), 0.4: ENGINE.hypothesis(" the day")})
    assert asked == [0.0, 0.4]


def test_silence_is_not_decoded_again() -> None:
    _, asked = run(
        {0.0: ENGINE.hypothesis(" you", avg_logprob=-1.4, no_speech_prob=0.9), 0.2: ENGINE.hypothesis(" the")}
    )
    assert asked == [0.0]


def test_when_all_fail_the_most_probable_that_does_not_loop_is_taken() -> None:
    attempt, asked = run(
        {
            0.0: ENGINE.hypothesis(LOOP, avg_logprob=-0.1),
            0.2: ENGINE.hypothesis(" most", avg_logprob=-1.5),
            0.4: ENGINE.hypothesis(" people", avg_logprob=-1.2),
            0.6: ENGINE.hypothesis(" water", avg_logprob=-1.9),
        }
    )
    assert asked == [0.0, 0.2, 0.4, 0.6]
    assert attempt.temperature == 0.4
    assert not attempt.passed


@pytest.mark.parametrize("off", ["compression_ratio_threshold", "logprob_threshold"])
def test_each_check_can_be_switched_off(off: str) -> None:
    bad = ENGINE.hypothesis(LOOP) if off.startswith("comp") else ENGINE.hypothesis(" day", avg_logprob=-3.0)
    _, asked = run({0.0: bad, 0.2: ENGINE.hypothesis(" the day")}, **{off: None})
    assert asked == [0.0]


def test_compression_ratio() -> None:
    assert compression_ratio("") == 0.0
    assert compression_ratio("ab" * 200) > 10
    assert compression_ratio("Four quick words here") < 1.2


@pytest.mark.parametrize(
    ("period", "times", "loops"),
    [
        (1, 24, False),
        (1, 25, True),
        (2, 12, False),
        (2, 13, True),
        (6, 4, False),
        (6, 5, True),
        (12, 4, False),
        (12, 5, True),
        (13, 20, False),
    ],
)
@pytest.mark.parametrize("before", [0, 40])
def test_a_phrase_five_times_and_over_24_tokens_is_a_loop(period: int, times: int, loops: bool, before: int) -> None:
    tokens = [*range(1000, 1000 + before), *list(range(period)) * times]
    assert Checks().ends_in_loop(tokens) == loops
    assert not Checks().ends_in_loop([*tokens, *range(2000, 2100)]), "speech after it: not at the end"


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.integers(0, 11), st.lists(st.integers(9, 20)))
def test_a_loop_may_break_off_anywhere(phrase: list[int], more: int, before: list[int]) -> None:
    assert Checks().ends_in_loop([*before, *phrase * 30, *phrase[: more % len(phrase)]])


@pytest.mark.parametrize("text", ["", " no no no no no", " the water, the water, the water", " day" * 20])
def test_what_people_do_say_twice_is_no_loop(text: str) -> None:
    hypothesis = ENGINE.hypothesis(text)
    assert not Checks().ends_in_loop(hypothesis.tokens)
    if text and len(text) < 40:
        assert Checks().passes(attempt_of(hypothesis, 0.0, ENGINE.tokenizer), 3.0)


def test_more_tokens_than_can_be_said_fail() -> None:
    tokens = np.random.default_rng(0).integers(0, 256, 100).tolist()
    attempt = Attempt(
        hypothesis=Hypothesis(tokens=tuple(tokens), avg_logprob=-0.2, no_speech_prob=0.0),
        compression_ratio=1.0,
        temperature=0.0,
    )
    assert not Checks().passes(attempt, 3.1)
    assert Checks().passes(attempt, 3.2)
    assert Checks(compression_ratio_threshold=None).passes(attempt, 1.0)


@pytest.mark.parametrize(("start", "fine"), [("5.00", True), ("8.60", True), ("9.20", False)])
def test_text_that_begins_after_the_window_fails(start: str, fine: bool) -> None:
    attempt = attempt_of(
        ENGINE.hypothesis(f"<|0.00|> the day<|4.80|><|{start}|> the water<|20.00|>"), 0.0, ENGINE.tokenizer
    )
    assert attempt.last_start == float(start)
    assert Checks().passes(attempt, 8.0) == fine
    assert Checks().passes(attempt, 8.0, lenient=True), "times of translations are vague"
    assert Checks().passes(attempt, 30.0)


def test_a_loop_that_is_silence_passes() -> None:
    silence = ENGINE.hypothesis(LOOP, avg_logprob=-1.2, no_speech_prob=0.9)
    assert Checks().passes(attempt_of(silence, 0.0, ENGINE.tokenizer), 30.0)


def test_what_was_tried_before_counts_and_is_not_tried_again() -> None:
    options = DecodingOptions(temperature=(0.0, 0.2))
    tried = [attempt_of(ENGINE.hypothesis(text, avg_logprob=score), 0.0, ENGINE.tokenizer) for text, score in TRIED]
    asked: list[float] = []

    def decode(temperature: float) -> Hypothesis:
        asked.append(temperature)
        return ENGINE.hypothesis(" water", avg_logprob=-1.5)

    attempt = decode_at_temperatures(decode, ENGINE.tokenizer, options, Checks(), failed=tried)
    assert asked == [0.2]
    assert (attempt.hypothesis, attempt.passed) == (tried[1].hypothesis, False)
    only = decode_at_temperatures(
        decode, ENGINE.tokenizer, DecodingOptions(temperature=(0.0,)), Checks(), failed=tried[:1]
    )
    assert (asked, only.hypothesis) == ([0.2], tried[0].hypothesis)


TRIED = [(LOOP, -0.1), (" people", -1.2)]


@pytest.mark.parametrize(
    ("text", "avg_logprob", "no_speech_prob", "silent"),
    [
        (" You", -0.98, 0.88, True),
        (" Thank you.", -0.7, 0.7, True),
        (" Thank you.", -0.3, 0.9, False),  # said with confidence
        (" Thank you.", -0.9, 0.4, False),  # somebody speaks
        (" You know.", -0.9, 0.9, False),  # no phrase of the kind
        (" You know.", -1.1, 0.9, True),
    ],
)
def test_phantom_phrases_are_the_last_resort(
    text: str, avg_logprob: float, no_speech_prob: float, silent: bool
) -> None:
    tokens = tuple(ENGINE.tokenizer.encode(text))
    heard = Hypothesis(tokens=tokens, avg_logprob=avg_logprob, no_speech_prob=no_speech_prob)
    assert Checks().is_silence(attempt_of(heard, 0.0, ENGINE.tokenizer)) is silent


@pytest.mark.parametrize(
    ("segments", "lacks"),
    [
        ([], None),
        ([(13, 4.8)], None),  # nothing to compare with
        ([(13, 2.4), (13, 2.4), (13, 2.4)], None),
        ([(13, 4.8), (13, 2.4), (13, 2.4)], 13),
        ([(9, 2.4), (13, 2.4), (13, 2.4)], None),  # a little slower
        ([(2, 1.0), (13, 2.4), (13, 2.4)], None),  # too short for a sentence
        ([(13, 9.6), (2, 0.4)], None),  # two tokens tell no rate
        ([(13, 2.4), (13, 0.0)], None),
        ([(0, 2.4), (26, 4.8)], 13),
    ],
)
def test_a_segment_that_may_lack_a_sentence(segments: list[tuple[int, float]], lacks: float | None) -> None:
    found = Checks().lack(segments)
    assert (found and found.tokens) == (lacks and pytest.approx(lacks))


def test_a_window_is_thin_beside_faster_speech() -> None:
    checks = Checks()
    assert not checks.is_thin(13, 4.8)
    assert checks.is_thin(13, 4.8, pace=5.4)
    assert not checks.is_thin(13, 4.8, pace=4.0)
