"""Transcripts for the tests of subtitles: words with times, at every speed and with pauses of every length."""

from __future__ import annotations

import dataclasses

from hypothesis import strategies as st

from mtasr.subtitles import STYLES, Layout, Subtitles
from mtasr.subtitles.layout import Limits
from mtasr.transcript import Segment, Transcript, Word

LAYOUTS = {name: layout for name, layout in STYLES.items() if layout is not None}
WEB = LAYOUTS["web"]


def segment(start: float, end: float, text: str, words: tuple[Word, ...] | None = None, **fields: object) -> Segment:
    made = Segment(
        id=0, start=start, end=end, text=text, tokens=(1, 2), avg_logprob=-0.5, compression_ratio=1.5,
        no_speech_prob=0.1, temperature=0.0, words=words,
    )  # fmt: skip
    return dataclasses.replace(made, **fields)  # type: ignore[arg-type]


def transcript(*segments: Segment, duration: float = 600.0, language: str = "en") -> Transcript:
    return Transcript(language=language, language_probability=1.0, duration=duration, segments=segments)


def timed(*words: tuple[str, float, float]) -> Segment:
    made = tuple(Word(word=f" {text}", start=start, end=end, probability=0.5) for text, start, end in words)
    return segment(made[0].start, made[-1].end, "".join(word.word for word in made), made)


def texts(subtitles: Subtitles) -> list[str]:
    return [cue.text for cue in subtitles.transcript]


def milliseconds(cue: Segment) -> tuple[int, int]:
    return round(cue.start * 1000), round(cue.end * 1000)


ordinary = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=12)
marks = st.sampled_from(["", "", "", "", ".", ",", "?", "...", ":", '."', " ?", " -"])
words_of_text = st.tuples(ordinary, marks).map("".join)
awkward = st.one_of(
    words_of_text, st.text(min_size=1, max_size=60), st.sampled_from(["-->", "<b>", "«", "12", "x" * 60])
)


@st.composite
def spoken(draw: st.DrawFn, text: st.SearchStrategy[str] = words_of_text, most: int = 40) -> Transcript:
    """Segments of words, some of them with word times, at every speed and with pauses of every length."""
    clock, segments = draw(st.floats(0, 5)), []
    for _ in range(draw(st.integers(0, 4))):
        words = []
        for _ in range(draw(st.integers(1, max(most // 4, 1)))):
            start = clock + draw(st.sampled_from([0, 0, 0, 0, 0.02, 0.3, 0.7, 1.5, 3.0]))
            clock = start + draw(st.floats(0.01, 0.9))
            words.append((draw(text), start, clock))
        made = timed(*words)
        segments.append(made if draw(st.booleans()) else dataclasses.replace(made, words=None))
    return transcript(*segments, duration=clock + draw(st.sampled_from([0, 0.1, 5.0])))


#: Words by language: with spaces between them, without, and with spaces and wide.
SCRIPTS = {
    "en": words_of_text,
    "ja": st.from_regex(r"[今日天気公園散歩友達ひらがなカタカナ]{1,7}[、。]?", fullmatch=True),
    "ko": st.from_regex(r"[오늘날씨공원산책친구]{1,5}[,.]?", fullmatch=True),
}
WIDE = frozenset({"ja", "ko"})


@st.composite
def conversations(draw: st.DrawFn) -> Transcript:
    """What one or two people say in turn and at once, each segment in a language of its own and named after it."""
    clocks: dict[str | None, float] = dict.fromkeys(draw(st.sampled_from([(None,), ("Anna", "Ben")])), 0.0)
    segments = []
    for _ in range(draw(st.integers(0, 6))):
        who, language = draw(st.sampled_from([*clocks])), draw(st.sampled_from([*SCRIPTS]))
        clock = max(clocks.values()) if draw(st.booleans()) else clocks[who]
        words = []
        for _ in range(draw(st.integers(1, 8))):
            start = clock + draw(st.sampled_from([0, 0, 0, 0, 0.02, 0.3, 0.7, 3.0]))
            clock = start + draw(st.floats(0, 0.9))
            text = draw(SCRIPTS[language])
            words.append(Word(word=text if language == "ja" else f" {text}", start=start, end=clock, probability=0.5))
        clocks[who] = clock
        text = "".join(word.word for word in words)
        made = segment(words[0].start, clock, text, tuple(words) if draw(st.booleans()) else None)
        segments.append(dataclasses.replace(made, speaker=who, language=language))
    end = max(clocks.values()) + draw(st.sampled_from([0, 0.1, 5.0]))
    return transcript(*sorted(segments, key=lambda each: each.start), duration=end)


def limits_of(cue: Segment, layout: Layout) -> Limits:
    """Those of a cue of `conversations`."""
    return layout.limits(cjk=cue.language in WIDE)


def to_read(cue: Segment) -> str:
    """The text of a cue of `conversations` without its line breaks, which stand for the spaces between words."""
    return cue.text.replace("\n", "" if cue.language == "ja" else " ")


layouts = st.one_of(
    st.sampled_from(list(LAYOUTS.values())),
    st.builds(
        Layout,
        max_line_width=st.integers(5, 60),
        max_line_width_cjk=st.integers(4, 20),
        max_line_count=st.integers(1, 4),
        max_words_per_line=st.none() | st.integers(1, 6),
        max_cps=st.floats(5, 40),
        max_cps_cjk=st.floats(3, 20),
        min_duration=st.floats(0, 2),
        max_duration=st.floats(2, 8),
        min_gap=st.floats(0, 0.3),
    ),
)
