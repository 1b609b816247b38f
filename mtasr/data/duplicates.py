"""Repeated texts: within the training data, and between it and the evaluation data.

MinHash (Broder 1997): the signature of a text has, for each of many hash functions, the smallest hash of its n-grams.
The share of equal entries in two signatures estimates the share of n-grams in common (Jaccard similarity). An index of
bands of entries finds candidates, so that unrelated texts are never compared.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from mtasr.data.records import Record
from mtasr.data.texts import normalised

#: Entries of a signature, and of a band. Texts that share 80 % of their n-grams have a band in common with probability
#: 0.9997, texts that share 40 % with 0.34; such pairs are then compared.
_HASHES, _ROWS = 64, 4
#: Characters in an n-gram.
_N = 5
#: Texts of fewer words repeat for good reasons: "Thank you."
_LEAST_WORDS = 5
#: A prime above all 32-bit hashes.
_PRIME = (1 << 61) - 1

_rng = np.random.default_rng(20_221_206)
_FACTORS = [int(each) for each in _rng.integers(1, _PRIME, _HASHES)]
_OFFSETS = [int(each) for each in _rng.integers(0, _PRIME, _HASHES)]

Signature = npt.NDArray[np.uint64]


def signature(text: str) -> Signature:
    """The signature (64,) of a normalised text."""
    grams = {text[place : place + _N] for place in range(max(1, len(text) - _N + 1))}
    hashes = [zlib.crc32(gram.encode()) for gram in grams]
    return np.array(
        [
            min((factor * each + offset) % _PRIME for each in hashes)
            for factor, offset in zip(_FACTORS, _OFFSETS, strict=True)
        ],
        np.uint64,
    )


def similarity(one: Signature, other: Signature) -> float:
    """The estimated share of n-grams in common, from 0 to 1."""
    return float((one == other).mean())


class TextIndex:
    """Finds whether nearly the same text was added before; `least` is the similarity from which it counts as same."""

    def __init__(self, least: float = 0.8) -> None:
        self._least = least
        self._signatures: list[Signature] = []
        self._bands: dict[tuple[int, bytes], list[int]] = {}

    def add(self, text: str) -> None:
        found = signature(text)
        for band in self._banded(found):
            self._bands.setdefault(band, []).append(len(self._signatures))
        self._signatures.append(found)

    def holds(self, text: str) -> bool:
        found = signature(text)
        near = {place for band in self._banded(found) for place in self._bands.get(band, ())}
        return any(similarity(found, self._signatures[place]) >= self._least for place in near)

    @staticmethod
    def _banded(found: Signature) -> list[tuple[int, bytes]]:
        return [(start, found[start : start + _ROWS].tobytes()) for start in range(0, _HASHES, _ROWS)]


class NearDuplicates:
    """A filter that remembers what it has kept. Of nearly equal texts, it keeps the first."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, str, str]] = set()
        self._indexes: dict[tuple[str | None, str], TextIndex] = {}

    def __call__(self, record: Record) -> str | None:
        text = normalised(record.text)
        exact = (record.audio, record.task, text)
        if exact in self._seen:
            return "duplicate"
        self._seen.add(exact)
        if len(text.split()) < _LEAST_WORDS:
            return None
        index = self._indexes.setdefault((record.language, record.task), TextIndex())
        if index.holds(text):
            return "near duplicate"
        index.add(text)
        return None


class EvaluationOverlap:
    """A filter that drops recordings and texts which are in the evaluation data."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._audio: set[str] = set()
        self._texts: set[str] = set()
        self._index = TextIndex()
        for record in records:
            self._audio.add(record.audio)
            text = normalised(record.text)
            self._texts.add(text)
            if len(text.split()) >= _LEAST_WORDS:
                self._index.add(text)

    def __call__(self, record: Record) -> str | None:
        text = normalised(record.text)
        long = len(text.split()) >= _LEAST_WORDS
        known = record.audio in self._audio or text in self._texts or (long and self._index.holds(text))
        return "in the evaluation data" if known else None
