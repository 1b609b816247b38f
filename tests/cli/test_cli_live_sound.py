"""What `mtasr live` listens to: microphones, and sound in many forms on standard input."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import threading
import wave
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
import pytest
from fake_live import FakeLive
from fake_model import Run

from mtasr.audio.ffmpeg import find_ffmpeg
from mtasr.cli.live import microphone, piped

Samples = np.ndarray[tuple[int], np.dtype[np.float32]]

NOISE = (np.random.default_rng(0).uniform(-0.5, 0.5, 16000 * 2) * 32768).astype("<i2")


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> FakeLive:
    fake = FakeLive(script=())
    monkeypatch.setattr("mtasr.live.LiveSession", fake)
    return fake


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Puts bytes into standard input and closes it."""

    def fill(data: bytes) -> None:
        reader, writer = os.pipe()
        monkeypatch.setattr(piped, "STDIN", reader)

        def write() -> None:
            with os.fdopen(writer, "wb") as stream:
                for start in range(0, len(data), 1001):  # samples are cut in the middle
                    stream.write(data[start : start + 1001])
                    stream.flush()

        threading.Thread(target=write).start()

    return fill


# --- standard input ---------------------------------------------------------------------------------------------------


def of_wav(samples: Any, rate: int = 16000, channels: int = 1, *, size: int | None = None, more: bytes = b"") -> bytes:
    data = samples.astype("<i2").tobytes()
    shape = struct.pack("<HHIIHH", 1, channels, rate, 2 * rate * channels, 2 * channels, 16)
    chunks = b"fmt " + struct.pack("<I", len(shape)) + shape + b"LIST" + struct.pack("<I", 5) + b"INFOx\0"
    chunks += b"data" + struct.pack("<I", len(data) if size is None else size) + data + more
    return b"RIFF" + struct.pack("<I", 0xFFFFFFFF) + b"WAVE" + chunks


@pytest.mark.parametrize(
    "data",
    [
        NOISE.tobytes(),
        NOISE.tobytes() + b"\1",
        of_wav(NOISE),
        of_wav(NOISE, size=0xFFFFFFFF),
        of_wav(NOISE, more=b"LIST\4\0\0\0tail"),
        of_wav(np.repeat(NOISE, 2), channels=2),
    ],
    ids=["raw", "half a sample", "wav", "wav of unknown size", "wav and more", "stereo"],
)
def test_samples_arrive_as_they_are(run: Run, live: FakeLive, pipe: Callable[[bytes], None], data: bytes) -> None:
    pipe(data)
    result = run("live", "-")
    assert result.exit_code == 0, result.stderr
    np.testing.assert_array_equal(live.samples, NOISE.astype(np.float32) / 32768)
    assert live.is_ended


@pytest.mark.parametrize("form", ["raw", "wav"])
def test_other_rates_are_resampled(run: Run, live: FakeLive, pipe: Callable[[bytes], None], form: str) -> None:
    tone = 20000 * np.sin(2 * np.pi * 440 * np.arange(48000) / 48000)
    pipe(of_wav(tone, 48000) if form == "wav" else tone.astype("<i2").tobytes())
    result = run("live", "-", *(["--sample-rate", "48000"] if form == "raw" else []))
    assert result.exit_code == 0, result.stderr
    expected = 20000 / 32768 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    assert len(live.samples) == 16000
    assert np.abs(live.samples - expected)[200:-200].max() < 1e-3


def of_24_bits() -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(3)
        file.setframerate(16000)
        file.writeframes(b"".join(b"\0" + struct.pack("<h", value) for value in NOISE))
    return stream.getvalue()


def of_flac() -> bytes:
    command = [
        find_ffmpeg(),
        "-loglevel",
        "error",
        "-f",
        "s16le",
        "-ar",
        "16000",
        "-ac",
        "1",
        "-i",
        "-",
        "-f",
        "flac",
        "-",
    ]
    return subprocess.run(command, input=NOISE.tobytes(), capture_output=True, check=True).stdout


