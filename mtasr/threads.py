"""Threads in the background, for which a process that ends does not wait."""

from __future__ import annotations

import threading
from collections.abc import Callable


def start_thread(work: Callable[..., object], *arguments: object) -> threading.Thread:
    """Do `work` in a thread. Raises `MemoryError` if the system cannot start one."""
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:  # Python's error for it
        raise MemoryError(str(error)) from error
    return thread
