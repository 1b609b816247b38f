from __future__ import annotations

import pytest
from fakes import FakeEngine
from hypothesis import example, given
from hypothesis import strategies as st

from mtasr.decoding.checks import Attempt
from mtasr.decoding.timing.segments import (
    Piece,
    all_pieces,
    fit_times,
    merge_pieces,
    milliseconds_between,
    readings_of,
    split_at_timestamps,
    timed_segments,
)
from mtasr.engines.engine import Hypothesis
from mtasr.transcript import Reading

TOKENIZER = FakeEngine().tokenizer


def split(text: str, seconds: float = 30.0) -> tuple[list[tuple[float, float, str]], float]:
    tokens = TOKENIZER.encoding.encode(text, allowed_special="all")
    pieces, advance = split_at_timestamps(tokens, TOKENIZER, seconds)
    return [(p.start, p.end, TOKENIZER.decode(p.tokens)) for p in pieces], advance


@pytest.mark.parametrize(
    ("text", "pieces", "advance"),
    [
        # One closed segment: everything was said, on to the next window.
        ("<|0.00|> the day<|2.50|>", [(0.0, 2.5, " the day")], 30.0),
        # Two closed segments, and the last one ends before the window does.
        ("<|0.00|> the<|2.00|><|3.00|> day<|4.00|>", [(0.0, 2.0, " the"), (3.0, 4.0, " day")], 30.0),
        # The window cuts the second segment: it is heard again, from where the first ended.
        ("<|0.00|> the<|2.00|><|2.00|> day", [(0.0, 2.0, " the")], 2.0),
        # The model closes and says that speech goes on.
        ("<|0.00|> the<|2.00|><|2.00|>", [(0.0, 2.0, " the")], 2.0),
        # No end: until the end of the window.
        ("<|1.00|> the day", [(1.0, 30.0, " the day")], 30.0),
        # No timestamps at all.
        (" the day", [(0.0, 30.0, " the day")], 30.0),
        ("", [(0.0, 30.0, "")], 30.0),
        # Only the start, twice: it must not stand still.
        ("<|0.00|><|0.00|>", [(0.0, 0.0, "")], 30.0),
    ],
)
def test_cuts_and_advance(text: str, pieces: list[tuple[float, float, str]], advance: float) -> None:
    assert split(text) == (pieces, advance)


@given(
    st.lists(
        st.one_of(st.integers(0, 200), st.integers(0, 1500).map(lambda n: TOKENIZER.timestamp_begin + n)), max_size=30
    )
)
@example([TOKENIZER.timestamp_begin + step for step in (1500, 1, 0)] + [0])
def test_any_tokens_advance_and_lose_nothing_before_it(tokens: list[int]) -> None:
    pieces, advance = split_at_timestamps(tokens, TOKENIZER, 30.0)
    assert 0 < advance <= 30.0
    kept = [token for piece in pieces for token in piece.tokens]
    assert kept == tokens[: len(kept)]
    reach = max(piece.end for piece in pieces)  # not the last end: these timestamps may step back
    if advance == 30.0 and reach > 0:
        cut_off = [token for token in tokens[len(kept) :] if not TOKENIZER.is_timestamp(token)]
        assert not cut_off or reach == 30.0


WORDS = st.lists(st.integers(0, TOKENIZER.eot - 1), min_size=1, max_size=5)
STEPS = st.lists(st.integers(0, 1500), min_size=2, max_size=16).filter(lambda steps: len(steps) % 2 == 0)


