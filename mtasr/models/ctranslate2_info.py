"""What can be told of a CTranslate2 folder from names and headers alone, without torch."""

from __future__ import annotations

import re
from pathlib import Path

from mtasr.dimensions import ModelDimensions
from mtasr.errors import ModelIntegrityError
from mtasr.models.checkpoints import Precision, checked_dimensions, require
from mtasr.models.ctranslate2_binary import VERSION, ModelFile, read_contents
from mtasr.models.settings import GenerationSettings, head_pairs, read_json, token_ids
from mtasr.tokenizer.vocabulary import read_vocabulary

_LAYER = re.compile(r"(encoder|decoder)/layer_(\d+)/")


def dimensions_of(file: ModelFile) -> ModelDimensions:
    """The dimensions that the shapes in the file amount to. Raises `ModelIntegrityError` where one cannot be told."""
    layers: dict[str, set[int]] = {"encoder": set(), "decoder": set()}
    for name in file.variables:
        if found := _LAYER.match(name):
            layers[found[1]].add(int(found[2]))
    problems: list[str] = []

    def shape(name: str, rank: int) -> tuple[int, ...]:
        variable = file.variables.get(name)
        if variable is None or len(variable.shape) != rank:
            problems.append(f"{name} is missing" if variable is None else f"{name} has the shape {variable.shape}")
            return (0,) * rank
        return variable.shape

    def heads(name: str) -> int:
        value = file.scalar(name)
        if value is None:
            problems.append(f"{name} is missing")
        return value or 0

    audio_context, audio_width = shape("encoder/position_encodings/encodings", 2)
    text_context, _ = shape("decoder/position_encodings/encodings", 2)
    n_vocab, text_width = shape("decoder/embeddings/weight", 2)
    dims = ModelDimensions(
        n_mels=shape("encoder/conv1/weight", 3)[1],
        n_audio_ctx=audio_context,
        n_audio_state=audio_width,
        n_audio_head=heads("encoder/num_heads"),
        n_audio_layer=len(layers["encoder"]),
        n_vocab=n_vocab,
        n_text_ctx=text_context,
        n_text_state=text_width,
        n_text_head=heads("decoder/num_heads"),
        n_text_layer=len(layers["decoder"]),
    )
    if problems:
        raise ModelIntegrityError(f"{file.path}: not a usable Whisper model: {'; '.join(problems)}")
    return dims


def checked_folder(folder: Path) -> tuple[ModelDimensions, Precision, list[str]]:
    """Dimensions, precision and vocabulary, once vocabulary and settings are known to fit them.

    CTranslate2 checks neither: ids and heads that the model does not have make it read outside its memory. Raises
    `ModelIntegrityError` with all that is wrong.
    """
    file = read_contents(folder / "model.bin")
    dims = checked_dimensions(dimensions_of(file), folder)
    problems = read_settings(folder, ()).problems(dims.n_vocab, dims.n_text_layer, dims.n_text_head)
    tokens = read_vocabulary(folder)
    if len(tokens) != dims.n_vocab:
        problems.append(f"the vocabulary has {len(tokens)} tokens and the model {dims.n_vocab}")
    require(problems, folder)
    return dims, precision_of(file), tokens


def loadable_vocabulary(folder: Path) -> list[str]:
    """The vocabulary, after `checked_folder`, for whoever only wants to run the model.

    What CTranslate2 alone can read is left to it.
    """
    try:
        with (folder / "model.bin").open("rb") as stream:
            version = int.from_bytes(stream.read(4), "little")
    except OSError as exc:
        raise ModelIntegrityError(f"cannot read {folder / 'model.bin'}: {exc.strerror or exc}") from exc
    if 0 < version < VERSION:
        return read_vocabulary(folder)
    return checked_folder(folder)[2]


def precision_of(file: ModelFile) -> Precision:
    """How the weights are stored, by its name in CTranslate2."""
    weight, norm = (file.variables[name].dtype for name in ("decoder/embeddings/weight", "decoder/layer_norm/gamma"))
    if weight == "int16":  # finer than int8, and not written any more
        return "float32"
    if weight == "int8":
        return {"float16": "int8_float16", "bfloat16": "int8_bfloat16"}.get(norm, "int8")  # type: ignore[return-value]
    return weight  # type: ignore[return-value]


def read_settings(folder: Path, alignment_heads: tuple[tuple[int, int], ...]) -> GenerationSettings:
    """The settings in `config.json`, with these heads where it has none."""
    path = folder / "config.json"
    config = read_json(path)
    return GenerationSettings(
        suppress_ids=token_ids(config, "suppress_ids", path),
        suppress_ids_begin=token_ids(config, "suppress_ids_begin", path),
        lang_ids=token_ids(config, "lang_ids", path),
        alignment_heads=head_pairs(config, path) or alignment_heads,
    )
