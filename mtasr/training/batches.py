"""Arrays for the model, made in a thread beside the training.

Letters in shapes: B examples, M mel bins, F feature frames, T tokens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from mtasr.arrays import Float32Array, IntArray
from mtasr.data.samples import SampleStore
from mtasr.features import HOP_LENGTH, log_mel
from mtasr.spans import SAMPLE_RATE
from mtasr.training.config import RegularisationConfig
from mtasr.training.examples import Example
from mtasr.training.targets import IGNORED

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one call of the loss reads. Each objective adds its arrays in a subclass."""

    #: Items over which the loss is a sum, such as tokens or masked frames.
    targets: int
    #: Seconds of recordings, and of what the model is given with the padding; 0 if what it is given has no time.
    seconds: float
    padded_seconds: float
    #: The step that the loss is for, counted from 1; the loop sets it. 0 outside of training.
    step: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TextBatch(Batch):
    """`mel` (B, M, F), the `tokens` (B, T) given to the decoder, and the `labels` (B, T) that it is to predict."""

    mel: Float32Array
    tokens: IntArray
    labels: IntArray


def make_batch(
    examples: Sequence[Example], store: SampleStore, n_mels: int, config: RegularisationConfig, rng: np.random.Generator
) -> TextBatch:
    """Its targets are the labels that are not `IGNORED`. Raises `InputError` for a recording that cannot be read."""
    longest = max(example.context for example in examples)
    length = round(longest * SAMPLE_RATE)
    mels = []
    for example in examples:
        samples = store.excerpt(example.excerpt)[:length]
        mels.append(masked(log_mel(np.pad(samples, (0, length - len(samples))), n_mels), len(samples), config, rng))
    width = max(len(example.target.tokens) for example in examples) - 1
    tokens = np.zeros((len(examples), width), np.int64)
    labels = np.full((len(examples), width), IGNORED, np.int64)
    for row, example in enumerate(examples):
        # Tokens after the end have no label, and attention looks back only: any will do.
        tokens[row, : len(example.target.tokens) - 1] = example.target.tokens[:-1]
        labels[row, : len(example.target.labels)] = example.target.labels
    return TextBatch(
        targets=int((labels != IGNORED).sum()),
        seconds=sum(example.excerpt.seconds for example in examples),
        padded_seconds=longest * len(examples),
        mel=np.stack(mels),
        tokens=tokens,
        labels=labels,
    )


def masked(mel: Float32Array, samples: int, config: RegularisationConfig, rng: np.random.Generator) -> Float32Array:
    """A copy of features (M, F) with SpecAugment's masks (Park et al. 2019); what follows `samples` samples is padding.

    A mask covers at most a fifth of the time before the padding, and has the mean of that time as its value.
    """
    n_mels, frames = mel.shape[0], max(1, samples // HOP_LENGTH)
    result = mel.copy()
    mean = mel[:, :frames].mean()
    for _ in range(config.frequency_masks):
        size = int(rng.integers(0, min(config.frequency_mask_bins, n_mels) + 1))
        first = int(rng.integers(0, n_mels - size + 1))
        result[first : first + size] = mean
    for _ in range(config.time_masks):
        size = int(rng.integers(0, min(config.time_mask_frames, frames // 5) + 1))
        first = int(rng.integers(0, frames - size + 1))
        result[:, first : first + size] = mean
    return result


class Ahead(Iterator[_T]):
    """The items of an iterator, computed by a thread at most `most` items ahead, until `close` stops it.

    An exception of the iterator is raised here, after the items before it.
    """

    def __init__(self, items: Iterator[_T], most: int = 4) -> None:
        self._items, self._pool = items, ThreadPoolExecutor(1)
        self._coming = deque(self._pool.submit(next, items) for _ in range(most))

    def __next__(self) -> _T:
        item = self._coming.popleft()
        self._coming.append(self._pool.submit(next, self._items))
        return item.result()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
