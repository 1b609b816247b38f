"""What a unit is: where it ends, whether it ends a sentence or a clause, and when it is spoken."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timed_text import segment, timed

from mtasr.subtitles.units import Unit, goes_with_next, is_cjk, units_of
from mtasr.transcript import Word


def units(text: str, language: str = "en") -> list[Unit]:
    return units_of([segment(0, 10, text)], language)


def test_short_forms_end_no_sentence() -> None:
    text = "ca. Dott. Dr. Dra. e.g. etc. Fr. Hr. i.e. Ing. Jr. M. MM. Mme. Mr. Mrs. Ms. Prof. Sig. Sr. Sra. St. vs."
    found = units(text)
    assert [unit.text for unit in found] == text.split()
    assert not any(unit.ends_sentence for unit in found)


@pytest.mark.parametrize("mark", ".!?…。！？．؟।۔")
def test_ends_of_sentences(mark: str) -> None:
    for word in (f"word{mark}", f"word{mark}”", f"word{mark}»)"):
        [unit] = units(word)
        assert unit.ends_sentence
        assert not unit.ends_clause


@pytest.mark.parametrize("mark", ",;:，；：、،؛–—")
def test_ends_of_clauses(mark: str) -> None:
    for word in (f"word{mark}", f'word{mark}"'):
        [unit] = units(word)
        assert unit.ends_clause
        assert not unit.ends_sentence


def test_short_words_lean_on_the_next() -> None:
    leaning = [unit.text for unit in units("The old man and his 12 dogs, of all, saw it. 가 나다 house")]
    assert leaning == [
        "The",
        "old",
        "man",
        "and",
        "his",
        "12",
        "dogs,",
        "of",
        "all,",
        "saw",
        "it.",
        "가",
        "나다",
        "house",
    ]
    assert [unit.leans_on_next for unit in units("the then 12 of, 3d")] == [True, False, False, False, False]
    assert not any(unit.leans_on_next for unit in units("가 나다", "ko"))


@pytest.mark.parametrize(
    ("text", "leaning"),
    [
        ("we thank you for coming", ["we", "thank", "for"]),
        ("we thank You", ["we", "You"]),
        ("as you came", ["as", "you"]),
        ("you, for one", ["for", "one"]),
        ("he saw it in town", ["he", "saw", "in"]),
    ],
)
def test_a_pronoun_at_the_end_of_a_phrase_leans_on_its_verb(text: str, leaning: list[str]) -> None:
    found = units(text)
    assert [unit.text for index, unit in enumerate(found) if goes_with_next(found, index)] == leaning


def test_marks_that_stand_alone() -> None:
    assert [unit.text for unit in units("So – he said - « well » ( no ) !")] == [
        "So –", "he", "said -", "« well »", "( no ) !",
    ]  # fmt: skip
    assert [unit.text for unit in units("- - -")] == ["- - -"]
    assert [unit.text for unit in units("« So")] == ["« So"]
    assert [unit.text for unit in units("So (")] == ["So ("]


def test_spaces_within_a_unit() -> None:
    assert [unit.text for unit in units("Vous\u00a0? Oui\u202f! Non  !", "fr")] == [
        "Vous\u00a0?",
        "Oui\u202f!",
        "Non !",
    ]


def test_whether_limits_of_wide_characters_hold() -> None:
    assert is_cjk("公園", "ja")
    assert is_cjk("a 公 park", "zh")
    assert not is_cjk("a park", "ja")
    assert is_cjk("公園 a", "en")
    assert not is_cjk("公園 ab", "en"), "as many of one kind as of the other"


def test_a_phrase_that_is_too_long_is_cut_in_the_middle() -> None:
    found = [unit.text for unit in units("ウルトラスーパーデラックスハイパーロボット", "ja")]
    assert "".join(found) == "ウルトラスーパーデラックスハイパーロボット"
    assert max(map(len, found)) <= 8
    assert min(map(len, found)) >= 5


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("新しいコミュニケーションツールを使う。", 16, ["新しい", "コミュニケーションツールを", "使う。"]),
        ("プログラミングコンテストに参加した。", 16, ["プログラミングコンテストに", "参加した。"]),
        # The particle would make it wider than a line.
        ("コミュニケーションツールを使う。", 12, ["コミュニケーションツール", "を", "使う。"]),
        ("東京オリンピックパラリンピック競技大会", 16, ["東京", "オリンピックパラリンピック", "競技大会"]),
        ("ジャン・クロード・ヴァンダムさんが来た", 16, ["ジャン・", "クロード・ヴァンダムさんが", "来た"]),
    ],
)
def test_no_cut_inside_a_katakana_word_that_fits_a_line(text: str, width: int, expected: list[str]) -> None:
    assert [unit.text for unit in units_of([segment(0, 10, text)], "ja", width=width)] == expected


@given(
    st.lists(st.sampled_from(["コミュニケーション", "ツール", "を", "東京", "、", "・", "ｱﾌﾟﾘ", "と", "3"]), max_size=12)
)
def test_katakana_words_that_fit_stay_whole(parts: list[str]) -> None:
    text = "".join(parts)
    edges = set(itertools.accumulate(len(unit.text) for unit in units_of([segment(0, 10, text)], "ja", width=10)))
    for word in re.finditer(r"[ァ-ヺー-ヿｦ-ﾟ]+", text):
        if len(word[0]) <= 10:
            assert not edges & set(range(word.start() + 1, word.end()))


def test_a_phrase_that_is_too_long_is_cut_where_its_letters_change() -> None:
    assert [unit.text for unit in units("YouTubeチャンネル", "ja")] == ["YouTube", "チャンネル"]
    assert [unit.text for unit in units("チャンネルYouTube", "ja")] == ["チャンネル", "YouTube"]
    # A number stays with what it counts.
    assert [unit.text for unit in units("XYZXYZXYZ3月", "ja")] == ["XYZXYZXYZ3月"]


def test_times_without_words_are_even() -> None:
    found = units_of([segment(1, 3, "  one two  ")], "en")
    assert [(unit.text, unit.start, unit.end) for unit in found] == [("one", 1000, 1857), ("two", 2143, 3000)]


def test_times_of_words() -> None:
    found = units_of([timed(("one", 1, 1.5), ("two", 1.75, 2.25))], "en")
    assert [(unit.text, unit.start, unit.end, unit.spaced, unit.last) for unit in found] == [
        ("one", 1000, 1500, True, False),
        ("two", 1750, 2250, True, True),
    ]
    assert [unit.words for unit in found] == [
        (Word(word="one", start=1, end=1.5, probability=0.5),),
        (Word(word="two", start=1.75, end=2.25, probability=0.5),),
    ]


def test_words_that_are_not_those_of_the_text_count_for_nothing() -> None:
    for words in (["one", "three"], ["one"], ["two"], ["one", "two", "two"]):
        made = tuple(Word(word=f" {each}", start=5, end=6, probability=1.0) for each in words)
        found = units_of([segment(0, 1, " one two", made)], "en")
        assert [(unit.words, unit.start) for unit in found] == [(None, 0), (None, 571)], words


def test_a_word_over_two_units_is_parted_with_its_time() -> None:
    made = (Word(word=" one two", start=1.0, end=1.7, probability=0.25),)
    found = units_of([segment(1, 1.7, " one two", made)], "en")
    assert [(unit.start, unit.end) for unit in found] == [(1000, 1300), (1400, 1700)]
    assert [unit.words for unit in found] == [
        (Word(word="one", start=1.0, end=1.3, probability=0.25),),
        (Word(word="two", start=1.4, end=1.7, probability=0.25),),
    ]


def test_times_never_run_backwards() -> None:
    found = units_of([timed(("one", 2, 3), ("two", 1, 4), ("three", 3.5, 3.25))], "en")
    assert [(unit.start, unit.end) for unit in found] == [(2000, 2000), (2000, 3500), (3500, 3500)]


def test_segments_are_joined_by_a_space_where_their_script_has_one() -> None:
    both = [segment(0, 1, "one"), segment(1, 2, "  "), segment(2, 3, "two")]
    assert [(unit.text, unit.spaced, unit.last) for unit in units_of(both, "en")] == [
        ("one", False, True),
        ("two", True, True),
    ]
    wide = [segment(0, 1, "公園"), segment(1, 2, "友達")]
    assert [unit.spaced for unit in units_of(wide, "ja")] == [False, False]
    assert [unit.spaced for unit in units_of([segment(0, 1, "公園 "), segment(1, 2, "友達 ")], "ja")] == [False, False]
    mixed = [segment(0, 1, "公園"), segment(1, 2, "one"), segment(2, 3, "友達")]
    assert [unit.spaced for unit in units_of(mixed, "ja")] == [False, True, True]


def test_whose_phrases_are_looked_for() -> None:
    han = "我喜歡在下雨天的時候看書和喝茶"
    assert [unit.text for unit in units(han, "yue")] != [unit.text for unit in units(han, "ja")]
    thai = "วันนี้อากาศดีมากเราจึงไปเดินเล่น"
    assert len(units(thai, "th")) > 3
    assert len(units("Donaudampfschifffahrtsgesellschaft", "de")) == 1
