"""What independent readers find in our files: pysubs2, ffmpeg, a CommonMark parser and Python's csv."""

from __future__ import annotations

import csv
import io
import itertools
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import imageio_ffmpeg
import pysubs2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from pysubs2.time import TIMESTAMP, timestamp_to_ms
from test_writers import (
    awkward,
    conversations,
    names,
    parsed,
    transcript,
    transcripts,
    without_stand_ins,
    words_of,
    written,
)
from timed_text import conversations as conversations_in_scripts
from timed_text import layouts, segment

from mtasr.formats import ass
from mtasr.formats.cue_text import one_line
from mtasr.formats.cues import cues
from mtasr.formats.registry import OUTPUT_FORMATS
from mtasr.subtitles import Layout, lay_out
from mtasr.transcript import Transcript, Word

JOINER = "\u2060"
#: What means something to one format or another.
MARKUP = (
    *("{\\an8}", "{", "}", "\\N", "\\n", "\\h", "\\", "<i>", "</tt>", "<br/>", "]]>", "&lt;", "<!-- l -->", "\ufffe"),
    *("*a*", "_b_", "`c`", "[d](e)", "![f](g)", "# h", "- i", "1. j", "|", "~~k~~", "http://m.n", "$x$", "\u2028"),
    *("[00:01.00]", "[music]", '"', "'", "a,b", ";", "=1+1", "o"),
)
wild = st.one_of(
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters=JOINER)),
    awkward,
    st.lists(st.sampled_from(MARKUP)).map(" ".join),
)


def spoken(result: Transcript) -> list[str]:
    return [words_of(each.text) for each in result if words_of(each.text)]


def precise(result: Transcript) -> list[tuple[int, int]]:
    return [(cue.start, cue.end) for cue in cues(result)]


def read_events(text: str, form: str) -> list[tuple[int, int, str]]:
    events = pysubs2.SSAFile.from_string(text, format_=form)
    return [(event.start, event.end, without_stand_ins(event.plaintext)) for event in events]


braced = wild.map(lambda text: text.translate({0xFF5B: None, 0xFF5D: None}))


@given(transcripts(braced))
def test_srt(result: Transcript) -> None:
    found = read_events(written(result, "srt"), "srt")
    assert [words_of(text) for _, _, text in found] == spoken(result)
    assert [(start, end) for start, end, _ in found] == precise(result)


@given(transcripts(braced))
def test_ass(result: Transcript) -> None:
    found = read_events(written(result, "ass"), "ass")
    assert [words_of(text) for _, _, text in found] == spoken(result)
    clock = 0
    for (start, end, _), (exact_start, exact_end) in zip(found, precise(result), strict=True):
        assert clock <= start < end
        if exact_end - exact_start >= 20:
            assert abs(start - exact_start) <= 10 * len(found)
        clock = end
    if all(end - start >= 20 for start, end in precise(result)):
        assert all(
            abs(a - c) <= 5 and abs(b - d) <= 5 for (a, b, _), (c, d) in zip(found, precise(result), strict=True)
        )


def with_words(*groups: tuple[tuple[str, float, float], ...]) -> Transcript:
    made = []
    for group in groups:
        words = tuple(Word(word=text, start=start, end=end, probability=1.0) for text, start, end in group)
        text = "".join(word.word for word in words)
        made.append(segment(words[0].start, words[-1].end, text, words=words))
    return transcript(*made)


def test_ass_karaoke_follows_the_words() -> None:
    result = with_words(
        ((" Slow", 1.0, 1.4), (" words,", 1.4, 2.0), (" {then}", 2.5, 2.75), (" more.", 2.75, 3.5)),
    )
    [line] = [line for line in written(result, "ass").splitlines() if line.startswith("Dialogue")]
    assert line.endswith(r",,{\k40}Slow {\k110}words, {\k25}" "\uff5bthen\uff5d" r" {\k75}more.")


