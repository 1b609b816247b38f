"""The optional dependencies, and how to install a missing one."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator

from mtasr.errors import MissingExtraError

#: Module -> the extra in pyproject.toml that installs it.
_EXTRAS = {
    "fastapi": "server",
    "fsspec": "remote",
    "jiwer": "evaluate",
    "onnxruntime": "onnx",
    "prometheus_client": "server",
    "python_multipart": "server",
    "ray": "cluster",
    "s3fs": "remote",
    "sacrebleu": "evaluate",
    "scipy": "evaluate",
    "sounddevice": "live",
    "starlette": "server",
    "uvicorn": "server",
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
    """Around imports: raises `MissingExtraError` if the module of an extra is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        raise MissingExtraError(f"this needs {error.name}: {install_extra(extra)} brings it") from error


def install_extra(extra: str) -> str:
    """How to install an extra, for messages. Never `mtasr[...]`: on PyPI that name belongs to another program."""
    return f"{pip_install(f'.[{extra}]')} in the clone of mtasr"


def pip_install(package: str) -> str:
    """The command, in backquotes, that installs a package for this Python; the `pip` on the PATH may be another's."""
    return f"`{shlex.quote(sys.executable or 'python3')} -m pip install {shlex.quote(package)}`"
