"""Speakers on segments and words."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any
from unittest.mock import create_autospec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtasr.spans import Interval
from mtasr.speakers.assignment import assign, assign_segments, seconds_without_turn
from mtasr.speakers.speaker_times import AllSpeakerTimes, SpeakerTimes
from mtasr.transcript import Alternatives, Reading, Segment, Transcript, Turn, Word

FIGURES: dict[str, Any] = {"avg_logprob": -0.2, "compression_ratio": 1.0, "no_speech_prob": 0.0, "temperature": 0.0}


def segment(*words: tuple[str, float, float], **fields: Any) -> Segment:
    """A segment of words with their times, one text token each between two timestamps."""
    tokens = tuple(range(10, 10 + len(words)))
    timed = tuple(Word(word=text, start=start, end=end, probability=0.9, tokens=1) for text, start, end in words)
    return Segment(
        **{
            "id": 0,
            "start": words[0][1],
            "end": words[-1][2],
            "text": "".join(text for text, _, _ in words),
            "tokens": (50364, *tokens, 50464),
            "words": timed,
            "token_logprobs": tuple((token, -0.1) for token in tokens),
            "heard": (words[0][1] - 0.1, words[-1][2] + 0.1),
        }
        | FIGURES
        | fields
    )


def untimed(start: float, end: float, text: str, **fields: Any) -> Segment:
    return Segment(**{"id": 0, "start": start, "end": end, "text": text, "tokens": (1, 2)} | FIGURES | fields)


def transcript(*segments: Segment, **fields: Any) -> Transcript:
    numbered = tuple(replace(each, id=number) for number, each in enumerate(segments))
    return Transcript(language="en", language_probability=1.0, duration=60.0, segments=numbered, **fields)


def turn(speaker: str, start: float, end: float, confidence: float = 1.0) -> Turn:
    return Turn(start=start, end=end, speaker=speaker, confidence=confidence)


def spoken(result: Transcript) -> list[tuple[str | None, str]]:
    return [(each.speaker, each.text) for each in result]


def test_a_segment_is_divided_where_the_speaker_changes() -> None:
    words = [(" Are", 0.0, 0.2), (" you", 0.2, 0.4), (" there?", 0.4, 0.8), (" Yes,", 1.0, 1.3), (" I", 1.3, 1.4),
             (" am.", 1.4, 1.8)]  # fmt: skip
    result = assign(transcript(segment(*words)), [turn("B", 0.9, 2.0, 0.8), turn("A", 0.0, 0.9)])
    assert spoken(result) == [("A", " Are you there?"), ("B", " Yes, I am.")]
    first, second = result.segments
    assert (first.id, first.start, first.end) == (0, 0.0, 0.8)
    assert (second.id, second.start, second.end) == (1, 1.0, 1.8)
    assert first.tokens == (50364, 10, 11, 12)
    assert second.tokens == (13, 14, 15, 50464)
    assert [[token for token, _ in each.token_logprobs] for each in result] == [[10, 11, 12], [13, 14, 15]]
    assert (first.heard, second.heard) == ((-0.1, 1.0), (1.0, 1.9000000000000001))
    assert (first.speaker_confidence, second.speaker_confidence) == (1.0, 0.8)
    assert [word.speaker for each in result for word in each.words or ()] == ["A"] * 3 + ["B"] * 3
    assert result.turns == (turn("A", 0.0, 0.9), turn("B", 0.9, 2.0, 0.8))
    assert not any(each.overlap for each in result)


def test_a_short_word_does_not_leave_its_sentence() -> None:
    words = [(" I", 0.0, 0.2), (" have", 0.2, 0.5), (" a", 0.5, 0.6), (" red", 0.6, 0.9), (" car.", 0.9, 1.2)]
    turns = [turn("A", 0.0, 0.52), turn("B", 0.5, 0.6), turn("A", 0.6, 1.3)]
    assert spoken(assign(transcript(segment(*words)), turns)) == [("A", " I have a red car.")]


def test_a_word_that_begins_a_little_early_belongs_to_its_sentence() -> None:
    words = [(" Is", 0.0, 0.3), (" it?", 0.3, 0.6), (" No,", 0.6, 0.8), (" it", 0.8, 1.0), (" isn't.", 1.0, 1.5)]
    turns = [turn("A", 0.0, 0.75), turn("B", 0.75, 2.0)]
    assert spoken(assign(transcript(segment(*words)), turns)) == [("A", " Is it?"), ("B", " No, it isn't.")]


def test_a_word_between_two_turns_goes_with_its_sentence() -> None:
    words = [(" The", 0.0, 0.3), (" end.", 0.3, 0.8), (" My", 1.1, 1.2), (" dear", 1.6, 2.0), (" friends,", 2.0, 2.6)]
    turns = [turn("A", 0.0, 0.8), turn("B", 1.5, 2.6)]
    assert spoken(assign(transcript(segment(*words)), turns)) == [("A", " The end."), ("B", " My dear friends,")]


@pytest.mark.parametrize("first", [False, True])
def test_a_word_that_lasts_too_long_was_said_at_one_end(first: bool) -> None:
    """Speech that has no text is counted to a word beside it."""
    words = [(" Why", 0.0, 0.3), (" not?", 0.3, 0.6), (" All", 0.8, 5.0), (" is", 5.0, 5.2), (" well.", 5.2, 5.6)]
    turns = [turn("A", 0.0, 4.7), turn("B", 4.5, 6.0)]
    if first:
        words, turns = words[2:], [*turns[1:], turn("A", 0.8, 4.0)]
    assert spoken(assign(transcript(segment(*words)), turns))[-1] == ("B", " All is well.")


#: Sentences whose first or last words have times in which the other one talks.
LAST_WORD = [(" Now", 0.0, 0.3), (" lead", 0.3, 0.6), (" to", 0.6, 0.8), (" my", 0.8, 1.0), (" charge.", 1.4, 2.5),
             (" What", 3.2, 3.5), (" else?", 3.5, 4.0)]  # fmt: skip
FIRST_WORDS = [(" It", 0.0, 0.2), (" ends.", 0.2, 0.9), (" We", 0.9, 1.5), (" are", 1.5, 2.0), (" sorry", 2.0, 2.5),
               (" about", 2.5, 3.0), (" this.", 3.0, 3.5)]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "turns", "expected"),
    [
        (LAST_WORD, [turn("A", 0.0, 1.1), turn("B", 1.4, 4.0)], ["A"] * 5 + ["B"] * 2),
        (LAST_WORD[:5], [turn("A", 0.0, 1.1), turn("B", 1.4, 4.0)], ["A"] * 5),
        (FIRST_WORDS, [turn("A", 0.0, 2.0), turn("B", 1.9, 3.6)], ["A"] * 2 + ["B"] * 5),
        # Three words are not few; a capital after a long pause begins a sentence, whatever the marks are.
        ([*FIRST_WORDS[:4], (" so", 2.0, 2.2), *FIRST_WORDS[4:]], [turn("A", 0.0, 2.2), turn("B", 2.2, 3.6)],
         ["A"] * 5 + ["B"] * 3),
        ([*LAST_WORD[:4], (" charge", 1.4, 2.5), *LAST_WORD[5:], (" is", 4.0, 4.2), (" there?", 4.2, 4.5)],
         [turn("A", 0.0, 1.1), turn("B", 1.4, 4.5)], ["A"] * 5 + ["B"] * 4),
        ([(" yes", 0.0, 0.5), (" we", 0.5, 1.0), (" are", 1.0, 1.5), (" here", 1.5, 2.0)],
         [turn("A", 0.0, 0.5), turn("B", 0.5, 2.0)], ["A", "B", "B", "B"]),
    ],
    ids=["last", "last of all", "first", "more", "no mark", "no marks at all"],
)  # fmt: skip
def test_a_few_words_stay_with_their_sentence(
    words: list[tuple[str, float, float]], turns: list[Turn], expected: list[str]
) -> None:
    result = assign(transcript(segment(*words)), turns)
    assert [word.speaker for each in result for word in each.words or ()] == expected
    assert assign(result, turns) == result


@pytest.mark.parametrize(
    ("gap", "pause", "speaker"), [(0.0, 0.0, "B"), (0.25, 0.0, "A"), (0.0, 0.35, "A"), (0.1, 0.1, "B")]
)
def test_but_not_if_it_is_clear_that_somebody_else_says_them(gap: float, pause: float, speaker: str) -> None:
    """A pause between the words, or one between the turns, says so."""
    start = 2.0 + pause
    words = [(" Yeah,", 1.4, 2.0), (" I", start, start + 0.3), (" mean", start + 0.3, start + 0.7), (" it.", 2.9, 3.3)]
    result = assign(transcript(segment(*words)), [turn("A", 0.0, 2.0), turn("B", 2.0 + gap, 3.4)])
    assert [word.speaker for each in result for word in each.words or ()] == [speaker, "B", "B", "B"]


def test_a_word_beside_a_change_is_as_sure_as_it_is_nearer_to_it() -> None:
    words = [(" Are", 0.0, 0.2), (" you?", 0.2, 0.6), (" Yes,", 0.6, 0.8), (" yes.", 0.8, 1.2)]
    turns = [turn("A", 0.0, 0.6), turn("B", 0.6, 2.0)]
    sure = [word.speaker_confidence for each in assign(transcript(segment(*words)), turns) for word in each.words or ()]
    assert sure == [1.0, 0.75, 0.5, 1.0]
    apart = [*words[:2], *((text, start + 0.3, end + 0.3) for text, start, end in words[2:])]
    result = assign(transcript(segment(*apart)), turns)
    assert [word.speaker_confidence for each in result for word in each.words or ()] == [1.0] * 4


def test_an_answer_between_pauses_has_its_own_speaker() -> None:
    words = [(" So", 0.0, 0.3), (" we", 0.3, 0.5), (" right", 1.0, 1.3), (" went", 1.8, 2.1), (" home.", 2.1, 2.5)]
    turns = [turn("A", 0.0, 0.6), turn("B", 0.9, 1.4), turn("A", 1.7, 2.6)]
    assert spoken(assign(transcript(segment(*words)), turns)) == [
        ("A", " So we"),
        ("B", " right"),
        ("A", " went home."),
    ]


def test_who_talks_goes_on_where_two_talk() -> None:
    words = [(" One", 0.0, 0.4), (" two", 0.4, 0.8), (" three", 0.8, 1.2), (" four", 1.2, 1.6)]
    result = assign(transcript(segment(*words)), [turn("A", 0.0, 2.0), turn("B", 0.8, 1.2)])
    assert spoken(result) == [("A", " One two three four")]
    assert [word.overlap for word in result.segments[0].words or ()] == [False, False, True, False]
    assert result.segments[0].overlap


def test_words_outside_all_turns_have_the_nearest_speaker() -> None:
    one, two = segment((" Hello.", 4.0, 4.5)), segment((" Bye.", 8.0, 8.5))
    result = assign(transcript(one, two), [turn("A", 0.0, 3.0), turn("B", 9.0, 12.0)])
    assert spoken(result) == [("A", " Hello."), ("B", " Bye.")]
    assert [each.speaker_confidence for each in result] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("turns", "seconds"), [([], 6.0), ([(0.0, 3.2)], 5.0), ([(0.0, 3.2), (3.5, 4.0), (5.0, 9.0)], 0)]
)
def test_seconds_of_speech_that_no_turn_covers(turns: list[tuple[float, float]], seconds: float) -> None:
    said = segment((" One", 0.0, 0.5), (" two.", 3.0, 3.5)), segment((" Three.", 3.5, 4.5)), untimed(5.0, 9.0, " Four.")
    result = assign(transcript(*said), [turn("A", start, end) for start, end in turns])
    assert seconds_without_turn(result) == seconds


def test_segments_without_word_times_have_who_talks_most() -> None:
    segments = [untimed(0.0, 4.0, " One."), untimed(4.0, 6.0, " Two.", words=()), untimed(9.0, 10.0, " Three.")]
    result = assign(transcript(*segments), [turn("A", 0.0, 1.5), turn("B", 1.5, 4.5), turn("A", 4.5, 6.0)])
    assert spoken(result) == [("B", " One."), ("A", " Two."), ("A", " Three.")]
    assert [each.speaker_confidence for each in result] == [0.625, 0.75, 0.0]
    assert [each.words for each in result] == [None, (), None]


def test_translations_and_readings_have_speakers() -> None:
    window = Alternatives(start=0.0, end=2.0, readings=(Reading(text="One.", avg_logprob=-0.1),))
    english = transcript(untimed(0.0, 0.9, " One."), untimed(1.0, 2.0, " Two."))
    whole = transcript(segment((" Eins.", 0.0, 0.9)), alternatives=(window,), translation=english)
    turns = [turn("A", 0.0, 0.9), turn("B", 0.95, 2.0)]
    result = assign(whole, turns)
    assert result.alternatives is not None
    assert result.translation is not None
    assert [each.speaker for each in result.alternatives] == ["B"]
    assert spoken(result.translation) == [("A", " One."), ("B", " Two.")]
    assert result.translation.turns == result.turns == tuple(turns)


def test_without_turns_nobody_is_known() -> None:
    words = [(" One", 0.0, 0.4), (" two.", 0.4, 0.8)]
    known = assign(transcript(segment(*words)), [turn("A", 0.0, 1.0)])
    result = assign(known, [])
    assert spoken(result) == [(None, " One two.")]
    assert [(word.speaker, word.speaker_confidence) for word in result.segments[0].words or ()] == [(None, None)] * 2
    assert result.turns == ()


def test_tokens_are_divided_by_length_where_words_do_not_know_them() -> None:
    words = [(" Well", 0.0, 0.5), (" now.", 0.5, 1.0), (" Yes", 1.5, 2.0)]
    plain = segment(*words)
    unknown = replace(plain, words=tuple(replace(word, tokens=0) for word in plain.words or ()))
    result = assign(transcript(unknown), [turn("A", 0.0, 1.2), turn("B", 1.2, 2.0)])
    assert [each.tokens for each in result] == [(50364, 10, 11), (12, 50464)]


def test_words_that_are_not_the_text_do_not_divide_it() -> None:
    words = [(" Well", 0.0, 0.5), (" now.", 0.5, 1.0), (" Yes", 1.5, 1.9)]
    result = assign(transcript(segment(*words, text=" Else.")), [turn("A", 0.0, 1.2), turn("B", 1.2, 2.0)])
    assert spoken(result) == [("A", " Else.")]
    assert {word.speaker for word in result.segments[0].words or ()} == {"A"}


def test_marks_alone_are_no_segment() -> None:
    words = [(" Well.", 0.0, 0.5), (" …", 1.0, 1.4), (" Yes.", 2.0, 2.4)]
    turns = [turn("A", 0.0, 0.6), turn("B", 0.9, 1.5), turn("C", 1.9, 2.5)]
    assert spoken(assign(transcript(segment(*words)), turns)) == [("A", " Well. …"), ("C", " Yes.")]


TEXTS = st.sampled_from([" yes", " No.", " well,", " …", "字", "。", " a", " isn't", " and so on?"])


@st.composite
def transcripts(draw: st.DrawFn) -> Transcript:
    """Segments with and without words, in order and without overlap, as `Segment` has it."""
    at, segments = 0, []
    for _ in range(draw(st.integers(0, 6))):
        at += draw(st.integers(0, 300))
        if draw(st.booleans()):
            length = draw(st.integers(1, 300))
            segments.append(
                untimed(at / 100, (at + length) / 100, draw(TEXTS), words=draw(st.sampled_from([None, ()])))
            )
            at += length
            continue
        words = []
        for _ in range(draw(st.integers(1, 8))):
            begin = at + draw(st.integers(0, 60))
            at = begin + draw(st.integers(0, 60))
            words.append((draw(TEXTS), begin / 100, at / 100))
        if words[0][1] < words[-1][2]:
            segments.append(segment(*words))
    return transcript(*segments)


TURNS = st.lists(
    st.builds(
        lambda speaker, start, length, confidence: turn(speaker, start / 100, (start + length) / 100, confidence),
        st.sampled_from("ABC"),
        st.integers(0, 2000),
        st.integers(1, 500),
        st.floats(0, 1),
    ),
    max_size=8,
)


@given(whole=transcripts(), turns=TURNS)
def test_what_holds_for_all(whole: Transcript, turns: list[Turn]) -> None:
    result = assign(whole, turns)
    assert "".join(each.text for each in result) == "".join(each.text for each in whole)
    before, after = ([word for each in one for word in each.words or ()] for one in (whole, result))
    assert [(word.word, word.start, word.end) for word in after] == [
        (word.word, word.start, word.end) for word in before
    ]
    assert list(itertools.chain(*(each.tokens for each in result))) == [
        token for each in whole for token in each.tokens
    ]
    assert [each.id for each in result] == list(range(len(result.segments)))
    names = {each.speaker for each in turns} or {None}
    for each in result:
        assert each.speaker in names
        assert 0 <= each.start < each.end
        assert all(word.speaker == each.speaker for word in each.words or ())
        assert (each.speaker_confidence is None) == (not turns)
        assert 0 <= (each.speaker_confidence or 0) <= 1
    for one, two in itertools.pairwise(result):
        assert one.end <= two.start
    assert assign(result, turns) == result
    assert assign(whole, list(reversed(turns))) == result


class Everybody(AllSpeakerTimes):
    """Takes nobody to be too far away to have said a word."""

    def near(self, *intervals: Interval) -> list[SpeakerTimes]:
        return self._all


MANY_TURNS = st.lists(
    st.builds(
        lambda speaker, start, length, confidence: turn(speaker, start / 100, (start + length) / 100, confidence),
        st.sampled_from("ABCDEFGH"),
        st.integers(0, 3000),
        st.integers(0, 200),
        st.sampled_from([0.0, 0.5, 1.0]),
    ),
    min_size=1,
    max_size=20,
)


@given(whole=transcripts(), turns=MANY_TURNS)
def test_who_is_too_far_away_would_not_have_been_chosen(whole: Transcript, turns: list[Turn]) -> None:
    found, expected = (assign_segments(whole.segments, each(turns)) for each in (AllSpeakerTimes, Everybody))
    assert found == expected


@given(turns=MANY_TURNS, start=st.integers(-100, 3500), length=st.integers(1, 500))
def test_who_talks_near_an_interval(turns: list[Turn], start: int, length: int) -> None:
    everybody, interval = AllSpeakerTimes(turns), (start / 100, (start + length) / 100)
    near = everybody.near(interval)
    distances = {each: each.distance(*interval) for each in everybody._all}
    assert [each for each in everybody._all if each in near] == near
    for each, distance in distances.items():
        if each not in near:
            assert distance > min(distances.values()) + 0.99
        elif distance > min(distances.values()) + 1.01:
            pytest.fail(f"{each.speaker} is {distance} s away")


@pytest.mark.parametrize("people", [2, 100])
def test_who_is_far_away_costs_no_time(people: int, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [(f" w{number}", number / 2, number / 2 + 0.4) for number in range(400)]
    turns = [turn(f"Speaker {place}", place * 200 / people, (place + 1) * 200 / people) for place in range(people)]
    asked = create_autospec(SpeakerTimes.seconds, side_effect=SpeakerTimes.seconds)
    monkeypatch.setattr(SpeakerTimes, "seconds", asked)
    assert len(assign(transcript(segment(*words)), turns).segments) > 1
    assert asked.call_count < 12 * len(words)


@given(whole=transcripts(), cut=st.integers(0, 2000))
def test_one_speaker_divides_nothing(whole: Transcript, cut: int) -> None:
    result = assign(whole, [turn("A", 0.0, cut / 100 + 0.01), turn("A", cut / 100 + 1, 30.0)])
    assert [(each.text, each.start, each.end) for each in result] == [
        (each.text, each.start, each.end) for each in whole
    ]


@pytest.mark.parametrize("count", [1, 7])
def test_each_word_well_inside_a_turn_has_its_speaker(count: int) -> None:
    segments, turns = [], []
    for place in range(count):
        start = place * 3.0
        words = [(f" w{place}{number}", start + number * 0.4, start + number * 0.4 + 0.3) for number in range(4)]
        segments.append(segment(*words))
        turns.append(turn(f"Speaker {place % 3 + 1}", start - 0.1, start + 2.0))
    result = assign(transcript(*segments), turns)
    assert [each.speaker for each in result] == [f"Speaker {place % 3 + 1}" for place in range(count)]
