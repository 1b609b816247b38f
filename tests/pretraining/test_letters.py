"""How texts are spelled for CTC."""

from __future__ import annotations

import pytest

from mtasr.pretraining.letters import Letters, spelling


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("Good morning!", "good morning"),
        ("\u201cIt\u2019s 7 o'clock,\u201d she said \u2013 'late'.", "it's 7 o'clock she said late"),
        ("Cafe\u0301 au lait", "caf\u00e9 au lait"),
        ("STRASSE, Stra\u00dfe", "strasse strasse"),
        ("\u0939\u093f\u0928\u094d\u0926\u0940\u0964", "\u0939\u093f\u0928\u094d\u0926\u0940"),
        ("...", ""),
    ],
)
def test_spelling(text: str, letters: str) -> None:
    assert spelling(text) == letters


def test_letters_are_numbered_after_five_special_tokens() -> None:
    letters = Letters.of(["Ab", "b c"])
    assert letters.tokens == ("<pad>", "<s>", "</s>", "<unk>", "|", "a", "b", "c")
    assert letters.blank == 0
    assert letters.numbers("A cab, x") == [5, 4, 7, 5, 6, 4, 3]
    assert Letters.of(["ab"]).numbers("<pad>") == [3, 5, 3]


def test_frames_say_a_text() -> None:
    letters = Letters.of(["abc"])
    assert letters.text([0, 4, 5, 5, 0, 5, 6, 4, 4, 0, 4, 7, 3, 1, 2, 4]) == "aab c"
    assert letters.text([0, 0]) == ""


def test_equal_neighbours_need_a_frame_between_them() -> None:
    letters = Letters.of(["abc"])
    assert letters.frames_needed(letters.numbers("abc")) == 3
    assert letters.frames_needed(letters.numbers("aabb")) == 6
