"""Units of recordings: on the frame they belong to, computed once, by one process, whoever is killed meanwhile."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from speech import write_wav
from spoken import SENTENCES, write_recordings
from torch import Tensor, nn

from mtasr.data.records import Record
from mtasr.errors import InputError, OutputError, UsageError
from mtasr.networks.wave import WAVE_PRESETS, WaveEncoder
from mtasr.pretraining.audio.crops import AudioPiece
from mtasr.pretraining.units import unit_labels
from mtasr.pretraining.units.kmeans import FrameSample, read_centres
from mtasr.pretraining.units.unit_labels import Teacher, UnitLabels

TEACHER = Teacher(name="mfcc", layer=0, units=8, hours=1.0, seed=0)
#: Where frames of wav2vec 2.0's convolutions have their middles, in samples.
MIDDLES = 200 + 320 * np.arange(20)


class Loudness(nn.Module):
    """A teacher whose frames see what those of cepstra see, and no more."""

    name, width, layers, frame_seconds, offset_seconds = "loudness", 1, 0, 0.01, 0.0125

    def states(self, audio: Tensor) -> list[Tensor]:
        return [audio.abs().unfold(1, 400, 160).amax(dim=2, keepdim=True).clamp_min(1e-4).log()]


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recordings(tmp_path_factory.mktemp("spoken"))


def records(folder: Path) -> list[Record]:
    return [
        Record(id=path.stem, audio=str(path), duration=2.0, language=None, captions=())
        for path in sorted(folder.glob("*.wav"))
    ]


def prepared(folder: Path, spoken: Path, teacher: Teacher = TEACHER, **settings: Any) -> UnitLabels:
    labels = UnitLabels(folder, teacher)
    options = {"data": "these", "resumes": False, **settings}
    labels.prepare(lambda: records(spoken), lambda: records(spoken), "cpu", **options)
    return labels


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in {".npy", ".npz"}}


def crop(path: Path, first: int = 0) -> AudioPiece:
    return AudioPiece(audio=str(path), first=first, samples=6480)


def test_a_frame_has_the_unit_of_what_it_sees(spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An impulse changes the units of the very frames whose features it changes."""
    monkeypatch.setattr(unit_labels, "load_encoder", lambda name, device: Loudness())
    impulse = np.zeros(16_000, np.float32)
    impulse[5000] = 1.0
    write_wav(tmp_path / "impulse.wav", impulse)
    labels = UnitLabels(tmp_path / "labels", replace(TEACHER, name="loudness", units=2))
    labels.prepare(lambda: records(tmp_path), lambda: records(spoken), "cpu", data="", resumes=False)
    torch.manual_seed(0)
    encoder = WaveEncoder(replace(WAVE_PRESETS["tiny"], normalises=False, layers=1)).eval()
    for first in (0, 320, 1600, 2240):
        audio = torch.from_numpy(impulse[None, first : first + 6480])
        with torch.no_grad():
            changed = (encoder.convolved(audio) != encoder.convolved(torch.zeros_like(audio))).any(dim=2)[0]
        (units,) = labels.units_at([crop(tmp_path / "impulse.wav", first)], MIDDLES)
        loud = units != units[-1] if first else units != units[0]
        assert changed.sum() == 1 or changed.sum() == 2
        assert loud.tolist() == changed.tolist()


def test_frame_t_takes_unit_2_t_and_the_last_one_when_there_is_no_other(spoken: Path, tmp_path: Path) -> None:
    labels = prepared(tmp_path, spoken)
    path = spoken / "tide.wav"
    numbers = (np.arange(60) % TEACHER.units).astype(np.uint16)
    np.save(labels._path(str(path)), numbers)
    rows = labels.units_at([crop(path), crop(path, 1600), crop(path, 79), crop(path, 81)], MIDDLES)
    steps = 2 * np.arange(20)
    for row, first in zip(rows, (0, 10, 0, 1), strict=True):
        assert row.tolist() == numbers[np.minimum(steps + first, 59)].tolist()


