"""What is read from ffmpeg's log, also where its threads write into each other's lines."""

from __future__ import annotations

import os
import threading

import pytest

from mtasr.audio import ffmpeg_log
from mtasr.audio.ffmpeg_log import FfmpegLog
from mtasr.audio.timeline import Stamp


def number(samples: int, time: float | None) -> str:
    """As the filter prints it."""
    parts = 0 if time is None else round((time + 1000) * 4000)
    return f"-{(1 << 52) + (parts << 20) + samples}.000000"


def heard(*lines: str) -> FfmpegLog:
    log = FfmpegLog()
    reading, writing = os.pipe()
    os.write(writing, "".join(f"{line}\n" for line in lines).encode())
    os.close(writing)
    log.listen(os.fdopen(reading, "rb"))
    return log


@pytest.mark.parametrize("time", [None, -0.25, 0.0, 0.02, 3600.5, 400_000.0])
@pytest.mark.parametrize("samples", [1, 320, 65_536, (1 << 20) - 1])
def test_stamps(samples: int, time: float | None) -> None:
    log = heard(f"[Eval @ 0x7ffc] [info] {number(samples, time)}", f"[Eval @ 0x7ffc] [info] {number(7, 1.5)}")
    assert log.stamps(samples) == [Stamp(samples, time), Stamp(7, 1.5)]
    assert log.stamps(samples + 8) == []
    assert log.errors == []


def test_a_stamp_in_the_line_of_another_thread() -> None:
    log = heard(
        f"[info]   Stream #0:0: Audio: pcm_f32le, 16000{number(320, 0.5)}",
        "[info] Hz, mono",
        f"[dec @ 0x55] [error] half a line{number(320, 0.52)}",
    )
    assert log.stamps(640) == [Stamp(320, 0.5), Stamp(320, 0.52)]
    assert log.errors == ["half a line"]


def test_stamps_that_do_not_come_keep_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg_log, "_STAMP_SECONDS", 0.05)
    log = FfmpegLog()
    reading, writing = os.pipe()
    listener = threading.Thread(target=log.listen, args=(os.fdopen(reading, "rb"),))
    listener.start()
    os.write(writing, f"[Eval @ 0x7ffc] [info] {number(320, 0.0)}\n".encode())
    assert log.stamps(320) == [Stamp(320, 0.0)]
    assert log.stamps(16_320) == [Stamp(16_000, None)]
    os.write(writing, f"[Eval @ 0x7ffc] [info] {number(320, 0.02)}\n".encode())
    assert log.stamps(32_320) == [Stamp(16_000, None)]
    os.close(writing)
    listener.join()
