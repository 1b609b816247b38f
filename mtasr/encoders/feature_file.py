"""The states of a recording as a NumPy file (.npz), written piece by piece, so that memory does not grow with it.

numpy.load("interview.npz")
    states         (S, D) float32; with all layers (L + 1, S, D)
    times          (S,) float64: the centre of each frame, in seconds
    layers         (1,) or (L + 1,) int64: which layers these are
    encoder        the encoder's name
    frame_seconds  from one frame to the next
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mtasr.atomic import write_file
from mtasr.encoders.extract import StateBlock
from mtasr.networks.speech_encoder import SpeechEncoder


def write_features(
    target: Path, blocks: Iterable[StateBlock], encoder: SpeechEncoder, layers: Sequence[int], *, every: bool
) -> int:
    """Write the blocks of one recording, and return how many frames they have.

    `every` says that all layers were asked for, so that `states` has a dimension of layers even if there is only one.
    Raises `OutputError`, and then leaves nothing behind.
    """
    with tempfile.TemporaryDirectory(prefix="mtasr-") as folder:
        parts = [Path(folder) / str(layer) for layer in layers]
        times = _spool(blocks, parts)
        shape = (len(times), encoder.width)
        small = {
            "times": times,
            "layers": np.array(layers, np.int64),
            "encoder": np.array(encoder.name),
            "frame_seconds": np.array(encoder.frame_seconds),
        }
        write_file(target, partial(_write, parts=parts, shape=(len(parts), *shape) if every else shape, small=small))
    return len(times)


def _spool(blocks: Iterable[StateBlock], parts: Sequence[Path]) -> npt.NDArray[np.float64]:
    """Write the states of each layer to a file of its own, and return the times."""
    times = [np.zeros(0)]
    for part in parts:
        part.touch()
    for block in blocks:
        for part, states in zip(parts, block.states, strict=True):
            with part.open("ab") as stream:
                stream.write(np.ascontiguousarray(states).tobytes())
        times.append(block.times.astype(np.float64))
    return np.concatenate(times)


def _write(passing: Path, *, parts: Sequence[Path], shape: tuple[int, ...], small: dict[str, npt.NDArray[Any]]) -> None:
    with zipfile.ZipFile(passing, "w") as archive:
        with archive.open("states.npy", "w", force_zip64=True) as stream:
            header = {"descr": np.dtype("<f4").str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_2_0(stream, header)
            for part in parts:
                with part.open("rb") as spooled:
                    shutil.copyfileobj(spooled, stream, 1 << 20)
        for name, value in small.items():
            with archive.open(f"{name}.npy", "w") as stream:
                np.lib.format.write_array(stream, value, allow_pickle=False)
