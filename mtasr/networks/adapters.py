"""Small networks beside a frozen one, which adapt it to a task: a few MB for each, loaded beside one encoder.

`houlsby`  a bottleneck after each part of a block: attention, cross-attention, feed-forward (Houlsby et al. 2019,
           arXiv:1902.00751, section 2.1)
`prefix`   learned keys and values that each self-attention sees beside its own (Li and Liang 2021, arXiv:2101.00190),
           behind a gate that begins closed (Zhang et al. 2023, arXiv:2303.16199, section 3.2)

Both begin by changing nothing, to the bit. They work in torch alone: CTranslate2 has no place for them.
`PromptedEmbedding` adapts through the vectors of a few tokens instead, which CTranslate2 runs too.

Letters in shapes:

    B  rows of a batch      N  frames or tokens      D  width
    H  heads                P  vectors of a prefix   R  tokens of a prompt
    V  vocabulary           T  tokens
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F  # noqa: N812 - as in PyTorch's own documentation
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mtasr.errors import ModelError
from mtasr.networks.whisper import TokenEmbedding, Whisper

AdapterKind = Literal["houlsby", "prefix"]

#: The width of a bottleneck and the vectors of a prefix, if nothing is said.
DEFAULT_SIZES: dict[AdapterKind, int] = {"houlsby": 32, "prefix": 16}

#: The last projections of the parts of a block, by which the parts are known in any of our transformers.
_OUTPUTS = ("attention.out", "cross_attention.out", "mlp.down")
_SELF_ATTENTION = "attention"


class Bottleneck(nn.Module):
    """Adds a change that passes through few dimensions. It begins as zero, since `up` does."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, size)
        self.up = nn.Linear(size, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)"""
        out: Tensor = x + self.up(F.gelu(self.down(x)))
        return out

    def hook(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        return self(output)  # type: ignore[no-any-return]


class Prefix(nn.Module):
    """Keys and values that are learned. What attention finds in them is added, as much as the gate of a head lets by.

    Attention over them has a softmax of its own. In one softmax with the others they would take a share of it from the
    start, and change what the network computes.
    """

    def __init__(self, width: int, heads: int, size: int) -> None:
        super().__init__()
        self.keys = nn.Parameter(torch.empty(heads, size, width // heads))
        self.values = nn.Parameter(torch.empty(heads, size, width // heads))
        self.gate = nn.Parameter(torch.zeros(heads, 1, 1))
        for learned in (self.keys, self.values):
            nn.init.normal_(learned)  # as keys and values are that come of normalised inputs

    def forward(self, queries: Tensor) -> Tensor:
        """(B, H, N, D/H) -> what is found, of the same shape"""
        rows = len(queries)
        keys, values = (each.to(queries.dtype).expand(rows, -1, -1, -1) for each in (self.keys, self.values))
        return self.gate.to(queries.dtype) * F.scaled_dot_product_attention(queries, keys, values)

    def hook(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        """Of the attention `module`, after its output projection (B, N, D), through which what is found passes too."""
        attention: Any = module
        found = self(attention.split(attention.query(inputs[0])))
        return output + F.linear(found.transpose(1, 2).flatten(2), attention.out.weight)


class Adapters(nn.Module):
    """The adapters of one task, made to fit a network, which stays as it is while they are not attached.

    `size` is the width of each bottleneck, or the number of vectors in each prefix. Works for `Whisper`, its encoder
    and the wave encoders with a transformer; raises `ModelError` for a network without attention.
    """

    def __init__(self, network: nn.Module, kind: AdapterKind, size: int) -> None:
        super().__init__()
        if kind not in get_args(AdapterKind) or size < 1:
            raise ModelError(f"there are no adapters of the kind {kind!r} and size {size}")
        self.kind, self.size = kind, size
        places = _places(network, kind)
        if not places:
            raise ModelError(f"{kind} adapters need blocks with attention, which this network does not have")
        #: By the name of the module that each follows, with / for each dot.
        self.parts = nn.ModuleDict({name.replace(".", "/"): _part(module, kind, size) for name, module in places})

    def attach(self, network: nn.Module) -> list[RemovableHandle]:
        """Let the network compute with these adapters, until the handles are removed."""
        handles = []
        for name, part in self.parts.items():
            assert isinstance(part, Bottleneck | Prefix)  # noqa: S101 - ModuleDict forgets the type
            handles.append(network.get_submodule(name.replace("/", ".")).register_forward_hook(part.hook))
        return handles

    @contextlib.contextmanager
    def attached(self, network: nn.Module) -> Iterator[None]:
        """The same for a while, so that the adapters of several tasks can take turns beside one network."""
        handles = self.attach(network)
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _places(network: nn.Module, kind: AdapterKind) -> list[tuple[str, nn.Module]]:
    """The modules that adapters follow, by name."""
    ends = _OUTPUTS if kind == "houlsby" else (_SELF_ATTENTION,)
    parts = len(ends[0].split("."))
    return [(name, module) for name, module in network.named_modules() if ".".join(name.split(".")[-parts:]) in ends]


def _part(module: Any, kind: AdapterKind, size: int) -> nn.Module:
    weight: Tensor = (module if kind == "houlsby" else module.out).weight  # (D, inputs)
    return Bottleneck(len(weight), size) if kind == "houlsby" else Prefix(len(weight), module.heads, size)


def adapters_of(model: nn.Module) -> Adapters | None:
    """What `adapt` has added to a network."""
    found = model._modules.get("adapters")
    return found if isinstance(found, Adapters) else None


def adapt(model: Whisper, adapters: Adapters) -> Whisper:
    """The model with the adapters as a part of it, under the name `adapters`: they move and are copied together."""
    model.add_module("adapters", adapters)
    adapters.attach(model)
    return model


class PromptedEmbedding(TokenEmbedding):
    """An embedding in which the vectors of a few tokens are trained and all others are frozen.

    The tokens stand before every start of transcript (`Tokenizer.prompt`), where text could stand that was said before
    (Lester et al. 2021, arXiv:2104.08691). The vectors are rows of the output projection as well, as in the model that
    CTranslate2 runs, so training keeps the tokens improbable.
    """

    places: Tensor

    def __init__(self, embedding: TokenEmbedding, tokens: Sequence[int], start: Tensor) -> None:
        """`start`: (R, D), the vectors to begin with, one for each of `tokens`."""
        vocabulary, width = embedding.weight.shape
        super().__init__(vocabulary, width, _weight=embedding.weight.detach(), _freeze=True)
        self.tokens = tuple(tokens)
        self.vectors = nn.Parameter(start.detach().clone())
        # Which vector a token has, -1 for those of the vocabulary.
        places = torch.full((vocabulary,), -1, device=embedding.weight.device)
        places[list(tokens)] = torch.arange(len(self.tokens), device=places.device)
        self.register_buffer("places", places, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T) -> (B, T, D)"""
        place = self.places[tokens]
        trained = F.embedding(place.clamp(min=0), self.vectors)
        return torch.where((place >= 0)[..., None], trained, super().forward(tokens))

    def logits(self, x: Tensor) -> Tensor:
        logits = super().logits(x)
        ids = torch.tensor(self.tokens, device=x.device)
        return logits.index_copy(2, ids, F.linear(x, self.vectors).to(logits.dtype))
