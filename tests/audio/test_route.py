"""Standard input, pipes, file objects and odd names as recordings."""

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tones import make_tone, read

from mtasr.audio.read import open_audio
from mtasr.errors import AudioDecodeError, InputNotFoundError

pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


LENGTH_OF_STDIN = (
    "import sys; from mtasr.audio.read import open_audio\nwith open_audio(sys.argv[1]) as a: print(sum(map(len, a)))"
)


def run_python(code: str, *arguments: str, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, timeout=60, check=False, **options)


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
@pytest.mark.parametrize("fixture", ["wav", "m4a"])
def test_redirected_standard_input(fixture, name, request):
    with request.getfixturevalue(fixture).open("rb") as stdin:
        done = run_python(LENGTH_OF_STDIN, name, stdin=stdin)
    assert (done.stdout, done.stderr) == (b"80000\n", b"")


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_piped_standard_input(wav, name):
    done = run_python(LENGTH_OF_STDIN, name, input=wav.read_bytes())
    assert (done.stdout, done.stderr) == (b"80000\n", b"")


def test_piped_mp4_with_its_index_at_the_end_is_explained(tmp_path):
    long = make_tone(tmp_path / "a.m4a", seconds=60)  # more than ffmpeg's buffer, so that it would have to go back
    done = run_python(LENGTH_OF_STDIN, "-", input=long.read_bytes())
    assert b"standard input: is incomplete, or keeps its index at the end" in done.stderr


def test_closed_standard_input():
    done = run_python("import os; os.close(0); from mtasr.audio.read import check_input; check_input('-')")
    assert b"InputNotFoundError: standard input: is closed" in done.stderr


def test_fifo(tmp_path, wav):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.write_bytes(wav.read_bytes()))
    writer.start()
    assert len(read(fifo)) == 80_000
    writer.join()


@pytest.mark.parametrize("fixture", ["wav", "m4a"])
def test_file_objects(fixture, request):
    path = request.getfixturevalue(fixture)
    assert len(read(io.BytesIO(path.read_bytes()))) == 80_000
    with path.open("rb") as file:
        assert len(read(file)) == 80_000


def test_a_file_object_leaves_standard_input_alone(m4a):
    code = """
import io, sys
from pathlib import Path
from mtasr.audio.read import open_audio
with open_audio(io.BytesIO(Path(sys.argv[1]).read_bytes())) as stream:
    print(sum(map(len, stream)), stream.warnings, sys.stdin.read())
"""
    done = run_python(code, str(m4a), input=b"RIFF and the rest")
    assert (done.stdout, done.stderr) == (b"80000 () RIFF and the rest\n", b"")


def test_file_object_that_fails():
    class Broken(io.RawIOBase):
        def read(self, size=-1):
            raise OSError("the disk is on fire")

    with pytest.raises(AudioDecodeError, match=r"the recording: reading it failed .* the disk is on fire"):
        read(Broken())


@pytest.mark.parametrize(
    "name",
    [
        b"-x.wav",
        b"concat:a.wav|b.wav",
        b"a%03d.wav",
        b"new\nline.wav",
        b"\xff\xfe.wav",
        b"pipe:0",
        b"http:x.wav",
        "Gespräch 会议 🎙.wav".encode(),
        b"'\"[in]\\;,.wav",
    ],
)
def test_odd_names(tmp_path, wav, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path(os.fsdecode(name)).symlink_to(wav)
    assert len(read(os.fsdecode(name))) == 80_000


def test_odd_names_stay_on_one_line(tmp_path):
    with pytest.raises(InputNotFoundError, match=r"new\\nline\\udcff: no such file$") as caught:
        open_audio(tmp_path / os.fsdecode(b"new\nline\xff"))
    assert str(caught.value).encode()  # can be printed
