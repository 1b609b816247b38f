from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from vocabularies import vocabulary

from mtasr.options import DecodingOptions
from mtasr.tokenizer import Tokenizer
from mtasr.tokenizer.words import WordTokens, merge_punctuation, split_words

TOKENIZER = Tokenizer(vocabulary())
OPTIONS = DecodingOptions()


def texts(words: list[WordTokens]) -> list[str]:
    return [word.text for word in words]


def cut(text: str, language: str = "en") -> list[str]:
    words = split_words(TOKENIZER, TOKENIZER.encode(text), language)
    return texts(merge_punctuation(words, OPTIONS.prepend_punctuations, OPTIONS.append_punctuations))


def test_words_keep_their_space_and_marks() -> None:
    assert cut(' Well, he said "no way" to it.') == [" Well,", " he", " said", ' "no', ' way"', " to", " it."]


def test_accents_do_not_cut_words() -> None:
    assert cut(" Où êtes-vous ?") == [" Où", " êtes-vous ?"]


def test_languages_without_spaces_are_cut_at_characters() -> None:
    assert cut("今天好。", "zh") == ["今", "天", "好。"]


@given(st.text(max_size=40), st.sampled_from(["en", "ja"]))
def test_nothing_is_lost(text: str, language: str) -> None:
    tokens = TOKENIZER.encode(text)
    words = split_words(TOKENIZER, tokens, language)
    merged = merge_punctuation(words, OPTIONS.prepend_punctuations, OPTIONS.append_punctuations)
    for result in (words, merged):
        assert "".join(texts(result)) == text
        assert [token for word in result for token in word.tokens] == tokens


def test_bytes_without_a_character_stay_with_the_word_before() -> None:
    tokens = [*TOKENIZER.encode(" day"), *TOKENIZER.encode("€")[:1]]
    words = split_words(TOKENIZER, tokens, "en")
    assert texts(words) == [" day"]
    assert words[0].tokens == tuple(tokens)
