"""A spoken track into a recording: loudness, mixing, containers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mtasr.audio.ffmpeg import recording_input, run_ffmpeg
from mtasr.audio.video import CONTAINERS, Position, tell_position
from mtasr.audio.write import SPEECH_ENDINGS
from mtasr.errors import FfmpegError, InputError

#: Arguments to encode speech beside a picture, by the container's muxer.
_TRACK = {
    "mp4": ("aac", "128k"),
    "mov": ("aac", "128k"),
    "matroska": ("aac", "128k"),
    "webm": ("libopus", "64k"),
}
#: Louder than this, full scale being 1, nothing gets.
_LIMIT = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class SpokenTrack:
    """Mono samples of 16 bits, little-endian, without a header."""

    file: Path
    #: Hz.
    rate: int


def has_picture(recording: Path) -> bool:
    """Whether the recording has moving pictures; the cover of an album is none. Raises `InputError`."""
    said = _run(recording, ["-loglevel", "level+info", *recording_input(recording), "-t", "0", "-f", "null", "-"])
    header = "\n".join(said).partition("Output #0")[0]
    pictures = re.findall(r"Stream #0:\d+\S*: Video: .*", header)
    return any("(attached pic)" not in each for each in pictures)


def loudness(recording: Path, audio_stream: int = 0) -> float | None:
    """Integrated loudness (EBU R 128) of an audio track, in LUFS; None for silence. Raises `InputError`."""
    return _loudness(recording, [*recording_input(recording), "-map", f"0:a:{audio_stream}"])


def loudness_of(track: SpokenTrack) -> float | None:
    """Integrated loudness of a spoken track, in LUFS; None for silence."""
    return _loudness(track.file, _raw(track))


def _loudness(path: Path, source: list[str]) -> float | None:
    filters = ["-af", "ebur128=framelog=verbose", "-f", "null", "-"]
    said = _run(path, ["-loglevel", "level+info", *source, *filters])
    found = re.findall(r"\bI: +(-?[\d.]+) LUFS", "\n".join(said))
    # Below the absolute gate, -70 LUFS, there is nothing to measure.
    return float(found[-1]) if found and float(found[-1]) > -70 else None


def write_dubbed(
    recording: Path,
    track: SpokenTrack,
    result: Path,
    name: Path,
    *,
    tags: Mapping[str, str],
    gain: float,
    keep_original: float | None,
    duration: float,
    audio_stream: int = 0,
    position: Position = lambda seconds: None,
) -> None:
    """Write the recording with the spoken track to `result`, in the format that `name`, its final name, ends with.

    A video keeps its picture and its own tracks as they are, after the spoken one; other results are the spoken track
    alone. `gain` and `keep_original` are in dB: what the voice gets, and what the recording gets underneath, None for
    nothing underneath. The track lasts at least `duration` seconds. `title` of the tags names the track, the others are
    the file's. Raises `InputError` for a damaged recording, else `FfmpegError`.
    """
    arguments = ["-loglevel", "level+info", "-progress", "pipe:1", "-y"]
    # MPEG program streams leave out timestamps, which Matroska and MP4 need.
    arguments += ["-fflags", "+genpts", *recording_input(recording), *_raw(track)]
    voice = f"[1:a]volume={gain:.2f}dB,apad=whole_dur={duration:.3f}s"
    limit = f"alimiter=limit={_LIMIT}:level=disabled"
    if keep_original is None:
        graph = f"{voice},{limit}[dub]"
    else:
        # amix starts with the first samples: without silence before a late track, the voice would be late too.
        under = f"aresample=async=1:first_pts=0,volume={keep_original:.2f}dB,aformat=channel_layouts=mono"
        graph = f"[0:a:{audio_stream}]{under}[under];{voice}[over];"
        graph += f"[under][over]amix=inputs=2:duration=longest:normalize=0,{limit}[dub]"
    arguments += ["-filter_complex", graph]
    ending = name.suffix.lower()
    if ending in CONTAINERS:
        arguments += _video(recording, ending)
        arguments += ["-metadata:s:a:0", "language=eng", "-metadata:s:a:0", f"title={tags.get('title', '')}"]
        arguments += [part for key, value in tags.items() if key != "title" for part in _tag(key, value)]
        muxer = CONTAINERS[ending].muxer
        arguments += [*(["-movflags", "+faststart"] if muxer in {"mp4", "mov"} else []), "-f", muxer]
    else:
        arguments += ["-map", "[dub]", "-map_metadata", "-1", "-metadata:s:a:0", "language=eng"]
        arguments += [part for key, value in tags.items() for part in _tag(key, value)]
        arguments += SPEECH_ENDINGS[ending]
    _run(recording, [*arguments, f"file:{result.absolute()}"], position)


def _video(recording: Path, ending: str) -> list[str]:
    codec, rate = _TRACK[CONTAINERS[ending].muxer]
    own = CONTAINERS.get(recording.suffix.lower())
    same = own is not None and own.muxer == CONTAINERS[ending].muxer
    maps = ["-map", "0:v", "-map", "[dub]", "-map", "0:a", *(["-map", "0:s?"] if same else [])]
    codecs = ["-c", "copy", "-c:a:0", codec, "-b:a:0", rate]
    return [*maps, *codecs, "-disposition:a", "0", "-disposition:a:0", "default"]


def _tag(name: str, value: str) -> list[str]:
    return ["-metadata", f"{name}={value}"]


def _raw(track: SpokenTrack) -> list[str]:
    return [
        "-protocol_whitelist",
        "file",
        "-f",
        "s16le",
        "-ar",
        str(track.rate),
        "-ac",
        "1",
        "-i",
        f"file:{track.file}",
    ]


def _run(recording: Path, arguments: list[str], position: Position = lambda seconds: None) -> list[str]:
    try:
        return run_ffmpeg(arguments, line=lambda line: tell_position(position, line))
    except FfmpegError as error:
        said = "\n".join(line for line in error.details if "[error]" in line or "[fatal]" in line)
        if f"file:{recording.absolute()}" in said:
            raise InputError(f"{recording}: is damaged, or not a recording") from error
        raise
