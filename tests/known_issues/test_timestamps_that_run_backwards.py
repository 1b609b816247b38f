"""Joined recordings: `cat a.webm b.webm` lost what the second said, because its timestamps start again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from containers import FLV_HEAD, encoded, joined, retimed
from fakes import FakeEngine, LoudIsSpeech
from tones import ffmpeg, frequency, make_tone, read

from mtasr.audio.read import open_audio
from mtasr.formats import transcript_json
from mtasr.spans import SAMPLE_RATE
from mtasr.transcribe import Model

FIRST, SECOND = 4.0, 3.0
#: Those that ffmpeg reads on in, with timestamps that start again; then those in which it leaves the second.
FORMS = {
    "webm": "libopus", "mkv": "aac", "ogg": "libvorbis", "opus": "libopus", "ts": "aac", "mpg": "mp2",
    "wav": "pcm_s16le", "w64": "pcm_s16le", "aiff": "pcm_s16be", "caf": "pcm_s16le", "flac": "flac", "flv": "aac",
    "mp4": "aac", "m4a": "alac", "mov": "aac", "3gp": "aac", "wma": "wmav2", "tta": "tta",
}  # fmt: skip


def two_tones(folder: Path, form: str) -> Path:
    """A file of two recordings: a tone of 440 Hz, and another an octave lower."""
    arguments = ["-c:a", FORMS[form]] if form in FORMS else []
    first = make_tone(folder / f"first.{form}", *arguments, seconds=FIRST)
    low = folder / "low.wav"
    ffmpeg("-f", "lavfi", "-i", f"sine=frequency=220:duration={SECOND}:sample_rate=44100", low)
    ffmpeg("-i", low, *arguments, folder / f"second.{form}")
    return joined(folder / f"both.{form}", first, folder / f"second.{form}")


def check_heard(path: Path) -> None:
    with open_audio(path) as stream:
        samples = np.concatenate(list(stream))
    # Some containers round the length to packets.
    assert len(samples) / SAMPLE_RATE == pytest.approx(FIRST + SECOND, abs=0.2)
    assert frequency(samples[: int((FIRST - 0.3) * SAMPLE_RATE)]) == pytest.approx(440, abs=1)
    assert frequency(samples[int((FIRST + 0.3) * SAMPLE_RATE) :]) == pytest.approx(220, abs=1)
    (repair,) = stream.repairs
    assert repair.kind == "restart"
    assert (repair.start, -repair.seconds) == pytest.approx((FIRST, FIRST), abs=0.1)
    (warning,) = [line for line in stream.warnings if "jump" in line]
    assert warning.startswith(f"{path}: timestamps jump back by 4.")


@pytest.mark.parametrize("form", FORMS)
def test_the_second_recording_is_heard(tmp_path: Path, form: str) -> None:
    check_heard(two_tones(tmp_path, form))


@pytest.mark.parametrize("form", ["mp3", "mp2", "aac", "au", "avi"])
def test_the_second_recording_is_heard_where_nothing_starts_again(tmp_path: Path, form: str) -> None:
    path = two_tones(tmp_path, form)
    samples = read(path)
    assert len(samples) / SAMPLE_RATE == pytest.approx(FIRST + SECOND, abs=0.2)
    assert frequency(samples[int((FIRST + 0.3) * SAMPLE_RATE) :]) == pytest.approx(220, abs=1)


def test_flv_after_a_reconnect_has_no_second_head(tmp_path: Path) -> None:
    both = two_tones(tmp_path, "flv")
    both.unlink()
    check_heard(joined(both, tmp_path / "first.flv", tmp_path / "second.flv", skipped=FLV_HEAD))


def test_a_third_recording_and_other_rates_and_channels(tmp_path: Path) -> None:
    files = [
        make_tone(tmp_path / f"{rate}.wav", seconds=2, rate=rate, channels=channels)
        for rate, channels in ((8_000, 1), (44_100, 2), (22_050, 1))
    ]
    with open_audio(joined(tmp_path / "all.wav", *files)) as stream:
        samples = np.concatenate(list(stream))
    assert len(samples) == 6 * SAMPLE_RATE
    for start in (0, 2, 4):
        assert frequency(samples[start * SAMPLE_RATE : (start + 2) * SAMPLE_RATE]) == pytest.approx(440, abs=1)
    assert [(each.kind, each.start) for each in stream.repairs] == [("restart", 2.0), ("restart", 4.0)]
    assert [line.partition(": ")[2] for line in stream.warnings] == [
        "timestamps jump back by 2.0 s at 2.0 s, and once more: what follows is joined on"
    ]


def test_what_follows_and_cannot_be_read_is_told(tmp_path: Path) -> None:
    whole = make_tone(tmp_path / "a.m4a", seconds=2)
    with open_audio(joined(tmp_path / "both.m4a", whole, whole)) as stream:
        assert sum(map(len, stream)) == 4 * SAMPLE_RATE
    (tmp_path / "both.m4a").write_bytes(whole.read_bytes() + whole.read_bytes()[:2000])
    with open_audio(tmp_path / "both.m4a") as stream:
        assert sum(map(len, stream)) == 2 * SAMPLE_RATE
    assert any("of the part from 2.0 s on" in line for line in stream.warnings)


@pytest.mark.parametrize("back", [1.5, 5.0, 19.0])
def test_timestamps_that_start_again_anywhere(tmp_path: Path, back: float) -> None:
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 30 * SAMPLE_RATE)
    flv = encoded(tmp_path / "a.flv", noise, "-c:a", "aac", "-ar", "44100")
    expected = read(flv)
    flv.write_bytes(retimed(flv.read_bytes(), lambda time: time if time < 20 else time - back))
    with open_audio(flv) as stream:
        samples = np.concatenate(list(stream))
    assert np.array_equal(samples, expected)
    (repair,) = stream.repairs
    assert (repair.kind, repair.start, repair.seconds) == (
        "restart",
        pytest.approx(20, abs=0.05),
        pytest.approx(-back, abs=0.02),
    )


def test_repairs_go_into_the_transcript_and_its_json(tmp_path: Path) -> None:
    engine = FakeEngine()
    engine.script = [engine.says("<|0.00|> the day<|2.00|>")] * 4
    path = two_tones(tmp_path, "webm")
    with Model(engine, detector=LoudIsSpeech).stream(path, language="en") as stream:
        transcript = stream.transcript()
    (repair,) = transcript.repairs
    assert transcript.to_dict()["repairs"] == [
        {"kind": "restart", "start": pytest.approx(FIRST, abs=0.01), "seconds": pytest.approx(-FIRST, abs=0.01)}
    ]
    assert stream.warnings == (f"{path}: timestamps jump back by 4.0 s at 4.0 s: what follows is joined on",)
    transcript.write(tmp_path / "a.json")
    (read_again,) = transcript_json.read(tmp_path / "a.json").repairs
    assert (read_again.kind, read_again.start) == ("restart", pytest.approx(repair.start, abs=1e-6))


def test_a_whole_recording_has_no_repairs(tmp_path: Path) -> None:
    engine = FakeEngine()
    engine.script = [engine.says("<|0.00|> the day<|2.00|>")]
    transcript = Model(engine, detector=LoudIsSpeech).transcribe(make_tone(tmp_path / "a.webm"), language="en")
    assert transcript.repairs == ()
    assert "repairs" not in transcript.to_dict()
