"""Folders that are no encoder, or not one that this program has: refused in one line, and no code of theirs runs."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from encoder_folders import change_config, change_tensors, pickled, refused, saved
from torch import Tensor

from mtasr.errors import ModelError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "data2vec-audio"}, "encoders of the type 'data2vec-audio' are not read; known are wav2vec2"),
        ({"model_type": None}, "encoders of the type None"),
        ({"model_type": ["wav2vec2"]}, "encoders of the type"),
        ({"add_adapter": True}, "add_adapter is True, which"),
        ({"adapter_attn_dim": 16}, "adapter_attn_dim is 16"),
        ({"conv_pos_batch_norm": True}, "conv_pos_batch_norm is True"),
        ({"feat_proj_layer_norm": False}, "feat_proj_layer_norm is False"),
        ({"hidden_act": "swish"}, "hidden_act is 'swish'"),
        ({"layer_norm_eps": 1e-12}, "layer_norm_eps is 1e-12"),
        ({"feat_extract_activation": "swish"}, "activation is 'swish'"),
        ({"feat_extract_norm": "batch"}, "convolution_norm is 'batch'"),
        ({"hidden_size": 17}, "width 17 is not divisible by heads 2"),
        ({"hidden_size": 1 << 40}, "hidden_size is 1099511627776"),
        ({"hidden_size": True}, "hidden_size is True"),
        ({"hidden_size": None, "num_hidden_layers": "2"}, "hidden_size is None; num_hidden_layers is '2'"),
        ({"num_hidden_layers": 60_000}, "60000 layers"),
        ({"conv_dim": [8] * 6}, "disagree"),
        ({"conv_dim": 8}, "conv_dim is not a list of sizes"),
        ({"conv_stride": [0] * 7}, "conv_stride is not a list of sizes"),
        ({"conv_bias": "no"}, "conv_bias is 'no'"),
        ({"layerdrop": "none"}, "layerdrop is 'none'"),
        ({"layerdrop": 1.5}, r"layerdrop is 1\.5"),
        ({"hidden_size": 32}, r"feature_projection\.projection\.weight has the shape \(16, 8\) instead of \(32, 8\)"),
        ({"num_hidden_layers": 3}, r"encoder\.layers\.2\.layer_norm\.weight is missing"),
        ({"num_hidden_layers": 1}, r"encoder\.layers\.1\.layer_norm\.weight does not belong there"),
        ({"conv_bias": True}, r"feature_extractor\.conv_layers\.0\.conv\.bias is missing"),
        ({"model_type": "wavlm", "num_buckets": 16, "max_bucket_distance": 40}, r"gru_rel_pos_const is missing"),
        ({"model_type": "wavlm"}, "num_buckets is None"),
    ],
)
def test_settings_that_do_not_fit(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    _, folder = saved("wav2vec2", tmp_path)
    change_config(folder, **changes)
    refused(folder, message, ModelError)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampling_rate": 8_000}, "sampling_rate is 8000 instead of 16000"),
        ({"feature_size": 80}, "feature_size is 80"),
        ({"do_normalize": 1}, "do_normalize is 1"),
    ],
)
def test_other_audio(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    _, folder = saved("wav2vec2", tmp_path)
    change_config(folder, "preprocessor_config.json", **changes)
    refused(folder, message)


def _nan(tensors: dict[str, Tensor]) -> None:
    tensors["encoder.layer_norm.weight"][3] = torch.inf


@pytest.mark.parametrize("as_pickle", [False, True])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("encoder.layer_norm.bias"), r"encoder\.layer_norm\.bias is missing"),
        (lambda tensors: tensors.update(surprise=torch.zeros(2)), "surprise does not belong there"),
        (
            lambda tensors: tensors.update({"encoder.pos_conv_embed.conv.weight_g": torch.zeros(1, 1, 8)}),
            "original0 is there twice",
        ),
        (
            lambda tensors: tensors.update({"encoder.layer_norm.bias": torch.zeros(15)}),
            r"has the shape \(15,\) instead of \(16,\)",
        ),
        (
            lambda tensors: tensors.update({"encoder.layer_norm.bias": torch.zeros(16, dtype=torch.int64)}),
            "is of type",
        ),
        (_nan, r"encoder\.layer_norm\.weight holds values that are not finite"),
    ],
)
def test_tensors_that_do_not_fit(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], object], message: str, as_pickle: bool
) -> None:
    _, folder = saved("wav2vec2", tmp_path)
    if as_pickle:
        pickled(folder, change)
    else:
        change_tensors(folder, change)
    refused(folder, message)


class _Attack:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_would_run_code(tmp_path: Path) -> None:
    _, folder = saved("wav2vec2", tmp_path / "encoder")
    pickled(folder, lambda tensors: tensors.update(attack=_Attack(tmp_path / "owned")))  # type: ignore[call-overload]
    refused(folder, "holds more than weights; none of its code was run")
    assert not (tmp_path / "owned").exists()


def test_pickles_of_other_kinds(tmp_path: Path) -> None:
    """Those of old versions of torch are no zip files; joblib's, and compressed ones, are none that torch writes."""
    _, folder = saved("wav2vec2", tmp_path)
    pickled(folder)
    file = folder / "pytorch_model.bin"
    whole = file.read_bytes()
    deflated = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(deflated, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    for data in (pickle.dumps({"a": 1}), b"", whole[:-100], whole[: len(whole) // 2], deflated.getvalue()):
        file.write_bytes(data)
        refused(folder, "is damaged or not a file of weights")


@pytest.mark.parametrize("kind", ["wav2vec2", "cpc", "whisper"])
def test_damaged_files(tmp_path: Path, kind: str) -> None:
    _, folder = saved(kind, tmp_path)
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    for data in (b"", whole[:-1], whole[:40], b"\xff" * 8 + whole[8:]):
        file.write_bytes(data)
        refused(folder, "is damaged or not a safetensors file")
    file.unlink()
    refused(folder, r"has no weights: neither model\.safetensors nor pytorch_model\.bin")
    for text in ("", "[]", "{", '{"model_type": ' + "[" * 5_000):
        (folder / "config.json").write_text(text)
        refused(folder, r"config\.json")
    (folder / "config.json").unlink()
    refused(folder, r"cannot read .*config\.json")


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("cpc", {"width": 0}, "width is 0"),
        ("cpc", {"width": 1 << 30}, "width is 1073741824"),
        ("cpc", {"layers": 4_000}, "4000 layers"),
        ("cpc", {"convolutions": [[8, 10, 5]]}, "convolutions is not a list of four numbers each"),
        ("cpc", {"convolutions": []}, "there are no convolutions"),
        ("cpc", {"recurrent": ""}, "zeros around the audio"),
        ("cpc", {"recurrent": "rnn"}, "recurrent is 'rnn'"),
        ("cpc", {"dropout": "much"}, "dropout is 'much'"),
        ("cpc", {"width": 16}, "width 16 follow 8 channels"),
        ("cpc", {"layers": 3}, r"context\.blocks\.2\.weight_ih_l0 is missing"),
        ("whisper", {"n_mels": 100_000}, "n_mels is 100000"),
        ("whisper", {"n_mels": 50_000}, "50000 mel bins"),
        ("whisper", {"n_mels": "8"}, "n_mels is '8'"),
        ("whisper", {"n_audio_head": 3}, "not divisible by 3 heads"),
        ("whisper", {"n_audio_layer": 1}, "does not belong there"),
    ],
)
def test_our_own_settings_are_checked(tmp_path: Path, kind: str, changes: dict[str, object], message: str) -> None:
    _, folder = saved(kind, tmp_path)
    change_config(folder, **changes)
    refused(folder, message)


@pytest.mark.parametrize(("kind", "name"), [("cpc", "convolutions"), ("whisper", "n_mels")])
def test_our_own_settings_must_all_be_there(tmp_path: Path, kind: str, name: str) -> None:
    _, folder = saved(kind, tmp_path)
    document = json.loads((folder / "config.json").read_text())
    del document[name]
    (folder / "config.json").write_text(json.dumps(document))
    refused(folder, f"{name} is missing")


def test_an_index_names_files_of_its_folder_only(tmp_path: Path) -> None:
    _, folder = saved("wav2vec2", tmp_path / "encoder")
    (folder / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    index = {"weight_map": {"masked_spec_embed": "../elsewhere.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(folder, "names a file elsewhere")
