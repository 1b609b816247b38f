"""Encoders in folders: what is written is read again, older files too, and nothing else."""

from __future__ import annotations

import io
import json
import os
import pickle
import stat
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mtasr.checkpoints.encoders import StoredEncoder, fresh_encoder, read_encoder, save_encoder
from mtasr.errors import ModelError, ModelIntegrityError, OutputError
from mtasr.networks.dimensions import EncoderDimensions
from mtasr.networks.log_mel import LogMelEncoder
from mtasr.networks.wave import WAVE_PRESETS, WaveConfig, WaveEncoder
from mtasr.networks.wave_config import convolutions, cpc_convolutions
from mtasr.networks.whisper_encoder import WhisperEncoder

_BASE = WaveConfig(
    convolutions=convolutions(8), width=16, layers=2, heads=2, feed_forward=24, position_kernel=8, position_groups=2
)
_LARGE = replace(_BASE, convolution_norm="layer", pre_norm=True, convolution_bias=True, normalises=True)
CONFIGS = {
    "wav2vec2": _BASE,
    "hubert": replace(_LARGE, dropout=0.1, layerdrop=0.05),
    "wavlm": replace(_LARGE, convolution_bias=False, relative_buckets=16, relative_distance=40),
    "cpc": replace(WAVE_PRESETS["tiny-cpc"], convolutions=cpc_convolutions(8), width=8, layers=2, recurrent="lstm"),
}
_WHISPER = EncoderDimensions(n_mels=8, n_audio_ctx=50, n_audio_state=16, n_audio_head=2, n_audio_layer=2)
AUDIO = torch.rand(2, 3_000, generator=torch.Generator().manual_seed(1)) - 0.5


def made(kind: str) -> StoredEncoder:
    torch.manual_seed(3)
    return (WhisperEncoder(_WHISPER) if kind == "whisper" else WaveEncoder(CONFIGS[kind])).eval()


def saved(kind: str, folder: Path) -> tuple[StoredEncoder, Path]:
    encoder = made(kind)
    save_encoder(encoder, folder, "hubert" if kind == "hubert" else None)
    return encoder, folder


def states(encoder: StoredEncoder) -> list[Tensor]:
    with torch.no_grad():
        return encoder.states(AUDIO)


def assert_same(one: StoredEncoder, other: StoredEncoder) -> None:
    for a, b in zip(states(one), states(other), strict=True):
        assert torch.equal(a, b)


def change_config(folder: Path, name: str = "config.json", **changes: object) -> None:
    document = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(document | changes))


