"""The same text again: within the data, and in the data that models are judged by.

MinHash (Broder 1997): of all n-grams of a text, under each of many hash functions, the smallest hash. The share of
equal smallest hashes of two texts estimates how much of their n-grams they have in common (Jaccard). Bands of hashes
are looked up, so that no two texts need to be compared that have nothing in common.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from mtasr.data.records import Record
from mtasr.data.texts import normalised

#: Hashes of a signature, in bands of so many rows: pairs that share 80 % of their n-grams meet in a band with
#: probability 0.9997, those that share 40 % with 0.34, and are then compared.
_HASHES, _ROWS = 64, 4
#: Characters of an n-gram.
_N = 5
#: Texts of fewer words are repeated with good reason: "Thank you."
_LEAST_WORDS = 5
#: A prime above all 32-bit hashes.
_PRIME = (1 << 61) - 1

_rng = np.random.default_rng(20_221_206)
_FACTORS = [int(each) for each in _rng.integers(1, _PRIME, _HASHES)]
_OFFSETS = [int(each) for each in _rng.integers(0, _PRIME, _HASHES)]

Signature = npt.NDArray[np.uint64]


def signature(text: str) -> Signature:
    """(64,) of a normalised text."""
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
    """The estimated share of n-grams in common, 0 to 1."""
    return float((one == other).mean())


class TextIndex:
    """Finds texts among those added before that are nearly the same."""

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
    """A filter that remembers what it has kept: of texts that are nearly the same, the first stays."""

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
    """A filter for what is in the data that the model will be judged by: its recordings, and its texts."""

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
