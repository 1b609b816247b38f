"""Downloading from the Hugging Face hub, or from a mirror of it.

Environment: HF_ENDPOINT (another hub), HF_HUB_OFFLINE (never download), HF_TOKEN (for private repositories).

Every file is checked against the registry's SHA-256, or, if the registry has none, against the header of the answer:
`X-Linked-Etag` is the SHA-256 of a large file, `ETag` the git blob id of a small one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from mtasr.errors import ModelDownloadError, ModelIntegrityError, ModelNotFoundError
from mtasr.models.cache import Staging
from mtasr.models.folder import ENCODER_WEIGHTS, OPTIONAL, REQUIRED, FileRecord
from mtasr.tokenizer.vocabulary import VOCABULARY_FILES

if TYPE_CHECKING:
    import requests

#: Called with the name of the file, the bytes received and the bytes in total, None if the server does not say.
Progress = Callable[[str, int, int | None], None]

#: Failures in a row without a new byte after which a transfer is given up; seconds of pause after the first.
ATTEMPTS = 5
BACKOFF = 0.5
_MAX_PAUSE = 8.0
_TIMEOUT = (10.0, 60.0)  # seconds to connect, and without a byte
_BLOCK = 1 << 16  # small, because a connection that is cut loses the rest of its block
_BUSY = {408, 425, 429, 500, 502, 503, 504}


def offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids downloads; with the same values as in huggingface_hub."""
    return os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in {"1", "true", "yes", "on"}


def require_allowed(name: str, *, local_only: bool) -> None:
    """Raise `ModelNotFoundError` if a model of this name, which is not here, may not be downloaded."""
    if local_only:
        raise ModelNotFoundError(f"{name} is not on this machine; `mtasr models pull {name}` downloads it")
    if offline():
        raise ModelNotFoundError(
            f"{name} is not on this machine and HF_HUB_OFFLINE is set; `mtasr models pull {name}` without it "
            "downloads it"
        )


def endpoint() -> str:
    """The address of the hub, without a slash at the end."""
    address = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    if not address.startswith(("https://", "http://")):
        raise ModelDownloadError(f"HF_ENDPOINT is {address!r}, which is not an http or https address")
    return address


def fetch(
    repo: str, revision: str, pins: Mapping[str, str], staging: Staging, progress: Progress | None = None
) -> None:
    """Download the files of a model at a commit into `staging`, and check each.

    `pins` holds SHA-256 by file name. Raises `ModelNotFoundError` if the repository, or a file that every model needs,
    does not exist; `ModelDownloadError` if the hub cannot be reached or fails; `ModelIntegrityError` if a file is not
    the right one.
    """
    # A file with a known hash exists, so asking for it first saves a request.
    vocabularies = sorted(VOCABULARY_FILES, key=lambda name: name not in pins)
    with _session() as session:

        def get(name: str) -> bool:
            url = f"{endpoint()}/{repo}/resolve/{revision}/{name}"
            try:
                _save(_Transfer(session, url, name, progress), pins.get(name), staging)
            except _AbsentError:
                return False
            return True

        # Small files first: they show whether the repository is a CTranslate2 model before the large download.
        if not get("config.json"):
            raise ModelNotFoundError(f"the hub has no model {repo} at {revision} ({endpoint()})")
        if not any(get(name) for name in vocabularies):
            raise ModelNotFoundError(f"{repo} on the hub is not a CTranslate2 model: it has no vocabulary")
        for name in OPTIONAL:
            get(name)
        if lacking := sorted(set(pins) - set(staging.records) - {"model.bin"}):
            raise ModelNotFoundError(f"{repo} on the hub is incomplete: it has no {', '.join(lacking)}")
        for name in REQUIRED:
            if name not in staging.records and not get(name):
                raise ModelNotFoundError(f"{repo} on the hub is not a CTranslate2 model: it has no {name}")


