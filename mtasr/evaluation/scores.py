"""Comparing texts with references: figures with confidence intervals, and alignments word by word."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, cast

import numpy as np

from mtasr.edit_distance import ErrorCount, count_errors, edit_distance
from mtasr.extras import extras
from mtasr.tokenizer.languages import UNSPACED

if TYPE_CHECKING:
    from sacrebleu import BLEU, CHRF

#: How many times clips are drawn with replacement for an interval, and the seed that makes intervals reproducible.
_DRAWS, _SEED = 1000, 1
_INTERVAL = (0.025, 0.975)

#: Languages whose marks are vowels, tones or parts of letters. Without them が becomes か, words of Hindi break up, and
#: six words of Vietnamese become "ma".
_MARKS_COUNT = UNSPACED - {"zh", "yue"} | set("as bn gu hi kn ko ml mr ne pa sa si ta te vi yo".split())  # noqa: SIM905


@dataclass(frozen=True, slots=True)
class Figure:
    """A value and its 95 % confidence interval, by bootstrapping over clips."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Step:
    """A step of an alignment: words of the reference and the words recognised instead; either may be empty."""

    reference: str
    hypothesis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The figures of some clips; None without references.

    BLEU and chrF go to 100, `speaker_count_error` is a number of speakers, and the others are rates.
    """

    clips: int
    audio: float
    wer: Figure | None = None
    cer: Figure | None = None
    bleu: Figure | None = None
    chrf: Figure | None = None
    language_accuracy: Figure | None = None
    #: Word errors where the words of other speakers count as wrong (`speaker_word_errors`).
    cpwer: Figure | None = None
    #: As in `DiarizationErrors`: DER and its three parts, and JER.
    der: Figure | None = None
    missed_speech: Figure | None = None
    false_alarm: Figure | None = None
    confusion: Figure | None = None
    jer: Figure | None = None
    #: By how many the number of speakers is wrong, on average, and the share of clips in which it is right.
    speaker_count_error: Figure | None = None
    speaker_count_accuracy: Figure | None = None
    #: Processing time by duration of the audio, without loading the model.
    real_time_factor: float | None = None


def require_libraries() -> None:
    """Raises `MissingExtraError` if the extra is not installed."""
    with extras():
        import jiwer  # noqa: F401
        import sacrebleu  # noqa: F401
        import whisper_normalizer  # noqa: F401


def normalise(text: str, language: str | None) -> str:
    """The text without differences that are not errors: case, punctuation, diacritics, English spelling and numbers."""
    return _normaliser(language == "en", language in _MARKS_COUNT)(text)


@cache
def _normaliser(english: bool, marks_count: bool) -> Callable[[str], str]:
    from whisper_normalizer.basic import BasicTextNormalizer
    from whisper_normalizer.english import EnglishTextNormalizer

    if english:
        return cast(Callable[[str], str], EnglishTextNormalizer())
    return cast(
        Callable[[str], str], BasicTextNormalizer(remove_diacritics=not marks_count, preserve_marks=marks_count)
    )


def align(reference: str, hypothesis: str) -> tuple[Step, ...]:
    """Both texts, normalised, side by side with the fewest replaced, missing and added words."""
    import jiwer

    output = jiwer.process_words(reference, hypothesis)
    wanted, found = output.references[0], output.hypotheses[0]
    return tuple(
        Step(
            " ".join(wanted[chunk.ref_start_idx : chunk.ref_end_idx]),
            " ".join(found[chunk.hyp_start_idx : chunk.hyp_end_idx]),
        )
        for chunk in output.alignments[0]
    )


def word_errors(reference: str, hypothesis: str) -> ErrorCount:
    """Replaced, missing and added words; texts are normalised."""
    return count_errors(reference.split(), hypothesis.split())


def speaker_word_errors(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorCount:
    """Word errors of cpWER: of the texts of each speaker, paired so that there are the fewest errors.

    All that one speaker says is one text, normalised. Words of a speaker without a partner are missing or added. With
    these pairs the errors over the words of the references are the concatenated minimum-permutation word error rate
    (Watanabe et al. 2020, "CHiME-6 Challenge", section 5), as meeteval counts it.
    """
    with extras():
        from scipy.optimize import linear_sum_assignment

    count = max(len(references), len(hypotheses))
    wanted, found = (
        [text.split() for text in texts] + [[]] * (count - len(texts)) for texts in (references, hypotheses)
    )
    errors = np.array([edit_distance(one, other) for one in wanted for other in found], np.int64).reshape(count, count)
    return ErrorCount(int(errors[linear_sum_assignment(errors)].sum()), sum(map(len, wanted)))


def character_errors(reference: str, hypothesis: str, language: str | None) -> ErrorCount:
    """Replaced, missing and added characters; spaces count, except in languages written without them."""
    return count_errors(*(_characters(text, language) for text in (reference, hypothesis)))


def _characters(text: str, language: str | None) -> str:
    return text.replace(" ", "") if language in UNSPACED else text.strip()


def rate(errors: Sequence[ErrorCount]) -> Figure | None:
    """All errors over all words (or characters), so that long clips weigh more, as is usual."""
    return ratio([each.errors for each in errors], [each.length for each in errors])


def share(right: Sequence[bool]) -> Figure | None:
    """The part of them that is true."""
    return mean([float(each) for each in right])


def mean(values: Sequence[float]) -> Figure | None:
    """Their mean."""
    return ratio(values, [1] * len(values))


def ratio(parts: Sequence[float], wholes: Sequence[float]) -> Figure | None:
    """The sum of the parts over that of the wholes, one of each for a clip; None if there is nothing to divide by."""
    part, whole = np.array(parts, np.float64), np.array(wholes, np.float64)
    if not whole.sum():
        return None
    drawn = np.random.default_rng(_SEED).integers(0, len(part), (_DRAWS, len(part)))
    drawn_wholes = whole[drawn].sum(axis=1)
    rates = part[drawn].sum(axis=1)[drawn_wholes > 0] / drawn_wholes[drawn_wholes > 0]
    low, high = np.quantile(rates, _INTERVAL)
    return Figure(float(part.sum() / whole.sum()), float(low), float(high))


#: How sacrebleu writes its bootstrapped interval.
_CONFIDENCE = re.compile(r"μ = ([\d.]+) ± ([\d.]+)")


def bleu(references: Sequence[str], hypotheses: Sequence[str]) -> Figure | None:
    """BLEU, ignoring case, with sacrebleu's tokenizer 13a."""
    from sacrebleu import BLEU

    return _translation_score(BLEU(lowercase=True), references, hypotheses)


def chrf(references: Sequence[str], hypotheses: Sequence[str]) -> Figure | None:
    """chrF2."""
    from sacrebleu import CHRF

    return _translation_score(CHRF(), references, hypotheses)


def _translation_score(metric: BLEU | CHRF, references: Sequence[str], hypotheses: Sequence[str]) -> Figure | None:
    if not references:
        return None
    score = metric.corpus_score(list(hypotheses), [list(references)], n_bootstrap=_DRAWS)
    found = _CONFIDENCE.search(score.format(width=4))
    mean, around = (float(found[1]), float(found[2])) if found else (score.score, 0.0)
    return Figure(float(score.score), max(mean - around, 0.0), min(mean + around, 100.0))
