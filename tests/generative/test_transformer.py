"""The decoder-only transformer and how it continues a sequence."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from mtasr.errors import UsageError
from mtasr.generative.sampling import Sampling, continuations, drawn
from mtasr.generative.transformer import CausalTransformer, TransformerSizes

SIZES = TransformerSizes(vocabulary=9, layers=2, width=16, heads=2, hidden=32, context=40)
END = 8


@pytest.fixture
def model() -> CausalTransformer:
    torch.manual_seed(0)
    model = CausalTransformer(SIZES).eval()
    with torch.no_grad():  # so that expectations differ from token to token
        model.embedding.weight *= 4
    return model


def literal(model: CausalTransformer, tokens: list[int]) -> Tensor:
    """The logits (T, V) spelled out for one row and one head at a time, in float64."""
    model = model.double()
    width, heads = SIZES.width, SIZES.heads
    size, half = width // heads, width // 2
    rows = []
    for place, token in enumerate(tokens):
        rates = [10_000 ** (-each / (half - 1)) for each in range(half)]
        angles = torch.tensor([place * rate for rate in rates], dtype=torch.float64)
        rows.append(model.embedding.weight[token] * width**0.5 + torch.cat([angles.sin(), angles.cos()]))
    x = torch.stack(rows)

    def normed(x: Tensor, norm: torch.nn.LayerNorm) -> Tensor:
        centred = x - x.mean(dim=1, keepdim=True)
        return centred / (centred.square().mean(dim=1, keepdim=True) + norm.eps).sqrt() * norm.weight + norm.bias

    for block in model.blocks:
        inner = normed(x, block.attention_norm)
        q, k, v = (part(inner) for part in (block.attention.query, block.attention.key, block.attention.value))
        mixed = torch.zeros_like(x)
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            for place in range(len(tokens)):
                scores = k[: place + 1, part] @ q[place, part] / size**0.5
                mixed[place, part] = scores.softmax(dim=0) @ v[: place + 1, part]
        x = x + block.attention.out(mixed)
        x = x + block.down(block.up(normed(x, block.mlp_norm)).clamp(min=0))
    return normed(x, model.norm) @ model.embedding.weight.T


@torch.no_grad()
def test_the_network_is_what_its_description_says(model: CausalTransformer) -> None:
    tokens = [8, 0, 3, 3, 7, 1]
    found = model(torch.tensor([tokens]))[0]
    assert torch.allclose(found.double(), literal(model, tokens), atol=1e-5)


@torch.no_grad()
def test_no_token_hears_the_future(model: CausalTransformer) -> None:
    one, other = torch.tensor([[8, 0, 3, 3, 7]]), torch.tensor([[8, 0, 3, 5, 1]])
    assert torch.equal(model(one)[:, :3], model(other)[:, :3])
    assert not torch.allclose(model(one)[:, 3], model(other)[:, 3])


@torch.no_grad()
@pytest.mark.parametrize("cuts", [[1] * 12, [5, 7], [3, 1, 8]])
def test_steps_give_what_one_pass_gives(model: CausalTransformer, cuts: list[int]) -> None:
    tokens = torch.randint(9, (3, 12), generator=torch.Generator().manual_seed(1))
    cache, found = None, []
    for part in tokens.split(cuts, dim=1):
        before = cache
        logits, cache = model.extend(part, cache)
        assert before is None or before[0][0].shape[2] < cache[0][0].shape[2], "a cache is a value"
        found.append(logits)
    assert torch.allclose(torch.cat(found, dim=1), model(tokens), atol=1e-5)


def test_dropout_counts_in_training_only() -> None:
    model = CausalTransformer(SIZES, dropout=0.5)
    tokens = torch.tensor([[8, 0, 3]])
    assert not torch.equal(model(tokens), model(tokens))
    assert torch.equal(model.eval()(tokens), model(tokens))


@pytest.mark.parametrize("wrong", [{"width": 18}, {"layers": 0}, {"heads": True}, {"context": 1 << 30}])
def test_sizes_that_make_no_network(wrong: dict[str, int]) -> None:
    good = {"vocabulary": 9, "layers": 2, "width": 16, "heads": 2, "hidden": 32, "context": 40}
    with pytest.raises(UsageError):
        TransformerSizes(**(good | wrong | ({"heads": 4} if wrong == {"width": 18} else {})))


@pytest.mark.slow
def test_the_published_size() -> None:
    """12 layers of 4 x 1024 x 1024 for attention and 2 x 1024 x 4096 for the rest, with biases and norms, and units."""
    with torch.device("meta"):
        model = CausalTransformer(
            TransformerSizes(vocabulary=101, layers=12, width=1024, heads=16, hidden=4096, context=3072)
        )
    layer = 4 * 1024**2 + 3 * 1024 + 2 * 1024 * 4096 + 4096 + 1024 + 4 * 1024
    assert sum(each.numel() for each in model.parameters()) == 12 * layer + 2 * 1024 + 101 * 1024


# sampling


def test_temperature_and_top_k() -> None:
    probabilities = torch.tensor([0.5, 0.3, 0.2, 0.0])
    logits = probabilities.log().expand(20_000, -1)

    def shares(**how: float) -> list[float]:
        tokens = drawn(logits, Sampling(**how), torch.Generator().manual_seed(0))  # type: ignore[arg-type]
        return (torch.bincount(tokens, minlength=4) / len(tokens)).tolist()

    assert shares() == pytest.approx([0.5, 0.3, 0.2, 0], abs=0.02)
    squares = [0.25 / 0.38, 0.09 / 0.38, 0.04 / 0.38, 0]
    assert shares(temperature=0.5) == pytest.approx(squares, abs=0.02)
    assert shares(top_k=2) == pytest.approx([0.625, 0.375, 0, 0], abs=0.02)
    assert shares(temperature=0) == shares(temperature=1e-9) == shares(top_k=1) == [1, 0, 0, 0]


def test_temperature_0_takes_the_likeliest_of_the_full_pass(model: CausalTransformer) -> None:
    prefix = [END, 2, 5]
    (found,) = continuations(model, prefix, 1, 20, END, Sampling(temperature=0))
    written = list(prefix)
    for _ in range(20):
        token = int(model(torch.tensor([written]))[0, -1].argmax())
        if token == END:
            break
        written.append(token)
    assert found == written[3:]
    assert found
    assert continuations(model, prefix, 3, 20, END, Sampling(temperature=1e-9)) == [found] * 3


def test_continuations_depend_on_the_prefix_and_the_seed_and_end(model: CausalTransformer) -> None:
    prefix = [END, 2, 5]
    found = continuations(model, prefix, 40, 30, END, Sampling(seed=1, temperature=5))
    assert found == continuations(model, prefix, 40, 30, END, Sampling(seed=1, temperature=5))
    assert found != continuations(model, prefix, 40, 30, END, Sampling(seed=2, temperature=5))
    assert found != continuations(model, [END, 2, 6], 40, 30, END, Sampling(seed=1, temperature=5))
    assert prefix == [END, 2, 5], "the prefix is kept"
    assert all(END not in each and len(each) <= 30 for each in found)
    assert any(len(each) < 30 for each in found)
    assert any(one == other for each in found for one, other in itertools.pairwise(each))
    joined = continuations(model, prefix, 40, 30, END, Sampling(seed=1, temperature=5), repeats=False)
    assert not any(one == other for each in joined for one, other in itertools.pairwise([*prefix, *each]))
    assert continuations(model, prefix, 2, 0, END, Sampling()) == [[], []]


def test_what_cannot_be_continued(model: CausalTransformer) -> None:
    with pytest.raises(UsageError, match="a prefix of at least one token"):
        continuations(model, [], 1, 5, END, Sampling())
    with pytest.raises(UsageError, match="3 tokens and 38 more are over the model's 40"):
        continuations(model, [END, 1, 2], 1, 38, END, Sampling())
    with pytest.raises(UsageError, match="temperature"):
        Sampling(temperature=float("nan"))
    with pytest.raises(UsageError, match="at least one"):
        Sampling(top_k=0)