def fetch_encoder(repo: str, revision: str, staging: Staging, progress: Progress | None = None) -> None:
    """Download the files of an encoder in transformers' form at a commit into `staging`. Raises as `fetch` does.

    Of its weights, only the first of `ENCODER_WEIGHTS` that the repository has.
    """
    with _session() as session:

        def get(name: str) -> bool:
            url = f"{endpoint()}/{repo}/resolve/{revision}/{name}"
            try:
                _save(_Transfer(session, url, name, progress), None, staging)
            except _AbsentError:
                return False
            return True

        if not get("config.json"):
            raise ModelNotFoundError(f"the hub has no model {repo} at {revision} ({endpoint()})")
        get("preprocessor_config.json")
        if not any(get(name) for name in ENCODER_WEIGHTS):
            lacking = " nor ".join(ENCODER_WEIGHTS)
            raise ModelNotFoundError(f"{repo} on the hub at {revision} has neither {lacking}")


def fetch_file(
    repo: str, revision: str, path: str, pin: str, name: str, staging: Staging, progress: Progress | None = None
) -> None:
    """Download one file of a repository into `staging`, as `name`; `pin` is its SHA-256. Raises as `fetch` does."""
    with _session() as session:
        transfer = _Transfer(session, f"{endpoint()}/{repo}/resolve/{revision}/{path}", name, progress)
        try:
            _save(transfer, pin, staging)
        except _AbsentError:
            raise ModelNotFoundError(f"the hub has no {path} in {repo} at {revision} ({endpoint()})") from None


def commit_of(repo: str, branch: str = "main") -> str:
    """The current commit of a branch, a tag or a pull request (`refs/pr/1`). Raises as `fetch` does."""
    url = f"{endpoint()}/{repo}/resolve/{quote(branch, safe='')}/config.json"
    try:
        with _session() as session, _connect(session, url, "HEAD") as answer:
            status, commit = answer.status_code, _header(answer, "X-Repo-Commit") or ""
    except _CutError as exc:
        raise ModelDownloadError(f"cannot reach {url}: {exc}") from exc
    if status in {401, 403, 404}:
        at = "" if branch == "main" else f" with a revision {branch}"
        raise ModelNotFoundError(f"the hub has no model {repo}{at}, or HF_TOKEN gives no access to it ({endpoint()})")
    if status != 200 or not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise ModelDownloadError(f"the hub does not say which commit {branch} of {repo} is (HTTP {status})")
    return commit


def _save(transfer: _Transfer, pin: str | None, staging: Staging) -> None:
    record = staging.write(transfer.name, transfer)
    expected = pin or transfer.sha256
    if expected and record.sha256 != expected:
        raise _mismatch(transfer, f"SHA-256 {record.sha256}", expected)
    if expected is None and transfer.git_blob:
        actual = _git_blob_id(staging.folder / transfer.name, record)
        if actual != transfer.git_blob:
            raise _mismatch(transfer, f"git id {actual}", transfer.git_blob)


def _mismatch(transfer: _Transfer, actual: str, expected: str) -> ModelIntegrityError:
    return ModelIntegrityError(f"{transfer.url} is not the file it should be: {actual} instead of {expected}")


