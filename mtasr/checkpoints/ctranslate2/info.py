"""Reading and checking a CTranslate2 folder without torch: dimensions, shapes, precision, settings."""

from __future__ import annotations

import re
from pathlib import Path

from mtasr.checkpoints.checkpoint import Precision, checked_dimensions, prompt_problems, require
from mtasr.checkpoints.ctranslate2.stored_weights import values
from mtasr.checkpoints.settings import GenerationSettings, ours, read_json, settings_in
from mtasr.errors import ModelIntegrityError
from mtasr.models.model_bin import ModelFile, read_contents
from mtasr.networks.dimensions import ModelDimensions
from mtasr.tokenizer.vocabulary import read_vocabulary

EMBEDDING, PROJECTION = "decoder/embeddings/weight", "decoder/projection/weight"

_LAYER = re.compile(r"(encoder|decoder)/layer_(\d+)/")


def dimensions_of(file: ModelFile) -> ModelDimensions:
    """The dimensions that follow from the shapes in the file. Raises `ModelIntegrityError` if one does not."""
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
    n_vocab, text_width = shape(EMBEDDING, 2)
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


def expected_shapes(dims: ModelDimensions) -> dict[str, tuple[int, ...]]:
    """The shape of every weight of such a model, by CTranslate2's name."""
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, *shape: int) -> None:
        shapes.update({f"{name}/weight": shape, f"{name}/bias": shape[:1]})

    def norm(name: str, width: int) -> None:
        shapes.update({f"{name}/gamma": (width,), f"{name}/beta": (width,)})

    def block(name: str, width: int) -> None:
        norm(f"{name}/self_attention/layer_norm", width)
        linear(f"{name}/self_attention/linear_0", 3 * width, width)
        linear(f"{name}/self_attention/linear_1", width, width)
        norm(f"{name}/ffn/layer_norm", width)
        linear(f"{name}/ffn/linear_0", 4 * width, width)
        linear(f"{name}/ffn/linear_1", width, 4 * width)

    audio, text = dims.n_audio_state, dims.n_text_state
    linear("encoder/conv1", audio, dims.n_mels, 3)
    linear("encoder/conv2", audio, audio, 3)
    shapes["encoder/position_encodings/encodings"] = (dims.n_audio_ctx, audio)
    for number in range(dims.n_audio_layer):
        block(f"encoder/layer_{number}", audio)
    norm("encoder/layer_norm", audio)
    shapes[EMBEDDING] = shapes[PROJECTION] = (dims.n_vocab, text)
    shapes["decoder/position_encodings/encodings"] = (dims.n_text_ctx, text)
    for number in range(dims.n_text_layer):
        name = f"decoder/layer_{number}"
        block(name, text)
        norm(f"{name}/attention/layer_norm", text)
        linear(f"{name}/attention/linear_0", text, text)
        linear(f"{name}/attention/linear_1", 2 * text, audio)
        linear(f"{name}/attention/linear_2", text, text)
    norm("decoder/layer_norm", text)
    return shapes


def _shape_problems(file: ModelFile, dims: ModelDimensions) -> list[str]:
    problems = []
    for name, shape in expected_shapes(dims).items():
        variable, scale = file.variables.get(name), file.variables.get(f"{name}_scale")
        if variable is None:
            if not name.endswith("/bias"):  # CTranslate2 needs none
                problems.append(f"{name} is missing")
        elif variable.shape != shape:
            problems.append(f"{name} has the shape {variable.shape} instead of {shape}")
        elif scale is not None and scale.shape not in {(), shape[:1]}:
            problems.append(f"{name}_scale has the shape {scale.shape}")
    return problems


def checked_folder(folder: Path) -> tuple[ModelDimensions, Precision, list[str], GenerationSettings]:
    """Dimensions, precision, vocabulary and settings, after a check that they and the weights fit each other.

    CTranslate2 checks none of this: shapes, ids and heads that do not fit make it read outside its memory. Vectors are
    read too, within milliseconds, because with AVX-512 it writes text even if a value is not a number. Raises one
    `ModelIntegrityError` for everything that is wrong.
    """
    file = read_contents(folder / "model.bin")
    dims = checked_dimensions(dimensions_of(file), folder)
    problems = _shape_problems(file, dims)
    settings = read_settings(folder, ())
    problems += settings.problems(dims.n_vocab, dims.n_text_layer, dims.n_text_head)
    tokens = read_vocabulary(folder)
    if len(tokens) != dims.n_vocab:
        problems.append(f"the vocabulary has {len(tokens)} tokens and the model {dims.n_vocab}")
    problems += prompt_problems(tokens, dims.n_text_ctx)
    require(problems, folder)
    for name, variable in file.variables.items():
        if len(variable.shape) == 1:
            values(file, name)
    return dims, precision_of(file), tokens, settings


def projection_problems(file: ModelFile) -> list[str]:
    """What is wrong with the output projection, which must equal the embedding."""
    if PROJECTION not in file.variables:
        return [f"{PROJECTION} is missing"]
    names = [(PROJECTION, EMBEDDING), (f"{PROJECTION}_scale", f"{EMBEDDING}_scale")]
    return [f"{ours} is not that of the embedding" for ours, theirs in names if not _same(file, ours, theirs)]


def _same(file: ModelFile, name: str, other: str) -> bool:
    """Whether two variables hold the same; a matrix stored once may have its scale stored once as well."""
    one, two = file.variables.get(name), file.variables.get(other)
    if one is None or two is None or one == two:
        return True
    return (one.dtype, one.shape) == (two.dtype, two.shape) and file.read(one) == file.read(two)


def rest_of(precision: str) -> str:
    """The type of whatever is not in int8: "float16" for "int8_float16"; "float32" where the name does not say."""
    return precision.removeprefix("int8").removeprefix("_") or "float32"


def precision_of(file: ModelFile) -> Precision:
    """How the weights are stored, as CTranslate2 calls it."""
    weight, norm = (file.variables[name].dtype for name in (EMBEDDING, "decoder/layer_norm/gamma"))
    if weight == "int16":  # finer than int8; older versions of CTranslate2 wrote it
        return "float32"
    if weight == "int8":
        return {"float16": "int8_float16", "bfloat16": "int8_bfloat16"}.get(norm, "int8")  # type: ignore[return-value]
    return weight  # type: ignore[return-value]


def read_settings(folder: Path, alignment_heads: tuple[tuple[int, int], ...]) -> GenerationSettings:
    """The settings in `config.json`; `alignment_heads` if it has none."""
    path = folder / "config.json"
    config = read_json(path)
    variable_length = ours(config).get("variable_length") is True
    return settings_in(config, path, alignment_heads=alignment_heads, variable_length=variable_length)
