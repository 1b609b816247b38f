from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vocabularies import FULL_TEXT, vocabulary

from mtasr.errors import ModelIntegrityError, UsageError
from mtasr.tokenizer import Tokenizer
from mtasr.tokenizer.tokenizer import GPT2_PATTERN
from mtasr.tokenizer.vocabulary import byte_of_character, token_bytes

SMALL = Tokenizer(vocabulary())


@pytest.mark.parametrize(
    ("kind", "eot", "first_timestamp", "languages"),
    [("multilingual", 50257, 50364, 99), ("english", 50256, 50363, 1), ("large-v3", 50257, 50365, 100)],
)
def test_special_tokens_of_the_published_layouts(kind: str, eot: int, first_timestamp: int, languages: int) -> None:
    tokenizer = Tokenizer(vocabulary(kind, FULL_TEXT[kind]))
    assert tokenizer.eot == eot
    assert tokenizer.sot == eot + 1
    assert tokenizer.timestamp_begin == first_timestamp
    assert tokenizer.no_speech == first_timestamp - 2
    assert tokenizer.sot_prev == first_timestamp - 3
    assert tokenizer.is_multilingual == (kind != "english")
    assert len(tokenizer.language_tokens) == languages
    assert tokenizer.n_vocab == first_timestamp + 1501
    assert tokenizer.seconds(tokenizer.n_vocab - 1) == 30.0


def test_prompts() -> None:
    s = SMALL.special
    assert SMALL.sot_sequence("fr", "translate") == (SMALL.sot, s("fr"), s("translate"))
    assert SMALL.sot_sequence("ru", "transcribe", timestamps=False)[-1] == SMALL.no_timestamps
    english = Tokenizer(vocabulary("english"))
    assert english.sot_sequence("en", "transcribe") == (english.sot,)
    with pytest.raises(UsageError, match="English-only and cannot translate"):
        english.sot_sequence("en", "translate")
    with pytest.raises(UsageError, match="English-only and does not know 'fr'"):
        english.sot_sequence("fr", "transcribe")
    with pytest.raises(UsageError, match="cantonese"):
        SMALL.sot_sequence("yue", "transcribe")


def test_prompt_specials_are_never_text_but_the_end_is() -> None:
    assert SMALL.sot in SMALL.never_text
    assert SMALL.special("translate") in SMALL.never_text
    assert SMALL.no_speech in SMALL.never_text
    assert SMALL.eot not in SMALL.never_text
    assert SMALL.no_timestamps not in SMALL.never_text


@given(st.text(max_size=60))
def test_text_survives(text: str) -> None:
    tokens = SMALL.encode(text)
    assert SMALL.decode(tokens) == text
    assert all(token < SMALL.eot for token in tokens)


@given(st.text(max_size=40), st.data())
def test_cuts_break_no_character(text: str, data: st.DataObject) -> None:
    tokens = SMALL.encode(text)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(tokens)), max_size=5)))
    groups = [tokens[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(tokens)], strict=True)]
    assert "".join(SMALL.decode_groups(groups)) == text


@given(st.text(max_size=40).filter(lambda text: "\ufffd" not in text), st.data())
def test_no_replacement_character_is_added(text: str, data: st.DataObject) -> None:
    tokens = SMALL.encode(text)
    begin, end = data.draw(st.integers(0, len(tokens))), data.draw(st.integers(0, len(tokens)))
    assert "\ufffd" not in SMALL.decode(tokens[begin:end])
    assert "\ufffd" not in SMALL.decode_with_timestamps(tokens[begin:end])


def test_a_character_cut_off_at_the_end_leaves_nothing_behind() -> None:
    tokens = SMALL.encode("day €")
    assert SMALL.decode(tokens[:-1]) == "day "


def test_merges_are_used() -> None:
    assert len(SMALL.encode(" the water")) == 2


def test_timestamps_and_specials_in_text_are_plain_text() -> None:
    assert SMALL.decode(SMALL.encode("<|0.00|> <|en|>")) == "<|0.00|> <|en|>"


def test_decoding_with_timestamps() -> None:
    at = SMALL.timestamp_begin
    tokens = [at, *SMALL.encode(" the day"), at + 75, SMALL.eot]
    assert SMALL.decode(tokens) == " the day"
    assert SMALL.decode_with_timestamps(tokens) == "<|0.00|> the day<|1.50|>"


def test_the_256_bytes_have_256_spellings() -> None:
    table = byte_of_character()
    assert sorted(table.values()) == list(range(256))
    assert table["Ġ"] == ord(" ")
    assert table["Ċ"] == ord("\n")
    assert token_bytes("åľº") == "场".encode()


@pytest.mark.parametrize("name", ["vocabulary.json", "vocabulary.txt"])
def test_reads_both_files_of_ctranslate2(tmp_path: Path, name: str) -> None:
    tokens = vocabulary()
    text = json.dumps(tokens) if name.endswith("json") else "".join(f"{token}\n" for token in tokens)
    (tmp_path / name).write_text(text, encoding="utf-8")
    tokenizer = Tokenizer.from_folder(tmp_path)
    assert tokenizer.n_vocab == len(tokens)
    assert tokenizer.is_multilingual
    assert tokenizer.encode(" water") == SMALL.encode(" water")


@pytest.mark.parametrize(
    ("content", "reason"),
    [("{}", "not a list"), ("[1]", "not a list"), ("[", "cannot read"), ('["a"]', "lacks <|endoftext|>")],
)
def test_refuses_what_is_no_vocabulary(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "vocabulary.json").write_text(content)
    with pytest.raises(ModelIntegrityError, match=reason):
        Tokenizer.from_folder(tmp_path)


def test_refuses_a_folder_without_vocabulary(tmp_path: Path) -> None:
    with pytest.raises(ModelIntegrityError, match="no vocabulary"):
        Tokenizer.from_folder(tmp_path)


def test_the_pattern_cuts_as_gpt2_does() -> None:
    import regex

    found = regex.findall(GPT2_PATTERN, "It's 12 o'clock,  isn't it?\n")
    assert found == ["It", "'s", " 12", " o", "'", "clock", ",", " ", " isn", "'t", " it", "?", "\n"]
