"""Codecs from and to folders, in the form of transformers' `EncodecModel`, and from Meta's `.th` files.

Codecs that are not causal or that normalise loudness, such as EnCodec at 48 kHz, are refused.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtasr.checkpoints.destination import staged
from mtasr.checkpoints.generative.encodec import (
    read_meta_file,
    read_transformers_folder,
    write_transformers_weights,
)
from mtasr.checkpoints.settings import read_json
from mtasr.errors import ModelError, ModelIntegrityError, ModelNotFoundError
from mtasr.generative.codec import CODEC_PRESETS, Codec, CodecConfig
from mtasr.generative.seanet import SeanetConfig
from mtasr.models.encoders import names_repo, resolve_encoder
from mtasr.models.hub import Progress

#: EnCodec at 24 kHz: what Meta's tool calls it, and where the hub has it.
ENCODEC = "encodec_24khz"
_REPOSITORY = "facebook/encodec_24khz@c1dbe2ae3f1de713481a3b3e7c47f357092ee040"
_FILE_ENDING = ".th"
_MOST = 1 << 16

#: What all codecs here have in common, by transformers' names.
_FIXED: Mapping[str, Any] = {
    "audio_channels": 1, "normalize": False, "norm_type": "weight_norm", "use_causal_conv": True,
    "num_residual_layers": 1, "compress": 2, "trim_right_ratio": 1.0, "use_conv_shortcut": True,
}  # fmt: skip
#: What transformers takes for granted where a configuration is silent, and what may be left out.
_DEFAULTS: Mapping[str, Any] = {
    **_FIXED, "sampling_rate": 24_000, "num_filters": 32, "upsampling_ratios": [8, 5, 4, 2], "hidden_size": 128,
    "kernel_size": 7, "last_kernel_size": 7, "residual_kernel_size": 3, "num_lstm_layers": 2, "pad_mode": "reflect",
    "codebook_size": 1024, "target_bandwidths": [1.5, 3.0, 6.0, 12.0, 24.0], "chunk_length_s": None,
}  # fmt: skip


def load_codec(name: str | Path, progress: Progress | None = None) -> Codec:
    """A codec on the CPU, not in training mode: a folder, a `.th` file of Meta's, or one of the hub.

    `name` is encodec_24khz (fetched at one commit, which is checked as all that comes from the hub is), another
    `owner/name` of the hub with or without `@revision`, or a path. The run of `mtasr pretrain objective=codec` may be
    named in place of its folder `codec`. Raises `ModelNotFoundError`, `ModelDownloadError`, `ModelError` for a codec of
    another kind, and `ModelIntegrityError` for files that are damaged or hold more than weights.
    """
    path = Path(name)
    if path.is_dir():
        return read_codec(path / "codec" if (path / "codec").is_dir() else path)
    if path.suffix == _FILE_ENDING and path.is_file():
        return _read_meta(path)
    if str(name) == ENCODEC:
        return _named(read_codec(resolve_encoder(_REPOSITORY, progress)), ENCODEC)
    if names_repo(str(name)):
        return read_codec(resolve_encoder(str(name), progress))
    raise ModelNotFoundError(f"{name}: no such codec; name {ENCODEC}, a folder or a {_FILE_ENDING} file")


def read_codec(folder: Path) -> Codec:
    """The codec in a folder. Raises as `load_codec`."""
    config = _config(read_json(folder / "config.json"), folder)
    return _built(config, lambda shapes: read_transformers_folder(folder, shapes))


def save_codec(codec: Codec, folder: Path) -> None:
    """Write a codec, all or nothing, so that `load_codec` and transformers read it. Raises `OutputError`."""
    state = codec.state_dict()
    if wrong := [name for name, tensor in state.items() if not tensor.isfinite().all()]:
        raise ModelError(f"the codec holds values that are not finite: {', '.join(wrong)}")
    with staged(folder, force=True) as staging:
        staging.mkdir()
        document = {"model_type": "encodec", "architectures": ["EncodecModel"], **_document(codec.config)}
        (staging / "config.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        write_transformers_weights(staging, state)


def _named(codec: Codec, name: str) -> Codec:
    """The same codec under the name that Meta's tool has for it."""
    codec.name = name
    return codec


def _read_meta(path: Path) -> Codec:
    codec = _built(CODEC_PRESETS["encodec-24khz"], lambda shapes: read_meta_file(path, shapes))
    return _named(codec, ENCODEC)


