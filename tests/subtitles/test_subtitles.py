"""Each rule of a subtitle layout as a property of any speech: what is laid out once is checked for all of them."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timed_text import (
    LAYOUTS,
    WEB,
    awkward,
    conversations,
    layouts,
    limits_of,
    milliseconds,
    ordinary,
    segment,
    spoken,
    texts,
    timed,
    to_read,
    transcript,
)

from mtasr.errors import UsageError
from mtasr.subtitles import Layout, Subtitles, lay_out
from mtasr.subtitles.layout import Limits
from mtasr.transcript import Transcript, Word


def check_the_text_stays_in_conversations(said: Transcript, laid: Subtitles, layout: Layout) -> None:
    cues = list(laid.transcript)
    for who in {each.speaker for each in said}:
        own, expected = ([each for each in some if each.speaker == who] for some in (cues, said))
        # Between segments of scripts without spaces there is none.
        assert "".join("".join(map(to_read, own)).split()) == "".join("".join(each.text for each in expected).split())


def check_lines_fit_their_language(said: Transcript, laid: Subtitles, layout: Layout) -> None:
    for cue in laid.transcript:
        limits, lines = limits_of(cue, layout), cue.text.split("\n")
        assert len(lines) <= limits.lines
        if cue.language != "ja":  # where a word is several phrases
            # A mark that stands alone belongs to the word beside it.
            counts = [len(re.findall(r"\w\S*", line)) for line in lines]
            assert all(len(line) <= limits.width or count == 1 for line, count in zip(lines, counts, strict=True))
            assert limits.words is None or max(counts) <= limits.words


def check_cues_of_each_voice_are_in_order_and_apart(said: Transcript, laid: Subtitles, layout: Layout) -> None:
    cues = list(laid.transcript)
    assert [cue.start for cue in cues] == sorted(cue.start for cue in cues)
    told = {broken.cue for broken in laid.broken if broken.rule == "minimum gap"}
    for who in {each.speaker for each in said}:
        own = [(number, *milliseconds(cue)) for number, cue in enumerate(cues) if cue.speaker == who]
        assert all(start < end for _, start, end in own)
        for (number, _, end), (_, start, _) in itertools.pairwise(own):
            assert end <= start
            assert number in told or (start - end) / 1000 >= layout.min_gap - 1e-9


def check_the_report_tells_nothing_else(said: Transcript, laid: Subtitles, layout: Layout) -> None:
    cues = list(laid.transcript)
    told = {(broken.cue, broken.rule) for broken in laid.broken}
    for number, cue in enumerate(cues):
        limits, (start, end) = limits_of(cue, layout), milliseconds(cue)
        wide = any(len(line) > limits.width for line in cue.text.split("\n"))
        assert ((number, "line width") in told) == wide
        assert ((number, "reading speed") in told) == (end - start < limits.reading_time(len(to_read(cue))))
        assert ((number, "minimum duration") in told) == (end - start < limits.shortest)
        soon = [each for each in cues[number + 1 :] if milliseconds(each)[0] < end + limits.gap]
        assert ((number, "minimum gap") in told) == bool(soon)


def check_gaps_are_kept_where_the_speech_allows_it(said: Transcript, laid: Subtitles, layout: Layout) -> None:
    cues = list(laid.transcript)
    for number, cue in enumerate(cues):
        limits, (start, end) = limits_of(cue, layout), milliseconds(cue)
        for later in cues[number + 1 :]:
            begins = milliseconds(later)[0]
            if begins - end >= limits.gap or cue.words is None or end == start + 1:
                continue  # the last is what words at one moment become
            assert later.speaker != cue.speaker
            last = cue.words[-1]
            at_once = begins < round(last.end * 1000) or begins <= round(last.start * 1000)
            needed = max(limits.reading_time(len(to_read(cue))), limits.shortest)
            assert at_once or begins - limits.gap < start + needed


@given(conversations(), layouts)
def test_conversations(said: Transcript, layout: Layout) -> None:
    laid = lay_out(said, layout)
    check_the_text_stays_in_conversations(said, laid, layout)
    check_lines_fit_their_language(said, laid, layout)
    check_cues_of_each_voice_are_in_order_and_apart(said, laid, layout)
    check_the_report_tells_nothing_else(said, laid, layout)
    check_gaps_are_kept_where_the_speech_allows_it(said, laid, layout)


def check_the_text_stays(said: Transcript, laid: Subtitles, layout: Layout) -> None:
    expected = "".join(each.text for each in said).split()
    # Where no space is written between words, a line may end between any two.
    assert "".join("".join(texts(laid)).split()) == "".join(expected)


def check_only_single_words_are_wider_than_a_line(said: Transcript, laid: Subtitles, layout: Layout) -> None:
    wide = {broken.cue for broken in laid.broken if broken.rule == "line width"}
    for number, cue in enumerate(laid.transcript):
        lines = cue.text.split("\n")
        assert len(lines) <= layout.max_line_count
        # A mark that stands alone, such as an underscore, belongs to the word beside it.
        joined = [re.findall(r"[^\W_]\S*", line) for line in lines]
        too_wide = [found for line, found in zip(lines, joined, strict=True) if len(line) > layout.max_line_width]
        assert all(len(found) <= 1 for found in too_wide) or any(not word.isascii() for word in cue.text.split())
        assert bool(too_wide) <= (number in wide)


def check_cues_can_be_read_or_the_report_tells(said: Transcript, laid: Subtitles, layout: Layout) -> None:
    told = {(broken.cue, broken.rule) for broken in laid.broken}
    for number, cue in enumerate(laid.transcript):
        start, end = milliseconds(cue)
        too_fast = len(cue.text) / layout.max_cps > (end - start) / 1000 + 1e-9
        too_short = (end - start) / 1000 < layout.min_duration - 1e-9
        assert ((number, "reading speed") in told) >= too_fast
        assert ((number, "minimum duration") in told) >= too_short
        assert (end - start) / 1000 <= layout.max_duration + 1e-9
    assert all(broken.reason for broken in laid.broken)


def check_cues_are_in_order_and_apart(said: Transcript, laid: Subtitles, layout: Layout) -> None:
    told = {broken.cue for broken in laid.broken if broken.rule == "minimum gap"}
    cues = [milliseconds(cue) for cue in laid.transcript]
    assert all(start < end for start, end in cues)
    for number, ((_, end), (start, _)) in enumerate(itertools.pairwise(cues)):
        assert end <= start
        assert number in told or (start - end) / 1000 >= layout.min_gap - 1e-9


def check_the_words_of_a_cue_are_its_text(said: Transcript, laid: Subtitles, layout: Layout) -> None:
    for cue in laid.transcript:
        if cue.words is not None:
            assert "".join(word.word for word in cue.words) == cue.text


@given(spoken(awkward), layouts)
def test_awkward_words(said: Transcript, layout: Layout) -> None:
    laid = lay_out(said, layout)
    check_the_text_stays(said, laid, layout)
    check_only_single_words_are_wider_than_a_line(said, laid, layout)
    check_cues_can_be_read_or_the_report_tells(said, laid, layout)
    check_cues_are_in_order_and_apart(said, laid, layout)
    check_the_words_of_a_cue_are_its_text(said, laid, layout)


def check_the_words_stay(said: Transcript, laid: Subtitles, layout: Layout) -> None:
    expected = "".join(each.text for each in said).split()
    assert " ".join(texts(laid)).split() == expected


def check_a_text_that_fits_a_line_is_not_broken(said: Transcript, laid: Subtitles, layout: Layout) -> None:
    for text in texts(laid):
        if "\n" in text and layout.max_words_per_line is None:
            assert len(text) > layout.max_line_width


@given(spoken(), layouts)
def test_words_with_marks(said: Transcript, layout: Layout) -> None:
    laid = lay_out(said, layout)
    check_the_words_stay(said, laid, layout)
    check_a_text_that_fits_a_line_is_not_broken(said, laid, layout)


def check_no_more_words_on_a_line_than_allowed(said: Transcript, laid: Subtitles, layout: Layout) -> None:
    if layout.max_words_per_line is not None:
        for text in texts(laid):
            assert all(len(line.split()) <= layout.max_words_per_line for line in text.split("\n"))


def check_a_cue_comes_with_its_first_word(said: Transcript, laid: Subtitles, layout: Layout) -> None:
    starts = {round(word.start * 1000) for each in said for word in each.words or ()}
    for cue in laid.transcript:
        if cue.words and round(cue.start * 1000) not in starts:
            assert cue.words[0].start < cue.start < cue.words[0].start + 0.2  # pushed by words at one moment


@given(spoken(ordinary), layouts)
def test_ordinary_words(said: Transcript, layout: Layout) -> None:
    laid = lay_out(said, layout)
    check_no_more_words_on_a_line_than_allowed(said, laid, layout)
    check_a_cue_comes_with_its_first_word(said, laid, layout)


@st.composite
def sentences(draw: st.DrawFn) -> list[str]:
    made = []
    for _ in range(draw(st.integers(1, 5))):
        words = draw(st.lists(st.text("abcdefgh", min_size=4, max_size=8), min_size=2, max_size=8))
        made.append(" ".join(words) + draw(st.sampled_from([".", "?", "!"])))
    return made


@given(sentences())
def test_sentences_between_pauses_are_cues(spoken_sentences: list[str]) -> None:
    clock, words = 0.0, []
    for sentence in spoken_sentences:
        for word in sentence.split():
            words.append((word, clock, clock + len(word) / 14))
            clock += len(word) / 14 + 0.07
        clock += 1.0
    assert [text.replace("\n", " ") for text in texts(lay_out(transcript(timed(*words)), WEB))] == spoken_sentences


@st.composite
def a_few_words(draw: st.DrawFn, letters: str) -> list[tuple[str, float, float]]:
    clock, words = 0.0, []
    for _ in range(draw(st.integers(1, 7))):
        start = clock + draw(st.sampled_from([0, 0, 0.1, 0.5]))
        clock = start + draw(st.floats(0.05, 1.2))
        words.append((draw(st.text(letters, min_size=4, max_size=9)), round(start, 3), round(clock, 3)))
    return words


def broken_rules(words: list[tuple[str, float, float]], edges: tuple[int, ...], limits: Limits, room: int) -> float:
    """How many rules a division breaks, infinitely many where no lines fit; counted without what is tested.

    The last cue may stay until `room`, in milliseconds.
    """
    count = 0.0
    for first, last in itertools.pairwise(edges):
        own = words[first:last]
        rows = [
            [" ".join(word for word, _, _ in own[a:b]) for a, b in itertools.pairwise((0, *cuts, len(own)))]
            for lines in range(1, limits.lines + 1)
            for cuts in itertools.combinations(range(1, len(own)), lines - 1)
        ]
        fitting = [lines for lines in rows if all(len(line) <= limits.width for line in lines)]
        if not fitting:
            return math.inf
        fewest = min(map(len, fitting))
        lonely = min(
            sum(" " not in line for line in lines) if fewest > 1 else len(own) == 1 < len(words)
            for lines in fitting
            if len(lines) == fewest
        )
        start = round(own[0][1] * 1000)
        until = round(words[last][1] * 1000) - limits.gap if last < len(words) else room
        if len(own) > 1 and min(round(own[-1][2] * 1000), until) - start > limits.longest:
            return math.inf
        shown = min(until - start, limits.longest)
        characters = sum(len(word) + 1 for word, _, _ in own) - 1
        no_gap = until - start < 1  # shown for a moment all the same
        count += lonely + no_gap + (shown < limits.shortest) + (shown < characters / limits.cps * 1000)
    return count


@pytest.mark.parametrize("letters", ["abc", "오늘날"])
@given(
    data=st.data(),
    width=st.integers(10, 20),
    speed=st.floats(8, 25),
    shortest=st.floats(0.2, 2),
    pause=st.none() | st.floats(0, 2),
)
def test_no_other_division_breaks_fewer_rules(
    letters: str, data: st.DataObject, width: int, speed: float, shortest: float, pause: float | None
) -> None:
    words = data.draw(a_few_words(letters))
    layout = Layout(
        max_line_width=width,
        max_line_width_cjk=width,
        max_cps=speed,
        max_cps_cjk=speed / 2,
        min_duration=shortest,
        max_duration=4.0,
    )
    limits = layout.limits(cjk=not letters.isascii())
    said, end = [dataclasses.replace(timed(*words), speaker="Anna")], round(words[-1][2] + 0.5, 3)
    room = math.floor(end * 1000 + 1e-6)
    if pause is not None:  # Somebody else speaks after it, at length.
        begins = words[-1][2] + pause
        said.append(dataclasses.replace(timed(("So?", begins, begins + 3)), speaker="Ben"))
        room, end = round(begins * 1000) - limits.gap, begins + 3
    laid = lay_out(transcript(*said, duration=end), layout)
    chosen = (0, *itertools.accumulate(len(cue.text.split()) for cue in laid.transcript if cue.speaker == "Anna"))
    inner = range(1, len(words))
    others = ((0, *cuts, len(words)) for size in range(len(words)) for cuts in itertools.combinations(inner, size))
    fewest = min(broken_rules(words, edges, limits, room) for edges in others)
    assert broken_rules(words, chosen, limits, room) == fewest


def evenly(text: str, end: float, language: str = "en", layout: Layout = WEB) -> list[str]:
    return texts(lay_out(transcript(segment(0, end, text), language=language), layout))


def test_lines_break_at_clauses_and_in_balance() -> None:
    assert evenly(" When the rain had stopped at last, we went out to look at the river.", 6) == [
        "When the rain had stopped at last,\nwe went out to look at the river."
    ]
    [text] = evenly(" The old baker of the village has never told anybody his secret", 6)
    first, second = text.split("\n")
    assert abs(len(first) - len(second)) <= 8


def test_no_line_ends_with_an_article() -> None:
    for text in evenly(" We walked along the river to the old mill, where the miller showed us a wheel of oak.", 7):
        assert not re.search(r"\b(the|to|a|of|us)\n", text)


def test_a_long_silence_parts_cues() -> None:
    said = transcript(timed(("one", 0, 0.5), ("two", 0.5, 1), ("three", 4, 4.5), ("four.", 4.5, 5)))
    assert texts(lay_out(said, WEB)) == ["one two", "three four."]


def test_french_marks_stay_with_their_words() -> None:
    assert evenly(" Vous venez avec nous ce soir au théâtre ? « Bien sûr », dit-elle.", 6, "fr") == [
        "Vous venez avec nous ce soir au théâtre ?\n« Bien sûr », dit-elle."
    ]


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("ja", "今日は天気がとても良いので、公園まで散歩に行きました。そこで友達に会って、一緒に昼ご飯を食べました。"),
        ("zh", "今天天气很好，所以我去公园散步。在那里我遇到了一个朋友，我们一起吃了午饭，然后回家休息。"),
        ("ko", " 오늘은 날씨가 아주 좋아서 공원까지 산책을 갔습니다. 거기서 친구를 만나 같이 점심을 먹었습니다."),
    ],
)
def test_wide_characters(language: str, text: str) -> None:
    found = evenly(text, 10, language)
    lines = [line for cue in found for line in cue.split("\n")]
    assert max(map(len, lines)) <= 16
    assert not any(line[0] in "、。，.っょゃゅー" for line in lines)
    joined = "".join(found) if language != "ko" else " ".join(found).replace("\n", " ")
    assert joined.replace("\n", "").split() == text.split()
    assert all(len(cue.split("\n")) <= 2 for cue in found)
    assert any(cue.rstrip().endswith(("。", ".")) for cue in found[:-1])


@pytest.mark.parametrize("width", [13, 16])
def test_no_line_ends_inside_a_katakana_word(width: int) -> None:
    text = "昨日から新しいコミュニケーションツールを使って、プログラミングコンテストの準備をしています。"
    found = evenly(text, 12, "ja", Layout(max_line_width_cjk=width))
    lines = [line for cue in found for line in cue.split("\n")]
    assert "".join(lines) == text
    assert max(map(len, lines)) <= width
    for word in ("コミュニケーションツール", "プログラミングコンテスト"):
        assert any(word in line for line in lines)


def test_a_translation_out_of_japanese_is_english() -> None:
    [text] = evenly(" The weather is lovely, so we walked.", 4, "ja")
    assert "\n" not in text


@given(st.text("今日は天気がとても良いので、公園まで。カタカナーっ散歩に行きました", min_size=1, max_size=80))
def test_text_without_spaces_stays_whole(text: str) -> None:
    found = evenly(text, 20, "ja")
    assert "".join(found).replace("\n", "") == text
    assert all(len(line) <= 16 for cue in found for line in cue.split("\n"))


def test_words_across_a_phrase_are_cut() -> None:
    words = tuple(
        Word(word=part, start=i / 2, end=(i + 1) / 2, probability=1.0)
        for i, part in enumerate(["公園", "まで散", "歩に行", "きました。"])
    )
    laid = lay_out(transcript(segment(0, 2, "公園まで散歩に行きました。", words), language="ja"), LAYOUTS["social"])
    assert "".join(texts(laid)) == "公園まで散歩に行きました。"
    parts = [word for cue in laid.transcript for word in cue.words or ()]
    assert "".join(word.word for word in parts) == "公園まで散歩に行きました。"
    assert all(before.end <= after.start for before, after in itertools.pairwise(parts))


@given(spoken(), spoken(), layouts)
def test_each_speaker_is_laid_out_apart(one: Transcript, other: Transcript, layout: Layout) -> None:
    voices = {"Anna": one, "Ben": other}
    said = [dataclasses.replace(each, speaker=name) for name, own in voices.items() for each in own]
    both = transcript(*sorted(said, key=lambda each: each.start), duration=max(one.duration, other.duration))
    cues = list(lay_out(both, layout).transcript)
    assert [cue.start for cue in cues] == sorted(cue.start for cue in cues)
    for name, own in voices.items():
        mine = [cue for cue in cues if cue.speaker == name]
        assert " ".join(cue.text for cue in mine).split() == "".join(each.text for each in own).split()
        assert all(before.end <= after.start for before, after in itertools.pairwise(mine))


def test_no_cue_is_held_up_by_somebody_who_speaks_meanwhile() -> None:
    anna = timed(("All", 0, 1), ("of", 1, 2), ("this.", 2, 3))
    ben = timed(("And", 1.5, 2), ("that.", 2, 2.5))
    both = (dataclasses.replace(each, speaker=name) for name, each in (("Anna", anna), ("Ben", ben)))
    found = [(cue.speaker, cue.text, cue.start) for cue in lay_out(transcript(*both), WEB).transcript]
    assert found == [("Anna", "All of this.", 0), ("Ben", "And that.", 1.5)]


def test_silence_is_an_empty_file() -> None:
    assert lay_out(transcript(segment(0, 1, "  "), segment(1, 2, "")), WEB) == Subtitles(transcript(), ())


@pytest.mark.parametrize(
    "fields",
    [
        {"max_line_width": 0},
        {"max_line_count": 0},
        {"max_words_per_line": 0},
        {"max_line_width": 2.5},
        {"max_cps": 0},
        {"max_cps": math.nan},
        {"min_duration": 8},
        {"max_duration": math.inf},
        {"max_duration": 0.0, "min_duration": 0.0},
        {"min_gap": -1},
    ],
    ids=str,
)
def test_senseless_layouts_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Layout(**fields)  # type: ignore[arg-type]
