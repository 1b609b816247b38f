"""Where results go in a store: paths behind a URL, and files that are written whole or not at all."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from mtasr.errors import InputError, InputNotFoundError, OutputError
from mtasr.remote import store
from mtasr.remote.patience import Patience, TransferError, persist
from mtasr.remote.urls import WEB, harmless, path_in, scheme_of, shown

#: In these an object appears once it is written whole.
_WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss", "memory"})

#: Bytes that are sent within the time of one read.
_BLOCK = 1 << 22


@dataclass(frozen=True, slots=True)
class RemotePath:
    """A file or folder in a store: as much of `pathlib.Path` as results need."""

    url: str

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(f"{self.url.rstrip('/')}/{name}")

    def __str__(self) -> str:
        return shown(self.url)

    @property
    def parent(self) -> RemotePath:
        return RemotePath(self.url.rstrip("/").rpartition("/")[0])

    @property
    def name(self) -> str:
        return harmless(path_in(self.url)).name

    @property
    def stem(self) -> str:
        return PurePosixPath(self.name).stem

    def exists(self) -> bool:
        """Whether it is there. Raises `OutputError` if the store does not say."""
        try:
            _persist(self, partial(store.examined, self.url))
        except FileNotFoundError:
            return False
        return True


def check_writable(folder: RemotePath) -> None:
    """Raise `OutputError` unless objects can be written below the folder. Nothing of it stays."""
    if scheme_of(folder.url) in WEB:
        raise OutputError(f"{folder}: cannot write here: a web server takes no files")
    probe = folder / f".mtasr-{secrets.token_hex(6)}.part"
    try:
        _persist(folder, partial(_probe, probe.url))
    except FileNotFoundError:
        raise OutputError(f"{folder}: cannot write here: no such bucket or folder") from None


def _probe(url: str) -> None:
    file_system, path = store.opened(url)
    if not store.is_s3(url):
        store.call(url, lambda: _put(file_system, path, b"", whole=True))
        store.call(url, lambda: file_system.rm_file(path))
        return
    # An upload that is aborted: who may write need not be allowed to delete.
    bucket, _, key = path.partition("/")
    upload = store.call(url, lambda: file_system.call_s3("create_multipart_upload", Bucket=bucket, Key=key))
    identity = upload["UploadId"]
    store.call(url, lambda: file_system.call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=identity))


def write_object(target: RemotePath, content: bytes) -> None:
    """Write a file whole, or not at all. Raises `OutputError`."""
    whole = scheme_of(target.url) in _WHOLE

    def put() -> None:
        file_system, path = store.opened(target.url)
        store.call(target.url, lambda: _put(file_system, path, content, whole=whole, **settings))

    # In one request, which leaves nothing if it fails: an upload in parts that is cut may stay open.
    settings = {"chunksize": len(content) + 1} if store.is_s3(target.url) else {}
    try:
        _persist(target, put, blocks=1 + len(content) // _BLOCK)
    except FileNotFoundError:
        raise OutputError(f"{target}: no such bucket or folder") from None


def _put(file_system: Any, path: str, content: bytes, *, whole: bool, **settings: int) -> None:
    if whole:
        file_system.pipe_file(path, content, **settings)
        return
    folder = path.rpartition("/")[0]
    passing = f"{folder}/.mtasr-{secrets.token_hex(6)}.part"
    file_system.makedirs(folder, exist_ok=True)
    try:
        file_system.pipe_file(passing, content)
        file_system.mv(passing, path)
    except BaseException:
        if file_system.exists(passing):
            file_system.rm_file(passing)
        raise


def _persist(target: RemotePath, work: Callable[[], object], blocks: int = 1) -> None:
    """Try until it works, for as long as so many blocks may take.

    Raises `FileNotFoundError`, and `OutputError` with the reason.
    """
    patience = Patience.usual()
    try:
        persist(lambda _: work(), replace(patience, seconds=patience.seconds * blocks))
    except InputNotFoundError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise FileNotFoundError(str(target)) from error
        if isinstance(error.__cause__, PermissionError):
            raise OutputError(f"{target}: may not be written (permission denied)") from error
        raise OutputError(str(error).replace("may not be read", "may not be written")) from error
    except InputError as error:
        raise OutputError(str(error)) from error
    except TransferError as error:
        raise OutputError(f"{target}: {error}") from error
