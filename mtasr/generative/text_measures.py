"""How much generated sequences, of words or of units, repeat themselves and each other: self-BLEU, auto-BLEU, VERT.

Source: Lakhotia et al. 2021 (arXiv:2102.01192), section 4: a model that stutters has a high auto-BLEU, one that always
says the same a high self-BLEU. Both are taken over n-grams of length 1 and 2 with the geometric mean, without a penalty
for length, as the authors' program takes them; there they are of words that a recogniser heard.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

import numpy as np

Sequences = Sequence[Sequence[Hashable]]


def self_bleu2(sequences: Sequences) -> float:
    """The mean BLEU-2 of each sequence with all others as its references, 0 to 1.

    A sequence of fewer than two items has a BLEU-2 of 0. Raises `ValueError` for fewer than two sequences.
    """
    if len(sequences) < 2:
        raise ValueError("self-BLEU compares at least two sequences")
    precisions = np.array([_precisions(sequences, size) for size in (1, 2)])  # (2, sequences)
    return float(np.sqrt(precisions.prod(axis=0)).mean())


def auto_bleu2(sequences: Sequences) -> float:
    """The mean over sequences of the root of two shares: of items, and of pairs, that occur again in the sequence.

    An occurrence that overlaps with the first does not count. A sequence of fewer than two items has 0. Raises
    `ValueError` if there is no sequence.
    """
    if not sequences:
        raise ValueError("there is no sequence")
    return float(np.mean([math.sqrt(recurring(each, 1) * recurring(each, 2)) for each in sequences]))


def vert(sequences: Sequences) -> float:
    """VERT, for diversity: the geometric mean of self-BLEU-2 and auto-BLEU-2. High is monotonous."""
    return math.sqrt(self_bleu2(sequences) * auto_bleu2(sequences))


def recurring(sequence: Sequence[Hashable], size: int) -> float:
    """The share of n-grams of this size that occur elsewhere in the sequence too, without overlap; 0 without any."""
    places = defaultdict(list)
    for place, gram in enumerate(_grams(sequence, size)):
        places[gram].append(place)
    count = max(0, len(sequence) - size + 1)
    again = sum(each - found[0] >= size or found[-1] - each >= size for found in places.values() for each in found)
    return again / count if count else 0.0


def area_over_temperatures(points: Sequence[tuple[float, float]]) -> float:
    """The area under a polyline of (perplexity, VERT), one point per temperature, in the order of the first values.

    As in GSLM, where lower is better. Raises `ValueError` for fewer than two points.
    """
    if len(points) < 2:
        raise ValueError("an area needs at least two points")
    ordered = sorted(points)
    return sum((x2 - x1) * (y1 + y2) / 2 for (x1, y1), (x2, y2) in itertools.pairwise(ordered))


def _precisions(sequences: Sequences, size: int) -> list[float]:
    """The modified precision of each sequence: of its n-grams, how many another sequence has as often."""
    counts = [Counter(_grams(sequence, size)) for sequence in sequences]
    # For each n-gram, how often it is at most in one sequence, and in another one: all that clipping asks for.
    most: dict[tuple[Hashable, ...], tuple[int, int, int]] = {}
    for owner, counter in enumerate(counts):
        for gram, count in counter.items():
            first, second, holder = most.get(gram, (0, 0, -1))
            most[gram] = (count, first, owner) if count > first else (first, max(second, count), holder)
    found = []
    for owner, counter in enumerate(counts):
        matched = sum(
            min(count, most[gram][1] if most[gram][2] == owner else most[gram][0]) for gram, count in counter.items()
        )
        found.append(matched / total if (total := sum(counter.values())) else 0.0)
    return found


def _grams(sequence: Sequence[Hashable], size: int) -> list[tuple[Hashable, ...]]:
    return list(zip(*(sequence[start:] for start in range(size)), strict=False))