@pytest.mark.parametrize("make", [of_24_bits, of_flac])
def test_other_formats_go_through_ffmpeg(
    run: Run, live: FakeLive, pipe: Callable[[bytes], None], make: Callable[[], bytes]
) -> None:
    pipe(make())
    result = run("live", "-")
    assert result.exit_code == 0, result.stderr
    np.testing.assert_allclose(live.samples, NOISE / 32768, atol=1e-6)


def test_a_file_behind_standard_input(
    run: Run, live: FakeLive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "noise.flac").write_bytes(of_flac())
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import threading\n"
        "from mtasr.cli.live.piped import StandardInput\n"
        "print(sum(len(block) for block in StandardInput().blocks(threading.Event(), print)))"
    )
    with (tmp_path / "noise.flac").open("rb") as stdin:
        done = subprocess.run(
            [sys.executable, "-c", program, str(Path(__file__).parent)], stdin=stdin, capture_output=True, check=True
        )
    assert int(done.stdout) == len(NOISE)


@pytest.mark.parametrize(
    ("data", "args", "reason"),
    [
        (b"", (), "standard input: ended before any sound came"),
        (b"ID3 but no music", (), "standard input: is not a media file"),
        (b"nothing that ffmpeg knows", ("--input-format", "media"), "standard input: is not a media file"),
        (b"These are words, and nobody says them.\n" * 9, (), "standard input: is text, not sound"),
    ],
)
def test_what_is_no_sound(
    run: Run, live: FakeLive, pipe: Callable[[bytes], None], data: bytes, args: tuple[str, ...], reason: str
) -> None:
    pipe(data)
    result = run("live", "-", "-f", "srt", "--name", "x", *args)
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.splitlines()[-1].startswith(f"mtasr: error: {reason}"), result.stderr
    assert not Path("x.srt").exists()


#: Sound like speech in that each sample is near to the next.
SMOOTH = np.convolve(NOISE / 32768, np.ones(8) / 8, mode="same").astype(np.float32)


def as_mp3(samples: Samples) -> bytes:
    command = [find_ffmpeg(), "-loglevel", "error", "-f", "f32le", "-ar", "16000", "-ac", "1", "-i", "-"]
    command += ["-f", "mp3", "-id3v2_version", "0", "-"]
    written = subprocess.run(command, input=samples.tobytes(), capture_output=True, check=True).stdout
    return written[100:]  # as of a station that was sending already


@pytest.mark.parametrize(
    ("data", "args", "warning"),
    [
        (SMOOTH.astype("<f4").tobytes(), (), "32-bit floating-point samples"),
        ((SMOOTH * 2**31).astype("<i4").tobytes(), (), "samples of two channels, or of 32 bits"),
        (np.repeat((SMOOTH * 32767).astype("<i2"), 2).tobytes(), (), "samples of two channels, or of 32 bits"),
        ((SMOOTH * 32767).astype(">i2").tobytes(), (), "big-endian samples"),
        (as_mp3(np.tile(SMOOTH, 5)), (), "a stream of MP3, AAC or MPEG"),
        (of_flac(), ("--input-format", "raw"), "a media file"),
        ((SMOOTH * 32767).astype("<i2").tobytes(), (), ""),
        ((SMOOTH * 32767).astype("<i2").tobytes()[:2000], (), ""),
        (NOISE.tobytes(), (), ""),
        (bytes(64000), (), ""),
    ],
    ids=["float", "32 bits", "stereo", "big-endian", "mp3", "raw flac", "samples", "few samples", "noise", "silence"],
)
@pytest.mark.parametrize("before", [0, 9604])
def test_what_is_read_as_samples_and_looks_like_something_else(
    run: Run,
    live: FakeLive,
    pipe: Callable[[bytes], None],
    data: bytes,
    args: tuple[str, ...],
    warning: str,
    before: int,
) -> None:
    pipe(data if args else bytes(before) + data)
    notes = run("live", "-", *args).stderr.splitlines()
    assert ("standard input: raw samples, taken as 16-bit mono with 16,000 a second (--sample-rate)" in notes) == (
        not args
    )
    told = [note for note in notes if note.startswith("warning: standard input looks like ")]
    assert len(told) == bool(warning)
    assert all(warning in note for note in told)


