"""A `RemoteFile` is a file, whatever the line does."""

from __future__ import annotations

import io
import os
import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtasr.remote import file
from mtasr.remote.file import RemoteFile
from mtasr.remote.patience import Patience, TransferAttempt, TransferError
from mtasr.remote.state import ByteRange, RemoteState

DATA = random.Random(2).randbytes(3000)
STATE = RemoteState(len(DATA), "one")


class Flaky:
    """Sends fewer bytes than asked for, or none, as `faults` says; then behaves."""

    def __init__(self, faults: list[int | None]) -> None:
        self.faults, self.reads = iter(faults), 0

    def examine(self, attempt: TransferAttempt) -> tuple[RemoteState, bool]:
        return STATE, True

    def read(self, start: int, count: int, expected: RemoteState, attempt: TransferAttempt) -> ByteRange:
        self.reads += 1
        fault = next(self.faults, None)
        if fault == 0:
            raise TransferError("the connection was cut")
        data = DATA[start : start + count][:fault]
        return ByteRange(data, is_cut=len(data) < count)

    def whole(self, attempt: TransferAttempt) -> Iterator[bytes]:
        raise NotImplementedError

    def close(self) -> None:
        pass


def opened(faults: list[int | None]) -> RemoteFile:
    return RemoteFile("a.wav", Flaky(faults), STATE, len(DATA), Patience(attempts=50, pause=0.0, seconds=20))


moves = st.tuples(st.sampled_from([os.SEEK_SET, os.SEEK_CUR, os.SEEK_END]), st.integers(-3500, 3500))
reads = st.integers(0, 2000)


@given(st.lists(st.none() | st.integers(0, 500), max_size=40), st.lists(moves | reads, max_size=20))
def test_reads_what_a_file_in_memory_reads(faults: list[int | None], steps: list[tuple[int, int] | int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file, "LEAST", 16)
        patch.setattr(file, "_HEAD", 64)
        patch.setattr(file, "_MOST", 256)
        remote, local = opened(faults), io.BytesIO(DATA)
        for step in steps:
            if isinstance(step, int):
                assert remote.read(step) == local.read(step)
            else:
                whence, offset = step
                place = {os.SEEK_SET: 0, os.SEEK_CUR: local.tell(), os.SEEK_END: len(DATA)}[whence] + offset
                local.seek(max(0, place))
                remote.seek(offset, whence)
            assert remote.tell() == local.tell()


def test_reads_grow_and_shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "LEAST", 16)
    monkeypatch.setattr(file, "_HEAD", 64)
    monkeypatch.setattr(file, "_MOST", 512)
    remote = opened([])
    assert remote.read() == DATA
    assert remote._object.reads == 8  # type: ignore[attr-defined]  # 64, 128, 256, 512, 512, 512, 512, 504
