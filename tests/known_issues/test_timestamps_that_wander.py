"""Timestamps that wander, run fast or slow, or jump: words were cut out, and silence was put into others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from containers import encoded, retimed
from hypothesis import given
from hypothesis import strategies as st
from tones import read

from mtasr.audio.read import open_audio
from mtasr.audio.timeline import TOLERANCE, Stamp, Timeline
from mtasr.spans import SAMPLE_RATE
from mtasr.transcript import Repair

#: Seconds of sound, and the rise in a sample of it: a ramp shows by its values which samples are where.
LENGTH = 60
RISE = 1 / (LENGTH * SAMPLE_RATE)
RAMP = (np.arange(1, LENGTH * SAMPLE_RATE + 1) * RISE).astype(np.float32)

Clock = Callable[[float], float]


def placed(
    clock: Clock, piece: int = 320, block: int = SAMPLE_RATE, ramp: np.ndarray = RAMP, **limits: float
) -> tuple[np.ndarray, list[Repair]]:
    """The ramp in pieces with the timestamps of a clock; what a timeline makes of it."""
    timeline = Timeline(**limits)
    stamps = [Stamp(min(piece, len(ramp) - at), clock(at / SAMPLE_RATE)) for at in range(0, len(ramp), piece)]
    found = []
    for start in range(0, len(ramp), block):
        # All that ffmpeg has said so far, which may be more than the samples read.
        found += timeline.push(ramp[start : start + block], stamps)
        stamps = []
    found += timeline.finish()
    return np.concatenate(found), list(timeline.repairs)


def time_of(samples: np.ndarray, at: float) -> float:
    """Where, in seconds, the sample is that was at `at` seconds of the ramp."""
    return float(np.flatnonzero(samples >= at / LENGTH)[0] / SAMPLE_RATE)


def check_nothing_is_lost(samples: np.ndarray, repairs: list[Repair], ramp: np.ndarray = RAMP) -> None:
    """All of the ramp is there in order, with no more than the silence that is told."""
    filled = sum(each.seconds for each in repairs if each.kind == "hole")
    drifted = sum(each.seconds for each in repairs if each.kind == "drift")
    heard = samples[samples > RISE / 2]
    assert len(samples) == pytest.approx(len(ramp) + (filled + drifted) * SAMPLE_RATE, abs=2 + 20 * len(repairs))
    assert len(samples) - len(heard) == pytest.approx(filled * SAMPLE_RATE, abs=2 + 20 * len(repairs))
    if not drifted:
        assert np.array_equal(heard, ramp)
    steps = np.diff(heard[16:-16])
    # Where sound is interpolated beside silence, a few samples are not on the ramp.
    assert np.quantile(np.abs(steps - RISE), 0.99) < 0.06 * RISE + 2e-7
    assert np.sum(np.abs(steps) > 3 * RISE + 2e-7) <= 40 * len(repairs)


@pytest.mark.parametrize("piece", [160, 320, 1024, 4096])
def test_true_timestamps_change_nothing(piece: int) -> None:
    samples, repairs = placed(lambda time: time, piece)
    assert np.array_equal(samples, RAMP)
    assert repairs == []


@pytest.mark.parametrize("most", [0.02, 0.04, 0.06, 0.09])
def test_jitter_moves_nothing(most: float) -> None:
    rng = np.random.default_rng(0)
    samples, repairs = placed(lambda time: time + rng.uniform(-most, most))
    assert np.array_equal(samples, RAMP)
    assert repairs == []


@pytest.mark.parametrize("most", [0.2, 0.3, 0.5])
def test_bursts_put_no_silence_into_words(most: float) -> None:
    """Every few seconds packets come late, and then faster until they have caught up."""
    samples, repairs = placed(lambda time: time + max(0.0, most - (time + 2.5) % 5))
    assert {each.kind for each in repairs} <= {"drift"}
    check_nothing_is_lost(samples, repairs)
    for at in (10, 30, 50):
        assert time_of(samples, at) == pytest.approx(at, abs=TOLERANCE + 0.05)


@pytest.mark.parametrize("share", [-0.03, -0.01, -0.001, 0.001, 0.01, 0.03])
@pytest.mark.parametrize("jitter", [0.0, 0.06])
def test_a_clock_that_is_off_is_followed(share: float, jitter: float) -> None:
    rng = np.random.default_rng(0)
    samples, repairs = placed(lambda time: time * (1 + share) + rng.uniform(-jitter, jitter))
    assert {each.kind for each in repairs} <= {"drift"}
    check_nothing_is_lost(samples, repairs)
    for at in (1, 10, 30, 59):
        assert time_of(samples, at) == pytest.approx(at * (1 + share), abs=0.2)


@pytest.mark.parametrize("jitter", [0.0, 0.06])
@pytest.mark.parametrize("hole", [0.15, 0.4, 3.0, 300.0])
def test_holes_are_silence_where_they_are(hole: float, jitter: float) -> None:
    rng = np.random.default_rng(0)
    samples, repairs = placed(lambda time: time + rng.uniform(-jitter, jitter) + (hole if time >= 20 else 0))
    check_nothing_is_lost(samples, repairs)
    for at in (19, 23, 59):
        assert time_of(samples, at) == pytest.approx(at + (hole if at >= 20 else 0), abs=TOLERANCE + 2 * jitter)
    if not jitter:
        assert repairs == [Repair(kind="hole", start=pytest.approx(20, abs=0.03), seconds=pytest.approx(hole))]
        assert np.array_equal(samples[: 20 * SAMPLE_RATE], RAMP[: 20 * SAMPLE_RATE])


def test_many_holes() -> None:
    """A recorder that writes nothing while nobody speaks."""
    samples, repairs = placed(lambda time: time + 0.5 * (time // 1.5))
    check_nothing_is_lost(samples, repairs)
    assert {each.kind for each in repairs} == {"hole"}
    assert len(samples) / SAMPLE_RATE == pytest.approx(LENGTH + 0.5 * 39, abs=0.1)


def test_jumps_that_are_too_long_are_no_holes() -> None:
    for limits in ({"longest": 100.0}, {"latest": 100.0}):
        samples, repairs = placed(lambda time: time + (200 if time >= 20 else 0), **limits)
        assert np.array_equal(samples, RAMP)
        assert repairs == [Repair(kind="restart", start=pytest.approx(20, abs=0.03), seconds=pytest.approx(200))]


def test_a_stretch_with_wrong_timestamps_adds_no_time() -> None:
    samples, repairs = placed(lambda time: time - (100 if 20 <= time < 30 else 0))
    assert np.array_equal(samples, RAMP)
    assert [each.kind for each in repairs] == ["restart", "restart"]


def test_pieces_without_timestamps_follow_each_other() -> None:
    timeline = Timeline()
    stamps = [Stamp(320, None if number % 3 else number * 0.02) for number in range(3000)]
    assert np.array_equal(np.concatenate([*timeline.push(RAMP, stamps), *timeline.finish()]), RAMP)
    assert timeline.repairs == ()
    timeline = Timeline(lead=1.0)
    assert np.array_equal(np.concatenate([*timeline.push(RAMP, []), *timeline.finish()]), RAMP)


@given(
    jitter=st.floats(0, 0.5),
    share=st.floats(-0.03, 0.03),
    jumps=st.lists(st.tuples(st.floats(0, 20), st.floats(-100, 30)), max_size=4),
    piece=st.sampled_from([160, 320, 341, 1024, 4096]),
    late=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_nothing_is_lost_whatever_the_timestamps_do(
    jitter: float, share: float, jumps: list[tuple[float, float]], piece: int, late: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)

    def clock(time: float) -> float:
        off = rng.uniform(0, jitter) if late else rng.uniform(-jitter, jitter)
        return time * (1 + share) + off + sum(length for at, length in jumps if time >= at)

    ramp = RAMP[: 20 * SAMPLE_RATE]
    samples, repairs = placed(clock, piece, ramp=ramp)
    check_nothing_is_lost(samples, repairs, ramp)
    rng = np.random.default_rng(seed)
    other, repeated = placed(clock, piece, block=7_000, ramp=ramp)
    assert repeated == repairs, "however the samples come"
    assert np.array_equal(other, samples)


@pytest.mark.parametrize("off", ["jitter", "fast", "slow"])
def test_flv_with_the_clock_of_the_wall(tmp_path: Path, off: str) -> None:
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 30 * SAMPLE_RATE)
    flv = encoded(tmp_path / "a.flv", noise, "-c:a", "aac", "-ar", "44100")
    expected = read(flv)
    rng = np.random.default_rng(0)
    clocks: dict[str, Clock] = {
        "jitter": lambda time: time + rng.uniform(0, 0.06),
        "fast": lambda time: time * 1.03,
        "slow": lambda time: time * 0.97,
    }
    flv.write_bytes(retimed(flv.read_bytes(), clocks[off]))
    with open_audio(flv) as stream:
        samples = np.concatenate(list(stream))
    if off == "jitter":
        # The first timestamp may be late too.
        assert np.array_equal(samples[-len(expected) :], expected)
        assert len(samples) - len(expected) < 0.06 * SAMPLE_RATE
        assert stream.warnings == ()
        return
    assert len(samples) / len(expected) == pytest.approx(1.03 if off == "fast" else 0.97, abs=0.005)
    (warning,) = [line for line in stream.warnings if "drift" in line]
    assert ("stretched" if off == "fast" else "squeezed") in warning
