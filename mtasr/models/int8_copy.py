"""Int8 copies of models, so that a model published in float16 is quantised once and not at every start.

    <cache>/int8/base@ebe41f70d5b6/       the copy of a model in the cache, under its name there
    <cache>/int8/3f0c5a1d2b7e4c96/        the copy of another folder, under a hash of its path
    <cache>/int8/...-96/                  for processors that need smaller weights
        model.bin                         matrices in int8, the rest as in the source
        config.json vocabulary.*          links to the files of the source, so that they are never older
        copy.json                         which source it was made of, and its own size and hash

The matrices are, to the bit, those that CTranslate2 makes of the source when it computes in int8. On processors whose
sums would overflow (`system.largest_weight`) they use less of the range. Convolutions stay as they are, because
CTranslate2 does not quantise them when it loads a model.

A copy is valid only for the source it was made of: a model in the cache is known by the hash in its provenance, another
folder by path, size and time of its `model.bin`. There is one copy for each folder and kind of processor. Whoever
writes a copy also removes the copies whose source is gone. Without a writable cache there are no copies.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from mtasr import system
from mtasr.errors import ModelIntegrityError, MtasrError
from mtasr.models import cache
from mtasr.models.folder import Provenance, sha256_of
from mtasr.models.model_bin import ModelFile, StoredVariable, Variable, read_contents, write
from mtasr.tokenizer.vocabulary import VOCABULARY_FILES

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mtasr.arrays import Float32Array

_LOG = logging.getLogger(__name__)

_RECORD = "copy.json"
#: What CTranslate2 reads beside `model.bin`.
_BESIDE = ("config.json", *VOCABULARY_FILES)
_LOCK = "int8"

#: Bytes from which a `model.bin` gets a copy; smaller ones load quickly anyway.
_SMALLEST = 16 << 20

#: Values quantised at a time: few enough for the processor's cache.
_VALUES = 1 << 18

_FLOATS = {"float16": "<f2", "float32": "<f4"}


#: What can go wrong with a copy. None of it matters to the caller, who loads the source instead. RuntimeError comes
#: from file systems without locks, missing home folders and deeply nested JSON.
_FAILURES = (OSError, RuntimeError, MemoryError, ValueError, KeyError, TypeError, MtasrError)


class _Unwanted(Exception):  # noqa: N818 - not an error: the program ends before the copy is complete
    pass


# Finding


def provide(folder: Path) -> Path | None:
    """The copy to load instead of this model folder, if there is one.

    Where a copy is more accurate than what CTranslate2 would make of the source, a missing one is made at once.
    """
    copy = find(folder)
    if copy is None and system.largest_weight() != system.WHOLE_RANGE:
        copy = make(folder, wait=True)
        if copy is None and _quantizable(folder) is not None:
            _LOG.warning(
                "%s: the cache could not keep an int8 copy, so starts are slower and there are more errors", folder
            )
    return copy


def find(folder: Path) -> Path | None:
    """The copy of this model folder, if it is complete and made of the model as it is now. Reads headers only."""
    try:
        copy = _location(folder)
        record = _read_record(copy)
        model = copy / "model.bin"
        current = (
            record["source"] == _source(folder)
            and record["largest_weight"] == system.largest_weight()
            and record["size"] == model.stat().st_size
            and record["contents"] == _contents(read_contents(model))
            and all((copy / name).samefile(folder / name) for name in record["source"]["beside"])
        )
    except _FAILURES:
        return None
    return copy if current else None


def _location(folder: Path) -> Path:
    key = folder.name if _in_cache(folder) else hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    largest = system.largest_weight()  # machines that share a cache must not keep replacing each other's copy
    return _root() / (key if largest == system.WHOLE_RANGE else f"{key}-{largest}")


def _root() -> Path:
    return cache.root() / "int8"


def _in_cache(folder: Path) -> bool:
    return "@" in folder.name and folder.parent.resolve() == cache.root().resolve()


def _source(folder: Path) -> dict[str, Any]:
    """What identifies this model, found without reading its weights."""
    beside = [name for name in _BESIDE if (folder / name).is_file()]
    if _in_cache(folder):  # its path and times change when the cache is copied to another machine
        model: dict[str, Any] = {"sha256": Provenance.read(folder).files["model.bin"].sha256}
        return {"name": folder.name, "model.bin": model, "beside": beside}
    status = (folder / "model.bin").stat()
    model = {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
    return {"path": os.fsdecode(folder.resolve()), "model.bin": model, "beside": beside}


def _contents(file: ModelFile) -> str:
    """A hash of names, types, shapes and offsets, because CTranslate2 trusts them even if they are damaged."""
    rows = [(name, each.dtype, each.shape, each.offset) for name, each in sorted(file.variables.items())]
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def _read_record(copy: Path) -> dict[str, Any]:
    record = json.loads((copy / _RECORD).read_bytes())
    if not isinstance(record, dict) or record.get("version") != 2:
        raise ValueError(f"{copy / _RECORD} is of another version")
    return record


# Making


def make_later(folder: Path) -> None:
    """Make the copy in a thread that stops when the program ends."""
    main = threading.main_thread()
    try:
        threading.Thread(target=make, args=(folder, main.is_alive), name="mtasr-int8-copy").start()
    except RuntimeError as exc:  # the system allows no more threads
        _LOG.debug("%s: no int8 copy: %s", folder, exc)


def make(folder: Path, wanted: Callable[[], bool] = lambda: True, *, wait: bool = False) -> Path | None:
    """Make the copy of this model folder and return its folder; None if it would gain nothing or cannot be made.

    The work stops as soon as `wanted` returns false. While another process makes a copy, `wait` waits for it; without
    `wait` the result is None.
    """
    try:
        source = _source(folder)  # before anything else is read, so that a change from here on is noticed
        file = _quantizable(folder)
        if file is None:
            return None
        with cache.lock(_LOCK, wait=wait):
            if copy := find(folder):
                return copy
            _sweep()
            return _install(folder, file, source, wanted)
    except _Unwanted:
        _LOG.debug("%s: the program ended before the int8 copy was complete", folder)
    except _FAILURES as exc:
        _LOG.debug("%s: no int8 copy: %s", folder, exc)
    return None


def _quantizable(folder: Path) -> ModelFile | None:
    """The model's table of contents, if a copy would save time."""
    if (folder / "model.bin").stat().st_size < _SMALLEST:
        return None
    file = read_contents(folder / "model.bin")
    return file if any(_is_float_matrix(name, each) for name, each in file.variables.items()) else None


