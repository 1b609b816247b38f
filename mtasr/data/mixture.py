"""Records of several sources in pools: parts of the data that are small enough to be in memory.

A pool is a function of the seed and its number, so a run can be resumed at any of them without reading those before.
Each stream of records, such as a language, goes through its blocks in an order that the seed decides, then again in
another order. A pool has the next records of each stream, as many as the share of the stream asks for.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from mtasr.data.reading import RecordBlock
from mtasr.data.records import Record

#: Seconds that a recording counts at least, so that durations of 0 do no harm.
_LEAST_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stream:
    """Records that are drawn at one rate: those of a source, of a language, or all."""

    #: The number of each block and of the records in it that belong to the stream.
    blocks: Sequence[tuple[int, int]]
    seconds: float
    #: The language that they have in common, or none in particular.
    language: str | None = None
    any_language: bool = True

    @property
    def records(self) -> int:
        return sum(count for _, count in self.blocks)

    def places(self, first: int, last: int, seed: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Number of the block, and of the record among those of the stream in it, from one position to another."""
        position = first
        while position < last:
            done, place = divmod(position, self.records)
            order = np.random.default_rng([*seed, done]).permutation(len(self.blocks))
            counts = [self.blocks[index][1] for index in order]
            for index, begin in zip(order, itertools.accumulate(counts, initial=0), strict=False):
                block, count = self.blocks[index]
                for number in range(max(0, place - begin), min(count, place - begin + last - position)):
                    yield block, number
            position += self.records - place


class Mixture:
    """Records of sources, in pools of at most `pool_seconds` of audio.

    By default all records come equally often. `weights` are the shares of the audio that the sources get, in any unit.
    With a `temperature` T above 1, a language with the share p of a source's audio (of all audio, without weights) gets
    a share in proportion to p^(1/T) (Arivazhagan et al. 2019, arXiv:1907.05019).
    """

    def __init__(
        self,
        sources: Sequence[Sequence[RecordBlock]],
        *,
        pool_seconds: float,
        seed: int = 0,
        weights: Sequence[float] = (),
        temperature: float = 1.0,
    ) -> None:
        self._blocks = [block for source in sources for block in source]
        self._seed = seed
        self._streams, rates = _streams(sources, weights, temperature)
        #: The records of each stream in a pool, as exact numbers, so that the parts of pools add up.
        self._each: list[Fraction] = []
        self._begin: list[Fraction] = []
        self.records, self.passes_per_pool = sum(block.records for block in self._blocks), 1.0
        self._everything: list[Record] | None = None
        if not self._streams:
            return
        lengths = [stream.seconds / stream.records for stream in self._streams]
        total = sum(rates)
        mean = float(sum(rate * Fraction(length) for rate, length in zip(rates, lengths, strict=True)) / total)
        size = max(1, min(self.records, int(pool_seconds / mean)))
        self.passes_per_pool = size / self.records
        self._each = [size * rate / total for rate in rates]
        # So that the parts of the first pool add up to its size: each begins where the one before it ends.
        self._begin = [begin % 1 for begin in itertools.accumulate(self._each, initial=Fraction())]

    def pool(self, number: int) -> list[Record]:
        """The records of a pool, in the order of their files. Raises `InputError` if files have changed."""
        if self._everything is not None:
            return self._everything
        wanted: defaultdict[int, Counter[tuple[int, int]]] = defaultdict(Counter)
        for index, stream in enumerate(self._streams):
            each, begin = self._each[index], self._begin[index]
            first, last = int(begin + number * each), int(begin + (number + 1) * each)
            for block, place in stream.places(first, last, [self._seed, index]):
                wanted[block][index, place] += 1
        records = [record for block in sorted(wanted) for record in self._picked(block, wanted[block])]
        if len(self._streams) == 1 and self.passes_per_pool == 1:  # every pool is the same
            self._everything = records
        return records

    def _picked(self, block: int, wanted: Mapping[tuple[int, int], int]) -> Iterator[Record]:
        met: Counter[int] = Counter()
        streams = {index: self._streams[index] for index, _ in wanted}
        for record in self._blocks[block].read():
            for index, stream in streams.items():
                if stream.any_language or stream.language == record.language:
                    yield from itertools.repeat(record, wanted.get((index, met[index]), 0))
                    met[index] += 1


def _streams(
    sources: Sequence[Sequence[RecordBlock]], weights: Sequence[float], temperature: float
) -> tuple[list[_Stream], list[Fraction]]:
    """The streams, and how many records of each are drawn, in proportion to the others."""
    parts: dict[tuple[int, str | None], list[tuple[int, int]]] = defaultdict(list)
    seconds: defaultdict[tuple[int, str | None], float] = defaultdict(float)
    for number, (source, block) in enumerate((index, block) for index, each in enumerate(sources) for block in each):
        counted: Counter[tuple[int, str | None]] = Counter()
        for language, records, length in block.sizes:
            key = source if weights else 0, language if temperature != 1 else None
            counted[key] += records
            seconds[key] += max(length, _LEAST_SECONDS * records)
        for key, records in counted.items():
            parts[key].append((number, records))
    streams = [
        _Stream(blocks=blocks, seconds=seconds[key], language=key[1], any_language=temperature == 1)
        for key, blocks in parts.items()
    ]
    if not weights and temperature == 1:
        return streams, [Fraction(stream.records) for stream in streams]
    sums: defaultdict[int, float] = defaultdict(float)
    for source, language in parts:
        sums[source] += seconds[source, language] ** (1 / temperature)
    rates = []
    for key, stream in zip(parts, streams, strict=True):
        share = stream.seconds ** (1 / temperature) / sums[key[0]] * (weights[key[0]] if weights else 1)
        rates.append(Fraction(share * stream.records / stream.seconds))
    return streams, rates