def test_units_are_those_of_the_nearest_centres(spoken: Path, tmp_path: Path) -> None:
    labels = prepared(tmp_path, spoken)
    centres = read_centres(tmp_path / "centres.npz")
    assert (centres.encoder, centres.layer, centres.units) == ("mfcc", 0, 8)
    used = set()
    for record in records(spoken):
        blocks = unit_labels._blocks(unit_labels.load_encoder("mfcc", "cpu"), 0, record.audio)
        frames = np.concatenate([block.states[0] for block in blocks])
        units = labels._units(record.audio)
        np.testing.assert_array_equal(units, centres.assign(frames))
        used |= set(units.tolist())
    assert used == set(range(8))
    assert len(contents(tmp_path)) == 1 + len(SENTENCES)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The recordings that are listened to."""
    heard: list[str] = []
    listen = unit_labels._blocks

    def blocks(encoder: Any, layer: int, audio: str) -> Iterator[Any]:
        heard.append(Path(audio).stem)
        return listen(encoder, layer, audio)

    monkeypatch.setattr(unit_labels, "_blocks", blocks)
    return heard


def test_what_is_there_is_not_computed_again(spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared(tmp_path, spoken)
    heard, before = counted(monkeypatch), contents(tmp_path)
    prepared(tmp_path, spoken)
    assert heard == []
    UnitLabels(tmp_path, TEACHER)._path(records(spoken)[1].audio).unlink()
    prepared(tmp_path, spoken)
    assert heard == [records(spoken)[1].id]
    assert contents(tmp_path) == before


@pytest.mark.parametrize("killed_at", [0, 2, 4])
def test_whoever_is_killed_goes_on(
    spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    """While units are learned (from three recordings), or while they are computed."""
    prepared(tmp_path / "whole", spoken)
    listen, heard = unit_labels._blocks, 0

    def blocks(encoder: Any, layer: int, audio: str) -> Iterator[Any]:
        nonlocal heard
        heard += 1
        if heard > killed_at:
            raise KeyboardInterrupt
        return listen(encoder, layer, audio)

    with monkeypatch.context() as patch:
        patch.setattr(unit_labels, "_blocks", blocks)
        with pytest.raises(KeyboardInterrupt):
            prepared(tmp_path / "killed", spoken)
    found = contents(tmp_path / "killed")
    assert len(found) == max(0, killed_at - 2)
    assert not json.loads((tmp_path / "killed" / "note.json").read_text()).get("complete")
    again = counted(monkeypatch)
    prepared(tmp_path / "killed", spoken)
    assert len(again) == (6 if killed_at < 3 else 6 - killed_at)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    "change",
    [
        lambda: ({"teacher": replace(TEACHER, units=5)}, {}),
        lambda: ({"teacher": replace(TEACHER, seed=1)}, {}),
        lambda: ({}, {"data": "others"}),
    ],
)
def test_units_of_another_teacher_or_of_other_data_are_replaced(
    spoken: Path, tmp_path: Path, change: Callable[[], tuple[dict[str, Any], dict[str, Any]]]
) -> None:
    prepared(tmp_path / "first", spoken)
    (tmp_path / "first" / "mine.npy").write_bytes(b"not ours")
    arguments, settings = change()
    prepared(tmp_path / "first", spoken, **arguments, **settings)
    prepared(tmp_path / "second", spoken, **arguments, **settings)
    left = contents(tmp_path / "first")
    assert left.pop("mine.npy") == b"not ours"
    assert left == contents(tmp_path / "second")


def test_a_teacher_with_other_weights_is_another_one(
    spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def teacher(seed: int) -> Callable[..., WaveEncoder]:
        torch.manual_seed(seed)
        encoder = WaveEncoder(replace(WAVE_PRESETS["tiny"], width=16, heads=2, layers=1)).eval()
        return lambda name, device: encoder

    settings = {"teacher": replace(TEACHER, name="run", layer=-1, units=4)}
    monkeypatch.setattr(unit_labels, "load_encoder", teacher(0))
    prepared(tmp_path, spoken, **settings)
    assert read_centres(tmp_path / "centres.npz").layer == 1
    before = contents(tmp_path)
    prepared(tmp_path, spoken, **settings)
    assert contents(tmp_path) == before
    monkeypatch.setattr(unit_labels, "load_encoder", teacher(1))
    prepared(tmp_path, spoken, **settings)
    assert contents(tmp_path).keys() == before.keys()
    assert contents(tmp_path) != before


def test_a_run_that_resumes_needs_no_teacher_and_takes_no_other(
    spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = prepared(tmp_path, spoken).units_at([crop(spoken / "tide.wav")], MIDDLES)
    files = contents(tmp_path)
    monkeypatch.setattr(unit_labels, "load_encoder", None)
    resumed = prepared(tmp_path, spoken, resumes=True)
    np.testing.assert_array_equal(resumed.units_at([crop(spoken / "tide.wav")], MIDDLES), before)
    with pytest.raises(UsageError, match="began with the units of another teacher"):
        prepared(tmp_path, spoken, replace(TEACHER, units=5), resumes=True)
    assert contents(tmp_path) == files


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"teacher": 1, "step": 2.0, "offset": 0.0}', '{"step": "1"}'])
def test_a_note_that_is_damaged_counts_as_none(spoken: Path, tmp_path: Path, note: str) -> None:
    prepared(tmp_path, spoken)
    before = contents(tmp_path)
    (tmp_path / "note.json").write_text(note)
    prepared(tmp_path, spoken, resumes=True)
    assert contents(tmp_path) == before
    assert json.loads((tmp_path / "note.json").read_text())["complete"]


def test_of_several_processes_one_computes(spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = counted(monkeypatch)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: prepared(tmp_path, spoken), range(3)))
    assert len(heard) == 2 * len(SENTENCES)


def test_one_recording_does_not_give_all_that_teaches(
    spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenth at most, though its record says that it lasts for hours."""
    monkeypatch.setattr(unit_labels, "_ALLOWED", 0.0)
    shown: Counter[int] = Counter()
    add = FrameSample.add

    def counting(sample: FrameSample, frames: Any, speech: Any) -> None:
        shown[len(heard)] += len(frames)
        add(sample, frames, speech)

    monkeypatch.setattr(FrameSample, "add", counting)
    heard = counted(monkeypatch)
    labels = UnitLabels(tmp_path, replace(TEACHER, hours=9 / 3600, units=4))
    long = [replace(record, duration=7200.0) for record in records(spoken)]
    labels.prepare(list, lambda: long, "cpu", data="these", resumes=False)
    assert heard == [record.id for record in long]
    assert set(shown.values()) == {90}, "0.9 s of each in frames of 10 ms"


