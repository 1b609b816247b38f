"""From one checkpoint format to another, all or nothing, with a parity gate at the end.

The result is written to a hidden neighbour of its destination, loaded and compared with the source there, and only
then renamed: whatever fails, the destination is as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mtasr.checkpoints.checkpoint import Checkpoint, Precision, load_checkpoint, save_checkpoint
from mtasr.checkpoints.destination import check_destination, staged
from mtasr.checkpoints.tensor_names import Format
from mtasr.errors import UsageError
from mtasr.extras import extras
from mtasr.models import registry
from mtasr.models.resolve import resolve

if TYPE_CHECKING:
    from mtasr.checkpoints.parity import Parity


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What became of a conversion."""

    source: Path
    precision: Precision
    parity: Parity


def convert(
    source: str,
    destination: Path,
    kind: Format = "ctranslate2",
    precision: Precision | None = None,
    *,
    force: bool = False,
) -> Conversion:
    """Write the model `source` (a name, folder or `.pt` file) to `destination` in that format.

    Without a precision, that of the source is kept; formats other than CTranslate2's have float32 in place of int8.
    An existing destination is replaced only with `force`, and only if it holds nothing but a model.

    Raises `UsageError`, `OutputError` for the destination, and `ModelError` for the source or if the result does not
    compute what the source computes.
    """
    if kind != "ctranslate2" and precision and precision.startswith("int8"):
        raise UsageError(f"the {kind} format does not store {precision}; use float32, float16 or bfloat16")
    destination = destination.expanduser().absolute()
    check_destination(destination, kind, force=force)
    path = locate(source)
    if path.resolve() == destination.resolve():
        raise UsageError(f"{destination} is the source itself")
    checkpoint = load_checkpoint(path)
    if precision is None:
        stored = checkpoint.precision
        precision = "float32" if stored.startswith("int8") and kind != "ctranslate2" else stored
    parity = write_with_parity(checkpoint, destination, kind, precision, force=force)
    return Conversion(source=path, precision=precision, parity=parity)


def write_with_parity(
    checkpoint: Checkpoint, destination: Path, kind: Format, precision: Precision, *, force: bool = False
) -> Parity:
    """Write a checkpoint to a destination that `check_destination` has passed, if the result computes the same.

    Raises `OutputError`, and `ModelError` if it does not.
    """
    with staged(destination, force=force) as staging:
        save_checkpoint(checkpoint, staging, kind, precision)
        with extras():
            from mtasr.checkpoints.parity import compare
        parity = compare(checkpoint, staging, kind, precision)
        parity.require()
    return parity


def locate(source: str) -> Path:
    """A path if there is something; in doubt (a folder of the name of a model) as `resolve` decides."""
    path = Path(source).expanduser()
    if path.is_file() or (path.is_dir() and registry.find(source) is None):
        return path
    return resolve(source)
