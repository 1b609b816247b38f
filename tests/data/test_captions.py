"""Subtitle files -> captions."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtasr.data.captions import parse_subtitles, read_captions
from mtasr.data.records import Caption
from mtasr.errors import InputError
from mtasr.formats.registry import render
from mtasr.transcript import Segment, Transcript


def said(letters: str | st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.text(letters, min_size=1, max_size=12).filter(str.strip).map(lambda text: " ".join(text.split()))


words = said("abcdé <&>'1")
#: What SubRip and those who read it take for markup.
markup = st.lists(
    st.sampled_from(["<b>", "</", ">", "{\\an8}", "{", "}", "\\", "&lt;", "&", "#39;", "\uff5b", "a"]), min_size=1
)


@st.composite
def transcripts(draw: st.DrawFn, text: st.SearchStrategy[str] = words) -> Transcript:
    texts = draw(st.lists(text, max_size=5))
    steps = draw(st.lists(st.integers(1, 5_000_000), min_size=2 * len(texts), max_size=2 * len(texts)))
    segments, now = [], 0
    for index, text in enumerate(texts):
        start, now = now + steps[2 * index], now + steps[2 * index] + steps[2 * index + 1]
        segments.append(
            Segment(
                id=index, start=start / 1000, end=now / 1000, text=text, tokens=(), avg_logprob=0.0,
                compression_ratio=1.0, no_speech_prob=0.0, temperature=0.0,
            )
        )  # fmt: skip
    return Transcript(language="fr", language_probability=1.0, duration=now / 1000, segments=tuple(segments))


@given(transcripts(), st.sampled_from(["vtt", "json"]))
def test_what_mtasr_writes_is_read(session_folder: Path, transcript: Transcript, ending: str) -> None:
    path = session_folder / f"talk.{ending}"
    path.write_text(render(transcript, ending, subtitle_style="raw"), encoding="utf-8")
    captions = read_captions(path)
    assert captions.timed
    assert captions.captions == tuple(Caption(start=s.start, end=s.end, text=s.text) for s in transcript)
    assert captions.language == ("fr" if ending == "json" else None)


@given(
    transcripts(
        words | markup.map("".join) | said(st.characters(exclude_characters="\u2060", exclude_categories=["C"]))
    )
)
def test_what_mtasr_writes_as_srt_is_read_to_the_letter(transcript: Transcript) -> None:
    assert parse_subtitles(render(transcript, "srt", subtitle_style="raw")) == tuple(
        Caption(start=s.start, end=s.end, text=s.text) for s in transcript
    )


#: What readers of subtitles take for the frame of a cue.
frames = st.lists(
    st.lists(st.sampled_from(["5", "1:02.5", "00:00:01,000", "-->", "a"]), min_size=1, max_size=4).map(" ".join),
    min_size=1,
    max_size=4,
).map("\n".join)


@given(transcripts(frames), st.sampled_from(["srt", "vtt"]))
def test_numbers_and_times_that_are_said_are_read_to_the_letter(transcript: Transcript, ending: str) -> None:
    assert parse_subtitles(render(transcript, ending, subtitle_style="raw")) == tuple(
        Caption(start=s.start, end=s.end, text=s.text) for s in transcript
    )


def test_what_people_write_is_read() -> None:
    text = """\ufeffWEBVTT - with a title

STYLE
::cue { color: red }

NOTE 00:00 is not a cue

name of a cue
00:01.000 --> 00:02.500 align:start
<v Ann>Bread &amp; <i>letters</i></v>
{\\an8}warm

1:00:03,5 --> 1:00:04,25

2
01:00:05.000-->01:00:06.000
Last"""
    assert parse_subtitles(text) == (
        Caption(start=1.0, end=2.5, text="Bread & letters\nwarm"),
        Caption(start=3605.0, end=3606.0, text="Last"),
    )


def test_text_has_no_times(tmp_path: Path) -> None:
    (tmp_path / "talk.txt").write_text("Good morning.\nBread.\n")
    captions = read_captions(tmp_path / "talk.txt")
    assert not captions.timed
    assert [caption.text for caption in captions.captions] == ["Good morning.\nBread."]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.srt", b"\xff\xfe\x00", "is not UTF-16"),
        ("a.json", b"{", "is not JSON"),
        ("a.json", b"[]", "is not a JSON object"),
        ("a.json", b'{"text": "Hello", "language": "klingon"}', r"a\.json: unknown language 'klingon'"),
        ("a.json", b'{"segments": [{"start": 0}]}', "do not have start, end and text"),
        ("a.json", b'{"segments": null}', "do not have start, end and text"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=reason):
        read_captions(tmp_path / name)
