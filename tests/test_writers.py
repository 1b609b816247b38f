"""Writers: what other programs read back from our files is what was said, when it was said."""

from __future__ import annotations

import html
import io
import json
import math
from dataclasses import replace

import pysubs2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtasr.transcript import Alternatives, Reading, Segment, Transcript, Word
from mtasr.writers import WRITERS, cues


def segment(start: float, end: float, text: str, **fields: object) -> Segment:
    values = {
        "id": 0,
        "start": start,
        "end": end,
        "text": text,
        "tokens": (1, 2),
        "avg_logprob": -0.5,
        "compression_ratio": 1.5,
        "no_speech_prob": 0.1,
        "temperature": 0.0,
    }
    return Segment(**(values | fields))  # type: ignore[arg-type]


def transcript(*segments: Segment, duration: float = 60.0) -> Transcript:
    return Transcript(language="en", language_probability=0.9, duration=duration, segments=segments)


def written(result: Transcript, form: str) -> str:
    stream = io.StringIO()
    WRITERS[form](result, stream)
    return stream.getvalue()


def parsed(result: Transcript, form: str) -> list[tuple[int, int, str]]:
    events = pysubs2.SSAFile.from_string(written(result, form), format_=form)
    unescape = html.unescape if form == "vtt" else str
    return [(event.start, event.end, unescape(event.text).replace("\\N", "\n")) for event in events]


def words_of(text: str) -> str:
    return " ".join(text.split())


# SubRip can neither escape tags nor braces; WebVTT escapes tags.
text_srt = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="<>{}\\"))
text_vtt = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="{}\\"))
awkward_pieces = (
    *("-->", "a --> b", "\n\n", "\n", "\r\n", "\u2028", " ", "\t", "7", "12", "word"),
    *("WEBVTT", "NOTE", "&", "&amp;", "00:00:01,000", "01:02.500", "00:00:01,000 --> 00:00:02,000"),
    "he was 1:05.32 behind 01:04.11",
)
awkward = st.lists(st.sampled_from(awkward_pieces)).map(" ".join)
times = st.floats(0, 30, allow_nan=False)


@st.composite
def transcripts(draw: st.DrawFn, text: st.SearchStrategy[str]) -> Transcript:
    """Segments in order, as the model's are: 0 <= start < end <= duration, a few ms at least apart in sum."""
    points = sorted(draw(st.lists(times, max_size=12, unique=True)))
    pairs = list(zip(points[::2], points[1::2], strict=False))
    segments = [segment(start, end, draw(text)) for start, end in pairs]
    return transcript(*segments, duration=max(0.05, points[-1] if points else 0.0))


def check_cues(result: Transcript, form: str) -> None:
    found = parsed(result, form)
    assert [(start, end) for start, end, _ in found] == [(cue.start, cue.end) for cue in cues(result)]
    spoken = [each.text for each in result if words_of(each.text)]
    assert [words_of(text) for _, _, text in found] == [words_of(text) for text in spoken]
    clock = 0
    for start, end, _ in found:
        assert clock <= start < end <= result.duration * 1000 + 1e-6
        clock = end


@given(transcripts(text_srt | awkward))
def test_srt_parses_back(result: Transcript) -> None:
    check_cues(result, "srt")


@given(transcripts(text_vtt | awkward))
def test_vtt_parses_back(result: Transcript) -> None:
    check_cues(result, "vtt")


@given(st.lists(st.tuples(times, times), max_size=20), st.floats(0.05, 40))
def test_cues_are_in_order_whatever_the_segments(pairs: list[tuple[float, float]], duration: float) -> None:
    result = transcript(*(segment(start, end, "text") for start, end in pairs), duration=duration)
    clock = 0
    for cue in cues(result):
        assert clock <= cue.start < cue.end <= duration * 1000 + 1e-6
        clock = cue.end
    assert len(list(cues(result))) == len(pairs)


def test_ordinary_times_are_only_rounded() -> None:
    result = transcript(segment(0.0004, 1.9996, "one"), segment(2.0, 3.5, "two"), duration=3.5)
    assert [(cue.start, cue.end) for cue in cues(result)] == [(0, 2000), (2000, 3500)]


