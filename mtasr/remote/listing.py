"""What is below a URL, and what many URLs lead to."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import TypeVar

from mtasr.errors import InputError
from mtasr.remote import store
from mtasr.remote.patience import Patience, TransferError, persist
from mtasr.remote.state import RemoteState
from mtasr.remote.urls import WEB, harmless, links, path_in, scheme_of, shown
from mtasr.threads import start_thread

_T = TypeVar("_T")

#: Questions asked of a store at the same time.
_AT_ONCE = 16


def can_be_listed(url: str) -> bool:
    """Whether a store can say what is beside an object: no web server can, and a chain may lead into an archive."""
    return scheme_of(url) not in WEB and len(links(url)) == 1 and bool(path_in(url))


def is_prefix(url: str) -> bool:
    """Whether a URL names a folder, or a prefix in an object store. Raises `InputError`, also for a missing one."""
    if scheme_of(url) in WEB:
        return False
    if url.endswith("/"):
        return True
    file_system, path = store.opened(url)
    try:
        info = persist(lambda _: store.call(url, lambda: file_system.info(path)), Patience.usual())
    except TransferError as error:
        raise InputError(f"{shown(url)}: cannot be opened: {error}") from None
    return bool(info.get("type") == "directory")


def below(url: str, *, recursive: bool) -> Iterator[tuple[str, PurePosixPath, RemoteState]]:
    """The objects below a prefix: URLs, paths below it, and states. Of many, only a page is in memory at a time.

    Hidden ones are left out, and so are those whose names would lead somewhere else in a file system.
    Raises `InputError`.
    """
    base = url.rstrip("/")
    try:
        for page in store.pages(url, recursive=recursive, patience=Patience.usual()):
            for name, state in page:
                path = harmless(name)
                if str(path) == name and not any(part.startswith(".") for part in path.parts):
                    yield f"{base}/{name}", path, state
    except TransferError as error:
        raise InputError(f"{shown(url)}: cannot be listed: {error}") from None


def ask_all(ask: Callable[[str], _T], urls: Iterable[str]) -> dict[str, _T | Exception]:
    """What `ask` returns for each, or the exception that it raises; several are asked at the same time."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    count = 0
    for url in dict.fromkeys(urls):
        waiting.put(url)
        count += 1
    answers: queue.SimpleQueue[tuple[str, _T | Exception]] = queue.SimpleQueue()
    for _ in range(min(count, _AT_ONCE)):
        start_thread(partial(_ask_waiting, ask, waiting, answers))
    return dict(answers.get() for _ in range(count))


def _ask_waiting(
    ask: Callable[[str], _T],
    waiting: queue.SimpleQueue[str],
    answers: queue.SimpleQueue[tuple[str, _T | Exception]],
) -> None:
    while True:
        try:
            url = waiting.get_nowait()
        except queue.Empty:
            return
        try:
            answers.put((url, ask(url)))
        except Exception as error:
            answers.put((url, error))
