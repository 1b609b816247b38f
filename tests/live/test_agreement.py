"""Which words of a draft are committed, and where audio is cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mtasr.live.agreement import DraftedWord, best_cut, count_committable
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
