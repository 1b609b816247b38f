"""Threads that work beside us; a process that is told to stop does not wait for them."""

from __future__ import annotations

import threading
from collections.abc import Callable


def start_thread(work: Callable[..., object], *arguments: object) -> threading.Thread:
    """Do `work` in a thread. Raises `MemoryError` where there is no room for one."""
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:  # which is how Python says so
        raise MemoryError(str(error)) from error
    return thread
