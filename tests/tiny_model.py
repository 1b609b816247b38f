"""A real CTranslate2 model folder with random weights and tiny dimensions, made in a moment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from ctranslate2.specs import WhisperSpec, model_spec
from vocabularies import FULL_TEXT, vocabulary

from mtasr.networks.dimensions import DIMENSIONS

_WIDTH, _HEADS, _LAYERS = 16, 2, 1
#: For engines that are made without `load_model`, which reads it from the model. Random models fill their context, so
#: this one is shorter than the published 448.
TINY = replace(DIMENSIONS["base"], n_text_ctx=128)


def make_tiny_model(
    folder: Path, kind: str = "multilingual", n_mels: int = 80, seed: int = 0, quantization: str | None = "float16"
) -> Path:
    """Write a model of one of the published vocabulary layouts ("multilingual", "english", "large-v3").

    `quantization` is CTranslate2's name for how the weights are stored, None for float32.
    """
    tokens = vocabulary(kind, FULL_TEXT[kind])
    rng = np.random.default_rng(seed)
    spec = WhisperSpec(_LAYERS, _HEADS, _LAYERS, _HEADS)
    shapes = _shapes(len(tokens), n_mels)

    def fill(part: model_spec.LayerSpec, name: str, value: object) -> None:
        if value is None:
            shape = shapes(name)
            weights = np.ones(shape) if name.endswith("gamma") else rng.normal(0, 0.3, shape)
            setattr(part, name.rpartition("/")[2], weights.astype(np.float32))

    spec.encoder.position_encodings.encodings = rng.normal(0, 0.1, (1500, _WIDTH)).astype(np.float32)
    spec.decoder.position_encodings.encodings = rng.normal(0, 0.1, (TINY.n_text_ctx, _WIDTH)).astype(np.float32)
    model_spec.visit_spec(spec, fill)
    index = {token: i for i, token in enumerate(tokens)}
    spec.config.lang_ids = [
        i for token, i in index.items() if index["<|startoftranscript|>"] < i < index["<|translate|>"]
    ]
    spec.config.suppress_ids = [1, 2, 7]
    spec.config.suppress_ids_begin = [index["Ġ"], index["<|endoftext|>"]]
    spec.config.alignment_heads = [(0, 0), (0, 1)]
    spec.register_vocabulary(tokens)
    spec.validate()
    spec.optimize(quantization=quantization)
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))
    return folder


def _shapes(n_vocab: int, n_mels: int):
    width = _WIDTH
    by_ending = {
        "conv1/weight": (width, n_mels, 3),
        "conv2/weight": (width, width, 3),
        "embeddings/weight": (n_vocab, width),
        "projection/weight": (n_vocab, width),
        "ffn/linear_0/weight": (4 * width, width),
        "ffn/linear_0/bias": (4 * width,),
        "ffn/linear_1/weight": (width, 4 * width),
        "self_attention/linear_0/weight": (3 * width, width),
        "self_attention/linear_0/bias": (3 * width,),
        "attention/linear_1/weight": (2 * width, width),
        "attention/linear_1/bias": (2 * width,),
        "weight": (width, width),
    }

    def shape(name: str) -> tuple[int, ...]:
        if name.endswith("self_attention/linear_1/weight"):
            return (width, width)
        if name.endswith("self_attention/linear_1/bias"):
            return (width,)
        return next((value for ending, value in by_ending.items() if name.endswith(ending)), (width,))

    return shape
