"""Windows: everything that is known is in one of them, once, and nothing else is."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from training_data import record

from mtasr.data.excerpts import SHORTEST, Window, cut_windows, joined
from mtasr.data.records import Cue, Record


@st.composite
def recordings(draw: st.DrawFn) -> Record:
    """Captions in order, in hundredths of a second so that sums are exact enough; some without text, some too long."""
    now, cues = 0, []
    for number in range(draw(st.integers(0, 12))):
        start = now + draw(st.integers(0, 900))
        now = start + draw(st.one_of(st.integers(31, 900), st.integers(31, 4000)))
        cues.append(Cue(start=start / 100, end=now / 100, text=draw(st.sampled_from([f"word {number}."] * 4 + [""]))))
    return Record(
        id="a", audio="/a.wav", duration=(now + draw(st.integers(0, 4000))) / 100, language="en", cues=tuple(cues)
    )


lengths = st.lists(st.floats(1, 30), min_size=1, max_size=5)


def windows_of(each: Record, seconds: list[float]) -> list[Window]:
    return list(cut_windows(each, itertools.cycle(seconds).__next__))


def in_file(window: Window) -> list[Cue]:
    return [cue.shifted(window.parts[0].start) for cue in window.cues]


@given(recordings(), lengths)
def test_each_caption_is_in_one_window_at_its_time(each: Record, seconds: list[float]) -> None:
    windows = windows_of(each, seconds)
    found = [cue for window in windows for cue in in_file(window)]
    expected = [cue for cue in each.cues if cue.text and cue.end - cue.start <= 30]
    assert [cue.text for cue in found] == [cue.text for cue in expected]
    for cue, wanted in zip(found, expected, strict=True):
        assert (cue.start, cue.end) == pytest.approx((wanted.start, wanted.end), abs=1e-6)


@given(recordings(), lengths)
def test_windows_hold_nothing_that_nobody_wrote_down(each: Record, seconds: list[float]) -> None:
    for window in windows_of(each, seconds):
        (part,) = window.parts
        assert 0 <= part.start < part.end <= each.duration
        assert SHORTEST <= window.seconds <= 30 + 1e-6
        known = in_file(window)
        for cue in each.cues:
            overlap = min(cue.end, part.end) - max(cue.start, part.start)
            if overlap > 1e-6 and cue.text not in [caption.text for caption in known if caption.text]:
                # Only one caption may be in it in part, and it is told where that begins.
                assert window.cues
                assert window.cut == pytest.approx(cue.start - part.start)
                assert cue.text


@given(recordings(), lengths)
def test_a_caption_cut_off_begins_the_next_window(each: Record, seconds: list[float]) -> None:
    windows = windows_of(each, seconds)
    for window, after in itertools.pairwise(windows):
        if window.cut is not None:
            assert after.parts[0].start == pytest.approx(window.parts[0].start + window.cut)
            assert after.cues[0].start == pytest.approx(0, abs=1e-6)
            assert after.previous.endswith(window.cues[-1].text)
            shorter = window.before_cut()
            assert shorter.seconds == pytest.approx(window.cut)
            assert shorter.cues == window.cues


@given(recordings(), lengths)
def test_previous_text_is_what_was_said_before(each: Record, seconds: list[float]) -> None:
    said: list[str] = []
    for window in windows_of(each, seconds):
        if window.previous:
            assert " ".join(said).endswith(window.previous)
        said += [cue.text for cue in window.cues]


def test_known_windows() -> None:
    cues = tuple(Cue(start=a, end=b, text=t) for a, b, t in [(1, 4, "One."), (5, 9, "Two."), (9, 12, "Three.")])
    windows = windows_of(Record(id="a", audio="/a", duration=20, language="en", cues=cues), [10])
    assert [(w.parts[0].start, w.parts[0].end, [c.text for c in w.cues], w.cut, w.previous) for w in windows] == [
        (0, 10, ["One.", "Two."], 9, ""),
        (9, 19, ["Three."], None, "One. Two."),
    ]
    (silence,) = windows_of(replace(record("x"), cues=(), duration=8.0), [30])
    assert silence.cues == ()
    assert silence.seconds == 8.0


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(-5, 60)), max_size=8), lengths)
def test_captions_in_any_disorder_come_to_an_end(times: list[tuple[int, int]], seconds: list[float]) -> None:
    cues = tuple(Cue(start=float(start), end=float(max(0, start + more)), text="x") for start, more in times)
    each = Record(id="a", audio="/a.wav", duration=70.0, language="en", cues=cues)
    assert all(SHORTEST <= window.seconds <= 30 + 1e-6 for window in windows_of(each, seconds))


def test_untimed_records_make_one_window_or_none() -> None:
    short = record("One.", timed=False, duration=5.0)
    (window,) = windows_of(short, [3])
    assert (window.seconds, window.timed, window.whole) == (5.0, False, True)
    assert windows_of(replace(short, duration=31.0), [3]) == []


@given(st.lists(st.tuples(st.integers(50, 500), st.integers(0, 200)), min_size=1, max_size=5))
def test_joined_windows_keep_their_times(sizes: list[tuple[int, int]]) -> None:
    records = [
        record(f"word {number}.", seconds=seconds / 100, gap=0.25, audio=f"/{number}.wav")
        for number, (seconds, _) in enumerate(sizes)
    ]
    windows = [windows_of(each, [30])[0] for each in records]
    gaps = [gap / 100 for _, gap in sizes[1:]]
    together = joined(windows, gaps)
    assert together.seconds == pytest.approx(sum(w.seconds for w in windows) + sum(gaps))
    assert [part.audio for part in together.parts] == [each.audio for each in records]
    begin = 0.0
    for part, cue, window in zip(together.parts, together.cues, windows, strict=True):
        assert cue.start == pytest.approx(begin + part.before + window.cues[0].start)
        begin += part.seconds
