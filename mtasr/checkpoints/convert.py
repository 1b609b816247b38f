"""From one checkpoint format to another, all or nothing, with a parity gate before the end.

The result is written beside its destination, loaded and compared with the source, and only then renamed. If anything
fails, the destination stays as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mtasr.checkpoints.checkpoint import Checkpoint, Precision
from mtasr.checkpoints.destination import check_destination, staged
from mtasr.checkpoints.formats import format_for, format_named, load_checkpoint, precision_problem, save_checkpoint
from mtasr.errors import UsageError
from mtasr.extras import extras
from mtasr.models import registry
from mtasr.models.resolve import resolve

if TYPE_CHECKING:
    from mtasr.checkpoints.parity import Parity


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """A conversion that succeeded."""

    source: Path
    #: The name of the format written.
    kind: str
    precision: Precision
    parity: Parity


def convert(
    source: str,
    destination: Path,
    kind: str | None = None,
    precision: Precision | None = None,
    *,
    force: bool = False,
) -> Conversion:
    """Write the model `source` (a name, folder or `.pt` file) to `destination` in the format named `kind`.

    Without `kind` the ending of `destination` decides, see `format_for`. Without `precision` that of the source is
    kept; float32 takes the place of int8 in formats without it. An existing destination is replaced only with `force`
    and only if it holds nothing but a model.

    Raises `UsageError`, `OutputError` for the destination, and `ModelError` for the source or if the result does not
    compute what the source computes.
    """
    target = format_for(destination) if kind is None else format_named(kind)
    if precision and (problem := precision_problem(target, precision)):
        raise UsageError(problem)
    destination = destination.expanduser().absolute()
    check_destination(destination, target.name, force=force)
    path = locate(source)
    if path.resolve() == destination.resolve():
        raise UsageError(f"{destination} is the source itself")
    checkpoint = load_checkpoint(path)
    if precision is None:
        precision = "float32" if precision_problem(target, checkpoint.precision) else checkpoint.precision
    parity = write_with_parity(checkpoint, destination, target.name, precision, force=force)
    return Conversion(source=path, kind=target.name, precision=precision, parity=parity)


def write_with_parity(
    checkpoint: Checkpoint, destination: Path, kind: str, precision: Precision, *, force: bool = False
) -> Parity:
    """Write a checkpoint to a destination that `check_destination` has passed, if the result computes the same.

    Raises `OutputError`, and `ModelError` if it does not.
    """
    with staged(destination, force=force) as staging:
        save_checkpoint(checkpoint, staging, kind, precision)
        with extras():
            from mtasr.checkpoints.parity import compare
        parity = compare(checkpoint, staging, precision)
        parity.require()
    return parity


def locate(source: str) -> Path:
    """The path of a model; a folder that has the name of a published model counts only if `resolve` says so."""
    path = Path(source).expanduser()
    if path.is_file() or (path.is_dir() and registry.find(source) is None):
        return path
    return resolve(source)
