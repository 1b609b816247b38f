"""Targets are what the decoder turns back into the same captions, and nothing that its rules forbid."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training_data import record
from vocabularies import vocabulary

from mtasr.data.excerpts import Excerpt, Part
from mtasr.data.records import Caption
from mtasr.decoding.timing.segments import all_pieces, split_at_timestamps
from mtasr.engines.rules import FORBIDDEN, TimestampRules, rules_for
from mtasr.errors import UsageError
from mtasr.options import DecodingOptions
from mtasr.tokenizer import Tokenizer
from mtasr.training.targets import IGNORED, Target, target_of

TOKENIZER = Tokenizer(vocabulary())
CONTEXT = 448
texts = st.text("abc de, é你. <|0.00|>", min_size=1, max_size=20).map(lambda t: " ".join(t.split())).filter(bool)


@st.composite
def excerpts(draw: st.DrawFn) -> Excerpt:
    """Windows as they are cut: captions in order, of 0.02 s and more."""
    count = draw(st.integers(1, 6))
    steps = sorted(draw(st.lists(st.integers(0, 14_900), min_size=2 * count, max_size=2 * count)))
    captions, reached = [], 0
    for begin, end in zip(steps[::2], steps[1::2], strict=True):
        start = max(begin, reached)
        reached = max(end, start + 20)
        captions.append(Caption(start=start / 500, end=reached / 500, text=draw(texts)))
    seconds = draw(st.floats(reached / 500, 30))
    cut = draw(st.one_of(st.none(), st.floats(reached / 500, seconds)))
    return Excerpt(
        parts=(Part(audio="/a.wav", start=0.0, end=seconds),), language="it", task="transcribe",
        captions=tuple(captions),
        cut=cut, previous=draw(st.one_of(st.just(""), texts)),
    )  # fmt: skip


def made(excerpt: Excerpt, *, timestamps: bool = True, previous: bool = False) -> Target:
    target = target_of(excerpt, TOKENIZER, timestamps=timestamps, previous=previous, context=CONTEXT)
    assert target is not None
    return target


def content(target: Target, *, timestamps: bool = True) -> tuple[int, ...]:
    start = target.tokens.index(TOKENIZER.sot) + (3 if timestamps else 4)
    return target.tokens[start:-1]


@given(excerpts())
def test_the_decoder_reads_the_captions_back(excerpt: Excerpt) -> None:
    tokens = content(made(excerpt))
    pieces = all_pieces(tokens, TOKENIZER, excerpt.seconds)
    if excerpt.cut is not None:
        last = pieces.pop()
        assert len(last.tokens) == 1
        assert last.start == pytest.approx(excerpt.cut, abs=0.021)
    found = [
        (piece.start, piece.end, text.strip())
        for piece, text in zip(pieces, TOKENIZER.decode_groups(piece.tokens for piece in pieces), strict=True)
    ]
    assert [text for _, _, text in found] == [caption.text for caption in excerpt.captions]
    for (start, end, _), caption in zip(found, excerpt.captions, strict=True):
        assert (start, end) == pytest.approx((caption.start, caption.end), abs=0.0101)


@given(excerpts())
def test_sequential_decoding_goes_on_at_the_caption_that_is_cut_off(excerpt: Excerpt) -> None:
    pieces, advance = split_at_timestamps(content(made(excerpt)), TOKENIZER, excerpt.seconds)
    assert len(pieces) == len(excerpt.captions)
    if excerpt.cut is None:
        assert advance == excerpt.seconds
    else:
        assert excerpt.captions[-1].end - 0.011 <= advance <= excerpt.cut + 0.011


@given(excerpts())
def test_the_rules_of_decoding_allow_it(excerpt: Excerpt) -> None:
    rules = rules_for(TOKENIZER, DecodingOptions(max_initial_timestamp=30), timestamps=True)
    (grammar,) = [rule for rule in rules if isinstance(rule, TimestampRules)]
    written = [*content(made(excerpt)), TOKENIZER.eot]
    for place, token in enumerate(written):
        allowed = grammar.grammar(torch.zeros(1, TOKENIZER.n_vocab), torch.tensor([written[:place]], dtype=torch.long))
        assert allowed[0, token] != FORBIDDEN, (place, token)


@given(excerpts(), st.booleans(), st.booleans())
def test_all_but_the_given_tokens_are_taught(excerpt: Excerpt, timestamps: bool, previous: bool) -> None:
    target = made(excerpt, timestamps=timestamps, previous=previous)
    start = target.tokens.index(TOKENIZER.sot)
    assert len(target.labels) == len(target.tokens) - 1
    for place, label in enumerate(target.labels):
        assert label == (IGNORED if place < start else target.tokens[place + 1])
    assert target.labels[start] == TOKENIZER.language_tokens["it"]
    if previous and excerpt.previous:
        assert target.tokens[0] == TOKENIZER.sot_prev
        assert TOKENIZER.decode(target.tokens[1:start]) == f" {excerpt.previous}"
    else:
        assert start == 0
    if not timestamps:
        assert target.tokens[start + 3] == TOKENIZER.no_timestamps
        assert TOKENIZER.decode(content(target, timestamps=False)) == "".join(
            f" {caption.text}" for caption in excerpt.captions
        )


def simple(**fields: object) -> Excerpt:
    settings = {"language": "it", "task": "transcribe", "captions": record("The hot bread.").captions}
    return Excerpt(parts=(Part(audio="/a.wav", start=0, end=4),), **(settings | fields))  # type: ignore[arg-type]


def test_layouts() -> None:
    def spelled(target: Target) -> str:
        return TOKENIZER.encoding.decode(target.tokens)

    head = "<|startoftranscript|><|it|>"
    assert spelled(made(simple())) == f"{head}<|transcribe|><|0.50|> The hot bread.<|3.50|><|endoftext|>"
    assert spelled(made(simple(task="translate"), timestamps=False)) == (
        f"{head}<|translate|><|notimestamps|> The hot bread.<|endoftext|>"
    )
    assert spelled(made(simple(timed=False))).startswith(f"{head}<|transcribe|><|notimestamps|>")
    assert spelled(made(simple(captions=(), previous="Bread."))) == "<|startoftranscript|><|nocaptions|><|endoftext|>"
    assert spelled(made(simple(language="ja"), timestamps=False)).endswith(
        "<|notimestamps|>The hot bread.<|endoftext|>"
    )
    assert spelled(made(simple(language="ja", task="translate"), timestamps=False)).endswith(
        "> The hot bread.<|endoftext|>"
    )


def test_what_does_not_fit() -> None:
    long = "the hot bread " * 100
    assert (
        target_of(simple(captions=record(long).captions), TOKENIZER, timestamps=True, previous=True, context=CONTEXT)
        is None
    )
    target = made(simple(previous=long), previous=True)
    assert target.tokens.index(TOKENIZER.sot) == CONTEXT // 2
    with pytest.raises(UsageError, match="does not know the language"):
        made(simple(language="yue"))


def test_times_out_of_order_are_put_in_order() -> None:
    captions = tuple(Caption(start=a, end=b, text="the") for a, b in [(1.0, 3.0), (2.0, 2.5), (9.0, 9.0)])
    tokens = content(made(simple(captions=captions)))
    times = [TOKENIZER.seconds(token) for token in tokens if TOKENIZER.is_timestamp(token)]
    assert times == [1.0, 3.0, 3.0, 3.02, 3.98, 4.0]
