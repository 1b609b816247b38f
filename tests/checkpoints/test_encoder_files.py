"""Encoders in folders: what is written is read again, and so are older files and those with heads."""

from __future__ import annotations

import json
import math
import stat
from pathlib import Path

import pytest
import torch
from encoder_folders import CONFIGS, assert_same, change_config, change_tensors, made, pickled, refused, saved, states
from safetensors.torch import load_file, save_file
from torch import Tensor

from mtasr.checkpoints.encoders import fresh_encoder, read_encoder, save_encoder
from mtasr.checkpoints.encoders.wave_names import canonical_names, foreign_name
from mtasr.checkpoints.tensor_names import foreign_name as whisper_name
from mtasr.errors import ModelError, OutputError
from mtasr.networks.log_mel import LogMelEncoder
from mtasr.networks.wave import WAVE_PRESETS, WaveEncoder
from mtasr.networks.whisper_encoder import WhisperEncoder


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

#: Of wav2vec2-base, hubert-base-ls960 and wavlm-base-plus.
_PUBLISHED = {
    "masked_spec_embed": (768,),
    "feature_extractor.conv_layers.0.conv.weight": (512, 1, 10),
    "feature_extractor.conv_layers.4.conv.weight": (512, 512, 3),
    "feature_extractor.conv_layers.6.conv.weight": (512, 512, 2),
    "feature_extractor.conv_layers.0.layer_norm.weight": (512,),
    "feature_projection.layer_norm.bias": (512,),
    "feature_projection.projection.weight": (768, 512),
    "encoder.pos_conv_embed.conv.bias": (768,),
    "encoder.pos_conv_embed.conv.parametrizations.weight.original0": (1, 1, 128),
    "encoder.pos_conv_embed.conv.parametrizations.weight.original1": (768, 48, 128),
    "encoder.layer_norm.weight": (768,),
    "encoder.layers.11.attention.q_proj.weight": (768, 768),
    "encoder.layers.11.attention.k_proj.bias": (768,),
    "encoder.layers.0.attention.v_proj.weight": (768, 768),
    "encoder.layers.0.attention.out_proj.bias": (768,),
    "encoder.layers.5.layer_norm.bias": (768,),
    "encoder.layers.5.feed_forward.intermediate_dense.weight": (3072, 768),
    "encoder.layers.5.feed_forward.output_dense.weight": (768, 3072),
    "encoder.layers.5.final_layer_norm.weight": (768,),
}
_PUBLISHED_WAVLM = {
    "encoder.layers.0.attention.rel_attn_embed.weight": (320, 12),
    "encoder.layers.7.attention.gru_rel_pos_linear.weight": (8, 64),
    "encoder.layers.7.attention.gru_rel_pos_linear.bias": (8,),
    "encoder.layers.7.attention.gru_rel_pos_const": (1, 12, 1, 1),
}


def pretraining_heads(width: int, size: int) -> dict[str, tuple[int, ...]]:
    """The heads that published checkpoints of wav2vec 2.0 keep: two groups of 320 codes, vectors of this size."""
    return {
        "quantizer.codevectors": (1, 640, size // 2),
        "quantizer.weight_proj.weight": (640, 512),
        "quantizer.weight_proj.bias": (640,),
        "project_hid.weight": (size, width),
        "project_hid.bias": (size,),
        "project_q.weight": (size, size),
        "project_q.bias": (size,),
    }


@pytest.mark.parametrize(
    ("preset", "heads", "tensors", "numbers"),
    [
        ("wav2vec2-base", pretraining_heads(768, 256), 218, 95_044_608),
        ("hubert-base", {}, 211, 94_371_712),
        ("wavlm-base", {}, 248, 94_381_936),
        ("xls-r-300m", pretraining_heads(1024, 768), 429, 317_390_592),
    ],
)
def test_names_and_sizes_of_published_checkpoints(
    preset: str, heads: dict[str, tuple[int, ...]], tensors: int, numbers: int
) -> None:
    with torch.device("meta"):
        state = WaveEncoder(WAVE_PRESETS[preset]).state_dict()
    shapes = {foreign_name(name): tuple(each.shape) for name, each in state.items()}
    assert (len(shapes | heads), sum(map(math.prod, (shapes | heads).values()))) == (tensors, numbers)
    assert set(canonical_names(shapes | heads).values()) == set(shapes)
    if preset.endswith("base"):
        published = _PUBLISHED | (_PUBLISHED_WAVLM if preset == "wavlm-base" else {})
        assert {name: shapes[name] for name in published} == published


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
    stored = load_file(folder / "model.safetensors")
    tensors = {whisper_name(name, "huggingface"): each for name, each in stored.items()}
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
