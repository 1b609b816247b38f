from __future__ import annotations

import itertools

from fakes import FakeEngine
from hypothesis import given
from hypothesis import strategies as st

from mtasr.decoding.checks import attempt_of
from mtasr.decoding.timing.segments import Piece, timed_segments
from mtasr.decoding.timing.translation_times import at_times_of
from mtasr.transcript import Segment

ENGINE = FakeEngine()


def segments(*times: tuple[float, float]) -> list[Segment]:
    decoded = attempt_of(ENGINE.hypothesis(" you"), 0.0, ENGINE.tokenizer)
    pieces = [Piece(start=start, end=end, tokens=tuple(ENGINE.tokenizer.encode(" you"))) for start, end in times]
    return timed_segments(pieces, decoded, ENGINE.tokenizer, 0.0, 30.0)


def times(found: list[Segment]) -> list[tuple[float, float]]:
    return [(segment.start, segment.end) for segment in found]


def test_as_many_sentences_have_the_same_times() -> None:
    assert times(at_times_of(segments((0, 2), (3, 5)), segments((0, 1), (1, 6)))) == [(0, 2), (3, 5)]


def test_a_sentence_takes_the_time_of_those_it_translates() -> None:
    assert times(at_times_of(segments((0, 2), (3, 5), (6, 8)), segments((0, 5), (5, 9)))) == [(0, 5), (6, 8)]


def test_sentences_with_nothing_to_show_for_keep_their_times() -> None:
    own = [(0.0, 1.0), (1.0, 6.0)]
    assert times(at_times_of(segments((0, 5)), segments(*own))) == own


spans = st.lists(st.integers(0, 300), max_size=12, unique=True).map(
    lambda edges: [(a / 10, b / 10) for a, b in zip(sorted(edges)[::2], sorted(edges)[1::2], strict=False)]
)


@given(spans, spans)
def test_nothing_is_lost_and_times_ascend(
    transcribed: list[tuple[float, float]], translated: list[tuple[float, float]]
) -> None:
    found = times(at_times_of(segments(*transcribed), segments(*translated)))
    assert len(found) == len(translated)
    assert all(start < end for start, end in found)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(found))
    if len(transcribed) == len(translated):
        assert found == transcribed
