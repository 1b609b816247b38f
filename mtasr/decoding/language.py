"""Which language is spoken, judged from one window or several."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from mtasr.decoding.engine import LanguageGuess

#: The first windows of a recording tell its language: one if it is as clear as this, else up to so many together.
CLEAR = 0.9
MOST_WINDOWS = 3

#: In a recording of several languages, a window less clear than this is taken to be in the recording's own.
CLEAR_CHANGE = 0.5


def among(guesses: Sequence[LanguageGuess], languages: Sequence[str] | None) -> list[LanguageGuess]:
    """The guesses for these languages alone, their probabilities adding up to 1; all of them without languages."""
    if not languages:
        return list(guesses)
    kept = [guess for guess in guesses if guess.code in languages]
    total = sum(guess.probability for guess in kept)
    return [LanguageGuess(guess.code, guess.probability / total if total else 1 / len(kept)) for guess in kept]


def combined(judgements: Sequence[tuple[float, Sequence[LanguageGuess]]]) -> list[LanguageGuess]:
    """One judgement from several, each with its weight (seconds of speech); the most probable language first."""
    sums: defaultdict[str, float] = defaultdict(float)
    for weight, guesses in judgements:
        for guess in guesses:
            sums[guess.code] += weight * guess.probability
    total = sum(weight for weight, _ in judgements)
    found = [LanguageGuess(code, value / total) for code, value in sums.items()]
    return sorted(found, key=lambda guess: -guess.probability)
