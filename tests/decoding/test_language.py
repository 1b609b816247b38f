from __future__ import annotations

import pytest

from mtasr.decoding.engine import LanguageGuess
from mtasr.decoding.language import among, combined


def guesses(**probabilities: float) -> list[LanguageGuess]:
    return [LanguageGuess(code, probability) for code, probability in probabilities.items()]


def test_some_languages_share_all_of_the_probability() -> None:
    heard = guesses(cy=0.5, en=0.3, fr=0.1, de=0.1)
    assert among(heard, ["fr", "en"]) == [
        LanguageGuess("en", pytest.approx(0.75)),
        LanguageGuess("fr", pytest.approx(0.25)),
    ]
    assert among(heard, None) == heard
    assert among(guesses(en=1.0, fr=0.0, de=0.0), ["fr", "de"]) == guesses(fr=0.5, de=0.5)


def test_windows_count_by_their_speech() -> None:
    judged = combined([(1.0, guesses(cy=0.8, en=0.2)), (3.0, guesses(en=0.9, cy=0.1))])
    assert [guess.code for guess in judged] == ["en", "cy"]
    assert judged[0].probability == pytest.approx((0.2 + 2.7) / 4)
