from __future__ import annotations

import pytest

from mtasr.errors import UsageError
from mtasr.options import DecodingOptions


@pytest.mark.parametrize(
    "changes",
    [
        {"task": "summarise"}, {"beam_size": 0},
        {"best_of": 0}, {"patience": 0.0}, {"repetition_penalty": -1.0}, {"no_repeat_ngram_size": -1},
        {"temperature": ()}, {"temperature": (0.0, 3.0)}, {"temperature": (float("nan"),)},
        {"beam_size": None}, {"beam_size": "5"}, {"patience": float("inf")}, {"initial_prompt": [1, 2]},
        {"length_penalty": float("nan")}, {"no_speech_threshold": 1.5}, {"max_initial_timestamp": 31.0},
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(changes))):
        DecodingOptions(**changes)  # type: ignore[arg-type]


def test_one_temperature_may_be_a_number() -> None:
    assert DecodingOptions(temperature=0.4).temperature == (0.4,)  # type: ignore[arg-type]