def test_only_some_hours_teach(spoken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = counted(monkeypatch)
    prepared(tmp_path, spoken, replace(TEACHER, hours=3 / 3600))
    assert heard[:2] == [record.id for record in records(spoken)[:2]]
    assert len(heard) == 2 + len(SENTENCES)


def test_a_layer_that_is_not_there_is_refused(spoken: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no layer 3"):
        prepared(tmp_path, spoken, replace(TEACHER, layer=3))


@pytest.mark.parametrize("damage", [b"", b"text", None])
def test_damaged_and_missing_units_are_told(spoken: Path, tmp_path: Path, damage: bytes | None) -> None:
    labels = prepared(tmp_path, spoken)
    path = labels._path(str(spoken / "tide.wav"))
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    with pytest.raises(InputError, match=r"tide\.wav: its units are missing or damaged"):
        labels.units_at([crop(spoken / "tide.wav")], MIDDLES)


@pytest.mark.parametrize("units", [np.zeros(0, np.uint16), np.full(9, 8, np.uint16), np.zeros(9, np.int64)])
def test_numbers_that_are_no_units_are_refused(spoken: Path, tmp_path: Path, units: np.ndarray) -> None:
    labels = prepared(tmp_path, spoken)
    np.save(labels._path(str(spoken / "tide.wav")), units)
    with pytest.raises(InputError, match="too short for units, or they are damaged"):
        labels.units_at([crop(spoken / "tide.wav")], MIDDLES)


def test_a_recording_that_was_replaced_has_no_units(spoken: Path, tmp_path: Path) -> None:
    labels = prepared(tmp_path / "labels", spoken)
    copy = tmp_path / "tide.wav"
    copy.write_bytes((spoken / "tide.wav").read_bytes())
    with pytest.raises(InputError, match="has the recording changed"):
        labels.units_at([crop(copy)], MIDDLES)


@pytest.mark.skipif(os.name == "nt", reason="no such paths")
def test_a_folder_that_cannot_be_written_is_one_line(spoken: Path) -> None:
    with pytest.raises(OutputError, match="cannot write /dev/null/labels"):
        prepared(Path("/dev/null/labels"), spoken)
