"""Writers: what other programs read back from our files is what was said, when it was said."""

from __future__ import annotations

import html
import io
import itertools
import json
import math
from collections.abc import Callable
from dataclasses import replace

import pysubs2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from timed_text import segment

from mtasr.formats.cue_text import one_line
from mtasr.formats.cues import PLAIN, Style, cues
from mtasr.formats.registry import OUTPUT_FORMATS
from mtasr.transcript import Alternatives, Reading, Segment, Transcript, Word


def transcript(*segments: Segment, duration: float = 60.0) -> Transcript:
    return Transcript(language="en", language_probability=0.9, duration=duration, segments=segments)


def written(result: Transcript, form: str, style: Style = PLAIN) -> str:
    stream = io.StringIO()
    OUTPUT_FORMATS[form].write(result, stream, style)
    return stream.getvalue()


def without_stand_ins(text: str) -> str:
    """What SubRip shows, where a word joiner cannot be seen and full-width braces look like others."""
    return text.translate(str.maketrans({"\uff5b": "{", "\uff5d": "}", "\u2060": None}))


#: What a reader makes of the text that pysubs2 finds.
READ: dict[str, Callable[[str], str]] = {
    "srt": without_stand_ins,
    "vtt": lambda text: html.unescape(text).replace("\u2060", ""),
}


def parsed(result: Transcript, form: str, style: Style = PLAIN) -> list[tuple[int, int, str]]:
    events = pysubs2.SSAFile.from_string(written(result, form, style), format_=form)
    return [(event.start, event.end, READ[form](event.text.replace("\\N", "\n"))) for event in events]


def words_of(text: str) -> str:
    return " ".join(text.split())


