"""Decoding with the real ffmpeg: every file is made here."""

import gc
import io
import os
import signal
import warnings

import numpy as np
import pytest
from tones import children, ffmpeg, frequency, make_tone, read

from mtasr.audio import read as reading
from mtasr.audio.read import check_input, open_audio
from mtasr.audio.stream import BLOCK_SAMPLES
from mtasr.errors import AudioDecodeError, InputNotFoundError
from mtasr.spans import SAMPLE_RATE

pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")

# --- formats, rates, channels ---


@pytest.mark.parametrize(
    "name",
    ["a.wav", "a.flac", "a.mp3", "a.ogg", "a.m4a", "a.mkv", "a.opus", "a.aiff", "a.webm", "a.w64", "a.caf", "a.mp4"],
)
def test_formats(tmp_path, name):
    samples = read(make_tone(tmp_path / name))
    assert len(samples) == 2 * SAMPLE_RATE  # to the sample: no encoder delay left in front, no padding behind
    assert frequency(samples) == pytest.approx(440, abs=1)


@pytest.mark.parametrize("name", ["a.avi", "a.wma", "a.mpg", "a.ts", "a.aac", "a.mov", "a.flv"])
def test_formats_that_round_to_packets(tmp_path, name):
    samples = read(make_tone(tmp_path / name))
    assert len(samples) == pytest.approx(2 * SAMPLE_RATE, abs=0.1 * SAMPLE_RATE)
    assert frequency(samples) == pytest.approx(440, abs=1)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 48_000, 96_000, 192_000])
def test_rates_give_the_exact_length(tmp_path, rate):
    assert len(read(make_tone(tmp_path / "a.wav", rate=rate))) == 2 * SAMPLE_RATE


@pytest.mark.parametrize("channels", [1, 2, 6, 8])
def test_channels_are_averaged_not_summed(tmp_path, channels):
    samples = read(make_tone(tmp_path / "a.wav", channels=channels))
    assert np.abs(samples).max() == pytest.approx(0.125, abs=0.01)  # lavfi's sine has amplitude 1/8


def test_samples_at_16_khz_pass_unchanged(tmp_path):
    written = (np.random.default_rng(0).uniform(-1, 1, 40_000) * 32767).astype("<i2")
    (tmp_path / "a.raw").write_bytes(written.tobytes())
    ffmpeg("-f", "s16le", "-ar", "16000", "-ac", "1", "-i", tmp_path / "a.raw", tmp_path / "a.wav")
    samples = read(tmp_path / "a.wav")
    assert samples.dtype == np.float32
    assert np.array_equal(samples, written.astype(np.float32) / 32768)


def test_not_a_number_becomes_silence_and_loud_is_clipped(tmp_path):
    written = np.array([0.5, np.nan, np.inf, -np.inf, 7.0, -7.0, 0.25] * 100, "<f4")
    (tmp_path / "a.raw").write_bytes(written.tobytes())
    ffmpeg("-f", "f32le", "-ar", "16000", "-ac", "1", "-i", tmp_path / "a.raw", "-c", "copy", tmp_path / "a.wav")
    assert read(tmp_path / "a.wav")[:7].tolist() == [0.5, 0.0, 0.0, 0.0, 1.0, -1.0, 0.25]


def test_blocks_duration_and_count(wav):
    with open_audio(wav) as stream:
        assert stream.duration == 5.0
        sizes = [block.size for block in stream]
        assert sizes == [BLOCK_SAMPLES] * 5
        assert stream.samples_read == sum(sizes)
        assert stream.warnings == ()
        assert stream.duration == 5.0


def test_no_samples_is_no_error(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "sine", "-t", "0", tmp_path / "a.wav")
    assert read(tmp_path / "a.wav").size == 0


# --- times ---


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_late_audio_is_padded_to_file_time(tmp_path, wav, name):
    picture = ["-f", "lavfi", "-i", "testsrc=duration=5:size=64x64", "-itsoffset", "1.5", "-i", wav]
    ffmpeg(*picture, "-c:v", "mpeg4" if name != "a.ts" else "mpeg2video", tmp_path / name)
    samples = read(tmp_path / name)
    assert np.flatnonzero(np.abs(samples) > 0.01)[0] / SAMPLE_RATE == pytest.approx(1.5, abs=0.03)
    assert len(samples) / SAMPLE_RATE == pytest.approx(6.5, abs=0.05)


def test_holes_are_filled(tmp_path, wav):
    ffmpeg("-i", wav, "-af", "asetpts='if(lt(T,2),PTS,PTS+3/TB)'", "-c:a", "flac", tmp_path / "a.mkv")
    samples = read(tmp_path / "a.mkv")
    assert len(samples) / SAMPLE_RATE == pytest.approx(8.0, abs=0.05)
    assert np.abs(samples[int(2.3 * SAMPLE_RATE) : int(4.7 * SAMPLE_RATE)]).max() == 0


def test_a_change_of_rate_and_channels_adds_no_time(tmp_path):
    first, second = make_tone(tmp_path / "1.mp3", channels=2), make_tone(tmp_path / "2.mp3", rate=22_050)
    (tmp_path / "a.mp3").write_bytes(first.read_bytes() + second.read_bytes())
    assert len(read(tmp_path / "a.mp3")) / SAMPLE_RATE == pytest.approx(4.0, abs=0.15)


