from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from fake_encoder import LocalEncoder
from speech import write_wav

from mtasr.errors import InputError, UsageError
from mtasr.pretraining.units.kmeans import FrameSample, UnitCentres, read_centres
from mtasr.pretraining.units.spoken_units import SpokenUnit, check_fit, learnt, sampled, spoken_units, timed
from mtasr.spans import SAMPLE_RATE

ENCODER = LocalEncoder()
#: Quiet and loud, by the second value of layer 0.
CENTRES = UnitCentres(centres=np.array([[0, 0, 0], [0, 0.5, 0]], np.float32), encoder="local", layer=0)


def recording(path: Path) -> str:
    """A second of quiet, two of loud, one of quiet."""
    rng = np.random.default_rng(0)
    loud = [0.02, 0.5, 0.5, 0.02]
    write_wav(path, np.concatenate([rng.choice([-1, 1], SAMPLE_RATE) * each for each in loud]).astype(np.float32))
    return str(path)


def test_runs_are_joined_and_times_are_those_of_the_sound(tmp_path: Path) -> None:
    found = list(spoken_units(ENCODER, CENTRES, recording(tmp_path / "a.wav")))
    assert [each.unit for each in found] == [0, 1, 0]
    assert [each.start for each in found] == pytest.approx([0, 1, 3], abs=0.03)
    assert [each.end for each in found] == pytest.approx([1, 3, 4], abs=0.03)
    for one, following in itertools.pairwise(found):
        assert one.end == following.start


def test_frames_one_by_one(tmp_path: Path) -> None:
    joined = list(spoken_units(ENCODER, CENTRES, recording(tmp_path / "a.wav")))
    frames = list(spoken_units(ENCODER, CENTRES, str(tmp_path / "a.wav"), joins=False))
    assert len(frames) == 199
    assert all(each.end - each.start == pytest.approx(0.02) for each in frames)
    assert sum(each.unit for each in frames) == pytest.approx(100, abs=2)
    assert (frames[0].start, frames[-1].end) == (joined[0].start, joined[-1].end)


@pytest.mark.parametrize(
    ("units", "joins", "expected"),
    [
        ([], True, []),
        ([5], True, [(5, 0, 1)]),
        ([5, 5, 2], True, [(5, 0, 2), (2, 2, 3)]),
        ([5, 5, 2], False, [(5, 0, 1), (5, 1, 2), (2, 2, 3)]),
        ([0, 0], True, [(0, 0, 2)]),
    ],
)
def test_times(units: list[int], joins: bool, expected: list[tuple[int, int, int]]) -> None:
    step, origin = ENCODER.frame_seconds, ENCODER.offset_seconds - ENCODER.frame_seconds / 2
    assert list(timed(units, ENCODER, joins=joins)) == [
        SpokenUnit(unit=unit, start=origin + first * step, end=origin + end * step) for unit, first, end in expected
    ]


def test_units_are_learnt_from_recordings(tmp_path: Path) -> None:
    sample = FrameSample(silence=1.0)  # the detector takes noise for no speech
    sampled(sample, ENCODER, 0, recording(tmp_path / "a.wav"))
    centres = learnt(sample, ENCODER, 0, 2)
    assert (centres.encoder, centres.layer) == ("local", 0)
    quiet, loud = sorted(centres.centres[:, 1].tolist())
    assert quiet < 0.25 < 0.4 < loud
    again = FrameSample(silence=1.0)
    sampled(again, ENCODER, 0, str(tmp_path / "a.wav"))
    np.testing.assert_array_equal(learnt(again, ENCODER, 0, 2).centres, centres.centres)


def test_no_speech_no_units(tmp_path: Path) -> None:
    sample = FrameSample()
    sampled(sample, ENCODER, 0, recording(tmp_path / "a.wav"))
    with pytest.raises(InputError, match="no speech"):
        learnt(sample, ENCODER, 0, 2)


def test_centres_of_another_encoder_or_layer_are_refused() -> None:
    assert check_fit(CENTRES, ENCODER) == 0
    assert check_fit(CENTRES, ENCODER, -2) == 0
    with pytest.raises(UsageError, match="for layer 0, not 1"):
        check_fit(CENTRES, ENCODER, 1)
    with pytest.raises(UsageError, match="frames of 4 values, and local has 3"):
        check_fit(UnitCentres(centres=np.zeros((2, 4), np.float32)), ENCODER)
    unnamed = UnitCentres(centres=CENTRES.centres)
    assert check_fit(unnamed, ENCODER, 1) == 1
    with pytest.raises(UsageError, match="no layer 7"):
        check_fit(UnitCentres(centres=CENTRES.centres, encoder="local", layer=7), ENCODER)


def test_centres_of_other_weights_are_refused(tmp_path: Path) -> None:
    sample = FrameSample(silence=1.0)
    sampled(sample, ENCODER, 0, recording(tmp_path / "a.wav"))
    learnt(sample, ENCODER, 0, 2, identity="0123").save(tmp_path / "u.npz")
    kept = read_centres(tmp_path / "u.npz")
    assert kept.identity == "0123"
    assert check_fit(kept, ENCODER, identity="0123") == 0
    assert check_fit(CENTRES, ENCODER, identity="0123") == 0  # nobody knows whose they are
    with pytest.raises(UsageError, match="the centres are for local, and local has other weights"):
        check_fit(kept, ENCODER, identity="4567")
