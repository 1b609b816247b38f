"""Subtitles into videos, with the real ffmpeg and videos made here."""

from __future__ import annotations

import re
import subprocess
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtasr.audio.ffmpeg import find_ffmpeg, run_ffmpeg
from mtasr.audio.video import CONTAINERS, SubtitleTrack, burn, check_can_burn, check_subtitles, container_of, embed
from mtasr.errors import FfmpegError, InputError, UsageError
from mtasr.tokenizer.iso639 import three_letters
from mtasr.tokenizer.languages import LANGUAGES

FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", Path.home() / ".fonts", Path.home() / ".local/share/fonts")
#: A machine without screens may have no letters to draw.
needs_font = pytest.mark.skipif(
    not any(file.suffix in {".ttf", ".otf", ".ttc"} for folder in FOLDERS for file in Path(folder).rglob("*")),
    reason="needs a font",
)

SRT = "1\n00:00:00,500 --> 00:00:01,500\nGood day\n\n"
ASS_OF_OTHERS = """[Script Info]
PlayResX: 100
PlayResY: 100
[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour
Style: Default,Arial,30,&H000000FF
[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:00.50,0:00:01.50,Default,,0,0,0,,WWWW
"""
CODECS = {
    ".mp4": ("libx264", "aac"),
    ".mkv": ("libx264", "aac"),
    ".webm": ("libvpx", "libopus"),
    ".avi": ("mpeg4", "mp3"),
}