def test_an_overlap_ends_with_the_next_cue() -> None:
    result = transcript(segment(0, 10, "long"), segment(2, 3, "short"))
    assert [(cue.start, cue.end) for cue in cues(result)] == [(0, 2000), (2000, 3000)]


def test_srt() -> None:
    result = transcript(segment(0, 1.5, " Hello.\n\n again "), segment(3661.25, 3662, " Bye."), duration=4000)
    assert written(result, "srt") == (
        "1\n00:00:00,000 --> 00:00:01,500\nHello.\nagain\n\n2\n01:01:01,250 --> 01:01:02,000\nBye.\n\n"
    )


def test_vtt_has_no_markup_in_its_text() -> None:
    result = transcript(segment(0, 1.5, " <b>1 & 2</b> --> 3"))
    assert written(result, "vtt") == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\n&lt;b&gt;1 &amp; 2&lt;/b&gt; --&gt; 3\n\n"
    )


def test_tsv_and_txt_keep_a_segment_on_a_line() -> None:
    result = transcript(segment(0, 1.5, " a\tb\nc "), segment(2, 3, "  "), segment(4, 5, "d"))
    assert written(result, "tsv") == "start\tend\ttext\n0\t1500\ta b c\n4000\t5000\td\n"
    assert written(result, "txt") == "a b c\nd\n"


@pytest.mark.parametrize(
    ("form", "content"), [("txt", ""), ("srt", ""), ("vtt", "WEBVTT\n\n"), ("tsv", "start\tend\ttext\n")]
)
def test_no_speech_is_a_valid_empty_file(form: str, content: str) -> None:
    assert written(transcript(), form) == content


def test_json() -> None:
    word = Word(word=" héllo", start=0.1, end=0.30000000000000004, probability=0.9)
    result = transcript(segment(0, 1.5, ' héllo "x"', words=(word,)), segment(2, 3, " b", id=1))
    found = json.loads(written(result, "json"))
    assert list(found) == ["language", "language_probability", "duration", "text", "segments"]
    assert found["text"] == 'héllo "x" b'
    first, second = found["segments"]
    assert first == {
        "id": 0,
        "start": 0,
        "end": 1.5,
        "text": ' héllo "x"',
        "tokens": [1, 2],
        "avg_logprob": -0.5,
        "compression_ratio": 1.5,
        "no_speech_prob": 0.1,
        "temperature": 0.0,
        "words": [{"word": " héllo", "start": 0.1, "end": 0.3, "probability": 0.9}],
    }
    assert second["id"] == 1
    readings = (Reading(text="héllo", avg_logprob=-0.5), Reading(text="hallo", avg_logprob=-math.inf))
    told = replace(result, alternatives=(Alternatives(start=0.0, end=3.0, readings=readings),))
    assert json.loads(written(told, "json"))["alternatives"] == [
        {
            "start": 0,
            "end": 3,
            "readings": [{"text": "héllo", "avg_logprob": -0.5}, {"text": "hallo", "avg_logprob": None}],
        }
    ]
    assert json.loads(written(replace(result, alternatives=()), "json"))["alternatives"] == []
    assert "words" not in second
    assert json.loads(written(transcript(), "json"))["segments"] == []


def test_json_never_holds_what_is_no_json() -> None:
    text = written(transcript(segment(0, 1, "a", avg_logprob=-math.inf, no_speech_prob=math.nan)), "json")

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    found = json.loads(text, parse_constant=refuse)
    assert found["segments"][0]["avg_logprob"] is None
    assert found["segments"][0]["no_speech_prob"] is None


@given(transcripts(st.text(st.characters(exclude_categories=["Cs"]))))
def test_json_round_trip(result: Transcript) -> None:
    found = json.loads(written(result, "json"))
    assert [each["text"] for each in found["segments"]] == [each.text for each in result]
    assert found["duration"] == pytest.approx(result.duration, abs=1e-6)
