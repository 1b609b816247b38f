from __future__ import annotations

import pytest
from fakes import FakeEngine

from mtasr.decoding.prompt import Prompt
from mtasr.options import DecodingOptions

TOKENIZER = FakeEngine().tokenizer


def prompt(**options: str) -> Prompt:
    return Prompt(TOKENIZER, DecodingOptions(**options), 448)  # type: ignore[arg-type]


def test_hotwords_come_before_the_text() -> None:
    made = prompt(hotwords="water", initial_prompt=" the people ")
    assert made.before(made.initial) == (
        TOKENIZER.sot_prev, *TOKENIZER.encode(" water"), *TOKENIZER.encode(" the people"),
    )  # fmt: skip
    assert made.before([7, 8])[-2:] == (7, 8)
    assert prompt().before([]) == ()


@pytest.mark.parametrize("hotwords", [0, 50, 1000])
@pytest.mark.parametrize("text", [0, 50, 1000])
def test_all_fits_half_of_the_context_and_what_is_cut_is_told(
    hotwords: int, text: int, caplog: pytest.LogCaptureFixture
) -> None:
    made = prompt(hotwords=" water" * hotwords, initial_prompt=" day" * text)
    made.log_cuts()
    told = made.before(made.initial)
    assert len(told) <= 224
    assert ("hotwords" in caplog.text) == (hotwords == 1000)
    assert ("initial prompt" in caplog.text) == (text == 1000)
    if text == 1000:
        assert len(told) == 224, "no room is wasted"


@pytest.mark.parametrize("words", [1, 50, 1000])
def test_a_prefix_shares_the_room(words: int, caplog: pytest.LogCaptureFixture) -> None:
    made = prompt(prefix="water " * words, initial_prompt="day" * 1000)
    made.log_cuts()
    assert made.prefix[:1] == tuple(TOKENIZER.encode(" water"))
    assert len(made.prefix) + len(made.before(made.initial)) == 224
    assert ("prefix of 1000 tokens" in caplog.text) == (words == 1000)


def test_an_echo_has_no_word_of_its_own() -> None:
    made = prompt(hotwords="Zyxwood, Blimfark")
    assert made.echoed_by(" Blimfark! blimfark")
    assert not made.echoed_by(" Blimfark is here")
    assert not made.echoed_by(" ")
    assert not prompt().echoed_by(" anything")
    assert prompt(prefix="Blimfark").echoed_by(" Blimfark.")
