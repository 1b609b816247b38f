"""Files of adapters and prompts: round trips, the model they belong to, and files that lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from small_checkpoint import small_checkpoint

from mtasr.checkpoints.adapter_file import (
    load_adapted,
    load_adapters,
    read_note,
    save_adapters,
    save_prompt,
    weights_digest,
)  # fmt: skip
from mtasr.checkpoints.checkpoint import Checkpoint
from mtasr.checkpoints.formats import load_checkpoint, save_checkpoint
from mtasr.cli import program
from mtasr.errors import ModelError, ModelIntegrityError, ModelNotFoundError
from mtasr.models.resolve import resolve
from mtasr.networks.adapters import Adapters, adapt
from mtasr.networks.dimensions import EncoderDimensions
from mtasr.networks.whisper_encoder import WhisperEncoder
from mtasr.tokenizer import Tokenizer
from mtasr.transcribe import load_model

PLACES = (650, 640, 660)


@pytest.fixture
def base(tmp_path: Path) -> Checkpoint:
    """A model whose file is `base.pt`."""
    checkpoint = small_checkpoint()
    save_checkpoint(checkpoint, tmp_path / "base.pt", "openai")
    return checkpoint


def made(checkpoint: Checkpoint, kind: str = "houlsby") -> Adapters:
    torch.manual_seed(1)
    adapters = Adapters(checkpoint.model, kind, 3)  # type: ignore[arg-type]
    with torch.no_grad():
        for weight in adapters.parameters():
            weight.normal_()
    return adapters


def written(checkpoint: Checkpoint, folder: Path, kind: str = "houlsby") -> Path:
    path, model = folder / "adapter.safetensors", str(folder / "base.pt")
    if kind == "prompt":
        save_prompt(torch.full((3, 16), 0.25), PLACES, checkpoint.model, path, model)
    else:
        save_adapters(made(checkpoint, kind), checkpoint.model, path, model)
    return path


def rewritten(path: Path, tensors: dict[str, Any] | None = None, **changes: Any) -> None:
    """Change the file's note or tensors."""
    note = {"version": 1, **{name: getattr(read_note(path), name) for name in read_note(path).__slots__}, **changes}
    save_file(load_file(path) if tensors is None else tensors, path, metadata={"mtasr": json.dumps(note)})


@pytest.mark.parametrize("kind", ["houlsby", "prefix"])
def test_adapters_come_back(kind: str, base: Checkpoint, tmp_path: Path) -> None:
    path = written(base, tmp_path, kind)
    note = read_note(path)
    assert (note.method, note.size, note.model) == (kind, 3, str(tmp_path / "base.pt"))
    alone = load_adapters(path, base.model)
    wanted = made(base, kind).state_dict()
    assert {name: weight.tolist() for name, weight in alone.state_dict().items()} == {
        name: weight.tolist() for name, weight in wanted.items()
    }
    assert all(weight.requires_grad for weight in alone.parameters())
    mel, tokens = torch.randn(1, 80, 60), torch.tensor([[1, 2, 3]])
    whole = load_checkpoint(path)
    assert whole.tokens == base.tokens
    adapt(base.model, alone)
    assert whole.model(mel, tokens).equal(base.model(mel, tokens))
    assert weights_digest(whole.model) == weights_digest(small_checkpoint().model)


def test_a_prompt_is_in_the_model_and_its_vocabulary(base: Checkpoint, tmp_path: Path) -> None:
    path = written(base, tmp_path, "prompt")
    whole = load_adapted(path)
    assert Tokenizer(whole.tokens).prompt == PLACES
    assert set(whole.settings.suppress_ids) == {*base.settings.suppress_ids, *PLACES}
    changed = (whole.model.decoder.embedding.weight != base.model.decoder.embedding.weight).any(dim=1)
    assert set(changed.nonzero()[:, 0].tolist()) == set(PLACES)
    assert path.stat().st_size < 2000
    with pytest.raises(ModelError, match="is a trained prompt, which only a recogniser can have"):
        load_adapters(path, base.model)


def test_another_model_is_refused(base: Checkpoint, tmp_path: Path) -> None:
    path = written(base, tmp_path)
    with pytest.raises(ModelError, match="does not fit this model: it was trained on other weights") as refused:
        load_adapters(path, small_checkpoint(seed=1).model)
    assert "\n" not in str(refused.value)
    (tmp_path / "base.pt").unlink()
    with pytest.raises(ModelNotFoundError, match=r"needs the model .*base\.pt that it was trained on"):
        load_adapted(path)
    save_checkpoint(small_checkpoint(seed=1), tmp_path / "base.pt", "openai")
    shown = CliRunner().invoke(program, ["models", "info", str(path)])
    assert shown.exit_code != 0
    assert "it was trained on other weights" in shown.output
    assert len(shown.output.strip().splitlines()) == 1


