"""The states of a recording as a NumPy file (.npz), written piece by piece, so that memory does not grow with it.

While it is written, the folder needs room for it twice: the header, which comes first, says how many frames there are.

numpy.load("interview.npz")
    states         (S, D) float32; with all layers (L + 1, S, D)
    times          (S,) float64: the centre of each frame, in seconds
    layers         (1,) or (L + 1,) int64: which layers these are
    encoder        the encoder's name
    frame_seconds  from one frame to the next
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from mtasr.atomic import reason, write_file
from mtasr.encoders.extract import StateBlock
from mtasr.errors import OutputError
from mtasr.networks.speech_encoder import SpeechEncoder


def write_features(
    target: Path, blocks: Iterable[StateBlock], encoder: SpeechEncoder, layers: Sequence[int], *, every: bool
) -> int:
    """Write the blocks of one recording, and return how many frames they have.

    `every` says that all layers were asked for, so that `states` has a dimension of layers even if there is only one.
    Raises `OutputError`, and then leaves nothing behind.
    """
    with contextlib.ExitStack() as stack:
        with _writing(target):
            # Beside the target: on many systems the folder for temporary files is in memory.
            parts = [tempfile.TemporaryFile(dir=target.parent) for _ in layers]  # noqa: SIM115 - closed below
        for part in parts:
            stack.callback(_discard, part)
        times = _spool(blocks, parts, target)
        shape = (len(times), encoder.width)
        small = {
            "times": times,
            "layers": np.array(layers, np.int64),
            "encoder": np.array(encoder.name),
            "frame_seconds": np.array(encoder.frame_seconds),
        }
        write_file(target, partial(_write, parts=parts, shape=(len(parts), *shape) if every else shape, small=small))
    return len(times)


def _discard(part: IO[bytes]) -> None:
    with contextlib.suppress(OSError):  # on a full disk, what is left in its buffer cannot be written
        part.close()


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Turns what the system says of a file beside the target into an `OutputError`."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{target}: {reason(error)}") from error


def _spool(blocks: Iterable[StateBlock], parts: Sequence[IO[bytes]], target: Path) -> npt.NDArray[np.float64]:
    """Write the states of each layer to a file of its own, and return the times."""
    times = [np.zeros(0)]
    for block in blocks:
        with _writing(target):
            for part, states in zip(parts, block.states, strict=True):
                part.write(np.ascontiguousarray(states).tobytes())
        times.append(block.times.astype(np.float64))
    with _writing(target):
        for part in parts:
            part.flush()
    return np.concatenate(times)


def _write(
    passing: Path, *, parts: Sequence[IO[bytes]], shape: tuple[int, ...], small: dict[str, npt.NDArray[Any]]
) -> None:
    with zipfile.ZipFile(passing, "w") as archive:
        with archive.open("states.npy", "w", force_zip64=True) as stream:
            header = {"descr": np.dtype("<f4").str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_2_0(stream, header)
            for part in parts:
                part.seek(0)
                shutil.copyfileobj(part, stream, 1 << 20)
        for name, value in small.items():
            with archive.open(f"{name}.npy", "w") as stream:
                np.lib.format.write_array(stream, value, allow_pickle=False)
