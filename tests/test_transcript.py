"""Transcripts in the hands of people who write scripts: files, strings, the REPL and notebooks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import wave
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import pytest

from mtasr.errors import OutputError, UsageError
from mtasr.formats.cues import Style
from mtasr.formats.registry import OUTPUT_FORMATS, OutputFormat
from mtasr.subtitles import Layout
from mtasr.transcript import Segment, Transcript, Word

TEXT = " The weather was so fine today that we went to the park, and stayed there until the evening."
WORDS = tuple(
    Word(word=f" {word}", start=number * 0.3, end=number * 0.3 + 0.25, probability=0.5)
    for number, word in enumerate(TEXT.split())
)
SEGMENT = Segment(
    id=0, start=0.0, end=6.0, text=TEXT, tokens=(5,), avg_logprob=-0.25, compression_ratio=1.0, no_speech_prob=0.0,
    temperature=0.0, words=WORDS,
)  # fmt: skip
TRANSCRIPT = Transcript(language="en", language_probability=0.5, duration=6.5, segments=(SEGMENT,))


@pytest.mark.parametrize("name", [*OUTPUT_FORMATS])
def test_a_file_has_the_format_of_its_ending(name: str, tmp_path: Path) -> None:
    text = TRANSCRIPT.to_format(name).replace("SPEAKER recording ", "SPEAKER a ")  # RTTM has the file's name
    TRANSCRIPT.write(tmp_path / f"a.{name}")
    assert (tmp_path / f"a.{name}").read_bytes().decode() == text
    (tmp_path / "other").mkdir()
    TRANSCRIPT.write(str(tmp_path / "other" / f"a.{name.upper()}"))
    TRANSCRIPT.write(tmp_path / "a", name)
    assert (tmp_path / "other" / f"a.{name.upper()}").read_text() == (tmp_path / "a").read_text() == text


@pytest.mark.parametrize("style", ["web", "broadcast", "social", "raw"])
def test_the_command_line_writes_the_same(style: str, tmp_path: Path) -> None:
    from mtasr.batch import outputs
    from mtasr.subtitles import STYLES

    cli, api = tmp_path / "cli", tmp_path / "api"
    cli.mkdir()
    api.mkdir()
    outputs.write(TRANSCRIPT, {name: cli / f"a.{name}" for name in OUTPUT_FORMATS}, layout=STYLES[style])
    for name in OUTPUT_FORMATS:
        TRANSCRIPT.write(api / f"a.{name}", subtitle_style=style)
        assert (api / f"a.{name}").read_bytes() == (cli / f"a.{name}").read_bytes()


def test_subtitles_are_laid_out() -> None:
    assert TRANSCRIPT.to_srt().count(" --> ") == TRANSCRIPT.to_vtt().count(" --> ") == 2
    assert max(map(len, TRANSCRIPT.to_srt().splitlines())) <= 42
    assert TRANSCRIPT.to_srt(subtitle_style=Layout(max_words_per_line=1, max_line_count=1)).count(" --> ") > 10
    assert TRANSCRIPT.to_srt(subtitle_style="raw") == f"1\n00:00:00,000 --> 00:00:06,000\n{TEXT.strip()}\n\n"
    assert "<u>weather</u>" in TRANSCRIPT.to_vtt(highlight_words=True)
    assert TRANSCRIPT.to_txt() == f"{TEXT.strip()}\n"


def test_what_is_known_as_a_dictionary() -> None:
    document = TRANSCRIPT.to_dict()
    assert json.loads(TRANSCRIPT.to_json()) == document
    assert document["segments"][0]["words"][1] == {"word": " weather", "start": 0.3, "end": 0.55, "probability": 0.5}
    unknown = replace(TRANSCRIPT, language_probability=float("nan"))
    assert unknown.to_dict()["language_probability"] is None


def test_errors_name_what_is_possible(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no output format is called 'doc'; choose one of txt, srt, vtt"):
        TRANSCRIPT.write(tmp_path / "a.doc")
    with pytest.raises(UsageError, match="a: has no ending that names an output format; give output_format"):
        TRANSCRIPT.write(tmp_path / "a")
    with pytest.raises(UsageError, match="subtitle_style must be broadcast, web, social, raw or a Layout, not 'wide'"):
        TRANSCRIPT.to_srt(subtitle_style="wide")
    with pytest.raises(OutputError, match=r"missing/a.srt: No such file or directory"):
        TRANSCRIPT.write(tmp_path / "missing" / "a.srt")
    (tmp_path / "folder.srt").mkdir()
    with pytest.raises(OutputError, match=r"folder.srt: is a folder"):
        TRANSCRIPT.write(tmp_path / "folder.srt")
    with pytest.raises(OutputError, match="/dev/null: is not a file; name one that can be replaced"):
        TRANSCRIPT.write("/dev/null", "srt")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.srt"]


def write_shouting(transcript: Transcript, stream: TextIO, style: Style) -> None:
    stream.write(transcript.text.upper())


def test_a_program_adds_a_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OUTPUT_FORMATS, "loud", OutputFormat(write_shouting))
    TRANSCRIPT.write(tmp_path / "a.loud")
    assert (tmp_path / "a.loud").read_text() == TEXT.strip().upper()


def test_the_command_line_has_the_format_that_a_program_adds(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    """In a process of its own, since the options are made when their module is loaded."""
    code = """
from mtasr.formats.registry import OUTPUT_FORMATS, OutputFormat
OUTPUT_FORMATS["loud"] = OutputFormat(lambda transcript, stream, style: stream.write("LOUD"))
from mtasr.cli import main
main()
"""
    with wave.open(str(tmp_path / "a.wav"), "wb") as sound:
        sound.setparams((1, 2, 16_000, 0, "NONE", ""))
        sound.writeframes(bytes(16_000))
    options = ["--language", "en", "--model", str(tiny_models["multilingual"]), "--output-format", "loud"]
    command = [sys.executable, "-c", code, "transcribe", "a.wav", *options]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "a.loud").read_text() == "LOUD"


def test_one_line_in_a_repl() -> None:
    assert repr(WORDS[1]) == "<Word 0.30-0.55 ' weather' 0.50>"
    assert repr(SEGMENT) == f"<Segment 0.00-6.00 {TEXT!r} (18 words)>"
    named = replace(SEGMENT, speaker="Ann\na", words=None, text=" a\nb")
    assert repr(named) == r"<Segment 0.00-6.00 'Ann\na' ' a\nb'>"
    beginning = "The weather was so fine today that we went to the park, and…"
    assert repr(TRANSCRIPT) == f"<Transcript 'en' 6.50 s, 1 segment: {beginning!r}>"
    assert repr(replace(TRANSCRIPT, segments=())) == "<Transcript 'en' 6.50 s, 0 segments: ''>"


def test_a_table_in_a_notebook() -> None:
    said = replace(SEGMENT, text=" <b>1 & 2</b>", speaker="<i>A</i>")
    page = replace(TRANSCRIPT, segments=(said, SEGMENT), language="<en>")._repr_html_()
    assert "<td>&lt;i&gt;A&lt;/i&gt;</td><td>&lt;b&gt;1 &amp; 2&lt;/b&gt;</td>" in page
    assert set(re.findall(r"</?(\w+)>", page)) == {"p", "table", "tr", "th", "td"}
    assert page.count("<tr>") == 3
    long = replace(TRANSCRIPT, segments=(SEGMENT,) * 250)._repr_html_()
    assert long.count("<tr>") == 201
    assert "<p>and 50 more segments</p>" in long
