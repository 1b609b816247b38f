"""When a cue comes and goes, and which rules the report says are broken: these and no others."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from timed_text import (
    WEB,
    milliseconds,
    segment,
    timed,
    transcript,
)

from mtasr.subtitles import Layout, Subtitles, _Draft, _parted, lay_out
from mtasr.subtitles.breaks import Lines
from mtasr.transcript import Segment

PLAIN = Layout(max_cps=10.0, min_duration=1.0, max_duration=5.0, min_gap=0.1)


def cues(laid: Subtitles) -> list[tuple[str, int, int]]:
    return [(cue.text, *milliseconds(cue)) for cue in laid.transcript]


def laid_out(*segments: Segment, duration: float = 600.0, layout: Layout = PLAIN) -> list[tuple[str, int, int]]:
    return cues(lay_out(transcript(*segments, duration=duration), layout))


def test_a_cue_stays_until_it_can_be_read_or_its_speech_ends() -> None:
    assert laid_out(timed(("Yes.", 1, 1.2))) == [("Yes.", 1000, 2000)]
    assert laid_out(timed(("Certainly,", 1, 1.2), ("Madam.", 1.2, 1.4))) == [("Certainly, Madam.", 1000, 2700)]
    assert laid_out(timed(("Yes.", 1, 4.2))) == [("Yes.", 1000, 4200)]


def test_a_cue_goes_at_the_latest_time_allowed_with_the_recording_and_before_the_next() -> None:
    assert laid_out(timed(("Slowly.", 1, 9))) == [("Slowly.", 1000, 6000)]
    assert laid_out(timed(("Yes.", 1, 1.2)), duration=1.5) == [("Yes.", 1000, 1500)]
    assert laid_out(timed(("Yes.", 1, 1.2), ("No.", 3.6, 4))) == [("Yes.", 1000, 2000), ("No.", 3600, 4600)]


@pytest.mark.parametrize(("begins", "ends"), [(2.59, 2490), (2.6, 2000), (2.2, 2100)])
def test_a_gap_below_half_a_second_is_closed(begins: float, ends: int) -> None:
    lone = dataclasses.replace(timed(("No.", begins, begins + 0.3)), language="fr")
    assert laid_out(timed(("Yes.", 1, 1.2)), lone)[0] == ("Yes.", 1000, ends)


def test_a_gap_is_not_closed_by_a_cue_that_would_stay_too_long() -> None:
    lone = dataclasses.replace(timed(("No.", 6.3, 7)), language="fr")
    assert laid_out(timed(("Slowly.", 1, 5.9)), lone)[0] == ("Slowly.", 1000, 6000)


def test_words_at_one_moment_have_a_millisecond_each() -> None:
    words = [dataclasses.replace(timed((f"w{n}", 2, 2)), language=["en", "fr"][n % 2]) for n in range(3)]
    found = laid_out(*words)
    assert [(start, end) for _, start, end in found] == [(2000, 2001), (2001, 2002), (2002, 3002)]
    assert laid_out(timed(("late", 2, 3)), duration=1.0) == [("late", 2000, 2001)]


def test_a_change_of_language_or_script_parts_cues() -> None:
    french = dataclasses.replace(timed(("oui", 1.5, 2)), language="fr")
    assert [text for text, *_ in laid_out(timed(("yes", 1, 1.5)), french)] == ["yes", "oui"]
    assert [text for text, *_ in laid_out(timed(("yes", 1, 1.5)), timed(("公園", 1.5, 2)))] == ["yes", "公園"]
    assert [text for text, *_ in laid_out(timed(("yes", 1, 1.5)), timed(("yes", 1.5, 2)))] == ["yes yes"]


@pytest.mark.parametrize(("pause", "parts"), [(1.999, 1), (2.0, 2)])
def test_two_seconds_part_cues(pause: float, parts: int) -> None:
    layout = dataclasses.replace(PLAIN, min_duration=0.1)
    said = timed(("one", 1, 1.5), ("two", 1.5 + pause, 2.5 + pause))
    assert len(laid_out(said, layout=layout)) == parts


def by(speaker: str, *words: tuple[str, float, float]) -> Segment:
    return dataclasses.replace(timed(*words), speaker=speaker)


def test_somebody_else_parts_cues_and_takes_the_place() -> None:
    anna = by("Anna", ("We", 1, 1.2), ("saw", 1.2, 1.4), ("a", 1.9, 2), ("boat.", 2, 2.5))
    assert laid_out(anna) == [("We saw a boat.", 1000, 2500)]
    assert laid_out(anna, by("Ben", ("Yes.", 1.5, 1.8))) == [
        ("We saw", 1000, 1400),
        ("Yes.", 1500, 1800),
        ("a boat.", 1900, 2900),
    ]
    assert laid_out(anna, by("Ben", ("Yes.", 1.3, 1.8)))[0] == ("We saw a boat.", 1000, 2500)


def test_who_speaks_meanwhile_does_not_cut_a_cue_short() -> None:
    anna = by("Anna", ("All", 1, 2), ("this", 2, 3), ("here.", 3, 4))
    ben = by("Ben", ("Yes.", 2.2, 2.6), ("No.", 4.05, 4.4))
    assert laid_out(anna, ben)[0] == ("All this here.", 1000, 3950)


def test_who_goes_on_speaking_does_not_cut_short_what_is_said_meanwhile() -> None:
    anna = by("Anna", ("All", 1, 2), ("of", 2, 3), ("this", 3, 4), ("here.", 4, 5))
    assert laid_out(anna, by("Ben", ("Mm.", 1.2, 1.4))) == [("All of this here.", 1000, 5000), ("Mm.", 1200, 2200)]


def test_cues_are_divided_in_the_time_that_the_next_voice_leaves() -> None:
    anna = by("Anna", ("It", 1, 1.3), ("was", 1.3, 1.6), ("late.", 1.6, 2.1), ("We", 2.8, 2.9), ("left.", 2.9, 3.1))
    assert laid_out(anna) == [("It was late.", 1000, 2200), ("We left.", 2800, 3800)]
    laid = lay_out(transcript(anna, by("Ben", ("Why?", 3.3, 4.6))), PLAIN)
    assert cues(laid) == [("It was late. We left.", 1000, 3200), ("Why?", 3300, 4600)]
    assert laid.broken == ()


#: Two cues, and no silence between them in which somebody else could begin.
BEN = by("Ben", ("He", 0.5, 0.8), ("was", 0.8, 1.2), ("late.", 1.2, 2.25), ("So", 2.25, 2.5), ("we left.", 2.5, 6))


def test_what_has_time_to_spare_goes_before_a_cue_of_somebody_who_speaks_meanwhile() -> None:
    laid = lay_out(transcript(BEN, by("Anna", ("Yes.", 1, 2.2))), PLAIN)
    assert cues(laid) == [("He was late.", 500, 2150), ("Yes.", 1000, 2150), ("So we left.", 2250, 6000)]
    assert {(each.cue, each.rule) for each in laid.broken} == {(0, "minimum gap")}  # two at once


@pytest.mark.parametrize(("says", "until"), [("Yes, indeed.", 2.2), ("Yes.", 2.3)])
def test_what_cannot_go_before_a_cue_of_another_voice_is_told(says: str, until: float) -> None:
    laid = lay_out(transcript(BEN, by("Anna", (says, 1, until))), PLAIN)
    assert cues(laid)[1] == (says, 1000, round(until * 1000))
    assert (1, "minimum gap", "several people speak at once") in {
        (each.cue, each.rule, each.reason) for each in laid.broken
    }


def test_a_line_break_in_a_script_without_spaces_is_no_character_to_read() -> None:
    said = dataclasses.replace(segment(0, 2, "今日は天気が良いので公園で散歩しました。"), language="ja")
    layout = dataclasses.replace(PLAIN, max_cps_cjk=10.0)
    laid = lay_out(transcript(said, duration=2.0), layout)
    [(text, start, end)] = cues(laid)
    assert len(text.split("\n")) == 2
    assert (len(text) - 1, start, end) == (20, 0, 2000)
    assert laid.broken == ()
    assert laid_out(dataclasses.replace(said, end=0.5), layout=layout)[0][2] == 2000


def test_one_voice_is_as_with_nobody_else() -> None:
    said = timed(("One", 0, 1), ("two.", 1, 2), ("Three.", 2.5, 3))
    assert laid_out(said) == laid_out(dataclasses.replace(said, speaker="Anna"))


def test_the_report_counts_from_the_first_cue() -> None:
    said = timed(("Fine", 1, 1.5), ("so", 1.5, 1.7), ("far.", 1.7, 2.5), ("Internationalization!", 6, 6.1))
    laid = lay_out(transcript(said, duration=6.5), dataclasses.replace(PLAIN, max_line_width=12))
    assert [(each.cue, each.rule, each.reason) for each in laid.broken] == [
        (1, "line width", "a word is longer than a line"),
        (1, "reading speed", "more speech follows, the recording ends, or the maximum duration is reached"),
        (1, "minimum duration", "more speech follows too soon, or the recording ends"),
    ]


def test_the_reason_holds_where_the_longest_duration_is_too_short_to_read() -> None:
    laid = lay_out(transcript(timed(("Certainly.", 1, 1.6))), dataclasses.replace(PLAIN, max_cps=1.0))
    assert cues(laid) == [("Certainly.", 1000, 6000)]
    [(rule, reason)] = {(each.rule, each.reason) for each in laid.broken}
    assert rule == "reading speed"
    assert "maximum duration" in reason


class Counting(list[Any]):
    """A list that counts how many of its items are looked at."""

    looked = 0

    def __iter__(self) -> Iterator[Any]:
        for item in super().__iter__():
            self.looked += 1
            yield item

    def __getitem__(self, place: Any) -> Any:
        self.looked += 1
        return super().__getitem__(place)


def test_each_cue_is_held_only_against_the_next_ones() -> None:
    limits = PLAIN.limits(cjk=False)
    lines = Lines(0, 1, (), 4, False)
    drafts = Counting(_Draft(n * 1000, n * 1000 + 900, n * 1000 + 500, (), lines, limits) for n in range(300))
    assert len(list(_parted(drafts))) == len(drafts)
    assert drafts.looked < 3 * len(drafts)


def test_the_report_tells_of_words_alone_and_of_no_gap() -> None:
    french = dataclasses.replace(timed(("oui", 1.5, 2), ("et", 2, 2.4)), language="fr")
    laid = lay_out(transcript(timed(("yes", 1, 1.5), ("and", 1.5, 1.5)), french, duration=9.0), WEB)
    assert ("minimum gap", "several people speak at once") not in {(each.rule, each.reason) for each in laid.broken}
    many = timed(("some", 0, 0.5), ("Incomprehensibilities", 0.5, 1.5), ("notwithstanding", 1.5, 2.5), ("so", 2.5, 3))
    laid = lay_out(transcript(many), dataclasses.replace(PLAIN, max_line_width=16, max_line_count=1))
    assert {(each.rule, each.reason) for each in laid.broken} >= {
        ("single word", "its neighbours leave no room for it")
    }
    together = [dataclasses.replace(timed((f"w{n}", 2, 2)), language=["en", "fr"][n % 2]) for n in range(2)]
    laid = lay_out(transcript(*together), PLAIN)
    assert (0, "minimum gap", "several people speak at once") in {
        (each.cue, each.rule, each.reason) for each in laid.broken
    }


def test_a_word_is_alone_unless_it_is_all_that_is_said() -> None:
    def alone(*words: tuple[str, float, float], layout: Layout = PLAIN) -> list[int]:
        laid = lay_out(transcript(timed(*words)), layout)
        return [each.cue for each in laid.broken if each.rule == "single word"]

    narrow = dataclasses.replace(PLAIN, max_line_width=16)
    assert alone(("Yes.", 1, 2), ("No.", 3.5, 4.5)) == []
    assert len(laid_out(timed(("Yes.", 1, 2), ("No.", 3.5, 4.5)))) == 2
    assert alone(("Incomprehensibly", 1, 2), ("notwithstanding.", 2, 3), layout=narrow) == [0]
    one_line = dataclasses.replace(narrow, max_line_count=1)
    assert alone(("Incomprehensibly", 1, 2), ("notwithstanding.", 2, 3), layout=one_line) == [0, 1]
    assert alone(("Yes.", 1, 2), ("Internationally", 2, 3), ("notwithstanding.", 3, 4), layout=one_line) == [1, 2]
    assert alone(("a", 1, 2), ("notwithstanding.", 2, 3), layout=narrow) == [0]
    assert alone(("a", 1, 2), ("b", 2, 3), layout=narrow) == []
    assert (
        alone(("a", 1, 2), ("notwithstanding.", 2, 3), layout=dataclasses.replace(narrow, max_words_per_line=2)) == []
    )


def test_cues_have_what_their_segment_has_but_tokens() -> None:
    said = dataclasses.replace(segment(0, 2, "One two."), avg_logprob=-0.75, id=7)
    [cue] = lay_out(transcript(said), PLAIN).transcript
    assert (cue.id, cue.avg_logprob, cue.tokens, cue.words) == (0, -0.75, (), None)