def test_the_digest_knows_names_shapes_and_values(base: Checkpoint) -> None:
    found = weights_digest(base.model)
    assert weights_digest(base.model.half().float()) == found  # its values fit float16
    with torch.no_grad():
        base.model.decoder.norm.bias[3] += 1e-3
    assert weights_digest(base.model) != found


def test_the_digest_knows_all_values_of_a_large_matrix() -> None:
    network = torch.nn.Linear(300, 300)
    found = weights_digest(network)
    with torch.no_grad():
        network.weight[7, 1] += 1
    assert weights_digest(network) != found


def test_the_digest_knows_what_is_no_weight() -> None:
    one, other = (
        WhisperEncoder(
            EncoderDimensions(n_mels=80, n_audio_ctx=50, n_audio_state=16, n_audio_head=heads, n_audio_layer=1)
        )
        for heads in (2, 4)
    )
    other.load_state_dict(one.state_dict())
    assert weights_digest(one) != weights_digest(other)


def test_a_prompt_can_be_merged_and_adapters_cannot(base: Checkpoint, tmp_path: Path) -> None:
    path = written(base, tmp_path)
    merged = CliRunner().invoke(program, ["models", "convert", str(path), str(tmp_path / "whole.pt")])
    assert merged.exit_code != 0
    assert "the model has adapters, which no format of models holds; only torch runs them" in merged.output
    assert not (tmp_path / "whole.pt").exists()
    path = written(base, tmp_path, "prompt")
    merged = CliRunner().invoke(program, ["models", "convert", str(path), str(tmp_path / "whole.pt")])
    assert merged.exit_code == 0, merged.output
    assert Tokenizer(load_checkpoint(tmp_path / "whole.pt").tokens).prompt == PLACES
    info = CliRunner().invoke(program, ["models", "info", str(path)])
    assert info.exit_code == 0, info.output
    assert "adapter" in info.output


def test_nobody_converts_to_an_adapter_file(base: Checkpoint, tmp_path: Path) -> None:
    done = CliRunner().invoke(program, ["models", "convert", str(tmp_path / "base.pt"), "--format", "adapter", "x"])
    assert done.exit_code == 2
    assert "huggingface" in done.output


def test_ctranslate2_says_who_runs_them(base: Checkpoint, tmp_path: Path) -> None:
    path = written(base, tmp_path)
    with pytest.raises(ModelNotFoundError, match="holds adapters or a prompt: --engine torch runs it"):
        resolve(str(path))
    assert load_model(path, engine="torch", device="cpu").engine.tokenizer.n_vocab == len(base.tokens)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "another version"),
        ({"method": "magic"}, "method is wrong"),
        ({"size": 0}, "size is wrong"),
        ({"size": 10**30}, "size is wrong"),
        ({"size": True}, "size is wrong"),
        ({"size": 10**9}, "has the shape"),
        ({"model": 3}, "model is wrong"),
        ({"weights": None}, "weights is wrong"),
        ({"tokens": [1.5]}, "tokens is wrong"),
        ({"method": "prefix"}, "is missing"),
        ({"method": "prompt", "tokens": [1, 2, 2]}, "tokens are not 3 different text tokens"),
        ({"method": "prompt", "tokens": [1, 2, 10**9]}, "tokens are not 3 different text tokens"),
        ({"method": "prompt", "tokens": [1, 2, -3]}, "tokens are not 3 different text tokens"),
    ],
)
def test_notes_that_lie(changes: dict[str, Any], message: str, base: Checkpoint, tmp_path: Path) -> None:
    path = written(base, tmp_path)
    rewritten(path, **changes)
    with pytest.raises(ModelIntegrityError, match=message):
        load_adapted(path)


def test_tensors_that_do_not_belong(base: Checkpoint, tmp_path: Path) -> None:
    path = written(base, tmp_path, "prompt")
    for tensors, message in (
        ({"vectors": torch.zeros(3, 17)}, r"vectors has the shape \(3, 17\)"),
        ({"vectors": torch.zeros(3, 16), "more": torch.zeros(1)}, "more does not belong there"),
        ({"vectors": torch.zeros(3, 16, dtype=torch.int64)}, "vectors is of type I64"),
        ({"vectors": torch.full((3, 16), torch.nan)}, "vectors holds values that are not finite"),
    ):
        rewritten(path, tensors)
        with pytest.raises(ModelIntegrityError, match=message):
            load_adapted(path)


def test_files_of_another_kind(base: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "adapter.safetensors"
    for content in (b"", b"x" * 100, (10**12).to_bytes(8, "little") + b"{}"):
        path.write_bytes(content)
        with pytest.raises(ModelIntegrityError, match="is damaged or not a file of adapters"):
            read_note(path)
    for metadata in (None, {"mtasr": "no JSON"}, {"mtasr": "[" * 100_000}):
        save_file({"vectors": torch.zeros(1)}, path, metadata=metadata)
        with pytest.raises(ModelIntegrityError, match="is damaged or not a file of adapters"):
            read_note(path)
    with pytest.raises(ModelNotFoundError, match="there is no adapter file"):
        read_note(tmp_path / "none.safetensors")
