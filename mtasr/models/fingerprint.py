"""What tells one model on disk from another, in a moment."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from mtasr.errors import ModelIntegrityError

#: So many blocks, evenly spread over a file, are looked at, and of a smaller file all of it. Training changes weights
#: everywhere, so two models do not agree in all of them.
_BLOCKS, _BLOCK = 64, 1 << 16


def fingerprint(source: Path, *circumstances: str) -> str:
    """A hash of the files of a model folder (or of one file) and of what else makes a difference.

    A look at 4 MB of each file in place of all of it, which would take seconds with large models. Raises
    `ModelIntegrityError` if a file cannot be read.
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