@given(st.data())
def test_karaoke_lasts_as_long_as_its_cue(data: st.DataObject) -> None:
    clock, words = 0.0, []
    for _ in range(data.draw(st.integers(1, 30))):
        start = clock + data.draw(st.sampled_from([0.0, 0.0, 0.004, 0.3, 1.1]))
        clock = start + data.draw(st.floats(0.02, 0.8))
        words.append((data.draw(st.sampled_from([" one", " two.", " \\three", " fo{u}r,", " 5"])), start, clock))
    laid = lay_out(with_words(tuple(words)), Layout()).transcript
    events = list(pysubs2.SSAFile.from_string(written(laid, "ass"), format_="ass"))
    assert len(events) == len(laid.segments)
    for event, cue in zip(events, laid, strict=True):
        lengths = [int(length) * 10 for length in re.findall(r"\{\\k(\d+)\}", event.text)]
        assert len(lengths) == len(cue.words or ())
        assert sum(lengths) == event.duration
        begins = itertools.accumulate(lengths, initial=event.start)
        for begin, word in zip(begins, cue.words or (), strict=False):
            assert min(abs(begin - word.start * 1000), event.end - begin) <= 10 + 1e-6


@given(transcripts(wild))
def test_ttml(result: Transcript) -> None:
    content = written(result, "ttml")
    found = pysubs2.SSAFile.from_string(content, format_="ttml")
    assert [(event.start, event.end) for event in found] == precise(result)
    paragraphs = ElementTree.fromstring(content).iter("{http://www.w3.org/ns/ttml}p")
    texts = [words_of(" ".join(each.itertext())) for each in paragraphs]
    assert texts == [words_of(text.replace("\ufffe", "")) for text in spoken(result)]
    if "\\" not in content:
        assert [words_of(event.text.replace("\\N", " ")) for event in found] == texts


@pytest.mark.parametrize(("language", "shown"), [("fr", "fr"), (None, "")])
def test_ttml_tells_the_language_of_its_text(language: str | None, shown: str) -> None:
    result = Transcript(language="de", language_probability=1.0, duration=1.0, segments=(), text_language=language)
    root = ElementTree.fromstring(written(result, "ttml"))
    assert root.get("{http://www.w3.org/XML/1998/namespace}lang") == shown


def read_lrc(text: str) -> list[tuple[int, str]]:
    """Centiseconds and text of each line."""
    lines = [re.fullmatch(r"\[(\d{2,}):(\d\d)\.(\d\d)\](.*)", line) for line in text.splitlines()]
    return [(int(m[1]) * 6000 + int(m[2]) * 100 + int(m[3]), m[4].replace(JOINER, "")) for m in lines if m]


@given(transcripts(wild))
def test_lrc(result: Transcript) -> None:
    found = read_lrc(written(result, "lrc"))
    assert len(found) == written(result, "lrc").count("\n")
    assert [words_of(text) for _, text in found if text] == spoken(result)
    times = [time for time, _ in found]
    assert times == sorted(times)
    ends = [after for (_, text), (after, _) in itertools.pairwise(found) if text]
    if all(end - start >= 20 for start, end in precise(result)):
        starts = [time for time, text in found if text]
        assert all(abs(time * 10 - start) <= 5 for time, (start, _) in zip(starts, precise(result), strict=True))
        assert all(abs(time * 10 - end) <= 5 for time, (_, end) in zip(ends, precise(result), strict=True))


