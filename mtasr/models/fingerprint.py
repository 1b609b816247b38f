"""A fast hash that tells one model on disk from another."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from mtasr.errors import ModelIntegrityError

#: Number and size of the blocks that are read, evenly spread over a file. Training changes weights everywhere, so two
#: models differ in some of them. Smaller files are read completely.
_BLOCKS, _BLOCK = 64, 1 << 16


def fingerprint(source: Path, *circumstances: str) -> str:
    """A hash of the files of a model folder, or of one file, and of the circumstances.

    Reads 4 MB of each file, because reading all of a large model takes seconds. Raises `ModelIntegrityError` if a file
    cannot be read.
    """
    digest = hashlib.sha256(repr(circumstances).encode())
    try:
        files = sorted(path for path in source.iterdir() if path.is_file()) if source.is_dir() else [source]
        for path in files:
            with path.open("rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                digest.update(repr((path.name, size)).encode())
                step = max(_BLOCK, size // _BLOCKS)
                for place in range(0, size, step):
                    stream.seek(place)
                    digest.update(stream.read(_BLOCK))
    except OSError as exc:
        raise ModelIntegrityError(f"cannot read {source}: {exc.strerror or exc}") from exc
    return digest.hexdigest()
