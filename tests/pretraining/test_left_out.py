"""Recordings that cannot be decoded or end before they should: runs go on without them, and tell of them."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from speech import SAMPLE_RATE
from spoken import configured, write_recordings
from training_model import Configure

from mtasr.data.records import Record, read_lines, write_records
from mtasr.data.samples import SampleStore
from mtasr.errors import DecodingStoppedError, InputError
from mtasr.pretraining.audio.crop_reader import CropReader, LeftOut
from mtasr.pretraining.audio.crops import AudioPiece
from mtasr.pretraining.best_rq import BestRqObjective
from mtasr.pretraining.hubert import HubertObjective
from mtasr.pretraining.wavlm import WavlmObjective
from mtasr.training.loop import train
from mtasr.training.run_log import read_log


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recordings(tmp_path_factory.mktemp("spoken"))


def _record(path: Path, seconds: float) -> Record:
    return Record(id=path.stem, audio=str(path), duration=seconds, language=None, captions=())


def _broken(folder: Path) -> Path:
    path = folder / "broken.mp3"
    path.write_bytes(b"no sound")
    return path


def _objective(pretraining: Configure, folder: Path, records: list[Record], *settings: str) -> BestRqObjective:
    write_records(records, folder / "records.jsonl")
    return BestRqObjective(pretraining(folder / "run", f"data.train={folder}/records.jsonl", *settings))


def test_what_a_file_does_not_hold_is_no_silence(
    recordings: Path, pretraining: Configure, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One of 5 s that states a minute, beside one that holds what it states."""
    cut, whole = _record(recordings / "4.wav", 60.0), _record(recordings / "3.wav", 3.4)
    objective = _objective(pretraining, tmp_path, [cut, whole], "data.batch_seconds=8")
    plans = objective.epoch(0)
    assert sum(piece.first > 5 * SAMPLE_RATE for plan in plans for piece in plan) > 20
    for number, plan in enumerate(plans):
        batch: Any = objective.batch(plan, np.random.default_rng(number))
        assert len(batch.crops) == len(batch.audio) == len(batch.mask) >= 1
        assert batch.targets == batch.mask.sum()
        assert batch.seconds == batch.audio.size / SAMPLE_RATE
        for crop, row in zip(batch.crops, batch.audio, strict=True):
            assert crop.first + crop.samples <= (5.1 if crop.audio == cut.audio else 3.5) * SAMPLE_RATE
            assert np.abs(row[-SAMPLE_RATE // 5 :]).max() > 0.05
    (message,) = caplog.messages
    assert message.startswith(f"{cut.audio}: ends before ")
    assert (tmp_path / "run" / "left-out.tsv").read_text() == f"{cut.audio}\t{message}\n"


def test_a_duration_may_be_rounded_up(recordings: Path, tmp_path: Path) -> None:
    left_out = LeftOut(tmp_path / "left-out.tsv")
    reader = CropReader(SampleStore(tmp_path / "store"), left_out)
    crop = AudioPiece(audio=str(recordings / "1.wav"), first=SAMPLE_RATE, samples=SAMPLE_RATE + 1600)
    _, (samples,) = reader.read([crop])
    assert len(samples) == SAMPLE_RATE + 1600
    assert (samples[-1600:] == 0).all()
    assert reader.read([replace(crop, samples=SAMPLE_RATE + 1601)]) == ([], [])
    assert len(left_out) == 1


def test_a_batch_that_cannot_be_heard_is_another_one(
    recordings: Path, pretraining: Configure, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Which one depends on the seed of the batch, and not on what was met before."""
    broken = _record(_broken(tmp_path), 3.0)
    records = [broken, _record(recordings / "3.wav", 3.4), _record(recordings / "4.wav", 5.0)]
    piece = AudioPiece(audio=broken.audio, first=0, samples=2 * SAMPLE_RATE)
    found = []
    for seed in (0, 0, 1):
        objective = _objective(pretraining, tmp_path, records)
        batch: Any = objective.batch([piece], np.random.default_rng(seed))
        assert len(batch.audio) == 1
        found.append(batch.crops)
    assert found[0] == found[1] != found[2]
    assert broken.audio not in {crop.audio for crops in found for crop in crops}
    assert len(caplog.messages) == 3, "each began a run"
    assert len(objective.left_out) == 1
    LeftOut(objective.left_out.path).add(broken.audio, "as a run that resumes meets it again")
    assert len(caplog.messages) == 3
    with pytest.raises(InputError, match=r"hardly any of the recordings can be heard; .*left-out\.tsv"):
        _objective(pretraining, tmp_path, [broken]).batch([piece], np.random.default_rng(0))


def test_a_run_that_resumes_leaves_out_the_same(recordings: Path, pretraining: Configure, tmp_path: Path) -> None:
    records = [
        _record(_broken(tmp_path), 30.0),
        _record(recordings / "4.wav", 20.0),
        _record(recordings / "3.wav", 3.4),
    ]
    write_records(records, tmp_path / "records.jsonl")
    found = []
    for name, stops in (("whole", [4]), ("stopped", [2, 4])):
        for stop in stops:
            settings = [f"data.train={tmp_path}/records.jsonl", f"data.cache={tmp_path / name}", "save_every=1"]
            config = pretraining(tmp_path / name, *settings)

            def stopping(entry: dict[str, Any], stop: int = stop) -> None:
                if entry["step"] == stop + 1:
                    raise KeyboardInterrupt

            with contextlib.suppress(KeyboardInterrupt):
                train(config, stopping)
        found.append([entry["loss"] for entry in read_log(tmp_path / name / "log.jsonl")])
    assert found[0] == found[1]
    assert len(found[0]) == 4
    for name in ("whole", "stopped"):
        assert {line.partition("\t")[0] for line in (tmp_path / name / "left-out.tsv").read_text().splitlines()} == {
            record.audio for record in records[:2]
        }


def test_what_may_be_there_another_time_ends_the_run(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a run that resumes would not be the same."""
    reader = CropReader(SampleStore(tmp_path / "store"), LeftOut(tmp_path / "left-out.tsv"))
    with pytest.raises(InputError, match=r"gone\.wav: cannot be read"):
        reader.read([AudioPiece(audio=str(tmp_path / "gone.wav"), first=0, samples=320)])

    def stopped(audio: str) -> None:
        raise DecodingStoppedError(f"{audio}: ffmpeg was stopped")

    monkeypatch.setattr("mtasr.data.samples.read_samples", stopped)
    with pytest.raises(DecodingStoppedError):
        reader.read([AudioPiece(audio=str(recordings / "0.wav"), first=0, samples=320)])
    assert not (tmp_path / "left-out.tsv").exists()


def test_hubert_labels_what_there_is(spoken: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    records = [_record(path, 1.5) for path in sorted(spoken.glob("*.wav"))]
    write_records([_record(_broken(tmp_path), 4.0), *records], tmp_path / "records.jsonl")
    with caplog.at_level(logging.WARNING):
        objective = HubertObjective(configured("hubert", tmp_path / "run", tmp_path / "records.jsonl"))
        objective.model(torch.device("cpu"))
        batches: list[Any] = [objective.batch(plan, np.random.default_rng(0)) for plan in objective.epoch(0)]
    assert {crop.audio for batch in batches for crop in batch.crops} == {record.audio for record in records}
    (message,) = [each for each in caplog.messages if "broken" in each]
    assert message.endswith("; it is left out")
    assert list(objective._remarks(tmp_path / "run")) == [
        f"1 recording was left out, wholly or in part; {tmp_path}/run/left-out.tsv has the reasons"
    ]


def test_noise_that_cannot_be_heard(spoken: Path, tmp_path: Path) -> None:
    noises = [_record(_broken(tmp_path), 3.0), _record(spoken / "tide.wav", 1.5)]
    write_records(noises, tmp_path / "noises.jsonl")
    settings = [f"objective_options.noise={tmp_path}/noises.jsonl", "objective_options.preset=tiny-wavlm"]
    objective = WavlmObjective(configured("wavlm", tmp_path / "run", spoken, *settings))
    rng = np.random.default_rng(0)
    for _ in range(8):
        assert np.abs(objective._noise(16_000, rng)).max() > 0.01
    assert [record.id for _, record in read_lines(tmp_path / "noises.jsonl")] == ["broken", "tide"]
    assert len(objective.left_out) == 1
