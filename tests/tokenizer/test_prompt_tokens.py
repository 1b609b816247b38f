"""Which tokens a trained prompt may take, and what becomes of a vocabulary that has one."""

from __future__ import annotations

import pytest
from vocabularies import vocabulary

from mtasr.errors import UsageError
from mtasr.tokenizer import Tokenizer
from mtasr.tokenizer.prompt_tokens import free_tokens, renamed, with_prompt

#: Merges of symbols in GPT-2's spelling, put in the place of fillers. "!!!!" is a part of the token after it.
SYMBOLS = ["Ġ---", "!!!!", "!!!!!!!!", "----", "..", "Ġâĩ", "ĠâĦ¢", "Ġ..."]


@pytest.fixture(scope="module")
def tokens() -> list[str]:
    made = vocabulary()
    return [*made[:600], *SYMBOLS, *made[600 + len(SYMBOLS) :]]


def test_long_runs_and_suppressed_symbols_are_free(tokens: list[str]) -> None:
    tokenizer = Tokenizer(tokens)
    assert [tokens[each] for each in free_tokens(tokenizer, ())] == ["----", "!!!!!!!!"]
    # A token that is suppressed comes first. Letters, parts of characters and parts of other tokens are never taken.
    suppressed = [tokens.index(each) for each in ("Ġ---", "!!!!", "Ġthe", "!", "ĠâĦ¢", "Ġâĩ")]
    assert [tokens[each] for each in free_tokens(tokenizer, suppressed)] == ["ĠâĦ¢", "Ġ---", "----", "!!!!!!!!"]


def test_the_tokens_of_a_prompt_are_no_text(tokens: list[str]) -> None:
    before = Tokenizer(tokens)
    prompted, ids = with_prompt(tokens, 2, ())
    after = Tokenizer(prompted)
    assert ids == after.prompt == (tokens.index("----"), tokens.index("!!!!!!!!"))
    assert len(prompted) == len(tokens)
    assert set(after.never_text) == {*before.never_text, *ids}
    assert before.encode("the----") == [*before.encode("the"), ids[0]]
    for text in ("the----", "!!!!!!!!", "<|prompt0|>", " the people"):
        assert not set(after.encode(text)) & set(ids)
        assert after.decode(after.encode(text)) == text
    assert after.encode(" the people") == before.encode(" the people")
    assert after.decode([ids[0], *after.encode("the")]) == "the"


def test_it_stands_before_the_start_of_transcript(tokens: list[str]) -> None:
    prompted, ids = with_prompt(tokens, 2, ())
    before, after = Tokenizer(tokens), Tokenizer(prompted)
    for timestamps in (True, False):
        start = before.sot_sequence("it", "transcribe", timestamps=timestamps)
        assert after.sot_sequence("it", "transcribe", timestamps=timestamps) == (*ids, *start)
    english = Tokenizer(renamed(vocabulary("english"), [690, 680]))
    assert english.sot_sequence("en", "transcribe") == (690, 680, english.sot)


def test_the_order_is_that_of_the_numbers() -> None:
    ids = list(range(680, 668, -1))
    assert Tokenizer(renamed(vocabulary(), ids)).prompt == tuple(ids)


def test_a_prompt_that_does_not_fit(tokens: list[str]) -> None:
    with pytest.raises(UsageError, match=r"has 2 tokens that nobody needs; a prompt of 3 does not fit"):
        with_prompt(tokens, 3, ())
    with pytest.raises(UsageError, match="has a trained prompt already"):
        with_prompt(with_prompt(tokens, 1, ())[0], 1, ())


def test_most_models_have_none(tokens: list[str]) -> None:
    tokenizer = Tokenizer(tokens)
    assert tokenizer.prompt == ()
    assert tokenizer.sot_sequence("en", "transcribe")[0] == tokenizer.sot
