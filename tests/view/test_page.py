"""The page of `mtasr view`: what is in it, that nothing in a transcript can break it, and that a browser plays it."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from speech import SAMPLE_RATE, speak, write_wav

from mtasr.audio.read import open_audio
from mtasr.audio.write import SoundWriter
from mtasr.errors import FfmpegError
from mtasr.transcript import Coverage, Segment, Transcript, Turn, Word
from mtasr.view import Sound, Waveform, listen, write_page

HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)> & \"a\" 'b' <!-- ]]> \u2028\x00\x1b\ud800 مرحبا"
)
#: The same, where halves of characters and control characters have been replaced.
HARMLESS = HOSTILE.replace("\x00\x1b\ud800", "\ufffd" * 3)


class Page(HTMLParser):
    """What a browser would see: tags with their attributes, and the text of each element that has one of its own."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.inside = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.texts.append((tag, ""))
        self.inside = True

    def handle_data(self, data: str) -> None:
        if self.inside:
            tag, text = self.texts[-1]
            self.texts[-1] = (tag, text + data)

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]

    def of(self, identifier: str) -> str:
        return next(
            text for (_, attrs), (_, text) in zip(self.tags, self.texts, strict=True) if attrs.get("id") == identifier
        )


def segment(text: str, start: float, end: float, *words: tuple[str, float], **more: object) -> Segment:
    step = (end - start) / max(len(words), 1)
    timed = tuple(
        Word(word=word, start=start + n * step, end=start + (n + 1) * step, probability=p)
        for n, (word, p) in enumerate(words)
    )
    made = Segment(
        id=0, start=start, end=end, text=text, tokens=(), avg_logprob=-0.1, compression_ratio=1.0, no_speech_prob=0.0,
        temperature=0.0, words=timed or None,
    )  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "a b#?.mp3"
    path.write_bytes(bytes(range(256)) * 4)
    return path


def page(sound: Path, *segments: Segment, embedded: bool = True, title: str = "a.wav", **more: object) -> Page:
    transcript = Transcript(language="en", language_probability=1.0, duration=9.0, segments=segments)
    waveform = Waveform(duration=9.0, peaks=bytes([0, 128, 255]), speech=[(1.0, 2.5)])
    stream = io.StringIO()
    write_page(replace(transcript, **more), waveform, Sound(sound, embedded), title, stream)  # type: ignore[arg-type]
    stream.getvalue().encode()  # can be written
    return Page(stream.getvalue())


def test_words_have_times_and_a_level(sound: Path) -> None:
    words = ((" Sure", 0.95), (" fairly", 0.8), (" hardly", 0.6), (" not.", 0.2), (" Unknown", float("nan")))
    seen = page(sound, segment("", 1.0, 6.0, *words)).attributes("span")
    shown = [each for each in seen if "data-s" in each]
    assert [each.get("class") for each in shown] == [None, "c2", "c1", "c0", None]
    assert [each["data-s"] for each in shown] == ["1.000", "2.000", "3.000", "4.000", "5.000"]
    assert [each.get("data-p") for each in shown] == ["0.95", "0.80", "0.60", "0.20", None]


def test_the_count_of_unsure_words_is_that_of_the_marks(sound: Path) -> None:
    words = [(" Well,", 0.95), (" hello", 0.8), (" old", 0.6), (" friend.", 0.3), (" So?", float("nan"))]
    shown = page(sound, segment(" Well, hello old friend. So?", 1.0, 2.0, *words))
    marked = [attrs for attrs in shown.attributes("span") if (attrs.get("class") or "") in {"c0", "c1", "c2"}]
    assert len([attrs for attrs in marked if "data-s" in attrs]) == 3
    assert any("5 words · 3 unsure" in text for tag, text in shown.texts if tag == "p")
    assert any(text.startswith("Unsure words are marked") for tag, text in shown.texts if tag == "p")


def test_a_segment_without_words_is_as_sure_as_the_model_was(sound: Path) -> None:
    seen = page(sound, segment(" All of it.", 1.0, 6.0, avg_logprob=-0.5))
    assert [
        (each["data-s"], each["data-e"], each["class"]) for each in seen.attributes("span") if "data-s" in each
    ] == [("1.000", "6.000", "c1")]
    assert ("span", "All of it.") in seen.texts


