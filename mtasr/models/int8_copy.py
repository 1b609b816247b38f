"""Int8 copies of models, so that a model published in float16 is quantised once and not at every start.

    <cache>/int8/base@ebe41f70d5b6/       of a model in the cache: under its name there
    <cache>/int8/3f0c5a1d2b7e4c96/        of another folder: a hash of its path
    <cache>/int8/...-96/                  for processors on which weights must be smaller
        model.bin                         matrices in int8, all else as in the source
        config.json vocabulary.*          links to those of the source, so that they cannot fall behind
        copy.json                         what it was made of, and its size and hash

The matrices are what CTranslate2 makes of the source when it computes in int8, to the bit, unless that is not good for
this processor (`system.largest_weight`): then they use less of the range. Convolutions stay as they are, because
CTranslate2 treats them apart. A copy counts only while its source is what it was made of: for a model in the cache the
hash in its manifest, for another folder path, size and time of its `model.bin`. There is one copy to a folder and kind
of processor, and whoever writes a copy removes those whose source is gone. A cache that cannot be written costs the
gain.
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

_LOG = logging.getLogger(__name__)

_RECORD = "copy.json"
#: What CTranslate2 reads beside `model.bin`.
_BESIDE = ("config.json", *VOCABULARY_FILES)
_LOCK = "int8"

#: Bytes of a `model.bin` from which on a copy is worth its place; a smaller one loads in a moment.
_SMALLEST = 16 << 20

#: Values that are quantised at a time: few enough for the processor's cache.
_VALUES = 1 << 18

_FLOATS = {"float16": "<f2", "float32": "<f4"}


class _Unwanted(Exception):  # noqa: N818 - no error: nobody waits for the copy any more
    pass


# Finding


def provide(folder: Path) -> Path | None:
    """The folder of the copy to load in place of this model folder, if there is one.

    Where the copy is better than what CTranslate2 would make of the source, it is made now if there is none yet.
    """
    copy = find(folder)
    if copy is None and system.largest_weight() != system.WHOLE_RANGE:
        copy = make(folder, wait=True)
        if copy is None and _quantizable(folder) is not None:
            _LOG.warning("%s: no int8 copy could be kept in the cache: slower starts, and more errors", folder)
    return copy


def find(folder: Path) -> Path | None:
    """The folder of the copy of this model folder, if there is one that is whole and of the model as it is now.

    Costs a look at the headers, not at the weights.
    """
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
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, MtasrError):  # RuntimeError: no home, deep JSON
        return None
    return copy if current else None


def _location(folder: Path) -> Path:
    key = folder.name if _in_cache(folder) else hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    largest = system.largest_weight()  # machines that share a cache must not take turns to replace the copy
    return _root() / (key if largest == system.WHOLE_RANGE else f"{key}-{largest}")


def _root() -> Path:
    return cache.root() / "int8"


def _in_cache(folder: Path) -> bool:
    return "@" in folder.name and folder.parent.resolve() == cache.root().resolve()


def _source(folder: Path) -> dict[str, Any]:
    """What tells this model from any other, without reading its weights."""
    beside = [name for name in _BESIDE if (folder / name).is_file()]
    if _in_cache(folder):  # whose path and times may change, when a cache is copied to another machine
        model: dict[str, Any] = {"sha256": Provenance.read(folder).files["model.bin"].sha256}
        return {"name": folder.name, "model.bin": model, "beside": beside}
    status = (folder / "model.bin").stat()
    model = {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
    return {"path": os.fsdecode(folder.resolve()), "model.bin": model, "beside": beside}


def _contents(file: ModelFile) -> str:
    """A hash of names, types, shapes and places: CTranslate2 would trust damaged ones."""
    rows = [(name, each.dtype, each.shape, each.offset) for name, each in sorted(file.variables.items())]
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def _read_record(copy: Path) -> dict[str, Any]:
    record = json.loads((copy / _RECORD).read_bytes())
    if not isinstance(record, dict) or record.get("version") != 2:
        raise ValueError(f"{copy / _RECORD} is of another version")
    return record


# Making


def make_later(folder: Path) -> None:
    """Make the copy beside the program's work, in a thread that gives up when the program ends."""
    main = threading.main_thread()
    try:
        threading.Thread(target=make, args=(folder, main.is_alive), name="mtasr-int8-copy").start()
    except RuntimeError as exc:  # no thread to be had
        _LOG.debug("%s: no int8 copy: %s", folder, exc)


