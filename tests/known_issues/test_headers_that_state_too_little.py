"""WAV files that are longer than their header says: what follows its end was lost without a word."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tones import ffmpeg, make_tone, read

from mtasr.audio.parts import FilePart, parts
from mtasr.audio.read import count_channels, open_audio
from mtasr.spans import SAMPLE_RATE

SECONDS = 6
SAMPLES = (np.random.default_rng(0).uniform(-0.5, 0.5, SECONDS * SAMPLE_RATE) * 32767).astype("<i2")
#: What a header states of them, whose real size is 192,000 bytes.
TOO_LITTLE = {"a third": 64_000, "modulo a power of two": 192_000 % (1 << 16), "a sample": 2, "an odd size": 64_001}
UNKNOWN = {"none": 0, "the largest": 0xFFFF_FFFF, "nearly the largest": 0xFFFF_FF00, "the largest signed": 0x7FFF_FFFF}


def wav(stated: int, samples: np.ndarray = SAMPLES, more: bytes = b"") -> bytes:
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, SAMPLE_RATE, 2 * SAMPLE_RATE, 2, 16)
    riff = struct.pack("<4sI4s", b"RIFF", (stated + 36) % (1 << 32), b"WAVE")
    return riff + form + struct.pack("<4sI", b"data", stated) + samples.tobytes() + more


def check_whole(source: object, start: float | None) -> None:
    with open_audio(source) as stream:  # type: ignore[arg-type]
        heard = np.concatenate(list(stream))
    assert np.array_equal(heard[: len(SAMPLES)], SAMPLES.astype(np.float32) / 32768)
    assert len(heard) <= len(SAMPLES) + SAMPLE_RATE // 100
    if start is None:
        assert (stream.warnings, stream.repairs) == ((), ())
        return
    (repair,) = stream.repairs
    assert repair.kind == "resumed"
    assert (repair.start, repair.seconds) == pytest.approx((start, SECONDS - start), abs=0.01)
    (warning,) = stream.warnings
    assert warning.endswith(
        f": its header ends at {start:.1f} s: the {SECONDS - start:.1f} s after it were read as well"
    )


@pytest.mark.parametrize("stated", TOO_LITTLE.values(), ids=TOO_LITTLE)
def test_sound_after_the_stated_end_is_read_and_told(tmp_path: Path, stated: int) -> None:
    (tmp_path / "a.wav").write_bytes(wav(stated))
    check_whole(tmp_path / "a.wav", stated / 2 / SAMPLE_RATE)
    assert count_channels(tmp_path / "a.wav") == 1


@pytest.mark.parametrize("stated", [*UNKNOWN.values(), 192_000], ids=[*UNKNOWN, "right"])
def test_a_size_that_is_not_known_is_no_fault(tmp_path: Path, stated: int) -> None:
    (tmp_path / "a.wav").write_bytes(wav(stated))
    check_whole(tmp_path / "a.wav", None)


def test_open_files_and_standard_input(tmp_path: Path) -> None:
    content = wav(64_000)
    check_whole(io.BytesIO(content), 2.0)
    (tmp_path / "a.wav").write_bytes(content)
    with (tmp_path / "a.wav").open("rb") as file:
        check_whole(file, 2.0)
    program = (
        "from mtasr.audio.read import open_audio\n"
        "with open_audio('-') as stream: print(sum(map(len, stream)), stream.warnings)"
    )
    with (tmp_path / "a.wav").open("rb") as file:
        said = subprocess.run([sys.executable, "-c", program], stdin=file, capture_output=True, text=True, check=True)
    assert said.stdout.startswith("96000 ('standard input: its header ends at 2.0 s")


@pytest.mark.parametrize(
    "more", [b"LIST" + struct.pack("<I", 300) + b"x" * 300, b"id3 \x02\0\0\0ab", b"\0", b"\0" * 900, b"JUNK"]
)
def test_what_else_follows_the_sound_is_no_sound(tmp_path: Path, more: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(wav(192_000, more=more))
    check_whole(tmp_path / "a.wav", None)


def test_sound_that_looks_like_a_chunk_is_sound(tmp_path: Path) -> None:
    content = wav(64_000)
    (tmp_path / "a.wav").write_bytes(content[:64_044] + b"abcdefgh" + content[64_052:])
    with open_audio(tmp_path / "a.wav") as stream:
        assert sum(map(len, stream)) == len(SAMPLES)
    assert [each.start for each in stream.repairs] == [2.0]


def test_two_files_joined_of_which_the_second_states_too_little(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(192_000) + wav(64_000))
    with open_audio(tmp_path / "a.wav") as stream:
        heard = np.concatenate(list(stream))
    assert np.array_equal(heard, np.tile(SAMPLES.astype(np.float32) / 32768, 2))
    assert [(each.kind, each.start, each.seconds) for each in stream.repairs] == [
        ("restart", 6.0, -6.0), ("resumed", 8.0, 4.0),
    ]  # fmt: skip
    assert len(stream.warnings) == 2


def test_more_than_four_gigabytes(tmp_path: Path) -> None:
    """Such a size modulo 2^32 is found without reading them: most of the file is a hole on the disk."""
    size = (1 << 32) + 1000 * 32_000
    with (tmp_path / "a.wav").open("wb") as file:
        file.write(wav(size % (1 << 32)))
        file.seek(44 + 31_999_000)
        file.write(SAMPLES.tobytes() * 10)
        file.truncate(44 + size)
    with (tmp_path / "a.wav").open("rb") as file:
        assert parts(file) == (FilePart(0, 44 + size, stated=1000.0),)


def test_a_whole_file_is_one_part_and_others_are_none(tmp_path: Path) -> None:
    for name in ("a.wav", "a.flac", "a.m4a", "a.aiff", "a.w64", "a.caf", "a.flv", "a.wma", "a.mp3", "a.tta"):
        with make_tone(tmp_path / name).open("rb") as file:
            assert parts(file) == ()


def test_fragments_and_64_bit_sizes_are_one_part(tmp_path: Path) -> None:
    tone = make_tone(tmp_path / "a.wav", seconds=4)
    ffmpeg(
        "-i",
        tone,
        "-c:a",
        "aac",
        "-movflags",
        "frag_keyframe+empty_moov",
        "-frag_duration",
        "500000",
        tmp_path / "b.mp4",
    )
    ffmpeg("-i", tone, "-rf64", "always", tmp_path / "b.wav")
    for name in ("b.mp4", "b.wav"):
        with (tmp_path / name).open("rb") as file:
            assert parts(file) == ()
        assert len(read(tmp_path / name)) / SAMPLE_RATE == pytest.approx(4, abs=0.1)


@given(stated=st.integers(0, 192_000).map(lambda size: size - size % 2), more=st.binary(max_size=20))
def test_no_second_is_lost_without_a_word(tmp_path_factory: pytest.TempPathFactory, stated: int, more: bytes) -> None:
    path = tmp_path_factory.mktemp("wav") / "a.wav"
    path.write_bytes(wav(stated, more=more))
    with open_audio(path) as stream:
        heard = sum(map(len, stream))
    assert heard >= len(SAMPLES) - SAMPLE_RATE // 10 or stream.warnings
    assert bool(stream.repairs) == (0 < stated < 192_000 - 3_200)
