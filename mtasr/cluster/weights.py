"""Models on their way from the driver to the nodes that lack them, checked by hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mtasr.cluster.nodes import Shared
from mtasr.cluster.tasks import ModelFiles
from mtasr.errors import ModelIntegrityError
from mtasr.models import cache
from mtasr.models.fingerprint import fingerprint
from mtasr.models.folder import ALLOWED, FileRecord, Provenance, sha256_of

#: Bytes that are put at a time: nodes need not have room for a whole model in their share of memory.
_BLOCK = 1 << 24


def describe(folder: Path) -> ModelFiles:
    """The model in a folder of this machine. Reads all of it, unless its hashes are noted as in the cache."""
    try:
        provenance = Provenance.read(folder)
        name, repo, revision = folder.name.partition("@")[0].lstrip("."), provenance.repo, provenance.revision
        records = dict(provenance.files)
    except ModelIntegrityError:
        found = sorted(path for path in folder.iterdir() if path.name in ALLOWED and path.is_file())
        records = {path.name: FileRecord(path.stat().st_size, sha256_of(path)) for path in found}
        name, repo = f"cluster-{folder.resolve().name}", ""
        revision = hashlib.sha256(repr(sorted(records.items())).encode()).hexdigest()
    return ModelFiles(
        folder=str(folder.resolve()),
        fingerprint=fingerprint(folder),
        name=name,
        repo=repo,
        revision=revision,
        records=records,
    )


def find(files: ModelFiles) -> Path | None:
    """A folder of this machine that holds the model: the driver's own one, or a copy in the cache."""
    own = Path(files.folder)
    try:
        if own.is_dir() and fingerprint(own) == files.fingerprint:
            return own
    except (OSError, ModelIntegrityError):
        pass
    copy = cache.location(files.name, files.revision)
    if cache.intact(copy) and dict(Provenance.read(copy).files) == files.records:
        return copy
    return None


def install(files: ModelFiles, content: Mapping[str, Sequence[Shared]]) -> Path:
    """Write a model into the cache of this machine. Raises `ModelError`."""

    def fill(staging: cache.Staging) -> None:
        for name, record in files.records.items():
            if staging.write(name, (block.get() for block in content[name])) != record:
                raise ModelIntegrityError(f"{name} of {files.name} was damaged on its way")

    return cache.install(files.name, files.repo, files.revision, fill)


def share(files: ModelFiles, put: Callable[[bytes], Shared]) -> dict[str, list[Shared]]:
    """Put the files of a model into the cluster, in blocks. Raises `ModelError` for one that cannot be read."""
    content: dict[str, list[Shared]] = {}
    for name in files.records:
        path = Path(files.folder, name)
        try:
            with path.open("rb") as stream:
                content[name] = [put(block) for block in iter(lambda: stream.read(_BLOCK), b"")]
        except OSError as error:
            raise ModelIntegrityError(f"cannot read {path}: {error.strerror or error}") from error
    return content