def change_tensors(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def pickled(folder: Path, change: Callable[[dict[str, Tensor]], object] = lambda tensors: None) -> Path:
    """The same weights as `pytorch_model.bin` alone."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    return folder


def refused(folder: Path, message: str, kind: type[ModelError] = ModelIntegrityError) -> None:
    with pytest.raises(kind, match=message) as caught:
        read_encoder(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [*CONFIGS, "whisper"])
def test_what_is_saved_is_read_again(tmp_path: Path, kind: str) -> None:
    encoder, folder = saved(kind, tmp_path / "encoder")
    again = read_encoder(folder)
    assert (again.name, again.training) == ("encoder", False)
    assert all(each.requires_grad for each in again.parameters())
    assert_same(encoder, again)
    if isinstance(encoder, WaveEncoder):
        assert isinstance(again, WaveEncoder)
        assert again.config == encoder.config
        assert again.masked is encoder.masked is None or torch.equal(again.masked, encoder.masked)  # type: ignore[arg-type]
    else:
        assert isinstance(again, WhisperEncoder)
        assert again.dims == encoder.dims


def test_files_and_their_modes(tmp_path: Path) -> None:
    _, folder = saved("wavlm", tmp_path / "encoder")
    assert sorted(each.name for each in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    modes = {stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()}
    assert len(modes) == 1
    assert list(tmp_path.iterdir()) == [folder]


def test_an_encoder_is_replaced_but_nothing_else(tmp_path: Path) -> None:
    _, folder = saved("wavlm", tmp_path / "encoder")
    encoder, _ = saved("cpc", folder)
    assert_same(read_encoder(folder), encoder)
    assert not (folder / "preprocessor_config.json").exists()
    (folder / "notes.txt").touch()
    with pytest.raises(OutputError, match=r"holds more than an encoder \(notes\.txt\)"):
        saved("cpc", folder)
    assert_same(read_encoder(folder), encoder)


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    for family, kind in (("hubert", "wavlm"), ("wavlm", "hubert"), ("hubert", "cpc"), ("unispeech", "wav2vec2")):
        with pytest.raises(ModelError, match=f"no encoder of the family '{family}'"):
            save_encoder(made(kind), tmp_path / "encoder", family)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="LogMelEncoder is not an encoder that can be stored"):
        save_encoder(LogMelEncoder(), tmp_path / "encoder")
    broken = made("wav2vec2")
    with torch.no_grad():
        broken.projection.bias[0] = torch.nan  # type: ignore[union-attr, index]
    with pytest.raises(ModelError, match=r"projection\.bias has values"):
        save_encoder(broken, tmp_path / "encoder")
    assert list(tmp_path.iterdir()) == []


# What other files look like


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "wavlm"])
def test_pickled_weights(tmp_path: Path, kind: str) -> None:
    encoder, folder = saved(kind, tmp_path)
    assert_same(read_encoder(pickled(folder)), encoder)


def test_the_older_spelling_of_normalised_weights_and_of_the_mask(tmp_path: Path) -> None:
    encoder, folder = saved("wav2vec2", tmp_path)

    def older(tensors: dict[str, Tensor]) -> None:
        position = "encoder.pos_conv_embed.conv."
        tensors[position + "weight_g"] = tensors.pop(position + "parametrizations.weight.original0")
        tensors[position + "weight_v"] = tensors.pop(position + "parametrizations.weight.original1")
        tensors["mask_time_emb_vector"] = tensors.pop("masked_spec_embed")

    again = read_encoder(pickled(folder, older))
    assert_same(again, encoder)
    assert torch.equal(again.masked, encoder.masked)  # type: ignore[union-attr, arg-type]


@pytest.mark.parametrize(
    ("kind", "heads"),
    [
        ("wav2vec2", ["quantizer.codevectors", "quantizer.weight_proj.weight", "project_hid.bias", "project_q.bias"]),
        ("wav2vec2", ["lm_head.weight", "lm_head.bias"]),
        ("hubert", ["layer_weights", "projector.weight", "projector.bias", "classifier.weight", "classifier.bias"]),
        ("wavlm", ["tdnn.0.kernel.weight", "feature_extractor.weight", "objective.weight", "projector.weight"]),
    ],
)
def test_heads_are_left_out(tmp_path: Path, kind: str, heads: list[str]) -> None:
    """A model with a head has a prefix before the names of the encoder."""
    encoder, folder = saved(kind, tmp_path)

    def with_head(tensors: dict[str, Tensor]) -> None:
        for name in list(tensors):
            tensors[f"{kind}.{name}"] = tensors.pop(name)
        tensors.update({name: torch.zeros(3) for name in heads})

    change_tensors(folder, with_head)
    assert_same(read_encoder(folder), encoder)


def test_heads_beside_an_encoder_without_prefix(tmp_path: Path) -> None:
    encoder, folder = saved("wav2vec2", tmp_path)
    change_tensors(folder, lambda tensors: tensors.update({"quantizer.codevectors": torch.zeros(1, 4, 2)}))
    assert_same(read_encoder(folder), encoder)


def test_a_model_without_a_vector_for_masked_frames(tmp_path: Path) -> None:
    encoder, folder = saved("hubert", tmp_path)
    change_tensors(folder, lambda tensors: tensors.pop("masked_spec_embed"))
    again = read_encoder(folder)
    assert_same(again, encoder)
    assert again.masked is not None  # type: ignore[union-attr]
    assert not again.masked.any()  # type: ignore[union-attr, operator]


def test_half_precision_is_widened(tmp_path: Path) -> None:
    encoder, folder = saved("wav2vec2", tmp_path)
    change_tensors(folder, lambda tensors: tensors.update({name: each.half() for name, each in tensors.items()}))
    again = read_encoder(folder)
    assert {each.dtype for each in again.parameters()} == {torch.float32}
    torch.testing.assert_close(states(again)[-1], states(encoder)[-1], atol=0.01, rtol=0.01)


def test_several_files_of_weights(tmp_path: Path) -> None:
    encoder, folder = saved("wavlm", tmp_path)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"one.safetensors": names[:9], "two.safetensors": names[9:]}
    for file, held in parts.items():
        save_file({name: tensors[name] for name in held}, folder / file)
    index = {"weight_map": {name: file for file, held in parts.items() for name in held}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert_same(read_encoder(folder), encoder)


def test_the_preprocessor_says_whether_audio_is_normalised(tmp_path: Path) -> None:
    for kind, expected in (("wav2vec2", False), ("hubert", True)):
        _, folder = saved(kind, tmp_path / kind)
        assert read_encoder(folder).config.normalises is expected  # type: ignore[union-attr]
        change_config(folder, "preprocessor_config.json", do_normalize=not expected)
        assert read_encoder(folder).config.normalises is not expected  # type: ignore[union-attr]
        (folder / "preprocessor_config.json").unlink()
        assert read_encoder(folder).config.normalises is expected  # type: ignore[union-attr]


def test_settings_that_files_may_lack(tmp_path: Path) -> None:
    encoder, folder = saved("wav2vec2", tmp_path)
    document = json.loads((folder / "config.json").read_text())
    sizes = {"hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "num_conv_pos_embeddings"}
    sizes |= {"num_conv_pos_embedding_groups", "model_type", "conv_dim", "conv_kernel", "conv_stride"}
    (folder / "config.json").write_text(json.dumps({name: document[name] for name in sizes}))
    assert_same(read_encoder(folder), encoder)


def test_the_encoder_of_a_whole_whisper_model(tmp_path: Path) -> None:
    encoder, folder = saved("whisper", tmp_path)
    tensors = {}
    for name, each in load_file(folder / "model.safetensors").items():
        from mtasr.checkpoints.tensor_names import foreign_name

        tensors[foreign_name(name, "huggingface")] = each
    tensors["model.decoder.embed_tokens.weight"] = torch.zeros(5, 16)
    save_file(tensors, folder / "model.safetensors")
    document = {
        "model_type": "whisper", "d_model": 16, "encoder_attention_heads": 2, "encoder_layers": 2,
        "max_source_positions": 50, "num_mel_bins": 8, "encoder_ffn_dim": 64, "activation_function": "gelu",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(document))
    assert_same(read_encoder(folder), encoder)
    change_config(folder, encoder_ffn_dim=32)
    refused(folder, "encoder_ffn_dim is 32 instead of 64")


def test_fresh_weights_are_the_same_for_a_seed(tmp_path: Path) -> None:
    encoder, folder = saved("hubert", tmp_path)
    before = torch.random.get_rng_state()
    assert_same(fresh_encoder(folder), fresh_encoder(folder))
    assert torch.equal(torch.random.get_rng_state(), before)
    for other in (encoder, fresh_encoder(folder, seed=1)):
        assert not torch.equal(states(other)[-1], states(fresh_encoder(folder))[-1])


# What is refused


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
