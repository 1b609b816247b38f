"""From an encoder to a folder: `config.json`, `model.safetensors`, and for transformers what audio to give it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import save_file
from torch import Tensor, nn

from mtasr.checkpoints.destination import staged
from mtasr.checkpoints.encoders import own_settings, wave_names, wave_settings
from mtasr.checkpoints.encoders.reading import StoredEncoder
from mtasr.checkpoints.huggingface.safetensors_files import WEIGHTS
from mtasr.checkpoints.weights import rounded
from mtasr.errors import ModelError, OutputError
from mtasr.networks.whisper_encoder import WhisperEncoder

#: What transformers calls an encoder.
Family = Literal["wav2vec2", "hubert", "wavlm"]

_FILES = frozenset({"config.json", "preprocessor_config.json", "vocab.json", "tokenizer_config.json", WEIGHTS})


def save_encoder(encoder: nn.Module, folder: Path, family: Family | None = None) -> None:
    """Write an encoder in float32, all or nothing; an encoder that is there is replaced.

    A transformer over the waveform is written as transformers reads it, under the name of its family: WavLM if it has
    relative positions, else wav2vec 2.0 or what `family` says. HuBERT's network is the same as wav2vec 2.0's. Others
    have a form of their own (`own_settings`).

    Raises `OutputError` if the folder holds anything else or cannot be written, and `ModelError` for weights that are
    not finite, for a family that has no such encoders, and for a module that is no `StoredEncoder`.
    """
    if not isinstance(encoder, StoredEncoder):
        raise ModelError(f"{type(encoder).__name__} is not an encoder that can be stored")
    documents, own = _documents(encoder, family)
    state = encoder.state_dict()
    write_folder(folder, documents, {name if own else wave_names.foreign_name(name): state[name] for name in state})


def write_folder(folder: Path, documents: Mapping[str, Mapping[str, Any]], state: Mapping[str, Tensor]) -> None:
    """Write JSON files by their names, and tensors in float32. Raises as `save_encoder` does."""
    if folder.is_dir() and (others := sorted(each.name for each in folder.iterdir() if each.name not in _FILES)):
        raise OutputError(f"{folder} holds more than an encoder ({others[0]}) and is not replaced; remove it first")
    tensors = {name: rounded(name, tensor, "float32") for name, tensor in state.items()}
    with staged(folder, force=True) as staging:
        staging.mkdir()
        for name, document in documents.items():
            (staging / name).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        save_file(tensors, staging / WEIGHTS, metadata={"format": "pt"})
        # safetensors makes its files unreadable for other users.
        (staging / WEIGHTS).chmod((staging / "config.json").stat().st_mode & 0o777)


def _documents(encoder: StoredEncoder, family: Family | None) -> tuple[dict[str, dict[str, Any]], bool]:
    """The JSON files, and whether they are in a form of our own."""
    if isinstance(encoder, WhisperEncoder):
        return {"config.json": own_settings.encoder_document(encoder.dims)}, True
    config = encoder.config
    if config.recurrent and family is None:
        return {"config.json": own_settings.cpc_document(config)}, True
    return wave_settings.documents(config, family or ("wavlm" if config.relative_buckets else "wav2vec2")), False
