"""Channels put together: in order, nothing lost, nothing late."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtasr.decoding.channels import in_order_of_time
from mtasr.decoding.coverage import coverage
from mtasr.decoding.submission import DecodedWindow
from mtasr.transcript import Coverage, Segment


def segment(speaker: str, start: float) -> Segment:
    return Segment(
        id=0, start=start, end=start + 1, text=" word", tokens=(), avg_logprob=-0.2, compression_ratio=1.0,
        no_speech_prob=0.0, temperature=0.0, speaker=speaker,
    )  # fmt: skip


@st.composite
def channels(draw: st.DrawFn) -> list[list[DecodedWindow]]:
    """Of one recording of 100 s: its starts never run backwards, and its windows hold any number of them."""
    found = []
    for number in range(draw(st.integers(1, 4))):
        starts = sorted(draw(st.lists(st.integers(0, 99), max_size=12)))
        cuts = sorted(draw(st.lists(st.integers(0, len(starts)), max_size=4)))
        windows = [starts[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(starts)], strict=True)]
        spoken = [tuple(segment(f"{number}", float(start)) for start in window) for window in windows]
        found.append([DecodedWindow(each, 100 * (i + 1) / len(spoken)) for i, each in enumerate(spoken)])
    return found


@given(channels())
def test_in_order_and_complete(recording: list[list[DecodedWindow]]) -> None:
    results = list(in_order_of_time(recording))
    merged = [each for result in results for each in result.segments]
    everything = [each for channel in recording for result in channel for each in result.segments]
    # Stable: the first channel comes first, and a channel's own order stays.
    assert merged == sorted(everything, key=lambda each: each.start)
    positions = [result.position for result in results]
    assert positions == sorted(positions)
    assert positions[-1] == pytest.approx(100)


def test_segments_come_as_soon_as_none_can_come_before_them() -> None:
    asked = []

    def channel(name: str, *starts: float) -> Iterator[DecodedWindow]:
        for start in starts:
            asked.append(start)
            yield DecodedWindow((segment(name, start),), start + 1)

    results = in_order_of_time([channel("a", 0, 4, 8), channel("b", 2, 6)])
    seen = [(len(asked), [each.start for each in result.segments], result.position) for result in results]
    assert seen == [
        (1, [], 0.5),
        (2, [], 2.5),
        (3, [], 4.5),
        (4, [0, 2], 6.0),
        (5, [4, 6], 8.0),
        (5, [8], 8.0),
    ]


def test_coverage_compares_each_speaker_with_what_they_said() -> None:
    speech = {"a": [(1.0, 3.0), (8.0, 9.0)], "b": [(2.0, 4.0), (30.0, 31.5)]}
    said = [segment("a", 20.0), segment("b", 30.3), segment("b", 40.0)]
    assert coverage(speech, said) == Coverage(
        speech=6.5,
        speech_without_text=((1.0, 4.0), (8.0, 9.0)),
        text_without_speech=((20.0, 21.0), (40.0, 41.0)),
    )
    assert coverage({"a": [(20.0, 21.0)], "b": [(30.0, 31.5)]}, [segment("a", 20.0), segment("b", 30.3)]).complete
    assert not coverage({"a": [(20.0, 21.0)], "b": []}, [segment("b", 20.0)]).complete, "somebody else's words"