@given(transcripts(wild))
def test_csv_and_tsv(result: Transcript) -> None:
    comma = csv.reader(io.StringIO(written(result, "csv"), newline=""))
    tab = csv.reader(io.StringIO(written(result, "tsv"), newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    for table, columns in ((comma, ["start", "end", "speaker", "text"]), (tab, ["start", "end", "text"])):
        head, *rows = table
        assert head == columns
        assert {len(row) for row in rows} <= {len(columns)}
        assert [(int(start), int(end)) for start, end, *_ in rows] == precise(result)
        assert [words_of(text) for *_, text in rows] == spoken(result)


@given(transcripts(wild))
def test_md(result: Transcript) -> None:
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(written(result, "md"))
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"] * len(spoken(result))
    found = [token.children or [] for token in tokens if token.type == "inline"]
    texts = []
    for children, (start, end) in zip(found, precise(result), strict=True):
        bold, times, _, *rest = (each for each in children if each.content or each.type != "text")
        assert bold.type == "strong_open"
        assert {each.type for each in rest} <= {"text", "text_special"}
        texts.append(words_of("".join(each.content for each in rest)))
        clock = [int(h) * 3_600_000 + int(m) * 60_000 + int(s) * 1000 + int(ms) for h, m, s, ms in
                 re.findall(r"(\d+):(\d\d):(\d\d)\.(\d{3})", times.content)]  # fmt: skip
        assert clock == [start, end]
    # CommonMark itself replaces the character that stands for nothing.
    assert texts == [words_of(text) for text in spoken(result)]


@given(conversations(names | st.sampled_from(["[Ben]", "a, b", "*c*", "<d>", "{e}", "f\\"])))
def test_speakers_are_told_in_each_format(result: Transcript) -> None:
    expected = [(one_line(cue.speaker or ""), words_of(cue.text)) for cue in cues(result)]
    labelled = [words_of(f"{name}: {text}") for name, text in expected]

    rows = list(csv.reader(io.StringIO(written(result, "csv"), newline="")))
    assert rows[0] == ["start", "end", "speaker", "text"]
    assert [(name, words_of(text)) for *_, name, text in rows[1:]] == expected

    by_turn = [
        (name, words_of(" ".join(text for _, text in said)))
        for name, said in itertools.groupby(expected, key=lambda each: each[0])
    ]
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(written(result, "md"))
    for token, (name, text) in zip((each for each in tokens if each.type == "inline"), by_turn, strict=True):
        children = [each for each in token.children or [] if each.content or each.type != "text"]
        close = [each.type for each in children].index("strong_close")
        bold, plain = ("".join(each.content for each in some) for some in (children[:close], children[close:]))
        assert re.fullmatch(r"\S+ – \S+ (.*):", bold)[1] == name  # type: ignore[index]
        assert words_of(plain) == text

    paragraphs = ElementTree.fromstring(written(result, "ttml")).iter("{http://www.w3.org/ns/ttml}p")
    assert [words_of(" ".join(each.itertext())) for each in paragraphs] == labelled

    # Rounding to centiseconds may change which of two speakers comes first.
    assert sorted(words_of(text) for _, text in read_lrc(written(result, "lrc")) if text) == sorted(labelled)
    events = list(pysubs2.SSAFile.from_string(written(result, "ass"), format_="ass"))
    assert [event.start for event in events] == sorted(event.start for event in events)
    for speaker in {name for name, _ in expected}:
        own = [event for event in events if event.name.replace("\uff0c", ",") == speaker]
        assert [words_of(event.plaintext.replace(JOINER, "")) for event in own] == [
            text for name, text in expected if name == speaker
        ]
        assert all(before.end <= after.start for before, after in itertools.pairwise(own))


def test_an_lrc_line_stays_while_somebody_speaks() -> None:
    said = [(1, 9, "A"), (2, 3, "B"), (10, 11, "A")]
    result = transcript(*(segment(start, end, " Yes.", speaker=name) for start, end, name in said))
    assert written(result, "lrc").splitlines() == [
        "[00:01.00]A: Yes.", "[00:02.00]B: Yes.", "[00:09.00]", "[00:10.00]A: Yes.", "[00:11.00]",
    ]  # fmt: skip


def test_times_beyond_an_hour() -> None:
    said = [
        segment(3661.25, 3662, " an hour"),
        segment(39_659.99, 39_660, " eleven"),
        segment(86_400, 86_401, " all day"),
    ]
    result = transcript(*said, duration=90_000)
    ass = [line.split(",")[1:3] for line in written(result, "ass").splitlines() if line.startswith("Dialogue")]
    assert ass == [["1:01:01.25", "1:01:02.00"], ["11:00:59.99", "11:01:00.00"], ["24:00:00.00", "24:00:01.00"]]
    assert written(result, "lrc").splitlines() == [
        "[61:01.25]an hour", "[61:02.00]", "[660:59.99]eleven", "[661:00.00]", "[1440:00.00]all day", "[1440:01.00]",
    ]  # fmt: skip


def test_centiseconds_are_rounded_and_carried_over() -> None:
    result = transcript(segment(59.994, 59.996, " a minute"), segment(3599.996, 3601, " an hour"), duration=4000)
    ass = [line.split(",")[1:3] for line in written(result, "ass").splitlines() if line.startswith("Dialogue")]
    assert ass == [["0:00:59.99", "0:01:00.00"], ["1:00:00.00", "1:00:01.00"]]
    assert written(result, "lrc").splitlines() == [
        "[00:59.99]a minute", "[01:00.00]", "[60:00.00]an hour", "[60:01.00]",
    ]  # fmt: skip


def test_no_empty_lrc_line_where_the_next_begins_at_once() -> None:
    result = transcript(segment(1, 2, " a"), segment(2, 3, " b"), segment(3.01, 4, " c"))
    assert written(result, "lrc").splitlines() == [
        "[00:01.00]a", "[00:02.00]b", "[00:03.00]", "[00:03.01]c", "[00:04.00]",
    ]  # fmt: skip


@pytest.mark.parametrize("form", sorted(OUTPUT_FORMATS.keys() - {"json"}))
def test_control_characters_leave_nothing(form: str) -> None:
    dirty, clean = (
        transcript(segment(1, 2, text, speaker="A")) for text in (" ti\x00ck\x1b\x7f tock\x08", " tick tock")
    )
    assert written(dirty, form) == written(clean, form)


AWKWARD = transcript(
    segment(1, 2, " a --> b <b>c</b> & d"),
    segment(2.5, 4, " [music] plays"),
    segment(4, 5.25, " 12"),
    segment(5.5, 6, " e <f and g> h"),
    segment(7, 8, " Chapter\n5"),
    segment(8, 9, " from 10:00:00,000 to 11:00:00,000\n12"),
    segment(9, 10, " 00:00:01,000 --> 00:00:02,000"),
    segment(3661, 3662.5, " he said: «no»,\nshe said: yes"),
    duration=4000,
)


#: From WebVTT and LRC ffmpeg makes such text with marks of its own.
CODES = replace(AWKWARD, segments=(segment(1, 2, " {\\an8}x {y:i}"), segment(2.5, 4, " C:\\New \\h")))


@pytest.mark.parametrize(
    ("form", "result"),
    [*((form, AWKWARD) for form in ("srt", "vtt", "ass", "lrc")), ("srt", CODES), ("ass", CODES)],
    ids=["srt", "vtt", "ass", "lrc", "codes in srt", "codes in ass"],
)
def test_ffmpeg_reads_the_same(form: str, result: Transcript, tmp_path: Path) -> None:
    file = tmp_path / f"a.{form}"
    file.write_text(written(result, form), encoding="utf-8")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", file, "-c:s", "text", "-f", "srt", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    blocks = re.findall(r"^\d+\n(.+ --> .+)\n((?:.*\n)*?)(?=\n*\d+\n.+ --> |\n*\Z)", done.stdout, re.MULTILINE)
    spoken_blocks = [(times, words_of(without_stand_ins(text))) for times, text in blocks if text.strip()]
    assert [text for _, text in spoken_blocks] == spoken(result)
    times = [tuple(map(timestamp_to_ms, TIMESTAMP.findall(times))) for times, _ in spoken_blocks]
    assert times == precise(result)


@pytest.mark.parametrize("form", ["txt", "lrc", "tsv", "csv", "md"])
@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("ja", "今日は天気が良いので公園で散歩しました。"),
        ("zh", "今天天气很好，所以我们去公园散步了。"),
        ("zh", "他昨天晚上对我们大家说过的，“明天一起去”。"),
        ("th", "วันนี้อากาศดีมากเราจึงไปเดินเล่นที่สวนสาธารณะใกล้บ้าน"),
        ("ko", "오늘은 날씨가 좋아서 공원에서 산책을 했습니다."),
        ("en", "The weather was so fine today that we went to the park."),
    ],
)
def test_lines_are_joined_as_their_script_is_written(form: str, language: str, text: str) -> None:
    said = transcript(segment(1, 7, text, language=language))
    laid = lay_out(said, Layout()).transcript
    assert [each.text.count("\n") for each in laid] == [1]
    assert text in written(laid, form)


