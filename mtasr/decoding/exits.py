"""Schedulers with threads at the exit of the interpreter, and after a fork."""

from __future__ import annotations

import atexit
import os
from typing import Protocol
from weakref import WeakSet


class _Running(Protocol):
    def stop(self) -> None: ...

    def fail(self) -> None: ...


_running: WeakSet[_Running] = WeakSet()


def watch(scheduler: _Running) -> None:
    """`stop` it when the interpreter exits, and `fail` its copy in a forked process."""
    _running.add(scheduler)


@atexit.register
def _stop_all() -> None:
    """Wait for the batches under way: a thread that returns from the engine to an interpreter that is gone crashes."""
    for scheduler in list(_running):
        scheduler.stop()


def _fail_all() -> None:
    """In a forked process: the threads are gone, and nobody would release a lock that one of them held."""
    for scheduler in list(_running):
        scheduler.fail()
    _running.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fail_all)