text_srt = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\uff5b\uff5d\u2060"))
# WebVTT has no braces, but pysubs2 does.
text_vtt = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="{}\\\u2060"))
awkward_pieces = (
    *("-->", "a --> b", "\n\n", "\n", "\r\n", "\u2028", " ", "\t", "7", "12", "word"),
    *("WEBVTT", "NOTE", "&", "&amp;", "00:00:01,000", "01:02.500", "00:00:01,000 --> 00:00:02,000"),
    *("he was 1:05.32 behind 01:04.11", "<b>", "</b>", "<i", ">"),
)
#: What readers of SubRip take for tags, codes and entities.
marked_up = st.lists(
    st.sampled_from(["a <b and c> d", "{\\an8}", "{y:i}", "{", "}", "\\N", "\\h", "&lt;b>", "&#60;", "<"])
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
    assert [text for _, _, text in found] == [cue.text for cue in cues(result)], "the same lines, too"
    clock = 0
    for start, end, _ in found:
        assert clock <= start < end <= result.duration * 1000 + 1e-6
        clock = end


@given(transcripts(text_srt | awkward | marked_up.map(" ".join)))
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


def test_srt_has_no_markup_in_its_text() -> None:
    result = transcript(segment(0, 1.5, " a <b and c> d, {\\an8}x & y &lt;"), segment(2, 3, " R&D"))
    shown = [text.replace("\u2060", "·") for text in written(result, "srt").split("\n")]
    assert shown[2] == "a <·b and c> d, \uff5b·\\·an8\uff5d·x &· y &·lt;"
    assert shown[6] == "R&D", "what no reader takes for markup is as it was said"


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_what_looks_like_the_frame_of_a_cue_stays_on_its_line(form: str) -> None:
    texts = ["Chapter\n5", "From 10:00:00,000 to\n11:00:00,000 or 12:00:00,000\n7", "00:01.500 --> 00:02.500", "5"]
    result = transcript(*(segment(number, number + 0.5, text) for number, text in enumerate(texts)))
    assert [text for *_, text in parsed(result, form)] == texts
    lines = html.unescape(written(result, form)).replace("\u2060", "·").split("\n")
    assert {"·5", "11:00:00,000 or 12:00:·00,000", "·7", "00:01.500 --> 00:·02.500", "5"} < set(lines)


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


# --- speakers ---

#: As may be given on the command line, marks and times included.
names = st.sampled_from(["Anna", "Speaker 2", "A & B", "12", "00:01.500", "Ann\na"])


@st.composite
def conversations(draw: st.DrawFn, name: st.SearchStrategy[str] = names) -> Transcript:
    """Any segments of a few speakers: they may overlap, also those of one, end before they start, or run backwards."""
    speakers = draw(st.lists(name, min_size=1, max_size=3, unique=True))
    said = st.tuples(times, times, text_vtt | awkward, st.sampled_from(speakers))
    segments = [segment(start, end, text, speaker=who) for start, end, text, who in draw(st.lists(said, max_size=15))]
    return transcript(*segments, duration=draw(st.floats(0.05, 31)))


def check_times(found: list[tuple[int, int, str | None]], duration: float) -> None:
    """All within the file and in the order they start; for each speaker, no overlap."""
    assert [start for start, _, _ in found] == sorted(start for start, _, _ in found)
    ends: dict[str | None, int] = {}
    for start, end, speaker in found:
        assert ends.get(speaker, 0) <= start < end <= duration * 1000 + 1e-6
        ends[speaker] = end


@given(conversations())
def test_speakers_may_overlap_and_none_overlaps_with_itself(result: Transcript) -> None:
    found = list(cues(result))
    check_times([(cue.start, cue.end, cue.speaker) for cue in found], result.duration)
    for speaker in {each.speaker for each in result}:
        alone = transcript(*(each for each in result if each.speaker == speaker), duration=result.duration)
        assert [cue for cue in found if cue.speaker == speaker] == list(cues(alone)), "as without the others"
    for form in ("srt", "vtt"):
        read = parsed(result, form)
        assert [(start, end) for start, end, _ in read] == [(cue.start, cue.end) for cue in found]


@given(conversations())
def test_speakers_read_back(result: Transcript) -> None:
    for (_, _, text), cue in zip(parsed(result, "vtt"), cues(result), strict=True):
        assert words_of(text) == words_of(cue.text)
    lines = [line.split("\t") for line in written(result, "tsv").splitlines()[1:]]
    assert [line[2] for line in lines] == [
        f"{one_line(cue.speaker or '')}: {one_line(cue.text)}" for cue in cues(result)
    ]
    assert {len(line) for line in lines} <= {3}
    found = json.loads(written(result, "json"))["segments"]
    assert [each["speaker"] for each in found] == [each.speaker for each in result]


def test_reading_texts_have_a_paragraph_for_each_turn() -> None:
    said = [(0, 1, "Anna", " Good"), (1, 2, "Anna", " morning. "), (2, 2.5, "Ben", "  "), (2.5, 3, "Anna", "Hello."),
            (3, 4, "Ben", " Yes. "), (4, 5, None, " One."), (5, 6, None, " Two."), (6, 7, "Ben", "はい。"),
            (7, 8, "Ben", "そうです。")]  # fmt: skip
    result = transcript(*(segment(start, end, text, speaker=speaker) for start, end, speaker, text in said))
    assert written(result, "txt") == "Anna: Good morning. Hello.\nBen: Yes.\nOne.\nTwo.\nBen: はい。そうです。\n"
    assert written(result, "md") == (
        "**00:00:00.000 – 00:00:03.000 Anna:** Good morning. Hello.\n\n"
        "**00:00:03.000 – 00:00:04.000 Ben:** Yes.\n\n"
        "**00:00:04.000 – 00:00:05.000** One.\n\n"
        "**00:00:05.000 – 00:00:06.000** Two.\n\n"
        "**00:00:06.000 – 00:00:08.000 Ben:** はい。そうです。\n"
    )


def test_speakers_in_each_format() -> None:
    result = transcript(
        segment(0, 2.5, " Hello.", speaker="Anna & Co"), segment(2, 3, " Hi. "), segment(2, 4, " Yes.", speaker="<Ben>")
    )
    assert written(result, "txt") == "Anna & Co: Hello.\nHi.\n<Ben>: Yes.\n"
    assert (
        written(result, "tsv")
        == "start\tend\ttext\n0\t2500\tAnna & Co: Hello.\n2000\t3000\tHi.\n2000\t4000\t<Ben>: Yes.\n"
    )
    assert written(result, "srt").splitlines()[:7] == [
        "1", "00:00:00,000 --> 00:00:02,500", "Anna & Co: Hello.", "", "2", "00:00:02,000 --> 00:00:03,000", "Hi.",
    ]  # fmt: skip
    assert "\n<v Anna &amp; Co>Hello.\n" in written(result, "vtt")
    assert "\n<v &lt;Ben&gt;>Yes.\n" in written(result, "vtt")
    assert [each.get("speaker") for each in json.loads(written(result, "json"))["segments"]] == [
        "Anna & Co", None, "<Ben>",
    ]  # fmt: skip


# --- highlighted words ---

HIGHLIGHT = Style(highlight_words=True)


@st.composite
def worded(draw: st.DrawFn, text: st.SearchStrategy[str]) -> Transcript:
    """Segments with words that make up their text; the words' times are whatever they are, also out of order."""
    segments = []
    for _ in range(draw(st.integers(0, 6))):
        words = [
            Word(word=f" {draw(text)}", start=draw(times), end=draw(times), probability=0.5)
            for _ in range(draw(st.integers(0, 6)))
        ]
        start, end = draw(times), draw(times)
        spoken = "".join(word.word for word in words)
        segments.append(segment(start, end, spoken, words=tuple(words), speaker=draw(st.sampled_from([None, "A: 1"]))))
    return transcript(*segments, duration=draw(st.floats(0.05, 31)))


@pytest.mark.parametrize("form", ["srt", "vtt"])
@given(data=st.data())
def test_highlighting_changes_neither_text_nor_times(form: str, data: st.DataObject) -> None:
    result = data.draw(worded((text_srt if form == "srt" else text_vtt) | st.sampled_from(awkward_pieces)))
    plain, frames = list(cues(result)), list(cues(result, HIGHLIGHT))
    check_times([(cue.start, cue.end, cue.speaker) for cue in frames], result.duration)
    # The frames of a cue fill its time without a gap, and nothing else.
    for cue in plain:
        own = [each for each in frames if each.speaker == cue.speaker and cue.start <= each.start < cue.end]
        assert (own[0].start, own[-1].end) == (cue.start, cue.end)
        assert all(a.end == b.start for a, b in itertools.pairwise(own))
        assert {each.text for each in own} == {cue.text}
        marked = [each.underlined for each in own if each.underlined]
        assert marked == sorted(marked)
        if len(marked) > 0:  # each word that can be seen has its turn, and together they are the text
            assert (marked[0][0], marked[-1][1]) == (0, len("".join(cue.text.split())))
            assert all(a[1] == b[0] for a, b in itertools.pairwise(marked))
    read = pysubs2.SSAFile.from_string(written(result, form, HIGHLIGHT), format_=form)
    assert [(event.start, event.end) for event in read] == [(cue.start, cue.end) for cue in frames]
    for event, cue in zip(read, frames, strict=True):
        text = READ[form](event.plaintext)
        assert "".join(text.split()) == "".join(
            f"{'A: 1: ' if cue.speaker and form == 'srt' else ''}{cue.text}".split()
        )
        underlined = [part.split("{\\u0}")[0] for part in event.text.split("{\\u1}")[1:]]
        first, last = cue.underlined or (0, 0)
        assert (
            "".join(READ[form]("".join(underlined).replace("\\N", "")).split()) == "".join(cue.text.split())[first:last]
        )


def highlighted(*words: Word, text: str | None = None) -> list[tuple[int, int, str]]:
    spoken = "".join(word.word for word in words) if text is None else text
    result = transcript(segment(1, 3, spoken, words=words))
    body = written(result, "srt", HIGHLIGHT).split("\n\n")[:-1]
    times = [(cue.start, cue.end) for cue in cues(result, HIGHLIGHT)]
    return [(*time, cue.split("\n", 2)[2]) for time, cue in zip(times, body, strict=True)]


def word(text: str, start: float, end: float) -> Word:
    return Word(word=text, start=start, end=end, probability=0.5)


def test_each_word_is_underlined_in_turn_and_none_between() -> None:
    assert highlighted(word(" Good", 1.2, 1.5), word(" morning,", 1.5, 2), word(" all.", 2.25, 3)) == [
        (1000, 1200, "Good morning, all."),
        (1200, 1500, "<u>Good</u> morning, all."),
        (1500, 2000, "Good <u>morning,</u> all."),
        (2000, 2250, "Good morning, all."),
        (2250, 3000, "Good morning, <u>all.</u>"),
    ]


def test_words_without_time_or_outside_of_their_cue_are_given_a_moment_in_it() -> None:
    assert highlighted(word(" a", 0, 0), word(" b", 2, 2), word(" c", 9, 8)) == [
        (1000, 1001, "<u>a</u> b c"),
        (1001, 2000, "a b c"),
        (2000, 2001, "a <u>b</u> c"),
        (2001, 2999, "a b c"),
        (2999, 3000, "a b <u>c</u>"),
    ]


def test_no_space_between_words_and_marks_that_html_knows() -> None:
    assert [text for *_, text in highlighted(word("你", 1, 2), word("好", 2, 3))] == ["<u>你</u>好", "你<u>好</u>"]
    result = transcript(segment(0, 1, " a & b", words=(word(" a &", 0, 0.5), word(" b", 0.5, 1))))
    assert "\n<u>a &amp;</u> b\n" in written(result, "vtt", HIGHLIGHT)


@pytest.mark.parametrize(
    "words", [(), (word(" other", 1, 2),), (word(" the", 1, 2), word(" text", 1, 2), word(".", 2, 3))]
)
def test_words_that_are_not_those_of_the_text_leave_it_plain(words: tuple[Word, ...]) -> None:
    assert highlighted(*words, text=" the text") == [(1000, 3000, "the text")]


def test_no_words_and_more_words_than_milliseconds_leave_the_cue_plain() -> None:
    assert written(transcript(segment(0, 1, " a")), "srt", HIGHLIGHT) == written(transcript(segment(0, 1, " a")), "srt")
    crowd = tuple(word(f" {number}", 0, 1) for number in range(5))
    result = transcript(segment(0, 0.004, " 0 1 2 3 4", words=crowd), duration=0.004)
    assert [(cue.start, cue.end, cue.underlined) for cue in cues(result, HIGHLIGHT)] == [(0, 4, None)]


@pytest.mark.parametrize("form", sorted(OUTPUT_FORMATS.keys() - {"srt", "vtt"}))
def test_other_formats_do_not_highlight(form: str) -> None:
    result = transcript(segment(0, 1, " a b", words=(word(" a", 0, 0.5), word(" b", 0.5, 1))))
    assert written(result, form, HIGHLIGHT) == written(result, form)