def _is_float_matrix(name: str, variable: Variable) -> bool:
    return name.endswith("/weight") and len(variable.shape) == 2 and variable.dtype in _FLOATS


def _install(folder: Path, file: ModelFile, source: dict[str, Any], wanted: Callable[[], bool]) -> Path:
    final = _location(folder)
    partial = final.with_name(f".{final.name}.partial")
    _require_space(file)
    partial.mkdir()
    try:
        with (partial / "model.bin").open("xb") as stream:
            _write(file, stream, wanted)
            stream.flush()
            os.fsync(stream.fileno())
        for name in source["beside"]:
            beside = Path("..", "..", folder.name) if _in_cache(folder) else folder.resolve()
            (partial / name).symlink_to(beside / name)
        record = _describe(partial / "model.bin", source)
        (partial / _RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        if _source(folder) != source:
            raise ModelIntegrityError(f"{folder} changed while it was read")
        cache.discard(final)
        partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return final


def _describe(model: Path, source: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": 2,
        "source": source,
        "largest_weight": system.largest_weight(),
        "size": model.stat().st_size,
        "contents": _contents(read_contents(model)),
        "sha256": sha256_of(model),
    }


def _require_space(file: ModelFile) -> None:
    """Leave room on the disk for what the program is about to write."""
    size = file.path.stat().st_size
    if (free := shutil.disk_usage(_root()).free) < 2 * size:
        raise OSError(f"{free} bytes are free in {_root()}, which is less than twice the {size} of the model")


def _write(file: ModelFile, stream: BinaryIO, wanted: Callable[[], bool]) -> None:
    """Write the model with its matrices in int8."""
    owner: dict[int, str] = {}  # by offset: an alias has the offset of the variable it stands for
    for name, variable in sorted(file.variables.items()):
        owner.setdefault(variable.offset, name)
    aliases = {name: owner[each.offset] for name, each in file.variables.items() if owner[each.offset] != name}
    matrices = {name for name in owner.values() if _is_float_matrix(name, file.variables[name])}
    aliases |= {f"{alias}_scale": f"{name}_scale" for alias, name in aliases.items() if name in matrices}

    def variables() -> Iterator[StoredVariable]:
        for name in sorted(owner.values()):
            variable = file.variables[name]
            if name in matrices:
                values, factors = _quantize(_blocks(file.path, variable, wanted), variable.shape)
                yield StoredVariable(name, "int8", variable.shape, values.tobytes())
                yield StoredVariable(f"{name}_scale", "float32", factors.shape, factors.tobytes())
            else:
                yield StoredVariable(name, variable.dtype, variable.shape, bytes(file.read(variable)))

    write(stream, variables(), aliases)


def _blocks(model: Path, variable: Variable, wanted: Callable[[], bool]) -> Iterator[Float32Array]:
    """A matrix of the file, some rows at a time."""
    import numpy as np  # here because `mtasr models`, which lists copies, needs no NumPy

    rows, width = variable.shape
    kind = np.dtype(_FLOATS[variable.dtype])
    step = max(1, _VALUES // max(width, 1))
    with model.open("rb") as source:
        source.seek(variable.offset)
        for begin in range(0, rows, step):
            if not wanted():
                raise _Unwanted
            size = min(step, rows - begin) * width * kind.itemsize
            data = source.read(size)
            if len(data) < size:
                raise ModelIntegrityError("the model was cut short while it was read")
            yield np.frombuffer(data, kind).reshape(-1, width).astype(np.float32)


def _quantize(blocks: Iterator[Float32Array], shape: tuple[int, ...]) -> tuple[npt.NDArray[np.int8], Float32Array]:
    """(rows, width) -> int8 of the same shape, and the factor of each row.

    The same rule as in `mtasr.checkpoints.ctranslate2.stored_weights.quantized`, in blocks.
    """
    import numpy as np

    top = np.float32(system.largest_weight())
    values, factors = np.empty(shape, np.int8), np.empty(shape[0], np.float32)
    begin = 0
    for block in blocks:
        largest = np.maximum(block.max(axis=1), -block.min(axis=1))
        largest[largest == 0] = top
        with np.errstate(all="ignore"):
            factor = top / largest
        if not (np.isfinite(factor) & (factor > 0)).all():
            raise ModelIntegrityError("a row of a matrix is out of the range of int8 factors")
        end = begin + len(block)
        factors[begin:end] = factor
        values[begin:end] = np.rint(block * factor[:, np.newaxis])
        begin = end
    return values, factors


# Removing and checking


def of_name(name: str) -> list[Path]:
    """The copies of all cached revisions of a model."""
    try:
        return sorted(path for path in _root().iterdir() if path.name.startswith(f"{cache.slug(name)}@"))
    except OSError:
        return []


def remove(name: str) -> list[Path]:
    """Remove the copies of a cached model and return their folders. Raises `ModelError` if that fails."""
    if not of_name(name):
        return []
    with cache.lock(_LOCK):
        found = of_name(name)
        with cache.disk(_root()):
            for copy in found:
                cache.discard(copy)
    return found


def differences(copy: Path) -> list[str]:
    """Damage to a copy since it was written; reads every byte."""
    try:
        if sha256_of(copy / "model.bin") != _read_record(copy)["sha256"]:
            return ["model.bin of this int8 copy has changed; delete its folder to have it made again"]
    except _FAILURES:
        return ["this int8 copy is incomplete; the next use makes it again"]
    return []


def _sweep() -> None:
    """Remove what a killed process left, and copies whose source is gone. Only under the lock."""
    _root().mkdir(exist_ok=True)
    for path in _root().iterdir():
        if path.name.startswith("."):
            shutil.rmtree(path, ignore_errors=True)
        elif not _has_source(path):
            cache.discard(path)


def _has_source(copy: Path) -> bool:
    with contextlib.suppress(*_FAILURES):
        source = _read_record(copy)["source"]
        folder = cache.root() / source["name"] if "name" in source else Path(source["path"])
        return (folder / "model.bin").is_file()
    return False
