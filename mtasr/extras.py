"""What the optional parts need, and how to get it where it is missing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from mtasr.errors import MissingExtraError

#: Modules that an extra brings -> its name in pyproject.toml.
_EXTRAS = {
    "jiwer": "evaluate",
    "sacrebleu": "evaluate",
    "whisper_normalizer": "evaluate",
    "wordfreq": "optimize",
    "py3langid": "train",
    "safetensors": "train",
    "tokenizers": "train",
    "torch": "train",
    "yaml": "train",
}


@contextlib.contextmanager
def extras() -> Iterator[None]:
    """Around imports: raises `MissingExtraError` for a module that an extra brings."""
    try:
        yield
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        raise MissingExtraError(f"this needs {error.name}: `pip install 'mtasr[{extra}]'` brings it") from error
