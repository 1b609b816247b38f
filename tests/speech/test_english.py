"""Words -> phonemes, and phrases that lose no word."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtasr.errors import ModelIntegrityError
from mtasr.models.folder import DICTIONARY, DICTIONARY_RARE, LETTERS
from mtasr.speech.phonemes.dictionary import Dictionary
from mtasr.speech.phonemes.english import EnglishPhonemes
from mtasr.speech.phonemes.letters import _SHAPES, _SYMBOLS, LetterNetwork, _phoneme

_WORDS = {
    "cat": "kˈæt", "dog": "dˈɔɡ", "horse": "hˈɔɹs", "walk": "wˈɔk", "want": "wˈɑnt", "love": "lˈʌv", "stop": "stˈɑp",
    "carry": "kˈɛɹi", "apple": "ˈæpᵊl", "read": {"DEFAULT": "ɹˈid", "VBD": "ɹˈɛd"}, "café": "kæfˈA",
    "B": "bˈi", "C": "sˈi",
}  # fmt: skip


class Letters(LetterNetwork):
    """Says the letters themselves, between two others."""

    def __init__(self) -> None:
        super().__init__({})

    def say(self, word: str) -> str:
        return f"q{word}q"


@pytest.fixture(scope="module")
def english(tmp_path_factory: pytest.TempPathFactory) -> EnglishPhonemes:
    folder = tmp_path_factory.mktemp("voice")
    (folder / DICTIONARY).write_text(json.dumps(_WORDS), encoding="utf-8")
    (folder / DICTIONARY_RARE).write_text('{"aardvark": "ˈɑɹdvˌɑɹk"}', encoding="utf-8")
    return EnglishPhonemes(Dictionary.read(folder), Letters())


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("Cats, dogs; horses!", ["kˈæts,", "dˈɔɡz;", "hˈɔɹsᵻz!"]),
        ("walked wanted loved stopped carried", ["wˈɔkt", "wˈɑntᵻd", "lˈʌvd", "stˈɑpt", "kˈɛɹid"]),
        ("walking loving stopping", ["wˈɔkɪŋ", "lˈʌvɪŋ", "stˈɑpɪŋ"]),
        ("cat's horses' aardvark", ["kˈæts", "hˈɔɹsᵻz", "ˈɑɹdvˌɑɹk"]),
        ("the apple, the cat", ["ði", "ˈæpᵊl,", "ðə", "kˈæt"]),
        ("to cat to apple an apple a cat", ["tə", "kˈæt", "tʊ", "ˈæpᵊl", "ɐn", "ˈæpᵊl", "ɐ", "kˈæt"]),
        ("read", ["ɹˈid"]),
        ("CAFÉ", ["kæfˈA"]),
        ("BBC", ["bˌibˌisˈi"]),
        ("zyx zyx's", ["qzyxq", "qzyxqz"]),
        ("кот 猫 cat", ["kˈæt"]),
        ('"(cat)" ', ["kˈæt"]),
    ],
)
def test_words(english: EnglishPhonemes, sentence: str, words: list[str]) -> None:
    assert english.words(sentence) == words


def test_phrases_are_sentences(english: EnglishPhonemes) -> None:
    found = list(english.phrases("Cats walk. Dogs stop!\nA cat\n\n... 猫 ", 100))
    assert [each.phonemes for each in found] == ["kˈæts wˈɔk.", "dˈɔɡz stˈɑp!", "ɐ kˈæt"]
    assert all(each.ends_sentence for each in found)
    assert list(english.phrases("... — !", 100)) == []


def test_a_long_sentence_is_cut_where_one_pauses(english: EnglishPhonemes) -> None:
    found = list(english.phrases("Cat dog, cat dog cat.", 20))
    assert [each.phonemes for each in found] == ["kˈæt dˈɔɡ,", "kˈæt dˈɔɡ kˈæt."]
    assert [each.ends_sentence for each in found] == [False, True]


@given(
    st.lists(st.sampled_from(["cat", "dog,", "horse.", "unheardof", "x" * 70, "apple!"]), max_size=40),
    st.integers(10, 60),
)
def test_cutting_loses_nothing(words: list[str], most: int) -> None:
    english = EnglishPhonemes(
        Dictionary({"cat": "kˈæt", "dog": "dˈɔɡ", "horse": "hˈɔɹs", "apple": "ˈæpᵊl"}, {}), Letters()
    )
    text = " ".join(words)
    found = [each.phonemes for each in english.phrases(text, most)]
    assert all(0 < len(each) <= most for each in found)
    whole = "".join(english.words(text))
    assert "".join(found).replace(" ", "") == whole


@pytest.mark.parametrize("data", ["", "[]", '{"a": 3}', '{"a": {"VB": "x"}}', "\x00"])
def test_damaged_dictionaries_are_refused(tmp_path: Path, data: str) -> None:
    (tmp_path / DICTIONARY).write_text(data)
    with pytest.raises(ModelIntegrityError, match="not a dictionary"):
        Dictionary.read(tmp_path)


def _arrays(width: int = 5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    shapes = {
        "enc_emb": (29, 4), "enc_w_ih": (3 * width, 4), "enc_w_hh": (3 * width, width),
        "dec_emb": (74, 4), "dec_w_ih": (3 * width, 4), "dec_w_hh": (3 * width, width),
        "enc_b_ih": (3 * width,), "enc_b_hh": (3 * width,), "dec_b_ih": (3 * width,), "dec_b_hh": (3 * width,),
        "fc_w": (74, width), "fc_b": (74,),
    }  # fmt: skip
    assert shapes.keys() == _SHAPES.keys()
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def _gru(of: dict[str, np.ndarray], part: str, number: int, state: np.ndarray) -> np.ndarray:
    """Number by number, as the paper says."""
    size, x = len(state), of[f"{part}_emb"][number]

    def gate(row: int) -> tuple[float, float]:
        given = sum(of[f"{part}_w_ih"][row, i] * x[i] for i in range(len(x))) + of[f"{part}_b_ih"][row]
        kept = sum(of[f"{part}_w_hh"][row, i] * state[i] for i in range(size)) + of[f"{part}_b_hh"][row]
        return given, kept

    found = np.zeros(size)
    for at in range(size):
        r = 1 / (1 + np.exp(-sum(gate(at))))
        z = 1 / (1 + np.exp(-sum(gate(size + at))))
        given, kept = gate(2 * size + at)
        found[at] = (1 - z) * np.tanh(given + r * kept) + z * state[at]
    return found


def test_letters_are_read_by_the_network(tmp_path: Path) -> None:
    arrays = _arrays()
    np.savez(tmp_path / LETTERS, **arrays)
    state = np.zeros(5)
    for number in (3 + ord("h") - ord("a"), 1, 3 + ord("i") - ord("a"), 2):
        state = _gru(arrays, "enc", number, state)
    last, symbols = 2, []
    for _ in range(20):
        state = _gru(arrays, "dec", last, state)
        last = int(np.argmax(arrays["fc_w"] @ state + arrays["fc_b"]))
        if last == 3:
            break
        symbols.append(last)
    assert len(symbols) > 3
    assert LetterNetwork.read(tmp_path).say("Hßi") == "".join(_said(each) for each in symbols)


def _said(number: int) -> str:
    return _phoneme(_SYMBOLS[number - 4]) if number >= 4 else ""


def test_symbols_stand_in_the_order_of_the_network() -> None:
    assert len(_SYMBOLS) == 70
    assert _SYMBOLS[:4] == ["AA0", "AA1", "AA2", "AE0"]
    assert _SYMBOLS[-9:] == ["UW", "UW0", "UW1", "UW2", "V", "W", "Y", "Z", "ZH"]
    assert [_said(4 + _SYMBOLS.index(each)) for each in ("AH0", "AH1", "ER0", "ER2", "JH", "UW")] == [
        "ə", "ˈʌ", "əɹ", "ˌɜɹ", "ʤ", "u",
    ]  # fmt: skip


def test_other_networks_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / LETTERS, **(_arrays() | {"fc_w": np.zeros((70, 5))}))
    with pytest.raises(ModelIntegrityError, match="fc_w has the shape"):
        LetterNetwork.read(tmp_path)
    (tmp_path / LETTERS).write_bytes(b"PK")
    with pytest.raises(ModelIntegrityError, match="not a network of letters"):
        LetterNetwork.read(tmp_path)
