"""Copies in temporary files leave room for each other, and for others."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator

import pytest

from mtasr.audio.read import open_audio
from mtasr.errors import InputError
from mtasr.remote import copies
from mtasr.remote.copies import spooled


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes that the disk has free."""
    found = [1000]
    monkeypatch.setattr(
        shutil,
        "disk_usage",
        lambda _: shutil._ntuple_diskusage(2000, 2000 - found[0], found[0]),  # type: ignore[attr-defined]
    )
    monkeypatch.setattr(copies, "_STEP", 100)
    return found


def test_a_copy_is_what_was_copied() -> None:
    with spooled([b"so", b"und"], "a.wav", 5) as copy:
        assert copy.read() == b"sound"


def test_two_copies_do_not_get_the_same_room(free: list[int]) -> None:
    def during() -> Iterator[bytes]:
        with pytest.raises(InputError, match=r"^b.wav: has to be copied .*GB of it for other copies; TMPDIR"):
            spooled([], "b.wav", 600)
        spooled([bytes(300)], "b.wav", 300).close()
        yield bytes(600)

    spooled(during(), "a.wav", 600).close()
    spooled([bytes(600)], "b.wav", 600).close()


def test_the_disk_may_be_filled_by_others(free: list[int]) -> None:
    def during() -> Iterator[bytes]:
        yield bytes(150)
        free[0] = 200
        yield bytes(150)

    def filling() -> Iterator[bytes]:
        free[0] = 1000
        while True:
            free[0] -= 100
            yield bytes(100)

    with pytest.raises(InputError, match=r"^a.wav: has to be copied first"):
        spooled(during(), "a.wav", 600)
    with pytest.raises(InputError, match=r"^a.wav: has to be copied first"):
        spooled(filling(), "a.wav", None)
    assert copies._Room._promised == {}


def test_a_file_object_is_not_copied_beyond_the_disk(free: list[int]) -> None:
    index_at_the_end = io.BytesIO(b"\0\0\0\x14ftypM4A " + bytes(5000))
    with pytest.raises(InputError, match=r"^the recording: has to be copied first"):
        open_audio(index_at_the_end)