def make(folder: Path, wanted: Callable[[], bool] = lambda: True, *, wait: bool = False) -> Path | None:
    """Make the copy of this model folder and return its folder; None where there is nothing to gain or it fails.

    `wanted` is asked again and again; once it says no, the work is dropped. So it is when another process is at it,
    unless `wait` says to wait for that.
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
        _LOG.debug("%s: the int8 copy was not finished before the end", folder)
    except (
        OSError,
        RuntimeError,
        MemoryError,
        ValueError,
        KeyError,
        MtasrError,
    ) as exc:  # RuntimeError: no locks on this file system
        _LOG.debug("%s: no int8 copy: %s", folder, exc)
    return None


def _quantizable(folder: Path) -> ModelFile | None:
    """The model's table of contents, if a copy would be of use."""
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
    """A copy must not take the last of the disk from what the program is about to write."""
    size = file.path.stat().st_size
    if (free := shutil.disk_usage(_root()).free) < 2 * size:
        raise OSError(f"{free} bytes are free in {_root()}, which is less than twice the {size} of the model")


def _write(file: ModelFile, stream: BinaryIO, wanted: Callable[[], bool]) -> None:
    """Write the model with its matrices in int8."""
    owner: dict[int, str] = {}  # by place in the file: an alias has that of the variable it stands for
    for name, variable in sorted(file.variables.items()):
        owner.setdefault(variable.offset, name)
    aliases = {name: owner[each.offset] for name, each in file.variables.items() if owner[each.offset] != name}
    matrices = {name for name in owner.values() if _is_float_matrix(name, file.variables[name])}
    aliases |= {f"{alias}_scale": f"{name}_scale" for alias, name in aliases.items() if name in matrices}
    names = sorted([*owner.values(), *(f"{name}_scale" for name in matrices)])
    write(stream, len(names), _variables(file, names, matrices, wanted), aliases)


def _variables(
    file: ModelFile, names: list[str], matrices: set[str], wanted: Callable[[], bool]
) -> Iterator[StoredVariable]:
    """All variables in order; the factors of a matrix come right after it."""
    factors = None
    with file.path.open("rb") as source:
        for name in names:
            if name in matrices:
                variable = file.variables[name]
                values, factors = _quantize(_blocks(source, variable, wanted), variable.shape)
                yield StoredVariable(name, "int8", variable.shape, values.tobytes())
            elif name in file.variables:
                variable = file.variables[name]
                yield StoredVariable(name, variable.dtype, variable.shape, bytes(file.read(variable)))
            elif factors is not None:
                yield StoredVariable(name, "float32", factors.shape, factors.tobytes())


def _blocks(source: BinaryIO, variable: Variable, wanted: Callable[[], bool]) -> Iterator[npt.NDArray[np.float32]]:
    """A matrix of the file, some rows at a time."""
    import numpy as np  # here because `mtasr models`, which knows copies too, does without

    rows, width = variable.shape
    step = max(1, _VALUES // max(width, 1))
    source.seek(variable.offset)
    for begin in range(0, rows, step):
        if not wanted():
            raise _Unwanted
        count = min(step, rows - begin) * width
        kind = np.dtype(_FLOATS[variable.dtype])
        data = source.read(count * kind.itemsize)
        if len(data) < count * kind.itemsize:
            raise ModelIntegrityError("the model was cut short while it was read")
        yield np.frombuffer(data, kind).reshape(-1, width).astype(np.float32)


def _quantize(
    blocks: Iterator[npt.NDArray[np.float32]], shape: tuple[int, ...]
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """(rows, width) -> int8 of the same shape, and the factor of each row; see `ctranslate2_format` for the rule."""
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
    """Remove the copies of a cached model; the folders that were removed. Raises ModelError if that fails."""
    if not of_name(name):
        return []
    with cache.lock(_LOCK):
        found = of_name(name)
        with cache.disk(_root()):
            for copy in found:
                cache.discard(copy)
    return found


def differences(copy: Path) -> list[str]:
    """What of a copy is not as it was written; reads every byte."""
    try:
        record = _read_record(copy)
        if sha256_of(copy / "model.bin") != record["sha256"]:
            return ["model.bin of this int8 copy has changed; once its folder is deleted, it is made anew"]
    except (OSError, ValueError, KeyError, RuntimeError, ModelIntegrityError):
        return ["this int8 copy is incomplete; it is made anew at the next use"]
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
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RuntimeError):
        source = _read_record(copy)["source"]
        folder = cache.root() / source["name"] if "name" in source else Path(source["path"])
        return (folder / "model.bin").is_file()
    return False
