"""Which language is spoken, judged from one window or several."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from mtasr.engines.engine import Hypothesis, LanguageGuess

#: The language is judged from the first window if its probability is at least `CLEAR`, else from the first
#: `MOST_WINDOWS` together.
CLEAR = 0.9
MOST_WINDOWS = 3

#: If the language is unclear, the speech is transcribed in this many of the most probable ones, and the texts compared.
TRIED = 6

#: In a recording of several languages, a window less clear than this counts as being in the recording's own.
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


def weighed_by_text(guesses: Sequence[LanguageGuess], texts: Sequence[Sequence[Hypothesis]]) -> list[LanguageGuess]:
    """What the first of the guesses are worth once the speech was written down in them, the most probable first.

    `texts` holds the hypotheses of each, one for each window. The probability of a language is then that of language
    and text together, each text taken to be as long as that of the first: else short ones, which lack something, would
    win. Those that were not tried keep theirs, and all add up to what they did before.
    """
    tried = guesses[: len(texts)]
    length = sum(len(each.tokens) + 1 for each in texts[0]) if texts else 0
    scores = [
        math.log(max(guess.probability, 1e-9)) + length * _mean(those)
        for guess, those in zip(tried, texts, strict=True)
    ]
    best = max(scores, default=-math.inf)
    if best == -math.inf:  # No text at all in any of them tells nothing.
        return list(guesses)
    shares = [math.exp(score - best) for score in scores]
    scale = sum(guess.probability for guess in tried) / sum(shares)
    found = [LanguageGuess(guess.code, share * scale) for guess, share in zip(tried, shares, strict=True)]
    return sorted([*found, *guesses[len(texts) :]], key=lambda guess: -guess.probability)


def _mean(hypotheses: Sequence[Hypothesis]) -> float:
    """The mean log-probability of all tokens, the ends of text included."""
    counts = [len(each.tokens) + 1 for each in hypotheses]
    return sum(each.avg_logprob * count for each, count in zip(hypotheses, counts, strict=True)) / max(1, sum(counts))