@given(conversations_in_scripts(), layouts)
def test_srt_and_vtt_have_the_lines_of_the_layout(said: Transcript, layout: Layout) -> None:
    laid = lay_out(said, layout).transcript
    for form in ("srt", "vtt"):
        named = [f"{cue.speaker}: {cue.text}" if cue.speaker and form == "srt" else cue.text for cue in laid]
        assert sorted(text for *_, text in parsed(laid, form)) == sorted(named)


@pytest.mark.parametrize("form", ["srt", "vtt"])
@pytest.mark.parametrize(
    ("layout", "words", "lines"),
    [
        (Layout(max_words_per_line=1), "Chapter 5", ["Chapter", "5"]),
        (Layout(max_line_width=12), "aaaaaaaaaa 1999", ["aaaaaaaaaa", "1999"]),
        (Layout(max_line_count=1), "From 10:00:00,000 to 11:00:00,000", ["From 10:00:00,000 to 11:00:00,000"]),
    ],
)
def test_numbers_and_times_keep_the_rules_of_the_layout(
    form: str, layout: Layout, words: str, lines: list[str]
) -> None:
    laid = lay_out(transcript(segment(1, 5, f" {words}")), layout)
    assert "line width" not in {each.rule for each in laid.broken}
    assert [text.split("\n") for *_, text in parsed(laid.transcript, form)] == [lines]


