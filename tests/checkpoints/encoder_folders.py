"""Small encoders in folders, and ways to change what is there."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mtasr.checkpoints.encoders import StoredEncoder, read_encoder, save_encoder
from mtasr.errors import ModelError, ModelIntegrityError
from mtasr.networks.dimensions import EncoderDimensions
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
    state = OrderedDict(tensors)
    state._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined] # as that of every module
    torch.save(state, folder / "pytorch_model.bin")
    return folder


def refused(folder: Path, message: str, kind: type[ModelError] = ModelIntegrityError) -> None:
    with pytest.raises(kind, match=message) as caught:
        read_encoder(folder)
    assert "\n" not in str(caught.value)