def test_a_closed_standard_input(folder: Path) -> None:
    command = f"{sys.executable} -m mtasr live - <&-"
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "mtasr: error: standard input: is closed\n")


def test_it_stops_after_so_many_seconds(run: Run, live: FakeLive, pipe: Callable[[bytes], None]) -> None:
    pipe(NOISE.tobytes())
    assert run("live", "-", "--stop-after", "1.25").exit_code == 0
    np.testing.assert_array_equal(live.samples, NOISE[:20000].astype(np.float32) / 32768)


# --- the microphone ---------------------------------------------------------------------------------------------------


class PortAudioError(Exception):
    pass


DEVICES = [
    {"name": "Speakers", "index": 0, "hostapi": 0, "max_input_channels": 0, "default_samplerate": 48000.0},
    {"name": "Built-in", "index": 1, "hostapi": 0, "max_input_channels": 2, "default_samplerate": 48000.0},
    {"name": "Headset", "index": 2, "hostapi": 0, "max_input_channels": 1, "default_samplerate": 16000.0},
]
BUILT_IN = "the microphone 'Built-in'"


class FakeSound:
    """The module `sounddevice`: gives `sound`, shape (n, channels), in blocks, and then what `after` says."""

    PortAudioError = PortAudioError

    def __init__(self, sound: Any, after: str = "stop") -> None:
        self.sound, self.after = np.asarray(sound, np.float32), after
        self.devices = DEVICES
        self.default = 1
        self.rates = {16000, 48000}
        self.lost = False
        self.opened: dict[str, Any] = {}

    def query_devices(self, device: int | str | None = None, kind: str | None = None) -> Any:
        if device is None and kind is None:
            return self.devices
        if device is None:
            if self.default < 0:
                raise PortAudioError("Error querying device -1")
            return self.devices[self.default]
        if isinstance(device, int):
            return self.devices[device]
        for each in self.devices:
            if device.lower() in each["name"].lower():  # type: ignore[attr-defined]
                return each
        raise ValueError(f"No input device matching {device!r}")

    def query_hostapis(self, index: int) -> dict[str, str]:
        return {"name": "ALSA"}

    def check_input_settings(self, *, device: int, channels: int, dtype: str, samplerate: int) -> None:
        if samplerate not in self.rates:
            raise PortAudioError("Invalid sample rate [PaErrorCode -9997]")
        if channels != self.sound.shape[1]:
            raise PortAudioError("Invalid number of channels [PaErrorCode -9998]")

    def RawInputStream(self, *, callback: Any, finished_callback: Any, **settings: Any) -> Any:
        self.opened = settings
        owner = self

        class Stream:
            def __enter__(self) -> Self:
                if owner.after == "busy":
                    raise PortAudioError("Device unavailable [PaErrorCode -9985]")
                for start in range(0, len(owner.sound), 500):
                    block = owner.sound[start : start + 500]
                    callback(block.tobytes(), len(block), None, SimpleNamespace(input_overflow=owner.lost))
                if owner.after == "stop":
                    finished_callback()
                return self

            def __exit__(self, *error: object) -> None:
                pass

        return Stream()


@pytest.fixture
def sound(monkeypatch: pytest.MonkeyPatch) -> FakeSound:
    fake = FakeSound(NOISE[:, None] / 32768)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)  # type: ignore[arg-type]
    return fake


def test_the_microphone_is_heard(run: Run, live: FakeLive, sound: FakeSound) -> None:
    result = run("live", "--stop-after", "2")
    assert result.exit_code == 0, result.stderr
    assert sound.opened == {"samplerate": 16000, "channels": 1, "device": 1, "dtype": "float32"}
    np.testing.assert_array_equal(live.samples, NOISE.astype(np.float32) / 32768)
    assert "listening to the microphone 'Built-in'; Ctrl-C ends it\n" in result.stderr


@pytest.mark.parametrize(("device", "index"), [("2", 2), ("headset", 2), ("built", 1)])
def test_a_microphone_is_chosen(run: Run, live: FakeLive, sound: FakeSound, device: str, index: int) -> None:
    assert run("live", "--input-device", device, "--stop-after", "1").exit_code == 0
    assert sound.opened["device"] == index


