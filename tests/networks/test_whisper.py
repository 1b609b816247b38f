from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from mtasr.errors import ModelError
from mtasr.networks.whisper import DIMENSIONS, ModelDimensions, Whisper

SMALL = ModelDimensions(
    n_mels=8, n_audio_ctx=20, n_audio_state=16, n_audio_head=2, n_audio_layer=2,
    n_vocab=50, n_text_ctx=12, n_text_state=16, n_text_head=4, n_text_layer=2,
)  # fmt: skip

#: Parameters in millions: Radford et al. 2022, table 1, and the model cards of large-v3 and turbo.
PUBLISHED = {"tiny": 39, "base": 74, "small": 244, "medium": 769, "large-v2": 1550, "large-v3": 1550, "turbo": 809}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def model() -> Whisper:
    torch.manual_seed(0)
    return Whisper(SMALL).eval()


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name: str) -> None:
    with torch.device("meta"):
        count = sum(weights.numel() for weights in Whisper(DIMENSIONS[name]).parameters())
    assert math.isclose(count / 1e6, PUBLISHED[name], rel_tol=0.05)


@pytest.mark.parametrize("frames", [1, 2, 33, 40])
def test_the_encoder_takes_any_length_up_to_its_context(model: Whisper, frames: int) -> None:
    assert model.encode(torch.zeros(3, 8, frames)).shape == (3, math.ceil(frames / 2), 16)


@torch.inference_mode()
def test_steps_with_a_cache_give_what_one_pass_gives(model: Whisper) -> None:
    audio = model.encode(torch.randn(3, 8, 30))
    tokens = torch.randint(0, 50, (3, 9))
    whole = model.decode(tokens, audio)
    cache, pieces = None, []
    for piece in tokens.split([4, 1, 3, 1], dim=1):
        before = cache.length if cache else 0
        output = model.decode(piece, audio, cache)
        assert cache is None or cache.length == before  # a value: never changed
        cache = output.cache
        pieces.append(output.logits)
    assert cache is not None
    assert cache.length == 9
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole.logits)


@torch.inference_mode()
def test_later_tokens_change_nothing_before_them(model: Whisper) -> None:
    audio = model.encode(torch.randn(1, 8, 30))
    tokens = torch.randint(0, 50, (1, 9))
    other = tokens.clone()
    other[0, 6:] = 7
    torch.testing.assert_close(model.decode(tokens, audio).logits[:, :6], model.decode(other, audio).logits[:, :6])


@torch.inference_mode()
def test_rows_selected_from_a_cache_go_on_by_themselves(model: Whisper) -> None:
    audio = model.encode(torch.randn(2, 8, 30))
    tokens = torch.randint(0, 50, (2, 5))
    rows = torch.tensor([1, 1, 0])
    cache = model.decode(tokens, audio).cache.select(rows)
    new = torch.tensor([[3], [4], [5]])
    expected = model.decode(torch.cat([tokens[rows], new], dim=1), audio[rows]).logits[:, -1:]
    torch.testing.assert_close(model.decode(new, audio[rows], cache).logits, expected)


@torch.inference_mode()
def test_all_rows_may_hear_the_same_audio(model: Whisper) -> None:
    audio = model.encode(torch.randn(1, 8, 30))
    tokens = torch.randint(0, 50, (3, 5))
    shared, copied = model.decode(tokens, audio), model.decode(tokens, audio.expand(3, -1, -1))
    torch.testing.assert_close(shared.logits, copied.logits)
    again = shared.cache.select(torch.tensor([2, 0]))
    torch.testing.assert_close(
        model.decode(tokens[:2, :1], audio, again).logits,
        model.decode(tokens[:2, :1], audio, copied.cache.select(torch.tensor([2, 0]))).logits,
    )


@torch.inference_mode()
def test_attention_on_request(model: Whisper) -> None:
    audio = model.encode(torch.randn(2, 8, 30))
    tokens = torch.randint(0, 50, (2, 5))
    plain, asked = model.decode(tokens, audio), model.decode(tokens, audio, want_attention=True)
    assert plain.attention is None
    assert asked.attention is not None
    assert [weights.shape for weights in asked.attention] == [(2, 4, 5, 15)] * 2
    torch.testing.assert_close(asked.attention[0].sum(dim=3), torch.ones(2, 4, 5))
    torch.testing.assert_close(asked.logits, plain.logits)


def test_every_weight_learns(model: Whisper) -> None:
    logits = model(torch.randn(2, 8, 30), torch.randint(0, 50, (2, 6)))
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.randint(0, 50, (12,))).backward()
    assert all(weights.grad is not None and weights.grad.any() for weights in model.parameters())


def test_half_precision_still_gives_float_logits(model: Whisper) -> None:
    model = model.to(torch.bfloat16)
    output = model.decode(torch.tensor([[1, 2]]), model.encode(torch.randn(1, 8, 10)))
    assert output.logits.dtype == torch.float32


def test_what_exceeds_the_contexts(model: Whisper) -> None:
    with pytest.raises(ModelError, match="41 feature frames exceed"):
        model.encode(torch.zeros(1, 8, 41))
    with pytest.raises(ModelError, match="wanted"):
        model.encode(torch.zeros(1, 9, 40))
    audio = model.encode(torch.zeros(1, 8, 10))
    with pytest.raises(ModelError, match="13 tokens exceed"):
        model.decode(torch.zeros(1, 13, dtype=torch.long), audio)
    cache = model.decode(torch.zeros(1, 12, dtype=torch.long), audio).cache
    with pytest.raises(ModelError, match="13 tokens exceed"):
        model.decode(torch.zeros(1, 1, dtype=torch.long), audio, cache)
    with pytest.raises(ModelError, match="do not fit"):
        model.decode(torch.zeros(3, 1, dtype=torch.long), audio.expand(2, -1, -1))


def test_impossible_dimensions() -> None:
    with pytest.raises(ModelError, match=r"encoder width 16 is not decoder width 18; decoder width 18 is not divis"):
        Whisper(replace(SMALL, n_text_state=18))
    with pytest.raises(ModelError, match="n_text_layer is 0"):
        Whisper(replace(SMALL, n_text_layer=0))
