"""What the program opens and connects to, as the kernel sees it: its inputs, and no address."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from speech import speak, write_wav

from mtasr.audio.ffmpeg import find_ffmpeg

pytestmark = [
    pytest.mark.weights,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace"),
]

#: Where the program itself, the interpreter and the system's libraries live, and what tells about machine and process.
SYSTEM = tuple(
    {
        *map(os.path.realpath, (sys.prefix, sys.base_prefix, *filter(None, sys.path))),
        sys.prefix, "/usr", "/lib", "/lib64", "/bin", "/proc", "/sys", "/dev", "/etc/ld.so.cache", "/etc/ld.so.preload",
        "/etc/localtime", "/etc/locale.alias", "/etc/mime.types", "/etc/ssl", "/etc/OpenCL", "/etc/timezone",
    }
)  # fmt: skip

#: Names other files and an address, each in the format of some playlist or picture of one.
HOSTILE = {
    "hls.wav": "#EXTM3U\n#EXTINF:5,\n{secret}\n#EXTINF:5,\n{url}\n#EXT-X-ENDLIST\n",
    "key.m3u8": "#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"{url}\"\n#EXTINF:5,\nfile:{secret}\n#EXT-X-ENDLIST\n",
    "concat.mp3": "ffconcat version 1.0\nfile '{secret}'\nfile '{url}'\n",
    "sdp.wav": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio {port} RTP/AVP 0\n",
    "dash.mp4": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><BaseURL>{url}</BaseURL>'
    "</Period></MPD>",
    "asx.wma": '<asx version="3.0"><entry><ref href="{url}"/></entry></asx>',
    "ram.rm": "{url}\n",
    "svg.wav": '<svg xmlns="http://www.w3.org/2000/svg"><image href="{url}"/></svg>',
    "subtitles.wav": "WEBVTT\n\n00:00.000 --> 00:01.000\n{url}\n",
}  # fmt: skip

#: Names that ffmpeg would take for something else than a file.
PROTOCOLS = [
    "concat:{secret}|{secret}",
    "subfile,,start,0,end,0,,:{secret}",
    "http:/127.0.0.1:{port}/a.wav",
    "file:{secret}",
    "async:{secret}",
    "cache:{url}",
    "crypto:{secret}",
    "data:audio/wav;base64,UklGRg==",
    "tee:{secret}",
    "pipe:0",
]


def traced(folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """A run of the program, and what it and its children asked the kernel for."""
    trace = folder / "trace.txt"
    what = "trace=connect,sendto,sendmsg,bind,openat,open,creat"
    command = ["strace", "-f", "-qq", "-y", "-s", "4096", "-e", what, "-o", trace]  # fmt: skip
    environment = {**os.environ, "MTASR_CACHE": str(folder / "cache"), "TMPDIR": str(folder / "tmp")}
    done = subprocess.run(
        [*command, sys.executable, "-m", "mtasr", *arguments],
        cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done, trace.read_text(encoding="utf-8", errors="replace").splitlines()


def opened(trace: list[str], folder: Path) -> set[str]:
    """Files outside of the system that were opened with success, by absolute paths."""
    found = set()
    for line in trace:
        match = re.search(r'\bopen(?:at)?\((?:[^,"]*, )?"[^"]*".*\) = \d+<([^>]*)>', line)
        if match and not match[1].startswith(SYSTEM):
            found.add(match[1])
    return found


def calls(trace: list[str]) -> list[str]:
    """Anything that goes to an address of the internet, this machine's own included."""
    return [line for line in trace if "AF_INET" in line]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "secret").mkdir()
    write_wav(tmp_path / "secret" / "secret.wav", speak("Nobody should read this."))
    return tmp_path


def test_an_ordinary_run_connects_to_nothing_and_reads_nothing_else(folder: Path) -> None:
    write_wav(folder / "a.wav", speak("The train leaves at noon."))
    subprocess.run([find_ffmpeg(), "-loglevel", "error", "-i", folder / "a.wav", folder / "b.mp3"], check=True)
    first, _ = traced(folder, "transcribe", "a.wav", "--output-dir", "out")  # unpacks the model
    assert first.returncode == 0, first.stderr
    done, trace = traced(
        folder, "transcribe", "a.wav", "b.mp3", "--output-dir", "out", "-f", "all", "--word-timestamps"
    )
    assert done.returncode == 0, done.stderr
    assert "noon" in done.stdout
    assert calls(trace) == []
    mine = tuple(str(folder / name) for name in ("a.wav", "b.mp3", "out", "cache", "tmp"))
    assert {str(folder / "a.wav"), str(folder / "b.mp3")} <= set(opened(trace, folder)), "the trace is understood"
    assert {path for path in opened(trace, folder) if not path.startswith(mine)} <= {str(folder)}


def test_hostile_recordings_reach_no_address_and_no_other_file(folder: Path) -> None:
    secret = folder / "secret" / "secret.wav"
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        port = server.getsockname()[1]
        names = {"secret": secret, "url": f"http://127.0.0.1:{port}/a.wav", "port": port}
        for name, content in HOSTILE.items():
            (folder / name).write_text(content.format(**names))
        runs = [list(HOSTILE), *([each.format(**names)] for each in PROTOCOLS)]
        for inputs in runs:
            done, trace = traced(folder, "transcribe", *inputs, "--language", "en", "--output-dir", "out")
            assert done.returncode == 3, done.stderr
            errors = [line for line in done.stderr.splitlines() if line.startswith("mtasr: error: ")]
            assert len(errors) == len(inputs)
            for given, line in zip(inputs, errors, strict=True):
                assert line.startswith(f"mtasr: error: {given}: ")
            assert done.stdout == ""
            assert calls(trace) == []
            assert not {path for path in opened(trace, folder) if path.startswith(str(secret.parent))}
        with pytest.raises(BlockingIOError):
            server.accept()
    assert not (folder / "out").exists(), "nothing is written"