def _built(config: CodecConfig, read: Callable[[Mapping[str, tuple[int, ...]]], dict[str, Tensor]]) -> Codec:
    with torch.device("meta"):
        codec = Codec(config)
    state = read({name: tuple(each.shape) for name, each in codec.state_dict().items()})
    codec.load_state_dict(state, assign=True)
    codec.digest = digest_of(state)
    codec.name = f"mtasr-{codec.digest}"
    return codec.requires_grad_(False).eval()


def digest_of(state: Mapping[str, Tensor]) -> str:
    """16 hexadecimal digits that tell apart the entries of books, and so codecs whose codes mean different things."""
    found = hashlib.sha256()
    for name in sorted(name for name in state if name.endswith("centres")):
        found.update(state[name].contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def _config(document: Mapping[str, Any], where: Path) -> CodecConfig:
    if document.get("model_type") != "encodec":
        raise ModelError(f"{where}: codecs of the type {document.get('model_type')!r} are not read, only encodec")
    given = {name: document.get(name, value) for name, value in _DEFAULTS.items()}
    other = [f"{name}={given[name]!r}" for name, value in _FIXED.items() if given[name] != value]
    other += ["chunk_length_s"] if given["chunk_length_s"] is not None else []
    other += ["last_kernel_size"] if given["last_kernel_size"] != given["kernel_size"] else []
    other += ["codebook_dim"] if document.get("codebook_dim") not in {None, given["hidden_size"]} else []
    if other:
        raise ModelError(f"{where}: a codec of a kind that is not read ({', '.join(other)})")
    strides, bandwidths = given["upsampling_ratios"], given["target_bandwidths"]
    sizes = [
        given[name]
        for name in (
            "sampling_rate",
            "num_filters",
            "hidden_size",
            "kernel_size",
            "residual_kernel_size",
            "codebook_size",
        )
    ]
    fine = (
        isinstance(strides, list) and bool(strides) and len(strides) < 10 and all(map(_is_size, [*sizes[1:], *strides]))
    )
    fine = fine and type(sizes[0]) is int and 0 < sizes[0] <= 192_000 and given["pad_mode"] in {"reflect", "constant"}
    fine = fine and type(given["num_lstm_layers"]) is int and 0 <= given["num_lstm_layers"] <= 16
    fine = fine and isinstance(bandwidths, list) and bool(bandwidths) and type(bandwidths[-1]) in {int, float}
    if not fine or given["num_filters"] * 2 ** len(strides) > _MOST or math.prod(strides) > _MOST:
        raise ModelIntegrityError(f"{where}: its config.json has sizes that no codec has")
    seanet = SeanetConfig(
        filters=given["num_filters"], strides=tuple(strides), dimension=given["hidden_size"],
        kernel=given["kernel_size"], residual_kernel=given["residual_kernel_size"],
        recurrent_layers=given["num_lstm_layers"], padding=given["pad_mode"],
    )  # fmt: skip
    config = CodecConfig(rate=given["sampling_rate"], seanet=seanet, books=1, entries=given["codebook_size"])
    books = 1000 * bandwidths[-1] / (config.bits * math.ceil(config.frame_rate))  # as transformers counts them
    if not 1 <= books <= 128:
        raise ModelIntegrityError(f"{where}: its target_bandwidths are those of no codec")
    return replace(config, books=int(books + 1e-9))


def _is_size(value: object) -> bool:
    return type(value) is int and 0 < value <= _MOST


def _document(config: CodecConfig) -> dict[str, Any]:
    seanet = config.seanet
    bits = config.books * config.bits * math.ceil(config.frame_rate)
    last = bits / 1000
    if 1000 * last < bits:  # or transformers, which rounds down, would count one book less
        last = math.nextafter(last, math.inf)
    return {
        **_FIXED, "sampling_rate": config.rate, "num_filters": seanet.filters,
        "upsampling_ratios": list(seanet.strides), "hidden_size": seanet.dimension, "kernel_size": seanet.kernel,
        "last_kernel_size": seanet.kernel, "residual_kernel_size": seanet.residual_kernel,
        "num_lstm_layers": seanet.recurrent_layers, "pad_mode": seanet.padding, "codebook_size": config.entries,
        "codebook_dim": seanet.dimension, "target_bandwidths": [last], "chunk_length_s": None,
    }  # fmt: skip
