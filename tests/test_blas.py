"""BLAS is on one thread while our functions run, and only then."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from mtasr.blas import on_one_thread


def blas_threads() -> set[int]:
    return {int(pool["num_threads"]) for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_one_thread_while_any_runs_and_then_as_many_as_before() -> None:
    assert np.ones(1) @ np.ones(1) == 1  # NumPy is loaded, and its BLAS with it
    before = blas_threads()
    if before <= {1}:
        pytest.skip("BLAS has one thread here anyway")
    entered, leave = threading.Event(), threading.Event()

    @on_one_thread
    def waiting() -> None:
        entered.set()
        leave.wait(10)

    @on_one_thread
    def failing() -> None:
        assert blas_threads() == {1}
        raise ValueError("and fails")

    thread = threading.Thread(target=waiting)
    thread.start()
    assert entered.wait(10)
    with pytest.raises(ValueError, match="and fails"):
        failing()
    assert blas_threads() == {1}, "the other still runs"
    leave.set()
    thread.join()
    assert blas_threads() == before