def _git_blob_id(path: Path, record: FileRecord) -> str:
    digest = hashlib.sha1(b"blob %d\0" % record.size, usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class _AbsentError(Exception):
    """The hub has no such file."""


class _CutError(Exception):
    """The transfer broke off and can be resumed."""


class _Transfer:
    """The bytes of one file, over as many connections as necessary. Iterate over it once.

    `sha256` or `git_blob`, as the hub states it, is known after the first block.
    """

    def __init__(self, session: requests.Session, url: str, name: str, progress: Progress | None) -> None:
        self.url, self.name = url, name
        self.sha256: str | None = None
        self.git_blob: str | None = None
        self._session = session
        self._progress = progress
        self._done = 0
        self._total: int | None = None

    def __iter__(self) -> Iterator[bytes]:
        failures = 0
        while True:
            before = self._done
            try:
                yield from self._once()
                return
            except _CutError as exc:
                failures = 1 if self._done > before else failures + 1
                if failures >= ATTEMPTS:
                    raise ModelDownloadError(f"cannot download {self.url}: {exc}") from exc
            time.sleep(min(BACKOFF * 2 ** (failures - 1), _MAX_PAUSE))

    def _once(self) -> Iterator[bytes]:
        """Continue where the last connection ended. Raises `_CutError` if this one ends too early as well."""
        with _connect(self._session, self.url, "GET", start=self._done) as answer:
            skip = self._begin(answer)
            for block in _blocks(answer):
                fresh = block[skip:]
                skip -= len(block) - len(fresh)
                self._done += len(fresh)
                if fresh:
                    yield fresh
                    if self._progress:
                        self._progress(self.name, self._done, self._total)
        if self._total is not None and self._done != self._total:
            if self._done > self._total:
                raise ModelIntegrityError(f"{self.url} is longer than the {self._total} bytes that the hub announced")
            raise _CutError(f"the connection was cut after {self._done} of {self._total} bytes")

    def _begin(self, answer: requests.Response) -> int:
        """Check the head of an answer, and return how many bytes of its body were received before."""
        status = answer.status_code
        if status == 404:
            raise _AbsentError
        if status in _BUSY:
            raise _CutError(f"the hub answers HTTP {status}")
        if status in {401, 403}:
            raise ModelDownloadError(f"the hub refuses {self.url} (HTTP {status}): private repositories need HF_TOKEN")
        if status not in {200, 206}:
            raise ModelDownloadError(f"cannot download {self.url}: HTTP {status}")
        if status == 206:
            self._check_range(answer)
            return 0
        if self._total is None:
            self._total = _length(answer)
            self._read_claims(answer)
        return self._done  # a server without ranges starts over

    def _check_range(self, answer: requests.Response) -> None:
        announced = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
        if not announced or int(announced[1]) != self._done or int(announced[2]) != (self._total or int(announced[2])):
            raise ModelDownloadError(f"cannot download {self.url}: the server sends another range than requested")

    def _read_claims(self, answer: requests.Response) -> None:
        linked = _header(answer, "X-Linked-Etag")
        claim = (linked or _header(answer, "ETag") or "").removeprefix("W/").strip('"').lower()
        # Storage servers have ETags of other kinds, so 64 digits count only in the header of the hub itself.
        if linked and re.fullmatch(r"[0-9a-f]{64}", claim):
            self.sha256 = claim
        elif re.fullmatch(r"[0-9a-f]{40}", claim):
            self.git_blob = claim


def _length(answer: requests.Response) -> int | None:
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdigit() and not answer.headers.get("Content-Encoding") else None


def _header(answer: requests.Response, name: str) -> str | None:
    """A header from the first answer that has it: that of the hub, which then redirects to a storage server."""
    return next((each.headers[name] for each in [*answer.history, answer] if name in each.headers), None)


def _blocks(answer: requests.Response) -> Iterator[bytes]:
    import requests

    blocks = answer.iter_content(_BLOCK)
    while True:
        try:
            block = next(blocks, None)
        except (requests.RequestException, OSError) as exc:
            raise _CutError(_reason(exc)) from exc
        if block is None:
            return
        yield block


@contextlib.contextmanager
def _session() -> Iterator[requests.Session]:
    import requests

    def authorize(request: requests.PreparedRequest) -> requests.PreparedRequest:
        # requests removes this header when it follows a redirection to another host or port.
        if token := os.environ.get("HF_TOKEN", "").strip():
            request.headers["Authorization"] = f"Bearer {token}"
        return request

    with requests.Session() as session:
        # As a callable, because an entry in ~/.netrc would replace a plain header.
        session.auth = authorize
        session.headers["Accept-Encoding"] = "identity"
        session.headers["User-Agent"] = "mtasr"
        yield session


@contextlib.contextmanager
def _connect(session: requests.Session, url: str, method: str, start: int = 0) -> Iterator[requests.Response]:
    import requests

    headers = {"Range": f"bytes={start}-"} if start else {}
    try:
        answer = session.request(method, url, headers=headers, stream=True, timeout=_TIMEOUT, allow_redirects=True)
    except requests.RequestException as exc:
        raise _CutError(_reason(exc)) from exc
    with answer:
        yield answer


def _reason(exc: Exception) -> str:
    """What went wrong in a few words. The exception's own message may hold signed addresses."""
    import requests

    reasons = (
        (requests.exceptions.ProxyError, "the proxy refuses"),
        (requests.exceptions.SSLError, "no secure connection: the certificate or the protocol is not accepted"),
        (requests.Timeout, "no answer in time"),
        (requests.exceptions.ChunkedEncodingError, "the connection was cut"),
        (requests.ConnectionError, "no connection"),
    )
    return next((text for kind, text in reasons if isinstance(exc, kind)), type(exc).__name__)
