"""Excerpts hold every known caption once, and no speech of unknown words."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from training_data import record

from mtasr.data.excerpts import SHORTEST, Excerpt, cut_excerpts, joined
from mtasr.data.records import Caption, Record


@st.composite
def recordings(draw: st.DrawFn) -> Record:
    """Captions in order, in hundredths of a second so that sums are exact enough; some without text, some too long."""
    now, captions = 0, []
    for number in range(draw(st.integers(0, 12))):
        start = now + draw(st.integers(0, 900))
        now = start + draw(st.one_of(st.integers(31, 900), st.integers(31, 4000)))
        captions.append(
            Caption(start=start / 100, end=now / 100, text=draw(st.sampled_from([f"word {number}."] * 4 + [""])))
        )
    return Record(
        id="a",
        audio="/a.wav",
        duration=(now + draw(st.integers(0, 4000))) / 100,
        language="en",
        captions=tuple(captions),
    )


lengths = st.lists(st.floats(1, 30), min_size=1, max_size=5)


def excerpts_of(each: Record, seconds: list[float]) -> list[Excerpt]:
    return list(cut_excerpts(each, itertools.cycle(seconds).__next__))


def in_file(excerpt: Excerpt) -> list[Caption]:
    return [caption.shifted(excerpt.parts[0].start) for caption in excerpt.captions]


@given(recordings(), lengths)
def test_each_caption_is_in_one_excerpt_at_its_time(each: Record, seconds: list[float]) -> None:
    excerpts = excerpts_of(each, seconds)
    found = [caption for excerpt in excerpts for caption in in_file(excerpt)]
    expected = [caption for caption in each.captions if caption.text and caption.end - caption.start <= 30]
    assert [caption.text for caption in found] == [caption.text for caption in expected]
    for caption, wanted in zip(found, expected, strict=True):
        assert (caption.start, caption.end) == pytest.approx((wanted.start, wanted.end), abs=1e-6)


@given(recordings(), lengths)
def test_excerpts_hold_no_speech_of_unknown_words(each: Record, seconds: list[float]) -> None:
    for excerpt in excerpts_of(each, seconds):
        (part,) = excerpt.parts
        assert 0 <= part.start < part.end <= each.duration
        assert SHORTEST <= excerpt.seconds <= 30 + 1e-6
        known = in_file(excerpt)
        for caption in each.captions:
            overlap = min(caption.end, part.end) - max(caption.start, part.start)
            if overlap > 1e-6 and caption.text not in [caption.text for caption in known if caption.text]:
                # Only one caption may be in it in part, and it is told where that begins.
                assert excerpt.captions
                assert excerpt.cut == pytest.approx(caption.start - part.start)
                assert caption.text


@given(recordings(), lengths)
def test_a_caption_cut_off_begins_the_next_excerpt(each: Record, seconds: list[float]) -> None:
    excerpts = excerpts_of(each, seconds)
    for excerpt, after in itertools.pairwise(excerpts):
        if excerpt.cut is not None:
            assert after.parts[0].start == pytest.approx(excerpt.parts[0].start + excerpt.cut)
            assert after.captions[0].start == pytest.approx(0, abs=1e-6)
            assert after.previous.endswith(excerpt.captions[-1].text)
            shorter = excerpt.before_cut()
            assert shorter.seconds == pytest.approx(excerpt.cut)
            assert shorter.captions == excerpt.captions


@given(recordings(), lengths)
def test_previous_text_is_what_was_said_before(each: Record, seconds: list[float]) -> None:
    said: list[str] = []
    for excerpt in excerpts_of(each, seconds):
        if excerpt.previous:
            assert " ".join(said).endswith(excerpt.previous)
        said += [caption.text for caption in excerpt.captions]


def test_known_excerpts() -> None:
    captions = tuple(Caption(start=a, end=b, text=t) for a, b, t in [(1, 4, "One."), (5, 9, "Two."), (9, 12, "Three.")])
    excerpts = excerpts_of(Record(id="a", audio="/a", duration=20, language="en", captions=captions), [10])
    assert [(w.parts[0].start, w.parts[0].end, [c.text for c in w.captions], w.cut, w.previous) for w in excerpts] == [
        (0, 10, ["One.", "Two."], 9, ""),
        (9, 19, ["Three."], None, "One. Two."),
    ]
    (silence,) = excerpts_of(replace(record("x"), captions=(), duration=8.0), [30])
    assert silence.captions == ()
    assert silence.seconds == 8.0


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(-5, 60)), max_size=8), lengths)
def test_captions_in_any_disorder_give_finitely_many_excerpts(
    times: list[tuple[int, int]], seconds: list[float]
) -> None:
    captions = tuple(Caption(start=float(start), end=float(max(0, start + more)), text="x") for start, more in times)
    each = Record(id="a", audio="/a.wav", duration=70.0, language="en", captions=captions)
    assert all(SHORTEST <= excerpt.seconds <= 30 + 1e-6 for excerpt in excerpts_of(each, seconds))


def test_untimed_records_make_one_excerpt_or_none() -> None:
    short = record("One.", timed=False, duration=5.0)
    (excerpt,) = excerpts_of(short, [3])
    assert (excerpt.seconds, excerpt.timed, excerpt.whole) == (5.0, False, True)
    assert excerpts_of(replace(short, duration=31.0), [3]) == []


@given(st.lists(st.tuples(st.integers(50, 500), st.integers(0, 200)), min_size=1, max_size=5))
def test_joined_excerpts_keep_their_times(sizes: list[tuple[int, int]]) -> None:
    records = [
        record(f"word {number}.", seconds=seconds / 100, gap=0.25, audio=f"/{number}.wav")
        for number, (seconds, _) in enumerate(sizes)
    ]
    excerpts = [excerpts_of(each, [30])[0] for each in records]
    gaps = [gap / 100 for _, gap in sizes[1:]]
    together = joined(excerpts, gaps)
    assert together.seconds == pytest.approx(sum(w.seconds for w in excerpts) + sum(gaps))
    assert [part.audio for part in together.parts] == [each.audio for each in records]
    begin = 0.0
    for part, caption, excerpt in zip(together.parts, together.captions, excerpts, strict=True):
        assert caption.start == pytest.approx(begin + part.before + excerpt.captions[0].start)
        begin += part.seconds


def test_a_caption_that_ends_a_moment_after_the_recording_is_used() -> None:
    """Containers state durations in hundredths of a second, captions have thousandths."""
    each = record("Hello.", gap=0.1, seconds=3.041, duration=3.14)
    (excerpt,) = excerpts_of(each, [30])
    assert excerpt.captions == (Caption(start=0.1, end=3.14, text="Hello."),)
    beyond = Caption(start=3.2, end=4.0, text="Beyond.")
    assert excerpts_of(replace(each, captions=(*each.captions, beyond)), [30]) == [excerpt]