# --- ends, early and otherwise ---


def test_leaving_early_stops_ffmpeg(wav):
    before = children()
    with open_audio(wav) as stream:
        next(stream)
        assert len(children() - before) == 1
    assert children() == before
    stream.close()


def test_an_exception_stops_ffmpeg(wav):
    def interrupted():
        with open_audio(wav) as stream:
            next(stream)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()


def test_forgotten_stream_is_reaped(wav):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        next(open_audio(wav))
        gc.collect()


def test_endless_file_object_can_be_left():
    class Noise(io.RawIOBase):
        header = True

        def read(self, size=-1):
            head, self.header = (b"RIFF\xff\xff\xff\xffWAVEfmt " if self.header else b""), False
            fmt = b"\x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0data\xff\xff\xff\xff" if head else b""
            return head + fmt + os.urandom(4096)

    with open_audio(Noise()) as stream:
        assert next(stream).size == BLOCK_SAMPLES


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_ffmpeg_is_an_error_and_not_an_end(tmp_path, number):
    long = make_tone(tmp_path / "a.wav", seconds=120, rate=16_000)
    before = children()
    with open_audio(long) as stream:
        next(stream)
        (process,) = children() - before
        os.kill(int(process), number)
        with pytest.raises(AudioDecodeError, match=r"a\.wav: ffmpeg was stopped after .* s of audio"):
            list(stream)


@pytest.mark.parametrize("name", ["a.flac", "a.mp3", "a.mkv", "a.aiff"])
def test_cut_short_keeps_what_is_there_and_tells(tmp_path, name):
    path = make_tone(tmp_path / name, seconds=20)
    os.truncate(path, path.stat().st_size // 2 + 1)
    with open_audio(path) as stream:
        samples = np.concatenate(list(stream))
    assert 8 < len(samples) / SAMPLE_RATE < 14
    assert frequency(samples[:SAMPLE_RATE]) == pytest.approx(440, abs=1)
    assert stream.warnings
    assert all(line.startswith(str(path)) and "\n" not in line for line in stream.warnings)


# --- what cannot be read ---


def test_missing_folder_empty_dangling(tmp_path):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "link.wav").symlink_to(tmp_path / "gone.wav")
    for name, reason in {
        "missing.wav": "no such file",
        ".": "is a folder, not a recording",
        "empty.wav": "is empty",
        "link.wav": "is a link to a file that does not exist",
        "empty.wav/a.wav": "no such file",
        "a\0b": "embedded null byte",
        "n" * 300: "File name too long",
    }.items():
        for refuse in (check_input, open_audio):
            with pytest.raises(InputNotFoundError, match=reason):
                refuse(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable(tmp_path, wav):
    path = tmp_path / "a.wav"
    path.write_bytes(wav.read_bytes())
    path.chmod(0)
    with pytest.raises(InputNotFoundError, match="permission denied"):
        open_audio(path)


def test_unreadable_by_report(wav, monkeypatch):
    monkeypatch.setattr(reading.os, "access", lambda path, mode: False)
    with pytest.raises(InputNotFoundError, match="permission denied"):
        check_input(wav)


def test_the_path_of_a_file_is_no_address(tmp_path):
    with pytest.raises(InputNotFoundError, match="no such file"):
        open_audio(type(tmp_path)("http://127.0.0.1:1/a.wav"))


def test_text_and_noise_are_no_recordings(tmp_path):
    (tmp_path / "a.wav").write_text("hello\n" * 1000)
    (tmp_path / "b.wav").write_bytes(np.random.default_rng(0).bytes(100_000))
    for name in ("a.wav", "b.wav"):
        with pytest.raises(AudioDecodeError, match="is not a media file that ffmpeg can read") as caught:
            read(tmp_path / name)
        assert caught.value.details


def test_a_text_that_is_called_a_recording(tmp_path):
    (tmp_path / "a.flac").write_text("hello\n" * 1000)
    with pytest.raises(AudioDecodeError, match=r"a\.flac: is damaged or not a recording$"):
        read(tmp_path / "a.flac")


def test_picture_without_sound(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "testsrc=duration=1:size=64x64", tmp_path / "a.mp4")
    with pytest.raises(AudioDecodeError, match=r"a\.mp4: has no audio track") as caught:
        read(tmp_path / "a.mp4")
    assert any("matches no streams" in line for line in caught.value.details)


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{file}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{file}'\n",
    "dash": '<?xml version="1.0"?>\n'
    '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><BaseURL>{file}</BaseURL></Period></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
    "asx": '<asx version="3.0"><entry><ref href="{file}"/></entry></asx>',
}


@pytest.mark.parametrize("suffix", ["wav", "mp3", "m3u8", "ffconcat", "mpd"])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_playlists_open_no_other_file(tmp_path, wav, kind, suffix):
    (tmp_path / "secret.wav").symlink_to(wav)
    path = tmp_path / f"list.{suffix}"
    path.write_text(PLAYLISTS[kind].format(file="secret.wav"))
    with pytest.raises(AudioDecodeError, match="is not a media file"):
        read(path)
