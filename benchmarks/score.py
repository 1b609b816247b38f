"""Word error rates of several systems on the same clips, and how sure their differences are.

    PYTHON benchmarks/score.py < QUESTION > ANSWER

speed.py asks; this runs in the peers' environment, which has the normalisers. The question, in JSON:

    {"clips": [{"language": "en", "segments": [REFERENCE, ...], "texts": {SYSTEM: [TEXT of each round, ...]}}, ...],
     "against": {SYSTEM: SYSTEM}, "draws": 10000, "seed": 0}

Texts are compared in lower case, without punctuation and diacritics; English numbers and spellings are made alike.
Errors are averages over rounds.

The interval of a difference comes from a paired bootstrap. What is drawn are reference segments: within the clips of a
language where each clip is one segment, within their recording where it has several. An error belongs to the segment of
the reference word that the edit distance aligns it with, a word too many to that of the word before it.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from rapidfuzz.distance import Levenshtein
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

#: Draws at once, for the sake of memory.
_BATCH = 500

Floats = npt.NDArray[np.float64]


@cache
def normaliser(language: str) -> Any:
    return EnglishTextNormalizer() if language == "en" else BasicTextNormalizer(remove_diacritics=True)


def words(language: str, text: str) -> list[str]:
    return str(normaliser(language)(text)).split()


class Reference:
    """The words of a clip and the segment that each belongs to.

    The text is normalised as a whole, as hypotheses are, since a number may be spelled with the one after it. To know
    whose the words are, they are aligned with the words of segments normalised one by one.
    """

    def __init__(self, language: str, segments: list[str]) -> None:
        self.language, self.count = language, len(segments)
        self.words = words(language, " ".join(segments))
        apart = [(word, at) for at, text in enumerate(segments) for word in words(language, text)]
        self.owners = [0] * len(self.words)
        for step in Levenshtein.opcodes([word for word, _ in apart], self.words) if apart else ():
            for offset in range(step.dest_end - step.dest_start):
                source = min(step.src_start + offset, max(step.src_start, step.src_end - 1), len(apart) - 1)
                self.owners[step.dest_start + offset] = apart[source][1]

    def lengths(self) -> Floats:
        """Words in each segment."""
        return np.bincount(self.owners, minlength=self.count).astype(np.float64)

    def errors(self, text: str) -> Floats:
        """Word errors of a hypothesis in each segment."""
        found = np.zeros(self.count)
        for edit in Levenshtein.editops(self.words, words(self.language, text)):
            place = max(0, edit.src_pos - (edit.tag == "insert"))
            found[self.owners[place] if self.owners else 0] += 1
        return found


@dataclass
class Stratum:
    """Segments among which the bootstrap draws: `lengths` (N,) and `errors` (N, systems)."""

    language: str
    lengths: Floats
    errors: Floats

    def join(self, other: Stratum) -> Stratum:
        lengths = np.concatenate([self.lengths, other.lengths])
        return Stratum(self.language, lengths, np.concatenate([self.errors, other.errors]))

    def drawn(self, draws: int, rng: np.random.Generator) -> Floats:
        """(draws, 1 + systems): words and errors of as many segments as there are, drawn with replacement."""
        values, count = np.column_stack([self.lengths, self.errors]), len(self.lengths)
        batches = (min(_BATCH, draws - begin) for begin in range(0, draws, _BATCH))
        return np.concatenate([rng.multinomial(count, [1 / count] * count, size) @ values for size in batches])


def strata_of(clips: list[dict[str, Any]], systems: list[str]) -> list[Stratum]:
    short: dict[str, Stratum] = {}
    long = []
    for clip in clips:
        reference = Reference(clip["language"], clip["segments"])
        errors = [np.mean([reference.errors(text) for text in clip["texts"][system]], axis=0) for system in systems]
        stratum = Stratum(clip["language"], reference.lengths(), np.column_stack(errors))
        if reference.count > 1:
            long.append(stratum)
        else:
            short[stratum.language] = short[stratum.language].join(stratum) if stratum.language in short else stratum
    return [*short.values(), *long]


def rates(strata: list[Stratum]) -> Floats:
    """Errors by words for each system."""
    errors = np.sum([stratum.errors.sum(axis=0) for stratum in strata], axis=0)
    rate: Floats = errors / max(1.0, sum(stratum.lengths.sum() for stratum in strata))
    return rate


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """For each system: rates, and the difference to the system it stands against with its 95 % interval."""
    systems = list(question["against"])
    strata = strata_of(question["clips"], systems)
    languages = defaultdict(list)
    for stratum in strata:
        languages[stratum.language].append(stratum)
    rng = np.random.default_rng(question["seed"])
    drawn = np.sum([stratum.drawn(question["draws"], rng) for stratum in strata], axis=0)
    drawn_rates = drawn[:, 1:] / np.maximum(drawn[:, :1], 1)
    pooled, by_language = rates(strata), {language: rates(those) for language, those in languages.items()}
    found = {}
    for column, system in enumerate(systems):
        base = systems.index(question["against"][system])
        low, high = np.quantile(drawn_rates[:, column] - drawn_rates[:, base], [0.025, 0.975])
        found[system] = {
            "wer": pooled[column],
            "languages": {language: rate[column] for language, rate in by_language.items()},
            "difference": pooled[column] - pooled[base],
            "interval": [low, high],
        }
    return {"words": sum(stratum.lengths.sum() for stratum in strata), "systems": found}


def main() -> None:
    json.dump(answer(json.load(sys.stdin)), sys.stdout)


if __name__ == "__main__":
    main()