@given(STEPS, st.data())
def test_segments_to_tokens_and_back(steps: list[int], data: st.DataObject) -> None:
    bounds = sorted(steps)
    bounds[1:] = [max(bound, 1) for bound in bounds[1:]]
    spans = list(zip(bounds[::2], bounds[1::2], strict=True))
    segments = [(start * 0.02, end * 0.02, data.draw(WORDS)) for start, end in spans]
    at = TOKENIZER.timestamp_begin
    tokens = [t for (a, b), (_, _, text) in zip(spans, segments, strict=True) for t in (at + a, *text, at + b)]
    pieces, advance = split_at_timestamps(tokens, TOKENIZER, 30.0)
    if len(segments) > 1 or bounds[1] > 0:
        found = [(p.start, p.end, [t for t in p.tokens if not TOKENIZER.is_timestamp(t)]) for p in pieces]
        assert found == [(pytest.approx(start), pytest.approx(end), text) for start, end, text in segments]
    assert [token for piece in pieces for token in piece.tokens] == tokens
    assert advance == 30.0


times = st.floats(-5, 40, allow_nan=False)


@given(st.lists(st.tuples(times, times), max_size=40), st.floats(0, 20), st.floats(0.1, 30))
def test_fitted_times_run_forwards(spans: list[tuple[float, float]], earliest: float, room: float) -> None:
    latest = earliest + room
    fitted = fit_times(spans, earliest, latest)
    assert len(fitted) == len(spans)
    before = earliest
    for start, end in fitted:
        assert before - 1e-9 <= start < end <= latest + 1e-9
        before = end


def test_good_times_are_left_alone() -> None:
    spans = [(1.0, 2.0), (2.0, 3.5), (5.0, 9.0)]
    assert fit_times(spans, 0.0, 10.0) == spans


def test_pieces_are_values() -> None:
    assert Piece(start=0.0, end=1.0, tokens=(1,)) == Piece(start=0.0, end=1.0, tokens=(1,))


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("<|0.00|> the day<|2.50|>", [(0.0, 2.5, " the day")]),
        ("<|0.00|> the<|2.00|><|3.00|> day<|4.00|>", [(0.0, 2.0, " the"), (3.0, 4.0, " day")]),
        # The window holds all that is said: what has no end ends with it.
        ("<|0.00|> the<|2.00|><|2.50|> day", [(0.0, 2.0, " the"), (2.5, 12.0, " day")]),
        ("<|1.00|> the day", [(1.0, 12.0, " the day")]),
        (" the day", [(0.0, 12.0, " the day")]),
        (" the<|2.00|><|2.00|> day<|3.00|>", [(0.0, 2.0, " the"), (2.0, 3.0, " day")]),
        ("<|0.00|><|1.00|> the day<|2.00|>", [(0.0, 12.0, ""), (1.0, 2.0, " the day")]),
        ("<|1.00|>", [(1.0, 12.0, "")]),
        (" the<|2.00|><|3.00|>", [(0.0, 2.0, " the"), (3.0, 12.0, "")]),
        ("", []),
    ],
)
def test_all_pieces(text: str, pieces: list[tuple[float, float, str]]) -> None:
    tokens = TOKENIZER.encoding.encode(text, allowed_special="all")
    found = all_pieces(tokens, TOKENIZER, 12.0)
    assert [(piece.start, piece.end, TOKENIZER.decode(piece.tokens)) for piece in found] == pieces


ANY_TOKENS = st.lists(
    st.one_of(st.integers(0, 200), st.integers(0, 1500).map(lambda n: TOKENIZER.timestamp_begin + n)), max_size=30
)


@given(ANY_TOKENS, st.floats(0.1, 30), st.integers(0, 36_000_000).map(lambda frames: frames / 16_000))
@example([TOKENIZER.timestamp_begin + step for step in (1500, 1, 0)] + [0], 0.1, 0.0)
def test_all_tokens_become_segments_in_their_window(tokens: list[int], seconds: float, offset: float) -> None:
    pieces = all_pieces(tokens, TOKENIZER, seconds)
    assert [token for piece in pieces for token in piece.tokens] == tokens
    hypothesis = Hypothesis(tokens=tuple(tokens), avg_logprob=-0.3, no_speech_prob=0.02)
    attempt = Attempt(hypothesis=hypothesis, compression_ratio=1.5, temperature=0.2)
    segments = timed_segments(pieces, attempt, TOKENIZER, offset, seconds)
    assert [segment.id for segment in segments] == list(range(len(segments)))
    assert all(segment.text.strip() for segment in segments)
    assert "".join(segment.text for segment in segments).split() == TOKENIZER.decode(tokens).split()
    end = offset
    for segment in segments:
        assert end - 1e-6 <= segment.start < segment.end <= offset + seconds + 1e-6
        assert (segment.avg_logprob, segment.compression_ratio, segment.temperature) == (-0.3, 1.5, 0.2)
        end = segment.end


