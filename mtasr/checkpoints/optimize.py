"""A copy of a model with the vocabulary of some languages only, which decodes faster.

A decoding step reads all weights of the decoder. In small models about half of them are the output projection, with a
row for each token. The rows, the vocabulary and the ids in the settings are cut down together. Nothing else changes, so
the tokens that stay keep their logits. At the end CTranslate2 runs both models on a spoken clip to check that. Needs no
torch.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import EllipsisType

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
    """Tokens and bytes before and after, and the difference in the logits of the tokens that were kept."""

    source: Path
    tokens_before: int
    tokens: int
    size_before: int
    size: int
    logits: Difference


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """A CTranslate2 folder that passed all checks."""

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

    `text` is a UTF-8 file whose words and tokens are kept too. `least` is the lowest frequency, per word of running
    text, of a token to keep. Everything else is as in `mtasr.checkpoints.convert.convert`.

    Raises `UsageError` for languages that the model does not know or that have no word list, `InputError` for the text,
    `OutputError` for the destination, and `ModelError` for the source.
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
    """Whether the rows of the vocabulary are anywhere but in the embedding, and matrices that cannot be decoded."""
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
        raise UsageError(f"{where} is English-only, and so is most of its vocabulary")
    if not languages:
        raise UsageError("no language to optimize for")
    if unknown := [LANGUAGES[code] for code in languages if code not in tokenizer.language_tokens]:
        raise UsageError(f"{where} does not know {' and '.join(unknown)}")


def renumbered(settings: GenerationSettings, kept: Sequence[int]) -> GenerationSettings:
    """The settings for a vocabulary of the tokens `kept`, ascending, which include all tokens of the settings."""

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
    names = sorted(
        name
        for name in file.variables
        if name != PROJECTION and not (name.endswith("_scale") and name.removesuffix("_scale") in file.variables)
    )
    variables = (each for name in names for each in _stored(file, name, kept if name == EMBEDDING else ..., precision))
    folder.mkdir()
    with (folder / "model.bin").open("xb") as stream:
        model_bin.write(stream, variables, {PROJECTION: EMBEDDING})
    write_documents(
        folder,
        [source.tokens[token] for token in kept],
        renumbered(source.settings, kept),
        replace(source.dims, n_vocab=len(kept)),
        optimized_for=languages,
    )


def _stored(
    file: ModelFile, name: str, rows: Sequence[int] | EllipsisType, precision: Precision
) -> Iterator[StoredVariable]:
    """These rows of a variable (`...` means all) as they are written; the scales follow a matrix in int8.

    Matrices to quantise are those that CTranslate2 quantises when it loads a model (see `int8_copy`), so not
    convolutions. So the copy computes in int8 what the source computes in int8, to the bit.
    """
    variable, scale = file.variables[name], file.variables.get(f"{name}_scale")
    if not variable.shape and variable.dtype.startswith("int"):
        yield StoredVariable(name, variable.dtype, (), bytes(file.read(variable)))
        return
    array = stored_weights.values(file, name)[rows]
    quantize = precision.startswith("int8")
    by_row = scale is not None and (scale.dtype, scale.shape) == ("float32", variable.shape[:1])
    if quantize and variable.dtype == "int8" and scale and by_row:  # quantising again could round differently
        for each, stored in ((name, variable), (f"{name}_scale", scale)):
            data = np.frombuffer(file.read(stored), np.uint8).reshape(stored.shape[0], -1)[rows]
            yield StoredVariable(each, stored.dtype, (len(data), *stored.shape[1:]), data.tobytes())
    elif quantize and name.endswith("/weight") and len(variable.shape) == 2:
        yield from stored_weights.quantized(name, array, system.largest_weight())
    else:
        yield stored_weights.stored(name, array, rest_of(precision))


# The gate


def _compare(source: _Source, kept: Sequence[int], precision: Precision, result: Path) -> Difference:
    """How far source and result are apart in the logits they share, in CTranslate2. Raises `ModelError` if too far."""
    *_, written = checked_folder(result)
    tokenizer, small = Tokenizer(source.tokens), Tokenizer.from_folder(result)
    settings = renumbered(source.settings, kept)
    if written != settings:
        raise ModelError("parity: the settings changed")
    # By its int8 copy or by computing in the result's precision, the source is quantised as the result was.
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
    # The rows that chose the first different token still follow the same text.
    same = next((at for at, (a, b) in enumerate(zip(tokens, new_tokens, strict=False)) if a != kept[b]), len(tokens))
    count = min(same + 1, len(logits), len(new_logits))
    open_ids = np.setdiff1d(np.arange(small.n_vocab), suppressed)
    found = difference(centred(logits[:count, np.asarray(kept)[open_ids]]), centred(new_logits[:count, open_ids]))
    tolerance = _tolerance(precision_of(source.file), precision, copied=copy is not None)
    if not found.rms <= tolerance:
        raise ModelError(f"parity: the logits differ by {found.rms:.1e}, more than {tolerance:.0e}")
    return found


def _tolerance(before: Precision, after: Precision, *, copied: bool) -> float:
    """Quantising gives the same bits as in CTranslate2, so only other rounding makes a difference."""
    rest, whole = rest_of(after), after.partition("_")[0]
    quantises = whole == "int8" and not before.startswith("int8")
    otherwise = quantises and not copied and system.largest_weight() != WHOLE_RANGE
    if rest in {"float32", rest_of(before)} and not otherwise:
        return tolerance_of("float32")
    return tolerance_of(after)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
