"""Which words of a draft are committed, and where audio is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtasr.live.agreement import DraftedWord, best_cut, count_committable, without_echo
from mtasr.transcript import Word


def pieces(text: str, probability: float = 0.5, length: float = 0.5) -> list[DraftedWord]:
    """Words one after the other, each with a token of its own."""
    return [
        DraftedWord(
            Word(word=f" {word}", start=place * length, end=(place + 1) * length, probability=probability), (place,)
        )
        for place, word in enumerate(text.split())
    ]


def committable(now: str, before: str, until: float = 100.0, *, complete: bool = False) -> int:
    return count_committable(pieces(now), pieces(before), until=until, complete=complete)


def test_words_of_two_drafts_are_committed_but_for_the_last() -> None:
    assert committable("one two three", "one two three") == 2
    assert committable("one two three", "one too three") == 1
    assert committable("one two three", "") == 0


def test_marks_and_case_need_not_agree() -> None:
    assert committable("One, two three", "one two. three") == 2
    assert committable("One , two three", "one two three") == 3


def test_words_near_the_end_of_the_audio_wait() -> None:
    assert committable("one two three four", "one two three four", until=1.0) == 2
    assert committable("one two three four", "one two three four", until=0.9) == 1


def test_before_silence_the_last_word_is_whole() -> None:
    assert committable("one two three", "one two three", until=0.0, complete=True) == 3


@given(st.lists(st.sampled_from("abc"), max_size=6), st.lists(st.sampled_from("abc"), max_size=6))
def test_what_disagrees_is_never_committed(now: list[str], before: list[str]) -> None:
    count = committable(" ".join(now), " ".join(before), complete=True)
    assert now[:count] == before[:count]


def test_audio_is_cut_after_a_sentence_or_at_the_longest_gap() -> None:
    words = pieces("it ends. here and there")
    assert best_cut(words, 4, 0.0, 10.0) == 2
    assert best_cut(words, 1, 0.0, 10.0) == 1
    assert best_cut(words, 4, 1.2, 1.6) == 3
    assert best_cut(words, 4, 5.0, 10.0) is None


def rows(*texts: tuple[str, float]) -> list[DraftedWord]:
    """Words one after the other; those of each text take so many seconds together."""
    found: list[DraftedWord] = []
    at = 0.0
    for text, seconds in texts:
        step = seconds / len(text.split())
        for place, word in enumerate(text.split()):
            times = {"start": at + place * step, "end": at + (place + 1) * step}
            found.append(DraftedWord(Word(word=f" {word}", probability=0.5, **times), (len(found),)))
        at += seconds
    return found


ROW = "press three to hear it"


def heard(pieces: list[DraftedWord], first: int = 0) -> tuple[str, float]:
    """What is left, and where it ends."""
    left = without_echo(pieces, first)
    assert [each.tokens for each in left] == [each.tokens for each in pieces[: len(left)]]
    return "".join(each.word.word for each in left).strip(), left[-1].word.end


@pytest.mark.parametrize(
    ("texts", "end"),
    [
        ([(ROW, 2.0), (ROW, 0.5)], 2.0),
        ([(ROW, 0.5), (ROW, 2.0)], 2.5),
        ([(ROW, 2.0), ("and", 0.1), (ROW, 0.3)], 2.0),
        ([(ROW, 2.0), (ROW, 0.2), (ROW, 0.2)], 2.0),
        ([(ROW, 2.0), (ROW, 0.3), ("again", 0.4)], 2.0),
    ],
    ids=["the second", "the first", "after a word", "several times", "before other words"],
)
def test_a_row_of_words_that_was_said_once_is_left_once(texts: list[tuple[str, float]], end: float) -> None:
    assert heard(rows(*texts)) == (ROW, pytest.approx(end))


def test_a_row_that_is_repeated_in_part_is_left_whole() -> None:
    row = f"{ROW} once more"
    assert heard(rows((row, 2.0), ("press three, to hear", 0.2))) == (row, pytest.approx(2.0))


@pytest.mark.parametrize(
    "texts",
    [
        [(ROW, 2.0), (ROW, 1.5)],
        [("no no no", 0.9), ("no no no", 0.2)],
        [(ROW, 2.0), ("or wait and then", 1.0), (ROW, 0.5), ("again", 0.3)],
    ],
    ids=["said twice", "few words", "not one after the other"],
)
def test_what_may_have_been_said_twice_is_left_twice(texts: list[tuple[str, float]]) -> None:
    assert heard(rows(*texts))[0] == " ".join(text for text, _ in texts)


def test_committed_words_stay() -> None:
    pieces = rows((ROW, 2.0), (ROW, 0.2), (ROW, 0.2))
    assert heard(pieces, 7)[0] == f"{ROW} press three"
    assert heard(pieces, 10)[0] == f"{ROW} {ROW}"
