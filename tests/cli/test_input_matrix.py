"""What comes of every kind of input, through the command line, with a stand-in for the network alone.

A row works, to the right length and with text; or works with a warning; or is one line and an exit code, in under 2 s.
Nothing is left behind in any case: no process, thread or descriptor, and no file but the result.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner
from faults import HEARING, without_privileges
from hearing import hearing_model
from speech import speak, write_wav

from mtasr.audio.ffmpeg import find_ffmpeg
from mtasr.cli import program

SENTENCE = "The train leaves at noon from the second platform."
#: Seconds that it takes.
WHOLE = 2.99

Samples = npt.NDArray[np.float32]
#: Makes the input in the current folder and gives its name, or all arguments. There are spoken.wav and video.mp4 in the
#: folder `kept`.
Make = Callable[[], str | list[str]]


@dataclass(frozen=True)
class Row:
    name: str
    make: Make
    #: What the error, or the warning, says.
    says: str = ""
    code: int = 0
    #: The least and the most that it lasts.
    seconds: tuple[float, float] = (WHOLE - 0.1, WHOLE + 0.1)
    #: Whether text is found in it.
    text: bool = True
    #: Whether other rows show the same in short, so that this one waits for the whole suite.
    similar: bool = False


def works(name: str, make: Make, seconds: tuple[float, float] = (WHOLE - 0.1, WHOLE + 0.1)) -> Row:
    return Row(name, make, seconds=seconds)


def silent(name: str, make: Make, seconds: tuple[float, float] = (0.0, 0.0)) -> Row:
    """Works, and has no speech in it."""
    return Row(name, make, seconds=seconds, text=False)


def warns(name: str, make: Make, says: str, seconds: tuple[float, float] = (0.5, WHOLE - 0.5)) -> Row:
    return Row(name, make, says, seconds=seconds)


def fails(name: str, make: Make, says: str, code: int = 3) -> Row:
    return Row(name, make, says, code)


def family(rows: Iterable[Row], shown: int = 2) -> list[Row]:
    """Rows of one kind, of which the first few speak for the others."""
    return [replace(row, similar=number >= shown) for number, row in enumerate(rows)]


# --- what makes the inputs ---


@functools.cache
def _made(arguments: tuple[str, ...], name: str) -> bytes:
    """The content of a file that ffmpeg writes, once for all rows that begin with it."""
    run_ffmpeg(*arguments, f"file:{name}")
    return Path(name).read_bytes()


def run_ffmpeg(*arguments: object) -> None:
    subprocess.run([find_ffmpeg(), "-nostdin", "-y", "-loglevel", "error", *map(str, arguments)], check=True)


def ffmpeg(name: str, arguments: str) -> Make:
    """What ffmpeg writes under that name."""

    def make() -> str:
        Path(name).write_bytes(_made(tuple(arguments.split()), name))
        return name

    return make


def encoded(name: str, options: str = "") -> Make:
    return ffmpeg(name, f"-i kept/spoken.wav {options}")


def holding(name: str, content: bytes | str) -> Make:
    def make() -> str:
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
        return name

    return make


def cut(make_whole: Make, at: float) -> Make:
    """Breaks off after so many bytes, or such a share of them."""

    def make() -> str | list[str]:
        made = make_whole()
        name = made if isinstance(made, str) else made[-1]
        os.truncate(name, int(at if at > 1 else at * Path(name).stat().st_size))
        return made

    return make


def renamed(make_it: Make, name: str) -> Make:
    def make() -> str:
        Path(str(make_it())).rename(name)
        return name

    return make


def copied(name: bytes) -> Make:
    def make() -> list[str]:
        shutil.copy("kept/spoken.wav", name)
        return ["--", os.fsdecode(name)]

    return make


def changed(change: Callable[[Samples], Samples]) -> Make:
    """The recording in 32-bit floats, shape (samples,) or (samples, channels), changed."""

    def make() -> str:
        data = change(speak(SENTENCE)).astype("<f4")
        channels = data.shape[1] if data.ndim == 2 else 1
        size = 4 * channels
        header = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, channels, 16000, 16000 * size, size, 32)
        body = b"WAVE" + header + struct.pack("<4sI", b"data", data.nbytes) + data.tobytes()
        Path("a.wav").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
        return "a.wav"

    return make


def no_numbers(samples: Samples) -> Samples:
    samples = samples.copy()
    samples[::100], samples[1::100], samples[2::100] = np.nan, np.inf, -np.inf
    return samples


def forged_rate(rate: int) -> Make:
    """The header of a WAV file lies about it."""

    def make() -> str:
        data = bytearray(Path("kept/spoken.wav").read_bytes())
        data[24:28] = struct.pack("<I", rate)
        Path("a.wav").write_bytes(data)
        return "a.wav"

    return make


def link(target: str) -> Make:
    def make() -> str:
        Path("a.wav").symlink_to(target)
        return "a.wav"

    return make


def folder() -> str:
    Path("folder").mkdir()
    return "folder"


def named(name: str) -> Make:
    """Nothing is made."""
    return lambda: name


def on_stdin(make_it: Make) -> Make:
    """A file is the standard input."""

    def make() -> str:
        descriptor = os.open(str(make_it()), os.O_RDONLY)
        os.dup2(descriptor, 0)
        os.close(descriptor)
        return "-"

    return make


def piped(make_it: Make) -> Make:
    """Comes through standard input from a program that writes it."""

    def make() -> str:
        name = str(make_it())
        reader, writer = os.pipe()
        os.dup2(reader, 0)
        os.close(reader)
        threading.Thread(target=_pour, args=(name, writer)).start()
        return "-"

    return make


def fifo(make_it: Make) -> Make:
    def make() -> str:
        name = str(make_it())
        os.mkfifo("fifo")
        threading.Thread(target=_pour, args=(name, "fifo")).start()
        return "fifo"

    return make


def _pour(name: str, into: int | str) -> None:
    with open(into, "wb") as pipe, contextlib.suppress(BrokenPipeError):  # noqa: PTH123 - a descriptor, or a name
        pipe.write(Path(name).read_bytes())


def no_stdin() -> str:
    os.close(0)
    return "-"


#: Name the file that stands beside them.
PLAYLISTS = {
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nkept/spoken.wav\n#EXT-X-ENDLIST\n",
    "ffconcat": "ffconcat version 1.0\nfile 'kept/spoken.wav'\n",
    "mpd": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><BaseURL>kept/spoken.wav'
    "</BaseURL></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
    "asx": '<asx version="3.0"><entry><ref href="kept/spoken.wav"/></entry></asx>',
    "pls": "[playlist]\nFile1=kept/spoken.wav\n",
}

WAV, MP3, OGG, OPUS, FLAC = (encoded(name) for name in ("a.wav", "a.mp3", "a.ogg", "a.opus", "a.flac"))
MP4, MKV, AIFF = (encoded(name) for name in ("a.mp4", "a.mkv", "a.aiff"))
FRAGMENTS = encoded("a.mp4", "-movflags frag_keyframe+empty_moov+default_base_moof -frag_duration 500000")
NO_MEDIA = "is not a media file that ffmpeg can read"

ROWS = [
    # Not there, or not to be read.
    fails("missing", named("gone.wav"), "no such file"),
    fails("no name", named(""), "a file name is empty", code=2),
    fails("folder", folder, "this folder has no recordings"),
    fails("dangling link", link("gone.wav"), "is a link to a file that does not exist"),
    fails("link to itself", link("a.wav"), "Too many levels of symbolic links"),
    works("link", link("kept/spoken.wav")),
    fails("device", named("/dev/null"), NO_MEDIA),
    fails("endless device", named("/dev/zero"), NO_MEDIA),
    # Nothing or hardly anything in it.
    fails("empty", holding("a.wav", b""), "is empty"),
    fails("one letter", holding("a.wav", "x"), NO_MEDIA),
    fails("wav of a header", cut(copied(b"a.wav"), 44), "is incomplete"),
    fails("wav of half a header", cut(WAV, 20), NO_MEDIA),
    fails("mp3 of a header", cut(MP3, 60), NO_MEDIA),
    fails("ogg of a header", cut(OGG, 28), "is incomplete"),
    fails("opus of a header", cut(OPUS, 47), "is incomplete"),
    fails("flac of a header", cut(FLAC, 42), "is incomplete"),
    fails("mp4 of a header", cut(MP4, 40), "is incomplete"),
    fails("aiff of a header", cut(AIFF, 54), "is incomplete: there is no sound"),
    silent("wav of no samples", encoded("a.wav", "-t 0")),
    silent("flac of no samples", encoded("a.flac", "-t 0")),
    # Something else than it says.
    fails("text", holding("a.wav", "Not a recording.\n" * 500), NO_MEDIA),
    fails("noise", holding("a.mp3", np.random.default_rng(0).bytes(50_000)), NO_MEDIA),
    fails("picture", ffmpeg("a.png", "-i kept/video.mp4 -frames:v 1"), NO_MEDIA),
    works("mp3 called wav", renamed(MP3, "a.wav")),
    works("wav called mp3", renamed(WAV, "a.mp3")),
    works("mp4 called txt", renamed(MP4, "a.txt")),
    works("no ending", renamed(FLAC, "a")),
    # Cut short.
    warns("wav cut short", cut(WAV, 0.5), "cut short"),
    warns("mp3 cut short", cut(MP3, 0.5), r"ends after 1\.\d s although it should last 3\.0 s"),
    warns("mp4 cut short", cut(encoded("a.mp4", "-movflags faststart"), 0.5), "partial file"),
    warns("mp4 of fragments cut short", cut(FRAGMENTS, 0.5), "partial file"),
    warns("ogg cut short", cut(OGG, 0.5), "is cut short"),
    warns("opus cut short", cut(OPUS, 0.5), "is cut short"),
    warns("flac cut short", cut(FLAC, 0.5), "ends after"),
    warns("mkv cut short", cut(MKV, 0.5), "File ended prematurely"),
    warns("aiff cut short", cut(AIFF, 0.5), "ends after"),
    warns("aac cut short", cut(encoded("a.aac"), 0.5), "damaged or cut short"),
    # Nothing in a transport stream tells where it should end.
    works("ts cut short", cut(encoded("a.ts"), 0.5), (0.5, WHOLE - 0.5)),
    fails("mp4 without index", cut(MP4, 0.8), "is incomplete"),
    # Video and tracks.
    works("video", ffmpeg("a.mp4", "-i kept/video.mp4 -c copy")),
    fails("video without sound", ffmpeg("a.mp4", "-i kept/video.mp4 -c copy -an"), "has no audio track"),
    works("several tracks", ffmpeg("a.mkv", "-i kept/spoken.wav -i kept/spoken.wav -map 0 -map 1")),
    # Rates, channels, samples.
    *family(
        works(f"{rate} Hz", encoded("a.wav", f"-ar {rate}"))
        for rate in (8000, 44100, 11025, 16000, 22050, 32000, 48000, 88200, 96000, 192000)
    ),
    *family(works(f"{count} channels", encoded("a.wav", f"-ac {count}")) for count in (2, 6, 1, 3, 4, 5, 7, 8)),
    *family(
        works(codec, encoded("a.wav", f"-c:a pcm_{codec}"))
        for codec in ("s24le", "f32le", "u8", "s16le", "s32le", "f64le", "alaw", "mulaw")
    ),
    works("mp3", MP3),
    works("vorbis", OGG),
    works("opus", OPUS),
    works("mp4 of fragments", FRAGMENTS, (WHOLE - 0.1, WHOLE + 0.2)),
    silent("amr", holding("a.amr", b"#!AMR\n" + (b"\x3c" + bytes(31)) * 100), (2.0, 2.0)),
    works("samples that are no numbers", changed(no_numbers)),
    works("offset", changed(lambda samples: samples * 0.5 + 0.4)),
    works("clipping", changed(lambda samples: samples * 40)),
    works("one silent channel", changed(lambda samples: np.stack([samples, 0 * samples], 1))),
    Row(
        "opposite phase",
        changed(lambda samples: np.stack([samples, -samples], 1)),
        "channels cancel each other",
        text=False,
    ),
    *(fails(f"rate forged to {rate}", forged_rate(rate), NO_MEDIA) for rate in (0, 2**31, 2**32 - 1)),
    *(fails(f"rate forged to {rate}", forged_rate(rate), f"states {rate} samples per second") for rate in (1, 4, 999)),
    silent("rate forged to 1000000", forged_rate(1_000_000), (0.04, 0.06)),
    # Times.
    works("negative start", ffmpeg("a.mkv", "-itsoffset -1 -i kept/spoken.wav -c:a flac -avoid_negative_ts disabled")),
    # As players do: the second before 0 is not shown.
    works("edit list", ffmpeg("a.mp4", "-itsoffset -1 -i kept/spoken.wav -avoid_negative_ts disabled"), (1.9, 2.1)),
    works("edit list of a copy", ffmpeg("a.mp4", "-ss 1 -i kept/video.mp4 -c copy"), (1.9, 2.1)),
    warns(
        "gap",
        encoded("a.mkv", "-af asetpts='if(lt(T,1),PTS,PTS+2/TB)' -c:a flac"),
        "2.0 s of sound are missing at 1.0 s",
        (WHOLE + 1.9, WHOLE + 2.1),
    ),
    # Names.
    *family(
        (
            works(f"named {name!r}", copied(name))
            for name in (
                b"--help", b"a%03d.wav", b"[x].wav", b"new\nline.wav", b"\xff\xfe.wav", b"concat:a.wav",
                b"-x.wav", b"a:b.wav", b"{a}.wav", b"a b.wav", b"http:x.wav", b"pipe:0", b"*.wav", b"tab\t\x1b[2J.wav",
                "会议 🎙.wav".encode(), b"n" * 240 + b".wav",
            )
        ),
        shown=6,
    ),
    fails("longest name", named("n" * 300), "File name too long"),
    # Other ways than a file.
    works("standard input", on_stdin(WAV)),
    works("standard input of mp4", on_stdin(MP4)),
    works("standard input through a pipe", piped(MP3)),
    works("fifo", fifo(WAV)),
    fails("nothing through a pipe", piped(holding("a.wav", b"")), "is incomplete|" + NO_MEDIA),
    fails("no standard input", no_stdin, "standard input: is closed"),
    # Names of protocols and addresses: none is connected to, as tests/cli/test_isolation.py checks.
    *family(
        fails(f"address {address}", named(address), "no such file")
        for address in (
            "http:/127.0.0.1:9/a.wav", "https:127.0.0.1:9/a.wav", "rtsp:/127.0.0.1:9/a", "file:kept/spoken.wav",
            "concat:kept/spoken.wav|kept/spoken.wav", "subfile,,start,0,end,0,,:kept/spoken.wav",
            "async:kept/spoken.wav", "crypto:kept/spoken.wav", "data:audio/wav;base64,UklGRg==", "pipe:0",
        )
    ),
    fails("address of nobody", named("http://127.0.0.1:9/a.wav"), "cannot be opened: the server cannot be reached"),
    fails("address of no kind", named("rtsp://127.0.0.1:9/a"), "addresses that begin with rtsp:// are not known"),
    fails("address of a file", named("file:///etc/passwd"), "is a file of this machine: give its path"),
    *family(
        fails(f"playlist {kind} called {ending}", holding(f"a.{ending}", content), NO_MEDIA)
        for kind, content in PLAYLISTS.items()
        for ending in (kind, "wav")
    ),
]  # fmt: skip


# --- what is seen of them ---


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A recording in order, and a video of it."""
    folder = tmp_path_factory.mktemp("kept")
    write_wav(folder / "spoken.wav", speak(SENTENCE))
    picture = ["-f", "lavfi", "-i", "testsrc=duration=3:size=64x64:rate=10"]
    run_ffmpeg(*picture, "-i", folder / "spoken.wav", folder / "video.mp4")
    gc.collect()
    gc.freeze()  # what other tests loaded; looking through all of it takes longer than most rows
    yield folder
    gc.unfreeze()


