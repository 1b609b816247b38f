from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtasr.decoding.language import among, combined, weighed_by_text
from mtasr.engines.engine import Hypothesis, LanguageGuess


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


def heard(avg_logprob: float, count: int = 9) -> Hypothesis:
    return Hypothesis(tokens=(5,) * count, avg_logprob=avg_logprob, no_speech_prob=0.0)


def test_a_text_that_is_more_probable_decides_for_its_language() -> None:
    judged = weighed_by_text(guesses(it=0.5, es=0.3, la=0.1, en=0.1), [[heard(-0.8)], [heard(-0.5)], [heard(-2.0)]])
    # Ten tokens with the end of text: 3 more in the logarithm for Spanish.
    assert judged[0].code == "es"
    by_code = {guess.code: guess.probability for guess in judged}
    assert by_code["es"] / by_code["it"] == pytest.approx(0.3 / 0.5 * math.exp(3.0))
    assert sum(guess.probability for guess in judged) == pytest.approx(1.0)
    assert LanguageGuess("en", 0.1) in judged, "it was not tried"


def test_texts_of_all_windows_count() -> None:
    judged = weighed_by_text(guesses(it=0.5, es=0.5), [[heard(-0.4), heard(-0.9)], [heard(-0.5), heard(-0.5)]])
    assert judged[0].code == "es"


def test_where_nothing_is_written_the_guesses_stay() -> None:
    before = guesses(it=0.6, es=0.4)
    assert weighed_by_text(before, [[heard(-math.inf, 0)], [heard(-math.inf, 0)]]) == before
    assert weighed_by_text(before, [[heard(-math.inf, 0)], [heard(-1.0)]])[0].code == "es"


@given(
    st.lists(st.floats(0.001, 1.0), min_size=2, max_size=8),
    st.lists(st.tuples(st.floats(-6, 0), st.integers(0, 200)), min_size=1, max_size=8),
)
def test_probabilities_stay_probabilities(shares: list[float], texts: list[tuple[float, int]]) -> None:
    before = sorted(
        (LanguageGuess(f"{number}", share / sum(shares)) for number, share in enumerate(shares)),
        key=lambda guess: -guess.probability,
    )
    judged = weighed_by_text(before, [[heard(*text)] for text in texts[: len(before)]])
    assert sorted(guess.code for guess in judged) == sorted(guess.code for guess in before)
    assert sum(guess.probability for guess in judged) == pytest.approx(1.0)
    assert judged == sorted(judged, key=lambda guess: -guess.probability)
