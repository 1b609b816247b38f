"""Subtitles into videos: as a track beside the picture, or drawn into it.

The name of the result decides its container. ffmpeg reads the video inside the same fence as every recording (see
`read.py`), and subtitles only as the format that their name states.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mtasr.audio.ffmpeg import recording_input, run_ffmpeg
from mtasr.errors import FfmpegError, InputError, UsageError
from mtasr.formats import ass
from mtasr.text_files import encoding_of, read_text


@dataclass(frozen=True, slots=True)
class _Container:
    muxer: str
    #: Codec of a subtitle track, by the format of its file; the first is for all other formats.
    subtitles: dict[str, str]
    #: Arguments to encode a picture, and the sound of another container.
    picture: tuple[str, ...]
    sound: tuple[str, ...]
    #: Filter that makes any picture one that the encoder takes.
    fit: str


_H264 = ("-c:v", "libx264", "-crf", "20", "-pix_fmt", "yuv420p")
_VP9 = ("-c:v", "libvpx-vp9", "-crf", "31", "-b:v", "0", "-row-mt", "1")
_AAC = ("-c:a", "aac", "-b:a", "192k")
_OPUS = ("-c:a", "libopus", "-b:a", "128k")
# H.264 halves the resolution of colour: an odd picture gets one more column or row, in black.
_EVEN = "pad=ceil(iw/2)*2:ceil(ih/2)*2"
# The encoder takes no transparency, and most players no VP9 with colour at full resolution.
_OPAQUE = "format=yuv420p|yuv420p10le"

#: By the ending of a name.
CONTAINERS = {
    ".mp4": _Container("mp4", {"srt": "mov_text"}, _H264, _AAC, _EVEN),
    ".m4v": _Container("mp4", {"srt": "mov_text"}, _H264, _AAC, _EVEN),
    ".mov": _Container("mov", {"srt": "mov_text"}, _H264, _AAC, _EVEN),
    ".mkv": _Container("matroska", {"srt": "subrip", "ass": "ass"}, _H264, ("-c:a", "copy"), _EVEN),
    ".webm": _Container("webm", {"srt": "webvtt"}, _VP9, _OPUS, _OPAQUE),
}

#: Ending of a subtitle file -> ffmpeg's demuxer for it.
SUBTITLE_DEMUXERS = {".srt": "srt", ".vtt": "webvtt", ".ass": "ass"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SubtitleTrack:
    """A subtitle file, and the ISO 639-2 code of its language, "und" if that is not known."""

    file: Path
    language: str = "und"


Position = Callable[[float], None]


def container_of(video: Path) -> _Container:
    """The container for a file of that name. Raises `UsageError` for one that takes no subtitles."""
    found = CONTAINERS.get(video.suffix.lower())
    if found is None:
        raise UsageError(f"{video}: subtitles can be put into {', '.join(CONTAINERS)}, not {video.suffix or 'this'}")
    return found


def embed(
    video: Path, tracks: Sequence[SubtitleTrack], result: Path, name: Path, position: Position = lambda seconds: None
) -> None:
    """Write a copy of `video` to `result`, with `tracks` before its own subtitles; picture and sound stay the same.

    `name` is the final name of the result, which decides its container. Data tracks, such as the time code of cameras,
    are left out, since containers disagree about them. Raises `FfmpegError`.
    """
    with tempfile.TemporaryDirectory(prefix="mtasr-") as folder:
        readable = [replace(track, file=_in_utf8(track.file, Path(folder, str(n)))) for n, track in enumerate(tracks)]
        _embed(video, readable, result, name, position)


def _embed(video: Path, tracks: Sequence[SubtitleTrack], result: Path, name: Path, position: Position) -> None:
    container = container_of(name)
    # In the same container, other subtitles stay as they are; another one gets them in the format that it can hold.
    same = _is_in(video, container)
    form = next(iter(container.subtitles.values()))
    arguments = [*recording_input(video)]
    for track in tracks:
        arguments += [*_subtitles(track.file)]
    arguments += ["-map", "0:v?", "-map", "0:a?"]
    for number in range(len(tracks)):
        arguments += ["-map", str(number + 1)]
    arguments += ["-map", "0:s?", *(["-map", "0:t?"] if container.muxer == "matroska" else [])]
    arguments += ["-c", "copy", "-c:s", "copy" if same else form]
    for number, track in enumerate(tracks):
        codec = container.subtitles.get(track.file.suffix.lower().removeprefix("."), form)
        arguments += [f"-c:s:{number}", codec, f"-metadata:s:s:{number}", f"language={track.language}"]
    _write(
        [*arguments, "-disposition:s:0", "default"],
        [video, *(track.file for track in tracks)],
        container,
        result,
        position,
    )


def burn(
    video: Path, subtitles: Path, result: Path, name: Path, position: Position = lambda seconds: None
) -> tuple[str, ...]:
    """Write the video to `result` with the subtitles drawn into its picture; `name` is the final name of the result.

    In the same container, sound and other subtitles stay as they are. Subtitles look as `mtasr.formats.ass` writes
    them, unless they are ASS of another program. Returns the letters that no font of this machine has. Raises
    `FfmpegError`, also if there is no font at all, and `InputError`.
    """
    container = container_of(name)
    same = _is_in(video, container)
    with tempfile.TemporaryDirectory(prefix="mtasr-") as folder:
        # The filter reads only ASS, and this name has no characters with a meaning in filters.
        drawn = Path(folder, "subtitles.ass")
        readable = _in_utf8(subtitles, Path(folder, "0"))
        drawn.write_text(_as_ass(readable, drawn, *_proportions(video)), encoding="utf-8")
        arguments = [*recording_input(video), "-map", "0:v:0", "-map", "0:a?", *(["-map", "0:s?"] if same else [])]
        arguments += ["-c", "copy", *container.picture, *([] if same else container.sound)]
        arguments += ["-vf", f"ass={drawn.name},{container.fit}"]
        missing = _missing_letters(_write(arguments, [video], container, result, position, Path(folder)))
    if "\0" in missing:
        raise FfmpegError(
            "there is no font on this machine to draw subtitles with: install one, such as DejaVu or Noto"
        )
    return missing


def check_subtitles(file: Path) -> None:
    """Raise `InputError` for a file without subtitles, and `UsageError` for a file of another kind."""
    if file.suffix.lower() not in SUBTITLE_DEMUXERS:
        raise UsageError(
            f"{file}: subtitles must be {', '.join(SUBTITLE_DEMUXERS)} or .json, not {file.suffix or 'this'}"
        )
    text = read_text(file, any_encoding=True, tell=False)
    # ffmpeg skips what it does not understand, and would write an empty track.
    if ("Dialogue:" if file.suffix.lower() == ".ass" else "-->") not in text:
        raise InputError(f"{file}: has no subtitles in it")


def check_can_embed(video: Path, name: Path) -> None:
    """Raise `FfmpegError` if the container of `name` cannot hold the picture and sound of `video` as they are."""
    container = container_of(name)
    with tempfile.TemporaryDirectory(prefix="mtasr-") as folder:
        arguments = [*recording_input(video), "-map", "0:v?", "-map", "0:a?", "-c", "copy", "-t", "0"]
        try:
            _write(arguments, [video], container, Path(folder, "head"), lambda seconds: None)
        except FfmpegError as error:
            raise FfmpegError(
                f"{video}: cannot be copied into {name.suffix} unchanged ({error}); .mkv holds any picture and sound"
            ) from error


def check_can_burn(name: Path) -> None:
    """Raise `FfmpegError` if this ffmpeg cannot draw subtitles, or cannot encode the picture."""
    encoder = container_of(name).picture[1]
    for listed, wanted, package in (("-filters", "ass", "libass"), ("-encoders", encoder, encoder)):
        lines: list[str] = []
        run_ffmpeg(["-loglevel", "level+error", listed], line=lines.append)
        if not any(each.split()[1:2] == [wanted] for each in lines):
            raise FfmpegError(
                f"this ffmpeg was built without {package}, which burning subtitles into {name.suffix} needs; "
                "set MTASR_FFMPEG to another ffmpeg, or use --embed"
            )


def _as_ass(subtitles: Path, passing: Path, width: int, height: int) -> str:
    """Subtitles in our style for a picture of this size; ASS of another program keeps its style."""
    own = subtitles.suffix.lower() == ".ass"
    if not own:
        _run(["-loglevel", "level+error", *_subtitles(subtitles), "-f", "ass", "-y", f"file:{passing}"], [subtitles])
    text = read_text(subtitles if own else passing)
    if own and not text.startswith(ass.head()):
        return text
    # The size of letters follows the shorter side of the picture.
    scale = 1080 / min(width, height)
    head = ass.head(round(width * scale), round(height * scale), wrap=True)
    return head + "".join(line for line in text.splitlines(keepends=True) if line.startswith("Dialogue:"))


def _proportions(video: Path) -> tuple[int, int]:
    """Width and height of the picture as shown. Raises `InputError` for a file without a picture."""
    said = _run(["-loglevel", "level+info", *recording_input(video), "-t", "0", "-f", "null", "-"], [video])
    header = "\n".join(said).partition("Output #0")[0]
    found = re.search(r"Stream #0:\d\S*: Video: .*?, (\d+)x(\d+)[ ,].*", header)
    if found is None:
        raise InputError(f"{video}: has no picture to draw subtitles into")
    width, height = int(found[1]), int(found[2])
    if shape := re.search(r"\bSAR (\d+):(\d+)", found[0]):
        width = round(width * int(shape[1]) / max(int(shape[2]), 1)) or width
    turned = re.search(r"rotation of (-?\d+)", header[found.end() :])
    return (height, width) if turned and int(turned[1]) % 180 else (width, height)


def _in_utf8(subtitles: Path, folder: Path) -> Path:
    """The file itself if it is in UTF-8, and else a copy in `folder` that is: ffmpeg reads no other encoding."""
    if encoding_of(subtitles.read_bytes()).name in ("utf-8", "utf-8-sig"):
        return subtitles
    text = read_text(subtitles, any_encoding=True)
    folder.mkdir()
    (folder / subtitles.name).write_text(text, encoding="utf-8")
    return folder / subtitles.name


def _run(arguments: Sequence[str], inputs: Sequence[Path], folder: Path | None = None, **more: Any) -> list[str]:
    """Run ffmpeg like `run_ffmpeg`, but raise `InputError` with the name of an input that cannot be read."""
    try:
        return run_ffmpeg(arguments, folder, **more)
    except FfmpegError as error:
        errors = "\n".join(line for line in error.details if "[error]" in line or "[fatal]" in line)
        for path in inputs:
            if f"file:{path.absolute()}" in errors:
                reason = "is damaged or not what its name says"
                if "not on whitelist" in errors:
                    reason = "is not a video that ffmpeg can read"
                raise InputError(f"{path}: {reason}") from error
        raise


def _is_in(video: Path, container: _Container) -> bool:
    own = CONTAINERS.get(video.suffix.lower())
    return own is not None and own.muxer == container.muxer


def _subtitles(file: Path) -> list[str]:
    demuxer = SUBTITLE_DEMUXERS[file.suffix.lower()]
    return ["-protocol_whitelist", "file", "-f", demuxer, "-i", f"file:{file.absolute()}"]


def _write(
    arguments: Sequence[str],
    inputs: Sequence[Path],
    container: _Container,
    result: Path,
    position: Position,
    folder: Path | None = None,
) -> list[str]:
    early = ["-movflags", "+faststart"] if container.muxer in {"mp4", "mov"} else []
    output = [*early, "-f", container.muxer, f"file:{result.absolute()}"]
    head = ["-loglevel", "level+info", "-progress", "pipe:1", "-y"]
    return _run([*head, *arguments, *output], inputs, folder, line=partial(tell_position, position))


def tell_position(position: Position, line: str) -> None:
    """Pass on what a line of `-progress` says of the position."""
    if found := re.fullmatch(r"out_time_us=(\d+)", line):
        position(int(found[1]) / 1e6)


def _missing_letters(said: Sequence[str]) -> tuple[str, ...]:
    """The letters that libass's log names; it asks for letter 0 if it finds no font at all."""
    codes = re.findall(r"failed to find any fallback with glyph 0x([0-9A-Fa-f]+)", "\n".join(said))
    return tuple(dict.fromkeys(chr(int(code, 16)) for code in codes))
