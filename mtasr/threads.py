"""Threads in the background, for which a process that ends does not wait, but for what they do in compiled code."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections.abc import Callable, Iterator


def start_thread(work: Callable[..., object], *arguments: object) -> threading.Thread:
    """Do `work` in a thread. Raises `MemoryError` if the system cannot start one."""
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:  # Python's error for it
        raise MemoryError(str(error)) from error
    return thread


class _Calls:
    """Calls of compiled code that are under way in threads other than the main one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._under_way = 0
        self._is_exiting = False

    def begin(self) -> None:
        """Raises `RuntimeError` once the interpreter exits."""
        with self._changed:
            if self._is_exiting:
                raise RuntimeError("the interpreter is exiting")
            self._under_way += 1

    def end(self) -> None:
        with self._changed:
            self._under_way -= 1
            self._changed.notify_all()

    def await_last(self) -> None:
        """Refuse new calls, and wait for those under way."""
        with self._changed:
            self._is_exiting = True
            self._changed.wait_for(lambda: not self._under_way)

    def forget(self) -> None:
        """In a forked process: their threads are gone, and nobody would release the lock that one of them held."""
        self._changed, self._under_way = threading.Condition(), 0


_calls = _Calls()
atexit.register(_calls.await_last)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_calls.forget)


@contextlib.contextmanager
def before_exit() -> Iterator[None]:
    """Around calls of compiled code that let other threads run meanwhile: the interpreter exits after the block.

    Python ends a thread that comes back from such a call to an interpreter that is gone, and C++ aborts the process
    then. Raises `RuntimeError` in a thread once the interpreter exits; the main thread cannot be in a call then.
    """
    if threading.current_thread() is threading.main_thread():
        yield
        return
    _calls.begin()
    try:
        yield
    finally:
        _calls.end()