def test_a_microphone_with_a_form_of_its_own(run: Run, live: FakeLive, sound: FakeSound) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(96000) / 48000)
    sound.sound, sound.rates = np.stack([tone, np.zeros(96000)], axis=1).astype(np.float32), {48000}
    assert run("live", "--stop-after", "1").exit_code == 0
    assert (sound.opened["samplerate"], sound.opened["channels"]) == (48000, 2)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    assert np.abs(live.samples - expected)[200:].max() < 1e-3


def test_devices_are_listed(run: Run, sound: FakeSound) -> None:
    result = run("live", "--list-devices")
    assert (result.exit_code, result.stdout) == (0, "1  Built-in, ALSA (default)\n2  Headset, ALSA\n")
    sound.devices, sound.default = DEVICES[:1], -1
    result = run("live", "--list-devices")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no microphone was found\n")


def test_an_unplugged_microphone_costs_no_text(run: Run, live: FakeLive, sound: FakeSound) -> None:
    live.script = FakeLive().script
    result = run("live", "-f", "txt", "--name", "x")
    assert result.exit_code == 3
    assert result.stderr.endswith("mtasr: error: the microphone 'Built-in' stopped; was it unplugged?\n")
    assert result.stdout == "Good morning, everybody.\nWelcome.\nToday we talk about bridges.\n"
    assert Path("x.txt").read_text().endswith("bridges. (end)\n")


def test_a_microphone_that_falls_silent(
    run: Run, live: FakeLive, sound: FakeSound, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(microphone, "_GONE", 0.2)
    sound.after = "nothing"
    result = run("live")
    assert result.exit_code == 3
    assert result.stderr.endswith("gives no sound any more; was it unplugged?\n")
    assert len(live.samples) == len(NOISE)


def test_warnings_of_the_microphone(
    run: Run, live: FakeLive, sound: FakeSound, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(microphone, "_MUTE", 0.5)
    sound.sound, sound.lost = np.zeros((16000, 1), np.float32), True
    warnings = [line for line in run("live", "--stop-after", "1").stderr.splitlines() if line.startswith("warning")]
    assert len(warnings) == 2
    assert "sound was lost" in warnings[0]
    assert "nothing but zeros" in warnings[1]


@pytest.mark.parametrize(
    ("change", "args", "code", "reason"),
    [
        ({"default": -1}, (), 3, "no microphone was found; `mtasr live -` listens to standard input"),
        ({}, ("--input-device", "x"), 2, "--input-device x: No input device matching 'x'; --list-devices shows them"),
        (
            {"rates": set()},
            (),
            3,
            "the microphone 'Built-in' cannot be opened: Invalid sample rate [PaErrorCode -9997]",
        ),
        ({"after": "busy"}, (), 3, "the microphone 'Built-in' cannot be used: Device unavailable [PaErrorCode -9985]"),
    ],
)
def test_a_microphone_that_cannot_be_used(
    run: Run, live: FakeLive, sound: FakeSound, change: dict[str, Any], args: tuple[str, ...], code: int, reason: str
) -> None:
    for name, value in change.items():
        setattr(sound, name, value)
    result = run("live", *args)
    assert result.exit_code == code
    assert result.stderr.splitlines()[-1] == f"mtasr: error: {reason}"


def test_without_the_extra(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    result = run("live")
    assert result.exit_code == 2
    assert "this needs sounddevice: " in result.stderr
    assert "'.[live]'` in the clone of mtasr" in result.stderr


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        ("OSError('PortAudio library not found')", 2, "the microphone needs PortAudio (PortAudio library not found): "),
        ("PortAudioError('Error initializing')", 3, "the sound system cannot be used: Error initializing"),
    ],
)
def test_without_what_the_extra_needs(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, error: str, code: int, reason: str
) -> None:
    (folder / "sounddevice.py").write_text(f"class PortAudioError(Exception): ...\nraise {error}")
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.syspath_prepend(str(folder))
    result = run("live")
    assert result.exit_code == code
    assert result.stderr.startswith(f"mtasr: error: {reason}")
    assert len(result.stderr.splitlines()) == 1
