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
        {"beam_size": 1001}, {"best_of": 10**30}, {"n_best": 1.5}, {"seed": 0.5}, {"length_penalty": 1e308},
        {"repetition_penalty": 1e-300}, {"repetition_penalty": 1e308}, {"no_repeat_ngram_size": 10**22},
        {"no_repeat_ngram_size": 1.5}, {"clip_timestamps": (1e308,)}, {"clip_timestamps": (0.0, 1e7)},
        {"clip_timestamps": (float("nan"),)}, {"suppress_tokens": (2**31,)}, {"suppress_tokens": (1.5,)},
        {"suppress_tokens": (-2,)},
        {"compression_ratio_threshold": float("nan")}, {"logprob_threshold": float("nan")},
        {"prompt_reset_on_temperature": float("nan")},
        {"length_penalty": float("nan")}, {"no_speech_threshold": 1.5}, {"max_initial_timestamp": 31.0},
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(changes))):
        DecodingOptions(**changes)  # type: ignore[arg-type]


def test_one_temperature_may_be_a_number() -> None:
    assert DecodingOptions(temperature=0.4).temperature == (0.4,)  # type: ignore[arg-type]


def test_messages_name_the_bounds() -> None:
    with pytest.raises(UsageError, match=r"^length_penalty must be between -10 and 10, not 1e\+308$"):
        DecodingOptions(length_penalty=1e308)
    with pytest.raises(UsageError, match=r"^clip_timestamps must be times in seconds below 10,000,000, each later"):
        DecodingOptions(clip_timestamps=(1e308,))


@pytest.mark.parametrize(
    "changes",
    [
        {"length_penalty": -10}, {"length_penalty": 10.0}, {"repetition_penalty": 0.1}, {"no_repeat_ngram_size": 448},
        {"beam_size": 1000, "best_of": 1000}, {"clip_timestamps": (0, 9_999_999)}, {"suppress_tokens": (-1, 50256)},
        {"compression_ratio_threshold": None, "logprob_threshold": None}, {"logprob_threshold": float("-inf")},
    ],
)  # fmt: skip
def test_bounds_may_be_reached(changes: dict[str, object]) -> None:
    DecodingOptions(**changes)  # type: ignore[arg-type]
