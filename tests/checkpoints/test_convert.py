"""`mtasr models convert` and `mtasr models info`."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from small_checkpoint import same, small_checkpoint

from mtasr.checkpoints import convert as convert_module
from mtasr.checkpoints.checkpoint import Checkpoint
from mtasr.checkpoints.convert import convert
from mtasr.checkpoints.formats import load_checkpoint, save_checkpoint
from mtasr.checkpoints.parity import Parity, compare
from mtasr.checkpoints.parity_clip import Difference, tolerance_of
from mtasr.cli import program
from mtasr.errors import ModelError, OutputError, UsageError
from mtasr.extras import install_extra


@pytest.fixture
def wide() -> None:
    """The processor of this machine: how far apart int8 may be depends on it."""


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(program, ["models", *map(str, args)])


def test_through_all_formats_and_back(source: Path, tmp_path: Path) -> None:
    path = source
    for name, kind in (("a.pt", "openai"), ("b", "huggingface"), ("c", "ctranslate2")):
        result = run("convert", path, tmp_path / name, "--format", kind)
        assert result.exit_code == 0, result.output
        assert "logits: difference" in result.stderr
        path = tmp_path / name
    assert same(load_checkpoint(path), small_checkpoint())
    assert (path / "model.bin").read_bytes() == (source / "model.bin").read_bytes()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.pt", "b", "c"]


@pytest.mark.parametrize("precision", ["int8", "int8_float16", "bfloat16", "float32"])
def test_precisions(source: Path, tmp_path: Path, precision: str) -> None:
    done = run("convert", source, tmp_path / "result", "--quantization", precision)
    assert done.exit_code == 0, done.output
    shown = run("info", tmp_path / "result").stdout
    assert f"precision\t{precision}\n" in shown


def test_info(source: Path) -> None:
    rows = dict(line.split("\t") for line in run("info", source).stdout.splitlines())
    assert rows["encoder"] == "1 layers, width 16, 2 heads, 80 mel bins, context 150"
    assert rows["decoder"] == "2 layers, width 16, 4 heads, context 64"
    assert rows["vocabulary"] == "2308 tokens, multilingual"
    assert rows["languages"].startswith("99: en zh")
    assert rows["tasks"] == "transcribe translate"
    assert rows["size"] == f"{sum(file.stat().st_size for file in source.iterdir())} bytes"


def test_a_result_that_computes_something_else_is_not_kept(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damage(checkpoint: Checkpoint, *args: object) -> None:
        save_checkpoint(replace(checkpoint, model=small_checkpoint(seed=1).model), *args)  # type: ignore[arg-type]

    monkeypatch.setattr(convert_module, "save_checkpoint", damage)
    result = run("convert", source, tmp_path / "result", "--quantization", "int8")
    assert result.exit_code == 5
    assert "parity: the encoder outputs differ by" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["ctranslate2", "huggingface"])
def test_parity_sees_one_wrong_matrix(tmp_path: Path, kind: str) -> None:
    right, wrong = small_checkpoint(), small_checkpoint()
    with torch.no_grad():
        wrong.model.decoder.blocks[1].mlp.up.weight.mul_(1.5)
    save_checkpoint(wrong, tmp_path / "wrong", kind)  # type: ignore[arg-type]
    parity = compare(right, tmp_path / "wrong", "float32")
    with pytest.raises(ModelError, match="the logits differ"):
        parity.require()
    assert parity.encoder.rms < 1e-5


def test_what_is_at_the_destination(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "result"
    target.mkdir()
    convert(str(source), target)  # an empty folder is as good as none
    before = (target / "model.bin").stat().st_mtime_ns
    with pytest.raises(OutputError, match="exists; --force replaces it"):
        convert(str(source), target)
    assert (target / "model.bin").stat().st_mtime_ns == before
    convert(str(source), target, precision="float32", force=True)
    assert load_checkpoint(target).precision == "float32"
    with pytest.raises(OutputError, match="is not a file, which the openai format writes"):
        convert(str(source), target, "openai", force=True)
    (target / "thesis.tex").touch()
    with pytest.raises(OutputError, match=r"holds more than a model \(thesis.tex\)"):
        convert(str(source), target, force=True)
    with pytest.raises(UsageError, match="is the source itself"):
        convert(str(source), source, force=True)
    assert run("convert", source, target).exit_code == 4


def test_int8_is_for_ctranslate2(source: Path, tmp_path: Path) -> None:
    assert run("convert", source, tmp_path / "x.pt", "--format", "openai", "--quantization", "int8").exit_code == 2
    convert(str(source), tmp_path / "int8", precision="int8")
    assert convert(str(tmp_path / "int8"), tmp_path / "x.pt", "openai").precision == "float32"


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    result = run("convert", tmp_path / "nothing", tmp_path / "result")
    assert result.exit_code == 5
    assert "there is no model folder" in result.stderr


def test_without_torch_one_line_says_what_to_install(source: Path, tmp_path: Path) -> None:
    script = "import sys; sys.modules['torch'] = None; from mtasr.cli import main; main()"
    command = [sys.executable, "-c", script, "models", "convert", str(source), str(tmp_path / "result")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"mtasr: error: this needs torch: {install_extra('train')} brings it\n"
    assert list(tmp_path.iterdir()) == []


def test_looking_at_a_model_needs_no_torch(source: Path) -> None:
    commands = [["models", "list"], ["models", "info", str(source)], ["models", "convert", "--help"]]
    script = f"import sys; from mtasr.cli import program\nfor args in {commands}:\n    "
    script += "program(args, standalone_mode=False)\n    assert not {'torch', 'safetensors'} & set(sys.modules), args"
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_a_replacement_that_fails_leaves_the_old_model(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "result"
    convert(str(source), target)
    before = (target / "model.bin").read_bytes()
    rename = Path.rename

    def fail_for_the_new_one(self: Path, to: Path) -> Path:
        if self.name == target.name and self.parent != tmp_path:
            raise OSError(5, "Input/output error")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", fail_for_the_new_one)
    with pytest.raises(OutputError, match="Input/output error"):
        convert(str(source), target, precision="float32", force=True)
    assert (target / "model.bin").read_bytes() == before


@pytest.mark.parametrize("lost", ["tokens", "settings"])
def test_parity_sees_a_vocabulary_or_settings_that_changed(tmp_path: Path, lost: str) -> None:
    right = small_checkpoint()
    changed = {
        "tokens": [right.tokens[1], right.tokens[0], *right.tokens[2:]],
        "settings": replace(right.settings, alignment_heads=((0, 0),)),
    }
    save_checkpoint(replace(right, **{lost: changed[lost]}), tmp_path / "wrong", "ctranslate2")
    with pytest.raises(ModelError, match=f"parity: {lost} changed"):
        compare(right, tmp_path / "wrong", "float32").require()


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_a_near_tie_is_no_other_text(precision: str) -> None:
    tolerance = tolerance_of(precision)
    near = Parity(
        encoder=Difference(tolerance / 2, tolerance / 2),
        logits=Difference(tolerance / 2, tolerance / 2),
        tolerance=tolerance,
        source_text=" some letters",
        result_text=" some ledgers",
        lost=(),
        margin=3 * tolerance,
    )
    near.require()
    with pytest.raises(ModelError, match="the text was ' some letters' and is now ' some ledgers'"):
        replace(near, margin=6 * tolerance).require()
