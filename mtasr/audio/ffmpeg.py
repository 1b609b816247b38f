"""ffmpeg: where it is, how it is started, and what it may read. Of this package only this module starts programs."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, cast

from mtasr.errors import FfmpegError, FfmpegNotFoundError
from mtasr.extras import pip_install
from mtasr.threads import start_thread

# ffmpeg's demuxers for what people record. Absent on purpose: playlists and manifests (hls, dash, concat, imf, sdp),
# devices and generators (lavfi, x11grab), pictures, subtitles and text, console-game formats.
FORMATS = (
    "aa aac ac3 ac4 act aea aiff alaw amr amrnb amrwb ape asf asf_o au avi avr bonk caf codec2 dhav dsf dss dts "
    "dtshd dv eac3 epaf flac flv g722 g723_1 g726 g726le g729 gsm gxf hcom iamf iff ilbc ircam kux lc3 live_flv "
    "loas lvf lxf matroska mlp mmf mov mp3 mpc mpc8 mpeg mpegts mulaw mxf nistsphere nsp nsv nut nuv ogg oma osq "
    "paf pva pvf qcp qoa rm rso s337m sbc sds sdx shn sln sox spdif tak truehd tta ty voc vqf w64 wav wsd wtv wv "
    "wve xwma"
).replace(" ", ",")


def find_ffmpeg() -> str:
    """The ffmpeg to run: $MTASR_FFMPEG, else the one on PATH, else the one inside the package imageio-ffmpeg.

    Raises FfmpegNotFoundError when there is none, or when $MTASR_FFMPEG names something that cannot be run.
    """
    wanted = os.environ.get("MTASR_FFMPEG")
    if wanted:
        found = shutil.which(wanted)
        if found is None:
            raise FfmpegNotFoundError(f"MTASR_FFMPEG is {printable(wanted)}, which is not an executable program")
        return found
    found = shutil.which("ffmpeg") or _packaged_ffmpeg()
    if found is None:
        raise FfmpegNotFoundError(
            f"no ffmpeg found: install ffmpeg, or {pip_install('imageio-ffmpeg')}, or set MTASR_FFMPEG"
        )
    return found


def _packaged_ffmpeg() -> str | None:
    # imageio_ffmpeg.get_ffmpeg_exe() would run each candidate once; its folder is all that is needed here.
    spec = importlib.util.find_spec("imageio_ffmpeg")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for binary in sorted(Path(folder, "binaries").glob("ffmpeg-*")):
            if os.access(binary, os.X_OK):
                return str(binary)
    return None


def start_ffmpeg(
    arguments: Sequence[str],
    *,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int = subprocess.PIPE,
    bufsize: int = -1,
    folder: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start ffmpeg in `folder`; its standard error is a pipe, which the caller has to read.

    Raises `FfmpegNotFoundError` where there is none, or it cannot be started.
    """
    program = find_ffmpeg()
    # Settings that would change the form of ffmpeg's messages.
    dropped = ("FFREPORT", "AV_LOG_FORCE_COLOR")
    environment = {key: value for key, value in os.environ.items() if key not in dropped}
    try:
        return subprocess.Popen(  # noqa: S603 - a list, no shell; the program is the user's own ffmpeg
            [program, "-hide_banner", "-nostats", *arguments],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            bufsize=bufsize,
            cwd=folder,
            env=environment | {"AV_LOG_FORCE_NOCOLOR": "1"},
            # Out of the terminal's group: Ctrl-C is ours to handle, and must not look like the end of the audio.
            process_group=0,
        )
    except OSError as exc:
        raise FfmpegNotFoundError(f"{printable(program)}: cannot be started ({exc.strerror or exc})") from exc


def recording_input(recording: Path) -> list[str]:
    """Arguments that open a file and nothing that it names, and only as a kind of recording."""
    return ["-protocol_whitelist", "file", "-format_whitelist", FORMATS, "-i", f"file:{recording.absolute()}"]


def run_ffmpeg(
    arguments: Sequence[str], folder: Path | None = None, line: Callable[[str], None] | None = None
) -> list[str]:
    """Run ffmpeg in `folder` and return its standard error; `line` is called with each line of standard output.

    Raises `FfmpegError` with ffmpeg's first error, and `MemoryError` where no thread can be started.
    """
    process = start_ffmpeg(["-nostdin", *arguments], folder=folder)
    said: list[str] = []
    try:
        listener = start_thread(_collect, process.stderr, said)
    except MemoryError:
        with process:
            process.kill()
        raise
    try:
        for each in cast(IO[bytes], process.stdout):
            if line is not None:
                line(each.decode("utf-8", "replace").rstrip())
        code = process.wait()
    finally:
        process.kill()
        process.wait()
        listener.join()
        cast(IO[bytes], process.stdout).close()
    if code:
        errors = [each for each in said if "[error]" in each or "[fatal]" in each]
        reason = errors[0].rpartition("] ")[2] if errors else f"it ended with {code} and gave no reason"
        raise FfmpegError(f"ffmpeg: {reason}", tuple(said))
    return said


def _collect(pipe: IO[bytes], said: list[str]) -> None:
    with pipe:
        said += (each.decode("utf-8", "replace").rstrip() for each in pipe)


def printable(name: str) -> str:
    """`name` on one line, with escapes for control characters and bytes that are not text."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name) or "(no name)"
