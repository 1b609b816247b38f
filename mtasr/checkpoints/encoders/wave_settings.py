"""`config.json` and `preprocessor_config.json` of encoders in transformers' form, and what they say of the network.

The configuration decides what is built; names and shapes of tensors are then compared with it. Settings that would
change the result, and that `WaveEncoder` does not have, are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mtasr.checkpoints.settings import read_json
from mtasr.errors import ModelError, ModelIntegrityError
from mtasr.networks.wave_config import Convolution, WaveConfig
from mtasr.spans import SAMPLE_RATE

#: Our numbers under the names of transformers.
_NUMBERS = {
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "feed_forward": "intermediate_size",
    "position_kernel": "num_conv_pos_embeddings",
    "position_groups": "num_conv_pos_embedding_groups",
}
_RELATIVE = {"relative_buckets": "num_buckets", "relative_distance": "max_bucket_distance"}
_RATES = {"dropout": "hidden_dropout", "layerdrop": "layerdrop"}

#: What these settings must be, where a file has them: the network has no others.
_FIXED: dict[str, object] = {
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "add_adapter": False,
    "adapter_attn_dim": None,
    "conv_pos_batch_norm": False,
    "feat_proj_layer_norm": True,
}

#: Which families know those that not all know.
_KNOWN_TO = {
    "add_adapter": {"wav2vec2", "wavlm"},
    "adapter_attn_dim": {"wav2vec2"},
    "conv_pos_batch_norm": {"hubert"},
    "feat_proj_layer_norm": {"hubert"},
}

_CLASSES = {"wav2vec2": "Wav2Vec2Model", "hubert": "HubertModel", "wavlm": "WavLMModel"}

# Far above any published encoder; a file that asks for more is damaged.
_MOST = 1 << 16
_MOST_LAYERS = 512


def read_config(folder: Path) -> WaveConfig:
    """The configuration of the encoder in a folder of transformers. Raises `ModelIntegrityError`."""
    path = folder / "config.json"
    document = read_json(path)
    problems = [
        f"{name} is {document[name]!r}, which this program's encoders do not have"
        for name, wanted in _FIXED.items()
        if document.get(name, wanted) != wanted
    ]
    numbers = _NUMBERS | (_RELATIVE if document.get("model_type") == "wavlm" else {})
    problems += [
        f"{theirs} is {document.get(theirs)!r}" for theirs in numbers.values() if not _is_size(document.get(theirs))
    ]
    for name in ("do_stable_layer_norm", "conv_bias"):
        if type(document.get(name, False)) is not bool:
            problems.append(f"{name} is {document[name]!r}")
    for name in _RATES.values():
        if type(document.get(name, 0.0)) not in {int, float}:
            problems.append(f"{name} is {document[name]!r}")
    convolutions, found = _convolutions(document)
    require_encoder([*problems, *found], path)
    config = WaveConfig(
        convolutions=convolutions,
        convolution_norm=document.get("feat_extract_norm", "group"),
        convolution_bias=document.get("conv_bias", False),
        activation=document.get("feat_extract_activation", "gelu"),
        pre_norm=document.get("do_stable_layer_norm", False),
        normalises=_normalises(folder, document),
        **{ours: document[theirs] for ours, theirs in numbers.items()},
        **{ours: document.get(theirs, 0.0) for ours, theirs in _RATES.items()},
    )
    return checked_config(config, path)


def checked_config(config: WaveConfig, path: Path) -> WaveConfig:
    """The configuration itself. Raises `ModelIntegrityError` for an impossible one, before anything is allocated."""
    problems = config.problems()
    if config.layers > _MOST_LAYERS or len(config.convolutions) > _MOST_LAYERS:
        problems.append(f"it has {config.layers} layers and {len(config.convolutions)} convolutions")
    require_encoder(problems, path)
    return config


def require_encoder(problems: list[str], where: Path) -> None:
    """Raise one `ModelIntegrityError` that lists all the problems, if there are any."""
    if problems:
        raise ModelIntegrityError(f"{where}: not a usable encoder: {'; '.join(problems)}")


def _is_size(value: object) -> bool:
    return type(value) is int and 0 < value <= _MOST


def _convolutions(document: dict[str, Any]) -> tuple[tuple[Convolution, ...], list[str]]:
    columns = [document.get(name) for name in ("conv_dim", "conv_kernel", "conv_stride")]
    for name, column in zip(("conv_dim", "conv_kernel", "conv_stride"), columns, strict=True):
        if not isinstance(column, list) or not all(_is_size(each) for each in column):
            return (), [f"{name} is not a list of sizes"]
    dims, kernels, strides = columns
    count = document.get("num_feat_extract_layers", len(dims))  # type: ignore[arg-type]
    if not len(dims) == len(kernels) == len(strides) == count:  # type: ignore[arg-type]
        return (), ["conv_dim, conv_kernel, conv_stride and num_feat_extract_layers disagree"]
    return tuple(map(Convolution, dims, kernels, strides)), []  # type: ignore[arg-type]


def _normalises(folder: Path, document: dict[str, Any]) -> bool:
    """Whether audio is normalised first. Without a file that says so, it is where convolutions have layer norms.

    So it is with the published encoders. Raises `ModelIntegrityError` for a preprocessor of another kind of audio.
    """
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return document.get("feat_extract_norm") == "layer"
    preprocessor = read_json(path)
    problems = [
        f"{name} is {preprocessor[name]!r} instead of {wanted}"
        for name, wanted in (("sampling_rate", SAMPLE_RATE), ("feature_size", 1))
        if preprocessor.get(name, wanted) != wanted
    ]
    normalises = preprocessor.get("do_normalize", True)  # as transformers fills it in
    if type(normalises) is not bool:
        problems.append(f"do_normalize is {normalises!r}")
    require_encoder(problems, path)
    return bool(normalises)


def documents(config: WaveConfig, family: str) -> dict[str, dict[str, Any]]:
    """The JSON files for a configuration, by name, as transformers reads them.

    `family`: "wav2vec2", "hubert" or "wavlm". Raises `ModelError` if it has no such encoders.
    """
    if family not in _CLASSES or config.recurrent or (family == "wavlm") != bool(config.relative_buckets):
        raise ModelError(f"transformers has no encoder of the family {family!r} with this configuration")
    numbers = _NUMBERS | (_RELATIVE if family == "wavlm" else {})
    fixed = {name: value for name, value in _FIXED.items() if family in _KNOWN_TO.get(name, {family})}
    sizes = {theirs: getattr(config, ours) for ours, theirs in numbers.items()}
    rates = {theirs: getattr(config, ours) for ours, theirs in _RATES.items()}
    document = {
        "architectures": [_CLASSES[family]],
        "model_type": family,
        **sizes,
        **rates,
        **fixed,
        "conv_dim": [each.channels for each in config.convolutions],
        "conv_kernel": [each.kernel for each in config.convolutions],
        "conv_stride": [each.stride for each in config.convolutions],
        "num_feat_extract_layers": len(config.convolutions),
        "feat_extract_norm": config.convolution_norm,
        "feat_extract_activation": config.activation,
        "conv_bias": config.convolution_bias,
        "do_stable_layer_norm": config.pre_norm,
        "attention_dropout": config.dropout,
        "feat_proj_dropout": config.dropout,
        "activation_dropout": 0.0,
        # transformers makes a vector for masked frames only where some are masked in training.
        "mask_time_prob": 0.05,
        "torch_dtype": "float32",
    }
    preprocessor = {
        "do_normalize": config.normalises,
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": config.convolution_norm == "layer",
        "sampling_rate": SAMPLE_RATE,
    }
    return {"config.json": document, "preprocessor_config.json": preprocessor}
