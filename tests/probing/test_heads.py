"""Heads: what each computes, and folders that are not what they should be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mtasr.errors import ModelIntegrityError, ModelNotFoundError
from mtasr.probing.heads import KINDS, Head, HeadConfig, XVectorHead, lasting_name, load_head, save_head

SIZES = {
    "mean": (5,),
    "ctc": (5,),
    "recurrent-ctc": (4, 3),
    "x-vector": (4, 4, 4, 4, 4, 6, 3),
    "activity": (4,),
}


def config(kind: str, **more: Any) -> HeadConfig:
    settings = {
        "task": "keyword", "kind": kind, "encoder": "tiny", "width": 6, "states": 3, "frame_seconds": 0.02,
        "sizes": SIZES.get(kind, ()), "labels": {"label": ("yes", "no")},
    }  # fmt: skip
    return HeadConfig(**settings | more)  # type: ignore[arg-type]


def head(kind: str, **more: Any) -> Head:
    torch.manual_seed(0)
    made = Head(config(kind, **more)).eval()
    torch.nn.init.normal_(made.layer_weights)
    return made


def states(*lengths: int) -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(1, 3, length, 6) for length in lengths]


@pytest.mark.parametrize("kind", KINDS)
def test_what_follows_the_end_of_a_row_changes_nothing(kind: str) -> None:
    made = head(kind)
    short, long = states(17, 23)
    batch = torch.full((2, 3, 23, 6), 1e3)
    batch[0, :, :17], batch[1] = short[0], long[0]
    together = made(batch, torch.tensor([17, 23]))
    alone = made(short)
    assert torch.allclose(together[0, : alone.shape[1]] if alone.ndim == 3 else together[0], alone[0], atol=1e-5)


def test_states_are_weighed_by_a_softmax() -> None:
    made = head("frames", width=1, labels={"label": ("one",)})
    with torch.no_grad():
        made.layer_weights.copy_(torch.tensor([1.0, 2.0, 3.0]).log())
        made.network.classifier.weight.fill_(1.0)
        made.network.classifier.bias.fill_(0.0)
    weighed = made(torch.tensor([6.0, 12.0, 36.0]).reshape(1, 3, 1, 1))
    assert weighed.item() == pytest.approx((6 + 2 * 12 + 3 * 36) / 6)
    assert Head(config("frames")).weights.tolist() == pytest.approx([1 / 3] * 3)


def test_a_mean_of_frames_is_the_frame_of_means() -> None:
    made, (found,) = head("mean"), states(9)
    assert torch.allclose(made(found), made(found.mean(dim=2, keepdim=True)), atol=1e-6)


def test_an_embedding_has_the_mean_and_the_deviation_of_the_frames() -> None:
    made, (found,) = head("x-vector"), states(40)
    network = made.network
    assert isinstance(network, XVectorHead)
    mixed = (made.weights[:, None, None] * found[0]).sum(dim=0)
    frames = network.projector(mixed).T[None]
    for convolution in network.tdnn:
        frames = torch.relu(convolution(frames))
    assert frames.shape[2] == 40 - XVectorHead.SHORTENED
    pooled = torch.cat([frames.mean(dim=2), frames.std(dim=2)], dim=1)
    assert torch.allclose(made(found), network.embedding(pooled), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_is_the_same_after_it_was_saved(kind: str, tmp_path: Path) -> None:
    made = head(kind, settings={"threshold": 0.4}, layer_norm=True, identity="a1")
    save_head(made, tmp_path / "head")
    loaded = load_head(tmp_path / "head")
    assert loaded.config == made.config
    (found,) = states(20)
    assert torch.equal(loaded(found), made(found))
    assert not loaded.training
    assert sorted(path.name for path in (tmp_path / "head").iterdir()) == ["head.json", "head.safetensors"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"kind": "pickle"}, "kind must be one of"),
        ({"sizes": [5, 5]}, "sizes of mean are 1 positive"),
        ({"sizes": [1 << 40]}, "sizes of mean"),
        ({"sizes": [True]}, "sizes are not whole numbers"),
        ({"width": -1}, "out of range"),
        ({"states": 1 << 40}, "out of range"),
        ({"frame_seconds": float("nan")}, "out of range"),
        ({"labels": {"label": [1]}}, "labels are not lists of texts"),
        ({"labels": {}}, "has 0 labels"),
        ({"labels": {"label": ["yes", "no"], "other": []}}, "has 2 labels"),
        ({"settings": {"threshold": "x"}}, "settings are not numbers"),
        ({"settings": {"threshold": 10**400}}, "are too large"),
        ({"frame_seconds": 10**400}, "are too large"),
        ({"settings": {"median": 1e15}}, "the median is out of range"),
        ({"settings": {"median": 0}}, "the median is out of range"),
        ({"layer_norm": 1}, "layer_norm is of the wrong type"),
        ({"more": 1}, "'more' is unknown"),
        ({"width": 7}, "has the shape"),
    ],
)
def test_a_damaged_document_is_refused(changes: dict[str, Any], problem: str, tmp_path: Path) -> None:
    save_head(head("mean"), tmp_path)
    document = json.loads((tmp_path / "head.json").read_text())
    (tmp_path / "head.json").write_text(json.dumps(document | changes))
    with pytest.raises(ModelIntegrityError, match=problem) as raised:
        load_head(tmp_path)
    assert "\n" not in str(raised.value)


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    save_head(head("mean"), tmp_path)
    path = tmp_path / "head.safetensors"
    tensors = load_file(path)
    for name, damaged in (
        ("no numbers", tensors | {"layer_weights": torch.full((3,), torch.nan)}),
        ("is missing", {"layer_weights": tensors["layer_weights"]}),
        ("does not belong", tensors | {"more": torch.zeros(1)}),
        ("of type", tensors | {"layer_weights": torch.zeros(3, dtype=torch.int64)}),
    ):
        save_file(damaged, path)
        with pytest.raises(ModelIntegrityError, match=name):
            load_head(tmp_path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ModelIntegrityError, match="damaged"):
        load_head(tmp_path)
    (tmp_path / "head.json").unlink()
    with pytest.raises(ModelNotFoundError, match=r"has no head\.json"):
        load_head(tmp_path)


def test_a_head_needs_labels_but_an_embedding_does_not() -> None:
    assert Head(config("x-vector", labels={})).config.outputs == 0
    with pytest.raises(ValueError, match="has 0 labels"):
        replace(config("ctc"), labels={})


def test_a_name_means_the_same_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("out", "base", "base+5", "log-mel"):
        (tmp_path / name).mkdir()
    assert lasting_name("./out") == lasting_name("out") == str(tmp_path / "out")
    assert lasting_name("out+5") == f"{tmp_path / 'out'}+5"
    assert lasting_name("random:out+5") == f"random:{tmp_path / 'out'}+5"
    assert lasting_name("base+5") == str(tmp_path / "base+5")
    for name in ("base", "log-mel", "log-mel+5", "facebook/hubert-base-ls960", "random:base", "layered+houlsby"):
        assert lasting_name(name) == name
    (tmp_path / "base" / "config.json").write_text("{}")
    assert lasting_name("base") == str(tmp_path / "base")