@pytest.mark.parametrize(
    ("spans", "fitted"),
    [
        ([(1.0, 1.0)], [(1.0, 1.02)]),
        ([(1.0, 1.019)], [(1.0, 1.02)]),
        ([(5.0, 4.0), (4.0, 6.0)], [(5.0, 5.02), (5.02, 6.0)]),
        ([(-3.0, -2.0)], [(0.0, 0.02)]),
        ([(12.0, 13.0), (14.0, 15.0)], [(9.96, 9.98), (9.98, 10.0)]),
        ([(1.00049, 2.0006)], [(1.0, 2.001)]),
        ([], []),
    ],
)
def test_times_that_fit_nowhere(spans: list[tuple[float, float]], fitted: list[tuple[float, float]]) -> None:
    assert fit_times(spans, 0.0, 10.0) == fitted


def test_more_text_than_time_shares_what_there_is() -> None:
    assert fit_times([(0, 0)] * 4, 1.0, 1.01) == [(1.0, 1.002), (1.002, 1.004), (1.004, 1.006), (1.006, 1.008)]
    assert fit_times([(5, 6)] * 3, 1.0004, 1.0046) == [(1.001, 1.002), (1.002, 1.003), (1.003, 1.004)]


@pytest.mark.parametrize(
    ("earliest", "latest", "count"),
    [
        (0.0, 1.0, 1000),
        (1.0004, 1.0096, 8),
        (0.001, 0.002, 1),
        (0.1 + 0.2, 0.3, 0),
        (1.0, 0.5, -500),
        (2.001, 2.003, 2),
    ],
)
def test_whole_milliseconds_between_two_times(earliest: float, latest: float, count: int) -> None:
    assert milliseconds_between(earliest, latest) == count


def test_pieces_without_room_become_one() -> None:
    pieces = [Piece(start=0.0, end=2.0, tokens=(5,)), Piece(start=1.0, end=1.5, tokens=(6, 7))]
    assert merge_pieces(pieces) == Piece(start=0.0, end=2.0, tokens=(5, 6, 7))
    hypothesis = Hypothesis(tokens=(5, 6, 7), avg_logprob=-0.3, no_speech_prob=0.02)
    attempt = Attempt(hypothesis=hypothesis, compression_ratio=1.5, temperature=0.2)
    for reach, count in ((0.002, 2), (0.0019, 1)):
        segments = timed_segments(pieces, attempt, TOKENIZER, 3.0, reach, "fr")
        assert len(segments) == count
        assert {(each.no_speech_prob, each.language) for each in segments} == {(0.02, "fr")}
        assert (segments[0].start, segments[-1].end) == (3.0, 3.002 if count == 2 else 3.001)
        assert [each.tokens for each in segments] == ([(5,), (6, 7)] if count == 2 else [(5, 6, 7)])


def test_readings_are_different_texts_with_their_best_probability() -> None:
    hypothesis = Hypothesis(
        tokens=(1, 2), avg_logprob=-0.5, no_speech_prob=0.0, others=(((1,), -0.6), ((3,), -0.7), ((3, 3), -0.8))
    )
    found = readings_of(hypothesis, lambda tokens: f" {min(tokens)} ")
    assert found == (Reading(text="1", avg_logprob=-0.5), Reading(text="3", avg_logprob=-0.7))
