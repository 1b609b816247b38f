"""A copy of a model whose vocabulary holds what some languages need, and which decodes faster for it.

A decoding step reads all weights of the decoder, and for small models about half of them are the output projection,
one row for each token. The rows, the vocabulary and the ids in the settings are cut down together. Nothing else
changes, so the tokens that stay have the logits that they had; at the end CTranslate2 runs both models on a spoken
clip to see that this is so. Needs no torch.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mtasr import system
from mtasr.checkpoints.checkpoint import Precision, require
from mtasr.checkpoints.convert import locate
from mtasr.checkpoints.ctranslate2 import stored_weights
from mtasr.checkpoints.ctranslate2.documents import write_documents
from mtasr.checkpoints.ctranslate2.info import (
    EMBEDDING,
    PROJECTION,
    checked_folder,
    precision_of,
    projection_problems,
    read_settings,
    rest_of,
)  # fmt: skip
from mtasr.checkpoints.destination import check_destination, staged
from mtasr.checkpoints.formats import format_of
from mtasr.checkpoints.parity_clip import (
    CLIP,
    CTranslate2Runner,
    Difference,
    Rules,
    centred,
    difference,
    features,
    prompt_of,
    tolerance_of,
)  # fmt: skip
from mtasr.checkpoints.settings import GenerationSettings, default_alignment_heads
from mtasr.checkpoints.vocabulary_choice import LEAST_FREQUENCY, tokens_to_keep
from mtasr.errors import ModelError, UsageError
from mtasr.models import int8_copy, model_bin
from mtasr.models.model_bin import ModelFile, StoredVariable
from mtasr.networks.dimensions import ModelDimensions
from mtasr.system import WHOLE_RANGE
from mtasr.text_files import read_text
from mtasr.tokenizer import LANGUAGES, Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimized:
    """What became of it: tokens and bytes before and after, and how far the logits of the tokens kept are apart."""

    source: Path
    tokens_before: int
    tokens: int
    size_before: int
    size: int
    logits: Difference


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """A CTranslate2 folder, read and found sound."""

    folder: Path
    file: ModelFile
    dims: ModelDimensions
    tokens: list[str]
    settings: GenerationSettings


def optimize(
    source: str,
    destination: Path,
    languages: Sequence[str],
    precision: Precision = "int8",
    *,
    text: Path | None = None,
    least: float = LEAST_FREQUENCY,
    force: bool = False,
) -> Optimized:
    """Write the model `source` (a name or a CTranslate2 folder) with the tokens that these languages (codes) need.

    `text` is a file of UTF-8 whose words and tokens are kept too; `least` is how often a token has to occur for each
    word to be kept. Everything else is as `mtasr.checkpoints.convert.convert` does it.

    Raises `UsageError` for languages that the model does not know or nothing is known of, `InputError` for
    the text, `OutputError` for the destination, and `ModelError` for the source.
    """
    destination = destination.expanduser().absolute()
    check_destination(destination, "ctranslate2", force=force)
    lines = read_text(text).splitlines() if text else ()
    path = locate(source)
    if path.resolve() == destination.resolve():
        raise UsageError(f"{destination} is the source itself")
    whole = _read(path)
    tokenizer = Tokenizer(whole.tokens)
    _check_languages(tokenizer, languages, path)
    settings = whole.settings
    named = (*settings.suppress_ids, *settings.suppress_ids_begin)
    text_tokens = tokens_to_keep(tokenizer, languages, lines, named, least)
    kept = [*text_tokens, *range(tokenizer.eot, tokenizer.n_vocab)]
    with staged(destination, force=force) as staging:
        _write(whole, kept, languages, precision, staging)
        logits = _compare(whole, kept, precision, staging)
        size = _size(staging)
    return Optimized(
        source=path,
        tokens_before=len(whole.tokens),
        tokens=len(kept),
        size_before=_size(path),
        size=size,
        logits=logits,
    )


def _read(folder: Path) -> _Source:
    kind = format_of(folder).name
    if kind != "ctranslate2":
        raise ModelError(f"{folder} is in the {kind} format: `mtasr models convert` it to ctranslate2 first")
    dims, _, tokens, _ = checked_folder(folder)
    file = model_bin.read_contents(folder / "model.bin")
    require(_weight_problems(file, dims), folder)
    settings = read_settings(folder, default_alignment_heads(dims.n_text_layer, dims.n_text_head))
    return _Source(folder=folder, file=file, dims=dims, tokens=tokens, settings=settings)


def _weight_problems(file: ModelFile, dims: ModelDimensions) -> list[str]:
    """The rows of the vocabulary are where they are looked for, and nowhere else."""
    problems = projection_problems(file) + [
        f"{name} is of type {variable.dtype} and has no scale"
        for name, variable in file.variables.items()
        if name != PROJECTION
        and variable.shape
        and variable.dtype.startswith("int")
        and f"{name}_scale" not in file.variables
    ]
    known = {name + end for name in (EMBEDDING, PROJECTION) for end in ("", "_scale")}
    return problems + [
        f"{name} has a row for each token"
        for name, variable in file.variables.items()
        if name.startswith("decoder/") and dims.n_vocab in variable.shape and name not in known
    ]


def _check_languages(tokenizer: Tokenizer, languages: Sequence[str], where: Path) -> None:
    if not tokenizer.is_multilingual:
        raise UsageError(f"{where} is English-only, and its vocabulary holds little but English")
    if not languages:
        raise UsageError("no language to optimize for")
    if unknown := [LANGUAGES[code] for code in languages if code not in tokenizer.language_tokens]:
        raise UsageError(f"{where} does not know {' and '.join(unknown)}")


def renumbered(settings: GenerationSettings, kept: Sequence[int]) -> GenerationSettings:
    """The settings in the ids of a vocabulary of the tokens `kept`, ascending; all that they name is among them."""

    def new(ids: Sequence[int]) -> tuple[int, ...]:
        return tuple(bisect_left(kept, token) for token in ids)

    return replace(
        settings,
        suppress_ids=new(settings.suppress_ids),
        suppress_ids_begin=new(settings.suppress_ids_begin),
        lang_ids=new(settings.lang_ids),
    )


# Writing


def _write(source: _Source, kept: Sequence[int], languages: Sequence[str], precision: Precision, folder: Path) -> None:
    file = source.file
    rest = rest_of(precision)
    quantize = precision.startswith("int8")
    names = sorted(
        name
        for name in file.variables
        if name != PROJECTION and not (name.endswith("_scale") and name.removesuffix("_scale") in file.variables)
    )
    scales = sum(quantize and (_is_matrix(file, name) or _is_quantized(file, name)) for name in names)
    folder.mkdir()
    with (folder / "model.bin").open("xb") as stream:
        records = (
            record
            for name in names
            for record in _variables(file, name, kept if name == EMBEDDING else None, rest, quantize=quantize)
        )
        model_bin.write(stream, len(names) + scales, records, {PROJECTION: EMBEDDING})
    write_documents(
        folder,
        [source.tokens[token] for token in kept],
        renumbered(source.settings, kept),
        replace(source.dims, n_vocab=len(kept)),
        optimized_for=languages,
    )


def _is_matrix(file: ModelFile, name: str) -> bool:
    """Matrices to quantise: those that are quantised when a model is loaded (see `int8_copy`), so not convolutions.

    So the copy computes in int8 what the source computes in int8, to the bit.
    """
    return name.endswith("/weight") and len(file.variables[name].shape) == 2


def _is_quantized(file: ModelFile, name: str) -> bool:
    """Whether it is in int8 already, with a factor for each row."""
    variable, scale = file.variables[name], file.variables.get(f"{name}_scale")
    rows = variable.shape[:1]
    return variable.dtype == "int8" and scale is not None and (scale.dtype, scale.shape) == ("float32", rows)


def _variables(
    file: ModelFile, name: str, rows: Sequence[int] | None, rest: str, *, quantize: bool
) -> Iterator[StoredVariable]:
    """A variable as it is written, of the matrices in int8 followed by its scales; of some only these rows."""
    variable = file.variables[name]
    if not variable.shape and variable.dtype.startswith("int"):
        yield StoredVariable(name, variable.dtype, (), bytes(file.read(variable)))
        return
    if quantize and _is_quantized(file, name):  # to do it once more could round anew
        yield from _copied(file, name, rows)
        return
    array = stored_weights.values(file, name)
    array = array if rows is None else array[np.asarray(rows)]
    if quantize and _is_matrix(file, name):
        yield from stored_weights.quantized(name, array, system.largest_weight())
    else:
        yield stored_weights.stored(name, array, rest)


def _copied(file: ModelFile, name: str, rows: Sequence[int] | None) -> Iterator[StoredVariable]:
    stored_weights.values(file, name)  # for its checks
    for each in (name, f"{name}_scale"):
        variable = file.variables[each]
        data = np.frombuffer(file.read(variable), np.uint8).reshape(variable.shape[0], -1)
        data = data if rows is None else data[np.asarray(rows)]
        yield StoredVariable(each, variable.dtype, (len(data), *variable.shape[1:]), data.tobytes())


# The gate


def _compare(source: _Source, kept: Sequence[int], precision: Precision, result: Path) -> Difference:
    """How far the logits are apart that both have, in CTranslate2. Raises `ModelError` if too far."""
    *_, written = checked_folder(result)
    tokenizer, small = Tokenizer(source.tokens), Tokenizer.from_folder(result)
    settings = renumbered(source.settings, kept)
    if written != settings:
        raise ModelError("parity: the settings did not arrive as they were")
    # Its int8 copy, or else computing in the result's precision: either way the source is quantised as it was here.
    copy = int8_copy.provide(source.folder) if precision.startswith("int8") else None
    compute = "int8_float32" if precision.startswith("int8") else "float32"
    mel = features(CLIP, source.dims)
    context = source.dims.n_text_ctx
    gone = np.setdiff1d(np.arange(tokenizer.n_vocab), kept).tolist()
    before = CTranslate2Runner(
        copy or source.folder,
        mel,
        Rules((*source.settings.suppress_ids, *tokenizer.never_text, *gone), tokenizer.eot),
        context,
        compute,
    )
    suppressed = (*settings.suppress_ids, *small.never_text)
    after = CTranslate2Runner(result, mel, Rules(suppressed, small.eot), context, compute)
    tokens, logits = before.greedy(prompt_of(tokenizer))
    new_tokens, new_logits = after.greedy(prompt_of(small))
    # Both rows that chose the first different token still follow the same text.
    same = next((at for at, (a, b) in enumerate(zip(tokens, new_tokens, strict=False)) if a != kept[b]), len(tokens))
    count = min(same + 1, len(logits), len(new_logits))
    open_ids = np.setdiff1d(np.arange(small.n_vocab), suppressed)
    found = difference(centred(logits[:count, np.asarray(kept)[open_ids]]), centred(new_logits[:count, open_ids]))
    tolerance = _tolerance(precision_of(source.file), precision, copied=copy is not None)
    if not found.rms <= tolerance:
        raise ModelError(f"parity: the logits differ by {found.rms:.1e}; at most {tolerance:.0e} may be")
    return found


def _tolerance(before: Precision, after: Precision, *, copied: bool) -> float:
    """Quantising gives what it gives in CTranslate2, to the bit; what is rounded besides makes a difference."""
    rest, whole = rest_of(after), after.partition("_")[0]
    quantises = whole == "int8" and not before.startswith("int8")
    otherwise = quantises and not copied and system.largest_weight() != WHOLE_RANGE
    if rest in {"float32", rest_of(before)} and not otherwise:
        return tolerance_of("float32")
    return tolerance_of(after)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
