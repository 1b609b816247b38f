"""Vocabularies learned from texts: whole, in CTranslate2's order, and the same for every reader."""

from __future__ import annotations

import base64
import json
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from training_data import record

from mtasr.cli import program
from mtasr.data.records import write_records
from mtasr.errors import MissingExtraError, UsageError
from mtasr.tokenizer import Tokenizer
from mtasr.tokenizer.vocabulary import byte_of_character, token_bytes
from mtasr.training import vocabulary as module
from mtasr.training.vocabulary import learn_vocabulary, texts_of, write_vocabulary

pytest.importorskip("tokenizers")

TEXTS = [
    " The boat is on the river, and the boat's crew sleeps.", " In 1912 the river froze.", " ¿Dónde está el río?",
    "川には船がある。船は川にある。",
] * 3  # fmt: skip
SIZE = 330


@cache
def tokens() -> list[str]:
    return learn_vocabulary(TEXTS, SIZE, ["ja", "en", "es"])


@cache
def tokenizer_of_ours() -> Tokenizer:
    return Tokenizer(tokens())


@given(st.text())
def test_any_text_comes_back(text: str) -> None:
    tokenizer = tokenizer_of_ours()
    ids = tokenizer.encode(text)
    assert b"".join(map(tokenizer.token_bytes, ids)) == text.encode()
    assert all(token < tokenizer.eot - 1 for token in ids)


def test_words_of_the_texts_take_fewer_tokens_than_bytes() -> None:
    tokenizer = tokenizer_of_ours()
    assert len(tokenizer.encode(" the river")) <= 3
    assert len(tokenizer.encode("川")) == 1


def test_the_order_is_that_of_ctranslate2() -> None:
    found = tokens()
    tokenizer = Tokenizer(found)
    assert found[:256] == list(byte_of_character())
    assert found.index("") == tokenizer.eot - 1 <= SIZE
    assert found[tokenizer.eot : tokenizer.timestamp_begin] == [
        "<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|es|>", "<|ja|>", "<|translate|>", "<|transcribe|>",
        "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
    ]  # fmt: skip
    assert found[tokenizer.timestamp_begin :: 1500] == ["<|0.00|>", "<|30.00|>"]
    assert len(found) == len(set(found)) == tokenizer.timestamp_begin + 1501
    assert tokenizer.is_multilingual
    # A token is made of two that come before it: ids are the ranks of merges.
    merged = [token_bytes(token) for token in found[: tokenizer.eot - 1]]
    for rank, piece in enumerate(merged[256:], start=256):
        assert any(piece[:at] in merged[:rank] and piece[at:] in merged[:rank] for at in range(1, len(piece)))


def test_all_files_are_of_one_vocabulary(tmp_path: Path) -> None:
    import tiktoken
    from tokenizers import Tokenizer as HuggingFaceTokenizer

    from mtasr.tokenizer.tokenizer import GPT2_PATTERN

    write_vocabulary(tokens(), tmp_path)
    assert Tokenizer.from_folder(tmp_path).n_vocab == len(tokens())
    lines = (line.split() for line in (tmp_path / "vocabulary.tiktoken").read_text().splitlines())
    ranks = {base64.b64decode(piece): int(rank) for piece, rank in lines}
    readers = [
        tiktoken.Encoding("ours", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens={}).encode,
        lambda text: (
            HuggingFaceTokenizer.from_file(str(tmp_path / "tokenizer.json")).encode(text, add_special_tokens=False).ids
        ),
    ]
    for text in [*TEXTS, " the crew's boats, 1913", "não"]:
        assert [read(text) for read in readers] == [tokenizer_of_ours().encode(text)] * 2


def test_translations_are_learned_as_english() -> None:
    records = [record("Hola.", language="es"), record("Hello.", language="ja", task="translate"), record("川")]
    assert list(texts_of(records)) == [" Hola.", " Hello.", " 川"]
    assert list(texts_of([record("川", language="ja")])) == ["川"]


def test_impossible_vocabularies_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no language 'xx'"):
        learn_vocabulary(TEXTS, SIZE, ["xx"])
    with pytest.raises(UsageError, match="names its language"):
        learn_vocabulary(TEXTS, SIZE, [])
    with pytest.raises(UsageError, match="256"):
        learn_vocabulary(TEXTS, 256, ["en"])
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(MissingExtraError, match=r"\.\[train\]"):
        module.learn_vocabulary(TEXTS, SIZE, ["en"])


def test_the_command(tmp_path: Path) -> None:
    write_records([record(*TEXTS[:2]), record("¿Dónde está?", language="es")], tmp_path / "records.jsonl")
    result = CliRunner().invoke(
        program,
        ["tokenizer", "train", str(tmp_path / "records.jsonl"), "--output", str(tmp_path / "v"), "--size", "280"],
    )
    assert result.exit_code == 0, result.output
    assert "280 text tokens, 2 languages" in result.stderr
    found = json.loads((tmp_path / "v" / "vocabulary.json").read_text())
    assert {"<|en|>", "<|es|>"} < set(found)
    assert "<|fr|>" not in found