def ffmpeg(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    command = [find_ffmpeg(), "-hide_banner", "-nostdin", "-y", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False)


#: Videos by ending and size: made once, then copied.
made_videos: dict[tuple[str, str], bytes] = {}


def make_video(path: Path, *more: object, size: str = "320x180") -> Path:
    key = (path.suffix, size)
    if not more:
        if key not in made_videos:
            made_videos[key] = encode_video(path, size=size).read_bytes()
        path.write_bytes(made_videos[key])
        return path
    return encode_video(path, *more, size=size)


def encode_video(path: Path, *more: object, size: str) -> Path:
    picture, sound = CODECS[path.suffix]
    made = ffmpeg(
        "-f", "lavfi", "-i", f"color=black:size={size}:rate=10:duration=2", "-f", "lavfi", "-i", "sine=duration=2",
        *more, "-c:v", picture, "-c:a", sound, "-pix_fmt", "yuv420p", path,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return path


@pytest.fixture
def srt(tmp_path: Path) -> Path:
    (tmp_path / "a.srt").write_text(SRT)
    return tmp_path / "a.srt"


def streams(video: Path) -> list[str]:
    """As ffmpeg lists them: kind, codec and language."""
    said = ffmpeg("-i", video).stderr.decode()
    found = re.findall(r"Stream #0:\d+(?:\[0x\w+\])?(?:\((\w+)\))?: (\w+): (\w+)", said)
    return [" ".join(filter(None, (kind, codec, language))) for language, kind, codec in found]


def packets(video: Path, kind: str) -> bytes:
    """A hash of a stream as it is stored."""
    return ffmpeg("-i", video, "-map", f"0:{kind}:0", "-c", "copy", "-f", "md5", "-").stdout


def text_in(video: Path, number: int = 0) -> str:
    return ffmpeg("-i", video, "-map", f"0:s:{number}", "-f", "srt", "-").stdout.decode()


def picture(video: Path, seconds: float) -> np.ndarray:
    pixels = ffmpeg("-ss", seconds, "-i", video, "-frames:v", 1, "-f", "rawvideo", "-pix_fmt", "gray", "-").stdout
    return np.frombuffer(pixels, np.uint8)


@pytest.mark.parametrize(
    ("source", "ending", "codec"),
    [
        (".mp4", ".mp4", "mov_text"),
        (".mp4", ".mov", "mov_text"),
        (".mp4", ".mkv", "subrip"),
        (".webm", ".webm", "webvtt"),
        (".avi", ".mkv", "subrip"),
    ],
)
def test_a_track_beside_picture_and_sound_as_they_were(
    tmp_path: Path, srt: Path, source: str, ending: str, codec: str
) -> None:
    video, result = make_video(tmp_path / f"in{source}"), tmp_path / f"out{ending}"
    embed(video, [SubtitleTrack(file=srt, language="fra")], result, result)
    assert [each.split()[0] for each in streams(result)] == ["Video", "Audio", "Subtitle"]
    # Matroska writes the bibliographic code, as its specification wants.
    assert streams(result)[-1] in {f"Subtitle {codec} fra", f"Subtitle {codec} fre"}
    assert text_in(result) == SRT
    assert [packets(result, kind) for kind in "va"] == [packets(video, kind) for kind in "va"]


def test_other_subtitles_and_a_second_track_stay(tmp_path: Path, srt: Path) -> None:
    other = tmp_path / "b.srt"
    other.write_text(SRT.replace("Good day", "Tervetuloa"))
    video = make_video(
        tmp_path / "in.mkv", "-i", other, "-map", 0, "-map", 1, "-map", 2, "-metadata:s:s:0", "language=fin"
    )
    result = tmp_path / "out.mp4"
    embed(video, [SubtitleTrack(file=srt, language="ita"), SubtitleTrack(file=srt, language="eng")], result, result)
    assert streams(result)[2:] == ["Subtitle mov_text ita", "Subtitle mov_text eng", "Subtitle mov_text fin"]
    assert "Tervetuloa" in text_in(result, 2)


def test_ass_keeps_its_style_where_the_container_has_it(tmp_path: Path) -> None:
    (tmp_path / "a.ass").write_text(ASS_OF_OTHERS)
    result = tmp_path / "out.mkv"
    embed(make_video(tmp_path / "in.mp4"), [SubtitleTrack(file=tmp_path / "a.ass")], result, result)
    assert streams(result)[-1] == "Subtitle ass"


@needs_font
def test_drawn_into_the_picture(tmp_path: Path, srt: Path) -> None:
    video, result, seen = make_video(tmp_path / "it's [a] video,.mp4"), tmp_path / "o u;t.mp4", []
    assert burn(video, srt, result, result, seen.append) == ()
    assert streams(result) == ["Video h264 und", "Audio aac und"]
    assert packets(result, "a") == packets(video, "a")
    assert picture(result, 1.0).max() > 150
    assert picture(result, 0.2).max() < 60
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(2.0, abs=0.2)


@needs_font
def test_another_container_gets_a_sound_that_it_can_hold(tmp_path: Path, srt: Path) -> None:
    result = tmp_path / "out.webm"
    burn(make_video(tmp_path / "in.mp4"), srt, result, result)
    assert streams(result) == ["Video vp9", "Audio opus"]


def shape(video: Path) -> tuple[str, int, int]:
    """Codec, width and height of the picture as stored."""
    found = re.search(r"Video: (\w+).*?, (\d+)x(\d+)[ ,]", ffmpeg("-i", video).stderr.decode())
    assert found is not None
    return found[1], int(found[2]), int(found[3])


def grey_video(path: Path, size: str, pixels: str, codec: str = "ffv1") -> Path:
    grey = f"color=0x808080:size={size}:rate=10:duration=1"
    made = ffmpeg("-f", "lavfi", "-i", grey, "-c:v", codec, "-pix_fmt", pixels, path)
    assert made.returncode == 0, made.stderr
    return path


@needs_font
@pytest.mark.parametrize(
    ("size", "pixels", "even"),
    [
        ("161x90", "yuv420p", (162, 90)),
        ("160x91", "yuv444p", (160, 92)),
        ("161x91", "yuv422p10le", (162, 92)),
        ("161x91", "bgra", (162, 92)),
        ("160x1", "yuv444p", (160, 2)),
        ("1x1", "gray", (2, 2)),
    ],
)
def test_an_odd_picture_gets_a_black_edge_in_h264_and_none_in_vp9(
    tmp_path: Path, srt: Path, size: str, pixels: str, even: tuple[int, int]
) -> None:
    video = grey_video(tmp_path / "in.mkv", size, pixels)
    mp4, webm = tmp_path / "out.mp4", tmp_path / "out.webm"
    assert burn(video, srt, mp4, mp4) == burn(video, srt, webm, webm) == ()
    width, height = map(int, size.split("x"))
    assert (shape(mp4), shape(webm)) == (("h264", *even), ("vp9", width, height))
    if min(width, height) > 1:  # the encoder blurs the edge of so small a picture
        rows = picture(mp4, 0.0).reshape(even[::-1])
        assert abs(rows[: height - 1, : width - 1].astype(int) - 128).max() < 12
        assert max(rows[height:].max(initial=0), rows[:, width:].max(initial=0)) < 60


@needs_font
def test_an_odd_picture_that_is_shown_turned(tmp_path: Path, srt: Path) -> None:
    odd = grey_video(tmp_path / "odd.mp4", "161x91", "yuv444p", "libx264")
    ffmpeg("-display_rotation", 90, "-i", odd, "-c", "copy", tmp_path / "in.mp4")
    result = tmp_path / "out.mp4"
    burn(tmp_path / "in.mp4", srt, result, result)
    assert shape(tmp_path / "in.mp4") == ("h264", 161, 91)
    assert shape(result) == ("h264", 92, 162)
    assert picture(result, 0.8).max() > 150


@needs_font
@pytest.mark.parametrize("ending", [".mp4", ".webm"])
def test_letters_are_drawn_on_transparency(tmp_path: Path, srt: Path, ending: str) -> None:
    result = tmp_path / f"out{ending}"
    made = ffmpeg("-f", "lavfi", "-i", "color=black@0:size=320x180:rate=10:duration=2,format=argb", "-c:v", "qtrle",
                  tmp_path / "in.mov")  # fmt: skip
    assert made.returncode == 0, made.stderr
    burn(tmp_path / "in.mov", srt, result, result)
    assert picture(result, 1.0).max() > 150
    assert picture(result, 0.2).max() < 60


@needs_font
@pytest.mark.parametrize(("pixels", "kept"), [("yuv444p", "yuv420p"), ("yuv420p10le", "yuv420p10le")])
def test_vp9_is_one_that_players_know(tmp_path: Path, srt: Path, pixels: str, kept: str) -> None:
    result = tmp_path / "out.webm"
    burn(grey_video(tmp_path / "in.mkv", "160x90", pixels), srt, result, result)
    assert re.findall(r"Video: vp9 \(Profile [02]\), (\w+)", ffmpeg("-i", result).stderr.decode()) == [kept]


@needs_font
def test_letters_fit_an_upright_picture(tmp_path: Path, srt: Path) -> None:
    srt.write_text(SRT.replace("Good day", "M" * 20))
    result = tmp_path / "out.mp4"
    burn(make_video(tmp_path / "in.mp4", size="180x320"), srt, result, result)
    rows = picture(result, 1.0).reshape(320, 180)
    assert rows.max() > 150
    assert rows[:, :2].max() < 60


@needs_font
def test_ass_of_others_keeps_its_own_style(tmp_path: Path) -> None:
    (tmp_path / "a.ass").write_text(ASS_OF_OTHERS)
    result = tmp_path / "out.mp4"
    burn(make_video(tmp_path / "in.mp4", size="192x128"), tmp_path / "a.ass", result, result)
    shown = ffmpeg("-ss", 1, "-i", result, "-frames:v", 1, "-f", "rawvideo", "-pix_fmt", "rgb24", "-").stdout
    red, green, _ = np.frombuffer(shown, np.uint8).reshape(-1, 3).T.astype(int)
    assert (red - green).max() > 100


@needs_font
def test_letters_that_no_font_has_are_told(tmp_path: Path, srt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    srt.write_text(SRT.replace("day", "\U0001d173\ue123"))
    result = tmp_path / "out.mp4"
    assert "\ue123" in burn(make_video(tmp_path / "in.mp4"), srt, result, result)
    (tmp_path / "fonts.conf").write_text("<fontconfig></fontconfig>")
    monkeypatch.setenv("FONTCONFIG_FILE", str(tmp_path / "fonts.conf"))
    with pytest.raises(FfmpegError, match="there is no font on this machine"):
        burn(tmp_path / "in.mp4", srt, result, result)


def test_what_cannot_be_read_is_named(tmp_path: Path, srt: Path) -> None:
    result = tmp_path / "out.mp4"
    (tmp_path / "no.mp4").write_text(ASS_OF_OTHERS)
    with pytest.raises(InputError, match=r"no.mp4: is not a video that ffmpeg can read"):
        embed(tmp_path / "no.mp4", [SubtitleTrack(file=srt)], result, result)
    (tmp_path / "cut.mp4").write_bytes(make_video(tmp_path / "in.mp4").read_bytes()[:500])
    with pytest.raises(InputError, match=r"cut.mp4: is damaged"):
        burn(tmp_path / "cut.mp4", srt, result, result)
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", tmp_path / "a.wav")
    with pytest.raises(InputError, match=r"a.wav: has no picture"):
        burn(tmp_path / "a.wav", srt, result, result)
    with pytest.raises(FfmpegError, match="WebM"):
        embed(tmp_path / "in.mp4", [SubtitleTrack(file=srt)], tmp_path / "o.webm", tmp_path / "o.webm")


@pytest.mark.parametrize(
    ("name", "content", "kind", "reason"),
    [
        ("a.srt", b"<html>", InputError, "has no subtitles in it"),
        ("a.ass", b"[Events]\n", InputError, "has no subtitles in it"),
        ("a.vtt", b"\xff\xfe --> ", InputError, "is not UTF-16"),
        ("a.txt", b"-->", UsageError, "subtitles must be .srt, .vtt, .ass or .json, not .txt"),
    ],
)
def test_what_holds_no_subtitles(tmp_path: Path, name: str, content: bytes, kind: type[Exception], reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(kind, match=reason):
        check_subtitles(tmp_path / name)


def test_an_ffmpeg_that_cannot_draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for ending in CONTAINERS:
        check_can_burn(Path(f"a{ending}"))
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho ' .. ass  V->V  Draws'\n")
    program.chmod(0o755)
    monkeypatch.setenv("MTASR_FFMPEG", str(program))
    with pytest.raises(FfmpegError, match=r"built without libx264, which burning subtitles into .mp4 needs"):
        check_can_burn(Path("a.mp4"))
    program.write_text("#!/bin/sh\n")
    with pytest.raises(FfmpegError, match="built without libass"):
        check_can_burn(Path("a.mp4"))


def test_no_room_for_a_thread_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    popen = subprocess.Popen

    def watched(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*args, **options))
        return started[-1]

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(subprocess, "Popen", watched)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(MemoryError):
        run_ffmpeg(["-version"])
    assert [process.returncode is not None for process in started] == [True]


def test_a_container_that_takes_none() -> None:
    with pytest.raises(UsageError, match=r"a.avi: subtitles can be put into .mp4, .m4v, .mov, .mkv, .webm, not .avi"):
        container_of(Path("a.avi"))


def test_every_language_has_three_letters() -> None:
    codes = [three_letters(code) for code in LANGUAGES]
    assert all(re.fullmatch("[a-z]{3}", code) for code in codes)
    assert len(set(codes) - {"und"}) == len(LANGUAGES)
    assert (three_letters("de"), three_letters(None), three_letters("xx")) == ("deu", "und", "und")
