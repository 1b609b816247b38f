"""Words and pauses: the words between two pauses fill the speech there."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtasr.decoding.timing.pauses import place_words
from mtasr.transcript import Word


def words(*timed: tuple[str, float, float]) -> list[Word]:
    return [Word(word=word, start=start, end=end, probability=0.5) for word, start, end in timed]


def times(placed: list[Word]) -> list[tuple[str, float, float]]:
    return [(word.word, round(word.start, 2), round(word.end, 2)) for word in placed]


def test_a_pause_lies_between_the_words_nearest_to_it() -> None:
    # The alignment stretches "letters." over the pause, as it does.
    said = words((" Bring", 0.0, 0.5), (" letters.", 0.5, 2.3), (" Then", 2.3, 2.6), (" rest", 2.6, 3.0))
    assert times(place_words(said, [(0.2, 1.3), (2.2, 3.1)])) == [
        (" Bring", 0.2, 0.5),
        (" letters.", 0.5, 1.3),
        (" Then", 2.2, 2.6),
        (" rest", 2.6, 3.1),
    ]


def test_a_mark_tells_where_the_pause_is() -> None:
    """The alignment is half way between two gaps; one has a full stop before it."""
    said = words((" certainly.", 0.0, 1.0), (" no", 1.0, 1.5), (" way", 1.5, 2.0))
    assert times(place_words(said, [(0.0, 1.15), (1.35, 2.0)]))[0] == (" certainly.", 0.0, 1.15)


def test_letters_tell_how_much_fits_before_a_pause() -> None:
    """The alignment puts the pause after the first word, where there is speech for two."""
    said = words((" one", 0.0, 0.9), (" remarkable", 0.9, 2.0), (" thing", 2.0, 2.5))
    placed = times(place_words(said, [(0.0, 1.2), (1.6, 2.1)]))
    assert placed[1][2] == 1.2
    assert placed[2] == (" thing", 1.6, 2.1)


def test_a_short_pause_inside_a_word_does_not_tear_it() -> None:
    said = words((" extraordinary", 0.0, 1.0), (" thing", 1.0, 1.4))
    placed = times(place_words(said, [(0.0, 0.4), (0.5, 1.4)]))
    assert placed == [(" extraordinary", 0.0, 1.0), (" thing", 1.0, 1.4)]


def test_squeezed_words_share_the_speech_by_their_letters() -> None:
    said = words((" a", 4.0, 4.1), (" bb", 4.1, 4.2), (" ccc", 4.2, 4.3))
    assert times(place_words(said, [(0.0, 0.6)])) == [(" a", 0.0, 0.1), (" bb", 0.1, 0.3), (" ccc", 0.3, 0.6)]


def test_a_squeezed_word_takes_time_from_the_roomier_word_beside_it_alone() -> None:
    said = words((" vor", 0.0, 0.3), (" a", 0.3, 0.31), (" abcde", 0.31, 0.91), (" bb", 0.91, 1.2), (" ende", 1.2, 1.8))
    assert times(place_words(said, [(0.0, 1.8)])) == [
        (" vor", 0.0, 0.3),
        (" a", 0.3, 0.4),
        (" abcde", 0.4, 0.91),
        (" bb", 0.91, 1.2),
        (" ende", 1.2, 1.8),
    ]


def test_a_single_kana_leaves_the_rest_of_the_sentence_as_it_was_aligned() -> None:
    said = words(
        ("海", 0.0, 0.5), ("の", 0.5, 0.52), ("近く", 0.52, 1.1), ("に", 1.1, 1.12), ("町", 1.12, 3.0), ("が", 3.0, 3.2)
    )
    placed = place_words(said, [(0.0, 3.2)])
    assert times(placed)[0] == ("海", 0.0, 0.26)
    assert [word.start for word in placed][2::3] == pytest.approx([0.52, 3.0])
    assert all(word.end - word.start >= 0.04 for word in placed)


def test_words_squeezed_into_a_point_share_the_room_beside_it() -> None:
    said = words((" one", 0.0, 0.4), (" aa", 0.4, 0.4), (" bb", 0.4, 0.4), (" cccc", 0.4, 1.2), (" two", 1.2, 1.6))
    assert times(place_words(said, [(0.0, 1.6)])) == [
        (" one", 0.0, 0.4),
        (" aa", 0.4, 0.6),
        (" bb", 0.6, 0.8),
        (" cccc", 0.8, 1.2),
        (" two", 1.2, 1.6),
    ]


def test_a_word_is_squeezed_that_has_too_little_time_for_its_letters() -> None:
    """A tenth of a second is enough for one letter, not for thirteen."""
    said = words((" a", 0.0, 0.1), (" extraordinary", 0.1, 0.2), (" thing", 0.2, 2.0))
    assert times(place_words(said, [(0.0, 2.0)])) == [
        (" a", 0.0, 0.1),
        (" extraordinary", 0.1, 1.47),
        (" thing", 1.47, 2.0),
    ]


def test_nothing_known_changes_nothing() -> None:
    said = words((" a", 0.0, 1.0))
    assert place_words(said, []) == said
    assert place_words([], [(0.0, 1.0)]) == []


@given(
    gaps=st.lists(st.floats(0, 2), min_size=1, max_size=20),
    edges=st.lists(st.floats(0.05, 1.5), min_size=2, max_size=16),
)
def test_words_stay_in_order_and_inside_the_speech(gaps: list[float], edges: list[float]) -> None:
    ends = list(itertools.accumulate(gaps))
    said = words(*((f" w{i}", end - gap, end) for i, (gap, end) in enumerate(zip(gaps, ends, strict=True))))
    points = list(itertools.accumulate(edges))[: len(edges) // 2 * 2]
    speech = list(zip(points[::2], points[1::2], strict=True))
    placed = place_words(said, speech)
    assert [word.word for word in placed] == [word.word for word in said]
    assert placed[0].start == pytest.approx(speech[0][0])
    assert placed[-1].end == pytest.approx(speech[-1][1])
    for word, following in itertools.pairwise(placed):
        assert word.start <= word.end <= following.start + 1e-9
