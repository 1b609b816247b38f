from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtasr.audio.clips import Clips
from mtasr.spans import SAMPLE_RATE


@pytest.mark.parametrize(
    ("times", "heard"),
    [
        ((), [(0, 100)]),
        ((0.001, 0.002), [(16, 32)]),
        ((0.001, 0.002, 0.003, 0.004), [(16, 32), (48, 64)]),
        ((0.005,), [(80, 100)]),
        ((0.0, 0.001), [(0, 16)]),
    ],
)
def test_only_clips_are_heard(times: tuple[float, ...], heard: list[tuple[int, int]]) -> None:
    wanted = np.zeros(100, np.float32)
    for start, end in heard:
        wanted[start:end] = 1
    block = np.ones(100, np.float32)
    assert np.array_equal(Clips(times).mask(block, 0), wanted)
    assert block.all(), "the caller's samples are left alone"


@given(
    times=st.lists(st.integers(0, 400), max_size=6, unique=True).map(sorted),
    cuts=st.lists(st.integers(0, 400), max_size=5).map(sorted),
)
def test_the_size_of_blocks_changes_nothing(times: list[int], cuts: list[int]) -> None:
    clips = Clips([time / SAMPLE_RATE for time in times])
    samples = np.arange(1, 401, dtype=np.float32)
    edges = [0, *cuts, 400]
    pieces = [clips.mask(samples[a:b], a) for a, b in itertools.pairwise(edges)]
    assert np.array_equal(np.concatenate(pieces), clips.mask(samples, 0))
