"""The checkpoint formats, and reading and writing checkpoints in any of them.

To add a format: write a class derived from `mtasr.checkpoints.checkpoint.Format` in a new file of this folder, such as
`npz.py`, and add a line with an instance of it to `FORMATS` below. Nothing else lists the formats: conversion, its
comparison of results, `mtasr models info` and the command line's choices all read this tuple.
"""

from __future__ import annotations

from pathlib import Path

from mtasr.checkpoints.adapted import Adapted
from mtasr.checkpoints.checkpoint import Checkpoint, Format, Precision, require
from mtasr.checkpoints.ctranslate2.format import CTranslate2
from mtasr.checkpoints.huggingface.format import HuggingFace
from mtasr.checkpoints.openai.format import OpenAI
from mtasr.errors import ModelError, ModelIntegrityError, ModelNotFoundError, UsageError
from mtasr.extras import extras

#: In the order in which they are asked whether a file or folder is theirs. Conversion writes the first by default. The
#: last takes any file, so a new format belongs between them.
FORMATS: tuple[Format, ...] = (
    CTranslate2(),
    HuggingFace(),
    OpenAI(),
)
#: Read, but not written by conversion.
_READ_ONLY: tuple[Format, ...] = (Adapted(),)


def format_named(name: str) -> Format:
    """The format that `--format` calls by this name. Raises `UsageError`."""
    for each in FORMATS:
        if each.name == name:
            return each
    raise UsageError(f"there is no format {name!r}; use one of {', '.join(each.name for each in FORMATS)}")


def format_for(destination: Path) -> Format:
    """The format to write to a path, by its ending; the first one if no format has that ending."""
    return next((each for each in FORMATS if each.ending and each.ending == destination.suffix.lower()), FORMATS[0])


def format_of(path: Path) -> Format:
    """The format of a file or folder. Raises `ModelNotFoundError` or `ModelIntegrityError`."""
    if not path.exists():
        raise ModelNotFoundError(f"there is no model {path}")
    for each in (*_READ_ONLY, *FORMATS):
        if each.detects(path):
            return each
    known = ", ".join(f"{each.looks} ({each.name})" for each in FORMATS)
    raise ModelIntegrityError(f"{path} is not a model of a known format: {known}")


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of any format. No code that a file may contain is run.

    Raises `ModelNotFoundError` if it does not exist, `ModelIntegrityError` if anything in it is wrong, and
    `MissingExtraError` without torch.
    """
    kind = format_of(path)
    with extras():
        checkpoint = kind.load(path)
    require(checkpoint.problems(), path)
    return checkpoint


def save_checkpoint(checkpoint: Checkpoint, path: Path, kind: str, precision: Precision = "float32") -> None:
    """Write a checkpoint in the format named `kind`: a new file, or into a new or empty folder.

    Not atomic; `mtasr.checkpoints.convert` is. Raises `ModelIntegrityError` if the checkpoint contradicts itself,
    `ModelError` if the format does not store the precision or a weight exceeds its range, and `UsageError` for an
    unknown format.
    """
    target = format_named(kind)
    if problem := precision_problem(target, precision):
        raise ModelError(problem)
    require(checkpoint.problems(), path)
    with extras():
        target.save(checkpoint, path, precision)


def precision_problem(kind: Format, precision: Precision) -> str | None:
    """Why a format cannot store a precision; None if it can."""
    if precision.startswith("int8") and not kind.stores_int8:
        return f"the {kind.name} format does not store {precision}; use float32, float16 or bfloat16"
    return None