def test_data_for_the_waveform(sound: Path) -> None:
    coverage = Coverage(speech=2.0, speech_without_text=((2.0, 2.5),), text_without_speech=((7.0, 8.0),))
    data = json.loads(page(sound, coverage=coverage).of("data"))
    assert base64.b64decode(data["peaks"]) == bytes([0, 128, 255])
    assert data["speech"] == [[1.0, 2.5]]
    assert (data["speechWithoutText"], data["textWithoutSpeech"]) == ([[2.0, 2.5]], [[7.0, 8.0]])


def test_the_sound_in_the_page_and_beside_it(sound: Path) -> None:
    assert base64.b64decode(page(sound).of("sound")) == sound.read_bytes()
    beside = page(sound, embedded=False)
    assert beside.attributes("audio")[0]["src"] == "a%20b%23%3F.mp3"
    assert not [each for each in beside.attributes("script") if each.get("id") == "sound"]


def test_nothing_in_a_transcript_becomes_markup(sound: Path) -> None:
    hostile = segment(HOSTILE, 1.0, 2.0, (HOSTILE, 0.3), language=HOSTILE, speaker=HOSTILE)
    plain = page(sound, segment("a", 1.0, 2.0, ("a", 0.3), language="a", speaker="a"))
    seen = page(sound, hostile, language=HOSTILE, title=HOSTILE)
    assert [tag for tag, _ in seen.tags] == [tag for tag, _ in plain.tags]
    assert [set(attrs) for _, attrs in seen.tags] == [set(attrs) for _, attrs in plain.tags]
    assert ("span", HARMLESS) in seen.texts
    assert ("b", HARMLESS) in [(tag, text.strip()) for tag, text in seen.texts]
    assert seen.attributes("section")[0]["lang"] == HARMLESS


def test_only_our_script_may_run_and_nothing_is_fetched(sound: Path) -> None:
    seen = page(sound, segment("a", 1.0, 2.0))
    policy = next(each["content"] or "" for each in seen.attributes("meta") if "http-equiv" in each)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "http" not in policy
    running = [each for each in seen.attributes("script") if each.get("type") not in ("application/json", "text/plain")]
    assert running == [{"type": "module"}]
    assert not [attrs for _, attrs in seen.tags if {"style", "onclick", "href"} & set(attrs)]


def colours(theme: str) -> dict[str, str]:
    style = resources.files("mtasr.view").joinpath("viewer.css").read_text("utf-8")
    block = re.search(re.escape(theme) + r" \{(.*?)\}", style, re.DOTALL)
    assert block
    return dict(re.findall(r"--([\w-]+): (#\w{6})", block[1]))


