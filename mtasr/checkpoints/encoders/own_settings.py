"""`config.json` of encoders beside those over the waveform that transformers has.

CPC, and the recogniser's encoder without its decoder, have forms of their own:

    {"model_type": "mtasr-cpc", ...}               the members of `WaveConfig`
    {"model_type": "mtasr-whisper-encoder", ...}   the members of `EncoderDimensions`

Their tensors have the names of this program. The recogniser's encoder is also read from a whole model of transformers.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from mtasr.checkpoints.encoders.wave_settings import checked_config, require_encoder
from mtasr.checkpoints.settings import read_json
from mtasr.networks.dimensions import EncoderDimensions
from mtasr.networks.wave_config import Convolution, WaveConfig

CPC, WHISPER_ENCODER = "mtasr-cpc", "mtasr-whisper-encoder"

#: The members of `EncoderDimensions` under the names of transformers' WhisperConfig.
_WHISPER = {
    "n_mels": "num_mel_bins",
    "n_audio_ctx": "max_source_positions",
    "n_audio_state": "d_model",
    "n_audio_head": "encoder_attention_heads",
    "n_audio_layer": "encoder_layers",
}

# Far above any published encoder; a file that asks for more is damaged.
_MOST, _MOST_LAYERS, _MOST_MELS = 1 << 16, 512, 4096


def cpc_document(config: WaveConfig) -> dict[str, Any]:
    return {"model_type": CPC} | asdict(config)


def encoder_document(dims: EncoderDimensions) -> dict[str, Any]:
    return {"model_type": WHISPER_ENCODER} | asdict(dims)


def read_cpc_config(folder: Path) -> WaveConfig:
    """Raises `ModelIntegrityError`."""
    path = folder / "config.json"
    document = _members(path, [field.name for field in fields(WaveConfig)])
    defaults = WaveConfig()
    problems = []
    for name, value in document.items():
        wanted = type(getattr(defaults, name))
        if name == "convolutions":
            if not isinstance(value, list) or not all(_is_convolution(each) for each in value):
                problems.append("convolutions is not a list of four numbers each")
        elif type(value) is not wanted and not (wanted is float and type(value) is int):
            problems.append(f"{name} is {value!r}")
        elif wanted is int and not 0 <= value <= _MOST:
            problems.append(f"{name} is {value}")
    require_encoder(problems, path)
    convolutions = tuple(Convolution(*each) for each in document.pop("convolutions"))
    config = checked_config(WaveConfig(convolutions=convolutions, **document), path)
    require_encoder([] if config.recurrent else ["recurrent is ''"], path)
    return config


def _is_convolution(value: object) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(type(n) is int and 0 <= n <= _MOST for n in value)


def read_encoder_dimensions(folder: Path) -> EncoderDimensions:
    """Raises `ModelIntegrityError`."""
    path = folder / "config.json"
    document = _members(path, [field.name for field in fields(EncoderDimensions)])
    return _checked(document, path)


def read_whisper_dimensions(folder: Path) -> EncoderDimensions:
    """Of the encoder of a whole model in transformers' form. Raises `ModelIntegrityError`."""
    path = folder / "config.json"
    document = _members(path, [*_WHISPER.values()])
    everything = read_json(path)
    fixed: dict[str, object] = {"activation_function": "gelu", "scale_embedding": False}
    width = document["d_model"]
    if type(width) is int:
        fixed["encoder_ffn_dim"] = 4 * width
    wrong = {name: everything[name] for name, wanted in fixed.items() if everything.get(name, wanted) != wanted}
    require_encoder([f"{name} is {value!r} instead of {fixed[name]!r}" for name, value in wrong.items()], path)
    return _checked({ours: document[theirs] for ours, theirs in _WHISPER.items()}, path)


def _checked(numbers: dict[str, Any], path: Path) -> EncoderDimensions:
    """Dimensions from a file. Raises `ModelIntegrityError` for impossible ones, before anything is allocated."""
    require_encoder(
        [f"{name} is {value!r}" for name, value in numbers.items() if type(value) is not int or value > _MOST], path
    )
    dims = EncoderDimensions(**numbers)
    problems = dims.problems()
    if dims.n_audio_layer > _MOST_LAYERS or dims.n_mels > _MOST_MELS:
        problems.append(f"it has {dims.n_audio_layer} layers and {dims.n_mels} mel bins")
    require_encoder(problems, path)
    return dims


def _members(path: Path, names: list[str]) -> dict[str, Any]:
    """The members of these names, all of which must be there."""
    document = read_json(path)
    require_encoder([f"{name} is missing" for name in names if name not in document], path)
    return {name: document[name] for name in names}
