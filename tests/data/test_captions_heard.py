"""What a model's probabilities of a text say about it."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import FakeEngine

from mtasr.data.captions_heard import HeardExcerpt, Scored, is_word, text_tokens
from mtasr.engines.engine import Hypothesis, LanguageGuess, Likelihood

ENGINE = FakeEngine()
OWN = ENGINE.hypothesis(" the water", avg_logprob=-0.2)


def scored(
    text: str, each: float = -0.2, end: float = -0.1, changes: dict[int, tuple[float, float]] | None = None
) -> Scored:
    """`each` token is so probable and the end of text before it not at all; changes tell both for some places."""
    tokens, marks = text_tokens(text, "en", ENGINE.tokenizer)
    logprobs, ends = np.full(len(tokens) + 1, each), np.full(len(tokens) + 1, -20.0)
    logprobs[-1] = ends[-1] = end
    for place, (token, instead) in (changes or {}).items():
        logprobs[place], ends[place] = token, instead
    return Scored(
        tokens=tokens,
        marks=marks,
        words=[is_word(token, ENGINE.tokenizer) for token in tokens],
        likelihood=Likelihood(logprobs=logprobs, end_logprobs=ends),
    )


def reason(found: Scored, own: Hypothesis = OWN) -> str | None:
    return HeardExcerpt(seconds=2.0, own=own, scored=found).reason


def test_a_probable_text_stays() -> None:
    assert reason(scored("the water.")) is None


def test_another_spelling_is_less_probable_and_stays() -> None:
    assert reason(scored("the.", each=-4.0)) is None
    assert reason(scored("the water.", each=-3.0)) is None


def test_an_improbable_text_goes() -> None:
    assert reason(scored("the water.", each=-9.0)) == "the model hears something else"
    assert reason(scored("the", each=-9.0, end=-4.0)) == "the model hears something else"


def test_what_the_model_is_not_sure_of_itself_stays() -> None:
    unsure = ENGINE.hypothesis(" people number sound", avg_logprob=-2.0)
    assert reason(scored("the water.", each=-4.5), unsure) is None


def test_marks_are_a_matter_of_taste() -> None:
    text = "the, water."
    tokens, _ = text_tokens(text, "en", ENGINE.tokenizer)
    marks = {place: (-15.0, -20.0) for place, token in enumerate(tokens) if not is_word(token, ENGINE.tokenizer)}
    assert len(marks) == 2
    assert reason(scored(text, changes=marks)) is None


def test_a_text_that_breaks_off_goes() -> None:
    assert reason(scored("the water.", end=-6.0)) == "text ends before the speech"
    assert reason(scored("the water", end=-6.0)) == "text ends before the speech"


def test_a_full_stop_may_be_missing() -> None:
    found = scored("the water")
    assert found.marks == 1
    assert found.end == pytest.approx(-0.3)
    without = scored("the water", changes={len(found.tokens) - 1: (-6.0, -0.1)})
    assert without.end == pytest.approx(-0.1, abs=0.01)
    assert reason(without) is None


def test_a_text_that_goes_on_after_the_speech_goes() -> None:
    place = len(text_tokens("the.", "en", ENGINE.tokenizer)[0])
    assert reason(scored("the. the.", changes={place: (-3.0, -0.1)})) == "text goes on after the speech"
    # An end that is as improbable as all else is none.
    assert reason(scored("the. the.", changes={place: (-6.0, -3.0)})) is None


@pytest.mark.parametrize(
    ("probability", "gain", "expected"), [(0.9, 1.0, "spoken is fr"), (0.6, 1.0, None), (0.9, 0.0, None)]
)
def test_a_language_counts_if_the_text_is_more_probable_in_it(
    probability: float, gain: float, expected: str | None
) -> None:
    heard = HeardExcerpt(
        seconds=2.0,
        foreign=LanguageGuess("fr", probability),
        own=OWN,
        scored=scored("the water", each=-2.0),
        elsewhere=scored("the water", each=-2.0 + gain),
    )
    assert heard.reason == expected


def test_of_a_translation_the_language_alone_counts() -> None:
    assert HeardExcerpt(seconds=2.0, foreign=LanguageGuess("fr", 0.9)).reason == "spoken is fr"
    assert HeardExcerpt(seconds=2.0, foreign=LanguageGuess("fr", 0.6)).reason is None
    assert HeardExcerpt(seconds=2.0).reason is None


def test_a_model_that_hears_nothing_is_as_sure_as_can_be() -> None:
    silent = ENGINE.hypothesis("", avg_logprob=-np.inf)
    assert reason(scored("the water.", each=-9.0), silent) == "the model hears something else"
