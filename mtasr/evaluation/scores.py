"""Texts beside what they should be -> figures with confidence intervals, and alignments word by word."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from mtasr.extras import extras
from mtasr.tokenizer.languages import UNSPACED

if TYPE_CHECKING:
    from jiwer import AlignmentChunk
    from sacrebleu import BLEU, CHRF

#: How many times clips are drawn anew, with replacement, for an interval; the seed makes it the same each time.
_DRAWS, _SEED = 1000, 1
_INTERVAL = (0.025, 0.975)

#: Languages whose marks are vowels, tones or parts of letters: without them か is が, and a word of Hindi falls apart.
_MARKS_COUNT = UNSPACED - {"zh", "yue"} | {
    "as",
    "bn",
    "gu",
    "hi",
    "kn",
    "ko",
    "ml",
    "mr",
    "ne",
    "pa",
    "sa",
    "si",
    "ta",
    "te",
}

Kind = Literal["equal", "substitute", "delete", "insert"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A value and its 95 % confidence interval, by drawing clips."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Step:
    """A step of an alignment: words of the reference and what was recognised in their place; one may be empty."""

    kind: Kind
    reference: str
    hypothesis: str


@dataclass(frozen=True, slots=True)
class Errors:
    """What is wrong in one clip: `wrong` of `total` words or characters of the reference."""

    wrong: int
    total: int
    steps: tuple[Step, ...] = ()

    @property
    def rate(self) -> float:
        """More than 1 where more was made up than said; infinite for words where none was said."""
        return self.wrong / self.total if self.total else float("inf") if self.wrong else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The figures of some clips; None where there was nothing to compare with.

    WER, CER and language accuracy are rates, BLEU and chrF go to 100.
    """

    clips: int
    audio: float
    wer: Figure | None = None
    cer: Figure | None = None
    bleu: Figure | None = None
    chrf: Figure | None = None
    language_accuracy: Figure | None = None
    #: Seconds of work for a second of audio, without loading the model.
    real_time_factor: float | None = None


def require_libraries() -> None:
    """Raises `MissingExtraError` if the extra is not installed."""
    with extras():
        import jiwer  # noqa: F401
        import sacrebleu  # noqa: F401
        import whisper_normalizer  # noqa: F401


def normalise(text: str, language: str | None) -> str:
    """Without what is no mistake: case, punctuation, marks that make no other letter; English spelling, numbers."""
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


def word_errors(references: Sequence[str], hypotheses: Sequence[str]) -> list[Errors]:
    """The fewest words to replace, leave out and put in, clip by clip; texts are normalised."""
    import jiwer

    output = jiwer.process_words(list(references), list(hypotheses))
    found = zip(output.references, output.hypotheses, output.alignments, strict=True)
    return [_errors(reference, hypothesis, chunks) for reference, hypothesis, chunks in found]


def character_errors(
    references: Sequence[str], hypotheses: Sequence[str], languages: Sequence[str | None]
) -> list[Errors]:
    """The same by characters; where a language writes no spaces, they are no characters."""
    import jiwer

    pairs = [
        tuple(text.replace(" ", "") if language in UNSPACED else text for text in (reference, hypothesis))
        for reference, hypothesis, language in zip(references, hypotheses, languages, strict=True)
    ]
    output = jiwer.process_characters([pair[0] for pair in pairs], [pair[1] for pair in pairs])
    return [
        Errors(sum(map(_wrong, chunks)), len(reference))
        for reference, chunks in zip(output.references, output.alignments, strict=True)
    ]


def _wrong(chunk: AlignmentChunk) -> int:
    if chunk.type == "equal":
        return 0
    return max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)


def _errors(reference: Sequence[str], hypothesis: Sequence[str], chunks: Sequence[AlignmentChunk]) -> Errors:
    kinds: dict[str, Kind] = {
        "equal": "equal", "substitute": "substitute", "delete": "delete", "insert": "insert",
    }  # fmt: skip
    steps = tuple(
        Step(
            kinds[chunk.type],
            " ".join(reference[chunk.ref_start_idx : chunk.ref_end_idx]),
            " ".join(hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]),
        )
        for chunk in chunks
    )
    return Errors(sum(map(_wrong, chunks)), len(reference), steps)


def rate(errors: Sequence[Errors]) -> Figure | None:
    """All errors over all words (or characters): long clips count for more, as is usual."""
    wrong = np.array([each.wrong for each in errors], dtype=np.int64)
    total = np.array([each.total for each in errors], dtype=np.int64)
    return _ratio(wrong, total)


def share(right: Sequence[bool]) -> Figure | None:
    """How many of them are true."""
    return _ratio(np.array(right, dtype=np.int64), np.ones(len(right), dtype=np.int64))


def _ratio(
    part: np.ndarray[tuple[int], np.dtype[np.int64]], whole: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> Figure | None:
    if not whole.sum():
        return None
    drawn = np.random.default_rng(_SEED).integers(0, len(part), (_DRAWS, len(part)))
    wholes = whole[drawn].sum(axis=1)
    rates = part[drawn].sum(axis=1)[wholes > 0] / wholes[wholes > 0]
    low, high = np.quantile(rates, _INTERVAL)
    return Figure(float(part.sum() / whole.sum()), float(low), float(high))


#: How sacrebleu writes what it finds by drawing.
_CONFIDENCE = re.compile(r"μ = ([\d.]+) ± ([\d.]+)")


def bleu(references: Sequence[str], hypotheses: Sequence[str]) -> Figure | None:
    """BLEU without regard to case, with sacrebleu's tokenizer 13a."""
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