@pytest.fixture
def own_stdin() -> Iterator[None]:
    """What a row does to standard input is undone."""
    before = os.dup(0)
    yield
    os.dup2(before, 0)
    os.close(before)


@pytest.fixture
def place(own_stdin: None, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("mtasr.transcribe.load_model", hearing_model)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kept").symlink_to(kept)
    return tmp_path


def left_behind() -> tuple[str, int, int]:
    """Children, zombies included, threads and descriptors."""
    gc.collect()
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return children, threading.active_count(), sum(int(each.name) > 2 for each in Path("/proc/self/fd").iterdir())


def nothing_new(before: tuple[str, int, int]) -> bool:
    """Whether no more is left than before. Threads of an earlier test may have ended, and stdin may be closed."""
    children, threads, descriptors = left_behind()
    return children == before[0] and threads <= before[1] and descriptors <= before[2]


def used() -> float:
    """Seconds of processor time of this process and its ended children, whatever else the machine does."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_dir()}


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "row",
    [pytest.param(row, marks=[pytest.mark.slow] * row.similar, id=re.sub(r"\s+", "-", row.name)[:60]) for row in ROWS],
)
def test_input(row: Row, place: Path) -> None:
    before = left_behind()
    made = row.make()
    arguments = made if isinstance(made, list) else [made]
    inputs = files(place)
    began, clock = used(), time.monotonic()
    result = CliRunner().invoke(program, ["transcribe", "-o", "out", "-f", "json", "--model", "base", *arguments])
    took, waited = used() - began, time.monotonic() - clock
    said = result.stderr.splitlines()
    new = files(place) - inputs
    assert result.exit_code == row.code, result.stderr
    assert "Traceback" not in result.stderr
    if row.code:
        assert took < 2
        assert waited < 20, "for nothing, on the busiest machine"
        assert len(said) == 1
        assert said[0].startswith("mtasr: error: ")
        assert re.search(row.says, said[0])
        assert (result.stdout, new) == ("", set())
    else:
        warnings = [line for line in said if line.startswith("warning: ")]
        assert bool(warnings) == bool(row.says), said
        assert re.search(row.says, "\n".join(warnings)), warnings
        [written] = new
        transcript = json.loads(written.read_text("utf-8"))
        least, most = row.seconds
        assert least <= transcript["duration"] <= most
        assert bool(transcript["text"]) == row.text == bool(result.stdout)
        assert ("no speech found" in result.stderr) == (not row.text)
    assert any(nothing_new(before) or time.sleep(0.02) for _ in range(250)), (before, left_behind())


def test_no_permission(place: Path) -> None:
    shutil.copy("kept/spoken.wav", "a.wav")
    Path("a.wav").chmod(0)
    Path("folder").mkdir(mode=0)
    for name in ("a.wav", "folder/a.wav", "folder"):
        done = subprocess.run(
            [sys.executable, HEARING, "transcribe", name], preexec_fn=without_privileges,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 3
        assert re.fullmatch(f"mtasr: error: {name}: .*ermission denied.*\n", done.stderr)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_hours(place: Path) -> None:
    """Silence but for the last seconds, 8 kHz; most of the file takes no room on the disk."""
    seconds, rate = 5 * 3600 // 2, 8000  # as floats at 16 kHz it would take 576 MB
    run_ffmpeg("-i", "kept/spoken.wav", "-ar", rate, "-f", "s16le", "end")
    with Path("a.wav").open("wb") as file:
        file.write(
            struct.pack("<4sI8sIHHIIHH", b"RIFF", 36 + 2 * seconds * rate, b"WAVEfmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
        )
        file.write(struct.pack("<4sI", b"data", 2 * seconds * rate))
        end = Path("end").read_bytes()
        file.seek(44 + 2 * seconds * rate - len(end))
        file.write(end)
    command = [sys.executable, HEARING, "transcribe", "-q", "-f", "json", "--language", "en", "a.wav"]
    # The kernel counts the memory of the process that starts another one as the other's: a small one has to.
    measure = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", measure, *command], stdout=subprocess.PIPE, text=True, check=True)
    peak = int(done.stdout.splitlines()[-1])
    transcript = json.loads(Path("a.json").read_text("utf-8"))
    assert transcript["duration"] == seconds
    assert transcript["segments"][0]["start"] > seconds - 10
    assert peak < 500_000  # KiB