def luminance(colour: str) -> float:
    """WCAG 2.2's relative luminance."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    lighter, darker = sorted((luminance(first), luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", [":root", ':root[data-theme="dark"]'])
def test_contrast(theme: str) -> None:
    shade = colours(theme)
    for behind in ("page", "panel", "c2", "c1", "c0", "found"):
        assert contrast(shade["text"], shade[behind]) >= 7, behind
    assert contrast(shade["now-text"], shade["now"]) >= 7
    assert min(contrast(shade["muted"], shade[behind]) for behind in ("page", "panel")) >= 4.5
    for graphic in ("wave", "quiet", "edge", "doubt", "head"):
        assert contrast(shade[graphic], shade["page"]) >= 3, graphic
    # The levels differ in lightness, which everybody sees, each more from the page than the one before.
    steps = [contrast(shade["page"], shade[level]) for level in ("c2", "c1", "c0")]
    assert steps == sorted(steps)
    assert all(after / before > 1.15 for before, after in itertools.pairwise(steps))


def vision(colour: str, matrix: np.ndarray) -> np.ndarray:
    """A colour as somebody sees it, in CIELAB; `matrix` is of linear RGB (Machado, Oliveira and Fernandes, 2009)."""
    parts = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(np.maximum(to_xyz @ np.clip(matrix @ linear, 0, 1) / [0.95047, 1, 1.08883], 0.0089))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


VISIONS = {
    "all colours": np.eye(3),
    "no red": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    "no green": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
    "no blue": np.array([[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]]),
}


@pytest.mark.parametrize("theme", [":root", ':root[data-theme="dark"]'])
def test_speakers_have_colours_that_everybody_tells_apart(theme: str) -> None:
    shade = colours(theme)
    speakers = [shade[f"w{place}"] for place in range(8)]
    for place, colour in enumerate(speakers):
        assert min(contrast(colour, shade[behind]) for behind in ("page", "panel")) >= 3, place
        assert contrast(colour, shade[f"on{place}"]) >= 4.5, place
    for name, matrix in VISIONS.items():
        seen = [vision(colour, matrix) for colour in speakers]
        assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 20, name


def test_listening(tmp_path: Path) -> None:
    speech = speak("Good morning.")
    quiet = np.zeros(SAMPLE_RATE, np.float32)
    write_wav(tmp_path / "a.wav", np.concatenate([quiet, 0.5 * speech, quiet, [0.25] * 80]))
    heard = listen(tmp_path / "a.wav", tmp_path / "a.mp3")
    samples = 2 * SAMPLE_RATE + len(speech) + 80
    assert heard.duration == pytest.approx(samples / SAMPLE_RATE)
    assert len(heard.peaks) == -(-samples // 160)
    assert (max(heard.peaks), set(heard.peaks[:99])) == (255, {0})
    ((start, end),) = [heard.speech[0]]
    assert 0.9 < start < 1.3 < end < 1.1 + len(speech) / SAMPLE_RATE
    assert listen(tmp_path / "a.wav", tmp_path / "a.mp3", speech=[(1.0, 2.0)]).speech == [(1.0, 2.0)]
    with open_audio(tmp_path / "a.mp3") as mp3:
        assert sum(map(len, mp3)) / SAMPLE_RATE == pytest.approx(heard.duration, abs=0.02)
    assert (tmp_path / "a.mp3").stat().st_size == pytest.approx(heard.duration * 4000, rel=0.15)


def test_an_ffmpeg_without_mp3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho \"Unknown encoder 'libmp3lame'\" >&2\nexit 8\n")
    program.chmod(0o755)
    monkeypatch.setenv("MTASR_FFMPEG", str(program))
    writer = SoundWriter(tmp_path / "a.mp3")
    with pytest.raises(FfmpegError, match="Unknown encoder"), writer:
        writer.write(np.zeros(100 * SAMPLE_RATE, np.float32))


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_in_a_browser(tmp_path: Path) -> None:
    """The script runs under the page's own policy, the sound is loaded, a place in it finds its word, speakers show."""
    write_wav(tmp_path / "a.wav", speak("Good morning, how are you today?"))
    heard = listen(tmp_path / "a.wav", tmp_path / "a.mp3")
    hostile = segment("", 0.0, 1.5, (" Good", 0.9), (HOSTILE, 0.3), (" you?", 0.9), speaker=HOSTILE)
    other = segment("", 1.4, 1.9, (" Well.", 0.9), speaker="Ben")
    turns = [Turn(start=0.0, end=1.5, speaker=HOSTILE), Turn(start=1.2, end=1.9, speaker="Ben", confidence=0.2)]
    transcript = Transcript(
        language="en", language_probability=1.0, duration=heard.duration, segments=(hostile, other), turns=tuple(turns)
    )
    with (tmp_path / "a.html").open("w", encoding="utf-8") as stream:
        write_page(transcript, heard, Sound(tmp_path / "a.mp3", embedded=True), "a.wav", stream)
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
        "--timeout=4000", "--dump-dom", f"file://{tmp_path}/a.html#t=0.7",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    seen = Page(done.stdout)
    assert [each["data-s"] for each in seen.attributes("span") if each.get("class") == "c0 now"] == ["0.500"]
    assert [each["data-s"] for each in seen.attributes("span") if each.get("class") == "over"] == ["1.000"]
    assert [each.get("class") for each in seen.attributes("section")] == ["w0 now", "w1"]
    names = [(each["data-n"], each["class"]) for each in seen.attributes("b") if "data-n" in each]
    assert names == [("1", "speaker"), ("2", "speaker unclear")]
    legend = [each for each in seen.attributes("button") if "data-name" in each]
    assert [(each["data-name"], each["aria-pressed"]) for each in legend] == [(HARMLESS, "false"), ("Ben", "false")]
    assert ("span", "68 %") in seen.texts
    assert ("span", "with Ben") in seen.texts
    assert seen.of("clock") == f"0:00 / 0:0{int(heard.duration)}"
    assert "hidden" in next(each for each in seen.attributes("p") if each.get("id") == "problem")
