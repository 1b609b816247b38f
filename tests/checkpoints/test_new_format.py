"""Another checkpoint format, added as `mtasr.checkpoints.formats` says, and how a format is chosen."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from small_checkpoint import same, small_checkpoint

from mtasr.checkpoints import formats, weights
from mtasr.checkpoints.checkpoint import Checkpoint, Format, Precision, checked_dimensions
from mtasr.checkpoints.formats import format_for, load_checkpoint, save_checkpoint
from mtasr.checkpoints.settings import plain, settings_in
from mtasr.cli import program
from mtasr.errors import ModelIntegrityError, UsageError
from mtasr.networks.dimensions import ModelDimensions


class Npz(Format):
    """Arrays of NumPy under the names of our own network."""

    name = "npz"
    looks = "a .npz file"
    ending = ".npz"

    def detects(self, path: Path) -> bool:
        return path.suffix == ".npz"

    def load(self, path: Path) -> Checkpoint:
        with np.load(path) as arrays:
            about = json.loads(str(arrays["about"]))
            dims = checked_dimensions(ModelDimensions(**about["dims"]), path)
            tensors = {name: torch.from_numpy(arrays[name]) for name in weights.expected_shapes(dims)}
        precision = weights.common_precision(str(each.dtype).removeprefix("torch.") for each in tensors.values())
        settings = settings_in(about["settings"], path, variable_length=about["settings"]["variable_length"])
        return Checkpoint(weights.build(dims, tensors, path), about["tokens"], settings, precision)

    def save(self, checkpoint: Checkpoint, path: Path, precision: Precision) -> None:
        state = weights.state_of(checkpoint.model, path)
        arrays = {name: weights.rounded(name, tensor, precision).numpy() for name, tensor in state.items()}
        about = {
            "dims": asdict(checkpoint.model.dims),
            "tokens": checkpoint.tokens,
            "settings": plain(checkpoint.settings),
        }
        np.savez(path, about=json.dumps(about), **arrays)  # type: ignore[arg-type]


@pytest.fixture
def npz(monkeypatch: pytest.MonkeyPatch) -> None:
    import mtasr.cli.models  # noqa: F401 - whose choices of formats must not keep this one

    *others, last = formats.FORMATS
    monkeypatch.setattr(formats, "FORMATS", (*others, Npz(), last))


def run(*args: str | Path) -> str:
    result = CliRunner().invoke(program, ["models", *map(str, args)])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.usefixtures("npz")
def test_a_format_is_added_by_one_line_of_the_registry(source: Path, tmp_path: Path) -> None:
    assert "npz, float16" in run("convert", source, tmp_path / "model.npz")
    assert "format\tnpz\nprecision\tfloat16" in run("info", tmp_path / "model.npz")
    run("convert", tmp_path / "model.npz", tmp_path / "back")
    assert same(load_checkpoint(tmp_path / "back"), small_checkpoint())
    assert (tmp_path / "back/model.bin").read_bytes() == (source / "model.bin").read_bytes()
    run("convert", source, tmp_path / "model.npz", "--force")
    with pytest.raises(
        ModelIntegrityError, match=r"known format: a folder with model.bin .*, a .npz file \(npz\), a .pt file"
    ):
        load_checkpoint(tmp_path)


def test_the_ending_of_the_destination_decides(source: Path, tmp_path: Path) -> None:
    assert "openai, float16" in run("convert", source, tmp_path / "base.pt")
    assert "ctranslate2, float16" in run("convert", source, tmp_path / "base.en")
    assert "huggingface, float16" in run("convert", source, tmp_path / "c.pt", "--format", "huggingface")
    assert (tmp_path / "base.pt").is_file()
    assert (tmp_path / "c.pt" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("destination", "name"),
    [("base.pt", "openai"), ("BASE.PT", "openai"), ("base", "ctranslate2"), (".pt", "ctranslate2")],
)
def test_format_for(destination: str, name: str) -> None:
    assert format_for(Path(destination)).name == name


def test_a_format_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no format 'onnx'; use one of ctranslate2, huggingface, openai"):
        save_checkpoint(small_checkpoint(), tmp_path / "model", "onnx")
