"""Checkpoints are whole or not there, are read by earlier and later runs, and run no code."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from training_model import Configure, write_single_file

from mtasr.errors import ModelIntegrityError, OutputError, UsageError
from mtasr.training import state as module
from mtasr.training.loop import train
from mtasr.training.run_log import read_log
from mtasr.training.state import checkpoints, load_document, stated
from mtasr.training.tensor_files import read_all_tensors, write_tensors


def losses(output: Path) -> list[float]:
    return [entry["loss"] for entry in read_log(output / "log.jsonl") if "loss" in entry]


class Code:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of tensors, a note beside them."""
    path = tmp_path / "step-00000002"
    write_tensors({"model.a": torch.arange(6.0).view(2, 3), "average.a": torch.ones(2)}, path, alone=True)
    note = {"step": 2, "epoch": 0, "batch": 2, "updates": 2, "processes": 1, "scores": {}, "scaler": {}, "config": {}}
    (path / "run.json").write_text(json.dumps(note))
    return path


def test_tensors_come_back(folder: Path) -> None:
    document = load_document(folder)
    assert document["model"]["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert document["average"]["a"].tolist() == [1, 1]
    assert document["step"] == 2


def metadata_of(folder: Path) -> Any:
    return pickle.loads((folder / ".metadata").read_bytes())


def write_metadata(folder: Path, metadata: Any) -> None:
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))


def _code_as_metadata(folder: Path, mark: Path) -> None:
    write_metadata(folder, Code(mark))


def _code_in_metadata(folder: Path, mark: Path) -> None:
    metadata = metadata_of(folder)
    metadata.planner_data = Code(mark)
    write_metadata(folder, metadata)


def _code_called_by_name(folder: Path, _: Path) -> None:
    (folder / ".metadata").write_bytes(b"cbuiltins\neval\n(V1\ntR.")


def _code_instead_of_a_tensor(folder: Path, mark: Path) -> None:
    """Torch unpickles what is no tensor without looking."""
    from torch.distributed.checkpoint.metadata import BytesStorageMetadata

    metadata = metadata_of(folder)
    (index,) = [each for each in metadata.storage_data if each.fqn == "model.a"]
    stored = metadata.storage_data[index]
    metadata.state_dict_metadata["model.a"] = BytesStorageMetadata()
    _replace(folder, metadata, index, pickle.dumps(Code(mark)))
    assert stored.offset >= 0


def _code_in_a_tensor(folder: Path, mark: Path) -> None:
    metadata = metadata_of(folder)
    (index,) = [each for each in metadata.storage_data if each.fqn == "model.a"]
    buffer = io.BytesIO()
    torch.save(Code(mark), buffer)
    _replace(folder, metadata, index, buffer.getvalue())


def _replace(folder: Path, metadata: Any, index: Any, content: bytes) -> None:
    stored = metadata.storage_data[index]
    path = folder / stored.relative_path
    whole = path.read_bytes()
    path.write_bytes(whole + content)
    stored.offset, stored.length = len(whole), len(content)
    write_metadata(folder, metadata)


def _another_folder(folder: Path, _: Path) -> None:
    metadata = metadata_of(folder)
    for stored in metadata.storage_data.values():
        stored.relative_path = f"../{folder.name}/{stored.relative_path}"
    write_metadata(folder, metadata)


def _huge(folder: Path, _: Path) -> None:
    metadata = metadata_of(folder)
    metadata.state_dict_metadata["model.a"].size = torch.Size([1 << 40, 1 << 10])
    write_metadata(folder, metadata)


def _cut(folder: Path, _: Path) -> None:
    (path,) = folder.glob("*.distcp")
    path.write_bytes(path.read_bytes()[:-1])


def _missing(folder: Path, _: Path) -> None:
    (path,) = folder.glob("*.distcp")
    path.unlink()


def _note(folder: Path, _: Path) -> None:
    (folder / "run.json").write_text('{"step": "2"}')


def _deep_note(folder: Path, _: Path) -> None:
    (folder / "run.json").write_text("[" * 100_000)


def _code_in_a_file(folder: Path, mark: Path) -> None:
    shutil.rmtree(folder)
    torch.save({"optimizer": Code(mark)}, folder.with_suffix(".pt"))


@pytest.mark.parametrize(
    "damage",
    [
        _code_as_metadata, _code_in_metadata, _code_called_by_name, _code_instead_of_a_tensor, _code_in_a_tensor,
        _another_folder, _huge, _cut, _missing, _note, _deep_note, _code_in_a_file,
    ],
)  # fmt: skip
def test_hostile_and_damaged_checkpoints(damage: Callable[[Path, Path], None], folder: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    damage(folder, mark)
    (path,) = checkpoints(tmp_path)
    with pytest.raises(ModelIntegrityError, match="is no checkpoint of a run") as raised:
        load_document(path)
    assert not mark.exists()
    assert len(str(raised.value)) < 500
    assert "\n" not in str(raised.value)


def test_a_checkpoint_is_whole_or_not_there(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = losses(train(configure(tmp_path / "whole", "save_every=2")).folder)
    finish = module._finish

    def fails(staging: Path, path: Path, *rest: Any) -> None:
        if path.name == "step-00000004":
            (staging / "__0_0.distcp").unlink()
        finish(staging, path, *rest)

    monkeypatch.setattr(module, "_finish", fails)
    with pytest.raises(OutputError, match="all machines must share the folder of a run"):
        train(configure(tmp_path / "run", "save_every=2"))
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["step-00000002"]
    monkeypatch.undo()
    train(configure(tmp_path / "run", "save_every=2"))
    assert losses(tmp_path / "run") == whole
    assert not list((tmp_path / "run").glob(".*.partial"))


def test_single_files_of_earlier_versions_resume(configure: Configure, tmp_path: Path) -> None:
    run = train(configure(tmp_path / "whole", "save_every=2"))
    other = tmp_path / "old"
    write_single_file(run.folder / "step-00000002", other / "step-00000002.pt")
    shutil.copy(run.folder / "log.jsonl", other)
    train(configure(other, "save_every=2", "keep=1"))
    assert losses(other) == losses(run.folder)
    assert [path.name for path in checkpoints(other)] == ["step-00000004"], "the file is removed like others"
    one, two = (read_all_tensors(folder / "step-00000004") for folder in (run.folder, other))
    assert one.keys() == two.keys()
    assert all(one[name].equal(two[name]) for name in one)


def test_a_run_of_other_batches_is_refused(configure: Configure, tmp_path: Path) -> None:
    run = train(configure(tmp_path / "run", "optimizer.accumulation=2", steps=1))
    assert stated(checkpoints(run.folder)[-1])["processes"] == 1
    with pytest.raises(UsageError, match=r"with 2 batches per step instead of 3; set optimizer.batches_per_step=2$"):
        train(configure(tmp_path / "run", "optimizer.accumulation=3", steps=1))
    with pytest.raises(UsageError, match="another optimizer"):
        train(configure(tmp_path / "run", "optimizer.accumulation=2", "optimizer.clip=2", steps=1))
    train(configure(tmp_path / "run", "optimizer.batches_per_step=2", "parallel=fsdp", steps=1))


def test_a_run_without_a_checkpoint_that_can_be_read_does_not_begin_anew(configure: Configure, tmp_path: Path) -> None:
    run = train(configure(tmp_path / "run", steps=1))
    (checkpoints(run.folder)[-1] / "run.json").unlink()
    with pytest.raises(ModelIntegrityError, match="no checkpoint of the run can be read"):
        train(configure(tmp_path / "run", steps=1))
