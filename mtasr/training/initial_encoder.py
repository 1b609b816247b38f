"""A pre-trained encoder to begin with (`init_encoder`): USM's recipe, many hours without labels and then few with."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from torch import nn

from mtasr.encoders import load_encoder
from mtasr.errors import UsageError
from mtasr.networks.dimensions import EncoderDimensions
from mtasr.networks.wave import WaveEncoder
from mtasr.networks.whisper_encoder import WhisperEncoder

#: What may differ between two wave encoders of the same shape: how they are trained.
_OF_TRAINING = {"dropout", "layerdrop"}


def whisper_encoder(name: str, dims: EncoderDimensions) -> nn.Module:
    """The recogniser's encoder (`mtasr.networks.whisper.Encoder`) with these weights. Raises as `begin_with` does."""
    encoder = WhisperEncoder(dims)
    begin_with(encoder, name)
    return encoder.encoder


def begin_with(encoder: nn.Module, name: str) -> None:
    """Give an encoder the weights of the one that `load_encoder` finds under this name.

    Raises `UsageError` if it is of another kind or size, and what `load_encoder` raises.
    """
    found: Any = load_encoder(name, "cpu")
    if type(found) is not type(encoder):
        raise UsageError(f"init_encoder: {name} is {_kind(found)}; this run needs {_kind(encoder)}")
    ours, theirs = _sizes(encoder), _sizes(found)
    different = [f"{size} {theirs[size]} instead of {ours[size]}" for size in ours if theirs[size] != ours[size]]
    if different:
        raise UsageError(f"init_encoder: the encoder of {name} does not fit; it has {', '.join(different)}")
    encoder.load_state_dict(found.state_dict())


def _kind(encoder: object) -> str:
    if isinstance(encoder, WaveEncoder):
        return "an encoder of the waveform"
    return "an encoder like Whisper's" if isinstance(encoder, WhisperEncoder) else "no network to begin with"


def _sizes(encoder: nn.Module) -> dict[str, Any]:
    if isinstance(encoder, WhisperEncoder):
        return asdict(encoder.dims)
    assert isinstance(encoder, WaveEncoder)  # noqa: S101 - for the type checker
    return {name: value for name, value in asdict(encoder.config).items() if name not in _OF_TRAINING}
