"""BPE dropout spells the same text in other tokens."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from training_data import record
from vocabularies import vocabulary

from mtasr.tokenizer import Tokenizer
from mtasr.training.config import DataConfig
from mtasr.training.examples import ExampleSource, epoch_of
from mtasr.training.targets import with_dropout

TOKENIZER = Tokenizer(vocabulary())
TEXT = " they would look about the people, which is more than how they number each other"


def encoded(text: str, probability: float, seed: int = 0) -> list[int]:
    return with_dropout(TOKENIZER, probability, np.random.default_rng(seed))(text)


@given(st.text(), st.floats(0, 1), st.integers(0, 1000))
def test_any_text_comes_back(text: str, probability: float, seed: int) -> None:
    tokens = encoded(text, probability, seed)
    assert b"".join(map(TOKENIZER.token_bytes, tokens)) == text.encode()
    assert tokens == encoded(text, probability, seed)


@given(st.text("the andofwuld. é你"))
def test_no_dropout_is_the_tokenizer_and_full_dropout_is_bytes(text: str) -> None:
    assert encoded(text, 0.0) == TOKENIZER.encode(text)
    assert len(encoded(text, 1.0)) == len(text.encode())


def test_more_dropout_makes_more_tokens() -> None:
    counts = [sum(len(encoded(TEXT, share, seed)) for seed in range(50)) for share in (0.0, 0.1, 0.3, 0.6, 1.0)]
    assert counts == sorted(set(counts))
    assert len({tuple(encoded(TEXT, 0.1, seed)) for seed in range(50)}) > 25


def test_dropout_changes_the_text_to_learn_and_not_the_previous_text() -> None:
    records = [record(*TEXT.split(", "), TEXT, TEXT, seconds=9.0, audio="/a.wav")]
    source = ExampleSource(records=records, rehearsal=[], tokenizer=TOKENIZER, text_context=448, audio_seconds=30.0)
    config = DataConfig(bpe_dropout=0.5, previous=1.0, timestamps=0.0, short=0.0, longest=20.0)
    targets = [example.target for batch in epoch_of(source, config, 0, 0) for example in batch]
    assert len(targets) > 1
    spelled, given_before = 0, False
    for target in targets:
        text = [token for token in target.tokens[target.given :] if token < TOKENIZER.eot]
        assert TOKENIZER.decode(text).strip()
        spelled += len(text) > len(TOKENIZER.encode(TOKENIZER.decode(text)))
        before = [token for token in target.tokens[: target.given] if token < TOKENIZER.eot]
        assert before == TOKENIZER.encode(TOKENIZER.decode(before))
        given_before |= bool(before)
    assert spelled == len(targets)
    assert given_before
    assert epoch_of(source, config, 0, 0) == epoch_of(source, config, 0, 0) != epoch_of(source, config, 0, 1)


def test_no_excerpt_is_lost_for_having_more_tokens() -> None:
    records = [record(TEXT, seconds=9.0, audio="/a.wav")]
    room = 2 * (len(TOKENIZER.encode(TEXT)) + 4)
    source = ExampleSource(records=records, rehearsal=[], tokenizer=TOKENIZER, text_context=room, audio_seconds=30.0)
    assert epoch_of(source, DataConfig(bpe_dropout=1.0), 0, 0)


def test_a_vocabulary_without_some_bytes() -> None:
    tokens = list(vocabulary())
    tokens[tokens.index("q")] = "unused"
    tokens[tokens.index("Ġthe")] = "Ġthq"
    tokenizer = Tokenizer(tokens)
    (token,) = [tokens.index("Ġthq")]
    for piece in (" thq", " th"):
        found = with_dropout(tokenizer, 1.0, np.random.default_rng(0))(piece)
        assert found == [token] if piece.endswith("q") else len(found) == len(piece)
