"""Spoken-term search over the states of clips that a stand-in for the store has."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from mtasr.arrays import Float32Array
from mtasr.probing.dtw import Moments, Standard
from mtasr.probing.labels import LabelledClip
from mtasr.probing.states import StateStore
from mtasr.probing.tasks.search import SearchTask

LAYERS = 4


class CountingStore:
    """Random states, in which the recordings a query is in have its states."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    def states(self, clip: LabelledClip) -> Float32Array:
        self.asked[clip.audio.name] += 1
        names = [clip.fields["query"]] if "query" in clip.fields else clip.fields["contains"]
        parts = [np.random.default_rng(sum(name.encode())).normal(3, 1, (LAYERS, 12, 8)) for name in names]
        noise = np.random.default_rng(len(clip.audio.name)).normal(3, 1, (LAYERS, 20, 8))
        return np.concatenate([*parts, noise] if "contains" in clip.fields else parts, axis=1).astype(np.float32)


def task() -> SearchTask:
    rows: list[dict[str, Any]] = [
        {"query": "lights"}, {"query": "kitchen"}, {"contains": ["lights"]}, {"contains": ["kitchen"]},
        {"contains": []}, {"contains": ["lights", "kitchen"]},
    ]  # fmt: skip
    return SearchTask([LabelledClip(audio=Path(f"{place}.wav"), fields=row) for place, row in enumerate(rows)])


def test_recordings_are_asked_for_twice_whatever_the_number_of_layers() -> None:
    counting = CountingStore()
    store = cast(StateStore, counting)
    found = task().values(store, "dev", range(LAYERS))
    assert {counting.asked[f"{place}.wav"] for place in range(2)} == {1}
    assert {counting.asked[f"{place}.wav"] for place in range(2, 6)} == {2}
    assert found == [task().values(store, "dev", [layer])[0] for layer in range(LAYERS)]
    assert found == pytest.approx([1.0] * LAYERS)  # the very states of each query are in its recordings


def test_moments_of_frames_that_come_bit_by_bit() -> None:
    frames = np.random.default_rng(0).normal(1_000, 0.1, (50, 3))
    moments = Moments()
    for part in (frames[:1], frames[1:1], frames[1:30], frames[30:]):
        moments.add(part)
    together = Standard.of([frames])
    np.testing.assert_allclose(moments.standard().mean, together.mean)
    np.testing.assert_allclose(moments.standard().deviation, frames.std(axis=0))
    with pytest.raises(ValueError, match="no frames"):
        Moments().standard()