def test_every_format_is_written_by_a_name_and_read_above() -> None:
    assert set(OUTPUT_FORMATS) == {"txt", "srt", "vtt", "ass", "lrc", "ttml", "tsv", "csv", "md", "json", "rttm"}
    assert {name for name, each in OUTPUT_FORMATS.items() if each.is_subtitle} == {"srt", "vtt", "ass", "lrc", "ttml"}


@pytest.mark.parametrize("form", ["ass", "lrc", "ttml", "csv", "md"])
def test_no_speech_is_a_valid_empty_file(form: str) -> None:
    nothing, something = written(transcript(), form), written(transcript(segment(0, 1, "a")), form)
    assert len(nothing) < len(something)
    if form == "ass":
        assert list(pysubs2.SSAFile.from_string(nothing, format_="ass")) == []
    if form == "ttml":
        assert list(pysubs2.SSAFile.from_string(nothing, format_="ttml")) == []


def test_words_that_are_not_the_text_make_no_karaoke() -> None:
    result = with_words(((" one", 0, 1), (" two", 1, 2)))
    other = replace(result, segments=(replace(result.segments[0], text=" three"),))
    assert "\\k" not in written(other, "ass")


def test_the_head_of_ass_has_the_size_of_the_picture_and_whether_lines_are_broken() -> None:
    assert "\nPlayResX: 1920\nPlayResY: 1080\nWrapStyle: 2\n" in ass.head()
    assert "\nPlayResX: 1080\nPlayResY: 1440\nWrapStyle: 0\n" in ass.head(1080, 1440, wrap=True)
