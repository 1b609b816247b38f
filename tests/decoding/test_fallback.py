from __future__ import annotations

import pytest
from fakes import FakeEngine

from mtasr.decoding.engine import Hypothesis
from mtasr.decoding.fallback import Decoded, compression_ratio, decode_with_fallback
from mtasr.decoding.options import DecodingOptions

ENGINE = FakeEngine()
LOOP = " the water" * 40


def run(results: dict[float, Hypothesis], **changes: object) -> tuple[Decoded, list[float]]:
    asked: list[float] = []

    def decode(temperature: float) -> Hypothesis:
        asked.append(temperature)
        return results[temperature]

    options = DecodingOptions(temperature=tuple(results), **changes)  # type: ignore[arg-type]
    return decode_with_fallback(decode, ENGINE.tokenizer, options), asked


def test_a_good_result_is_taken_at_once() -> None:
    decoded, asked = run({0.0: ENGINE.hypothesis(" the day"), 0.2: ENGINE.hypothesis(" no")})
    assert asked == [0.0]
    assert decoded.temperature == 0.0


def test_a_loop_is_decoded_again() -> None:
    decoded, asked = run({0.0: ENGINE.hypothesis(LOOP), 0.2: ENGINE.hypothesis(" the day")})
    assert asked == [0.0, 0.2]
    assert decoded.temperature == 0.2
    assert decoded.compression_ratio < 2.4


def test_an_improbable_result_is_decoded_again() -> None:
    _, asked = run({0.0: ENGINE.hypothesis(" day", avg_logprob=-1.4), 0.4: ENGINE.hypothesis(" the day")})
    assert asked == [0.0, 0.4]


def test_silence_is_not_decoded_again() -> None:
    _, asked = run(
        {0.0: ENGINE.hypothesis(" you", avg_logprob=-1.4, no_speech_prob=0.9), 0.2: ENGINE.hypothesis(" the")}
    )
    assert asked == [0.0]


def test_when_all_fail_the_most_probable_that_does_not_loop_is_taken() -> None:
    decoded, asked = run(
        {
            0.0: ENGINE.hypothesis(LOOP, avg_logprob=-0.1),
            0.2: ENGINE.hypothesis(" most", avg_logprob=-1.5),
            0.4: ENGINE.hypothesis(" people", avg_logprob=-1.2),
            0.6: ENGINE.hypothesis(" water", avg_logprob=-1.9),
        }
    )
    assert asked == [0.0, 0.2, 0.4, 0.6]
    assert decoded.temperature == 0.4
    assert not decoded.passed


@pytest.mark.parametrize("off", ["compression_ratio_threshold", "logprob_threshold"])
def test_each_check_can_be_switched_off(off: str) -> None:
    bad = ENGINE.hypothesis(LOOP) if off.startswith("comp") else ENGINE.hypothesis(" day", avg_logprob=-3.0)
    _, asked = run({0.0: bad, 0.2: ENGINE.hypothesis(" the day")}, **{off: None})
    assert asked == [0.0]


def test_compression_ratio() -> None:
    assert compression_ratio("") == 0.0
    assert compression_ratio("ab" * 200) > 10
    assert compression_ratio("Four quick words here") < 1.2
