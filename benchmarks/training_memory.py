"""Memory that training takes on each GPU, computed from the shapes of a model and of what its backward pass needs.

    python benchmarks/training_memory.py [--gpus 8] [--windows 8] [--tokens 448]

Nothing is trained and nothing is measured: tensors are fake, so a laptop computes the figures of any size. Activations
are those under autocast in bfloat16, of windows of 30 s. Left out are the caching allocator's gaps (often a tenth), the
buffers of NCCL and cuBLAS (1 to 2 GB), and what exists only within one operation.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

from mtasr.networks.whisper import DIMENSIONS, Whisper

FLOAT, HALF = 4, 2


@dataclass(frozen=True)
class Sizes:
    """Parameters of a model."""

    all: int
    #: Those of the largest layer, and those outside of layers.
    layer: int
    outside: int

    @staticmethod
    def of(model: Whisper) -> Sizes:
        layers = [
            sum(weight.numel() for weight in layer.parameters())
            for layer in [*model.encoder.blocks, *model.decoder.blocks]
        ]
        whole = sum(weight.numel() for weight in model.parameters())
        return Sizes(whole, max(layers), whole - sum(layers))


def state_bytes(sizes: Sizes, gpus: int, *, sharded: bool, average: bool, accumulates: bool) -> int:
    """Weights, gradients, AdamW's two moments and the moving average, in float32, and what is put together of them."""
    each = FLOAT * (4 + average)
    if not sharded:
        return each * sizes.all + HALF * sizes.all  # autocast keeps the weights in bfloat16 for the backward pass
    # The layer in use and the next one, in bfloat16; their gradients in float32; weights outside of layers.
    together = 2 * sizes.layer * (HALF + FLOAT) + 2 * FLOAT * sizes.outside
    return math.ceil(each * sizes.all / gpus) + together + (FLOAT * sizes.all if accumulates else 0)


def kept_bytes(name: str, windows: int, tokens: int, *, again: bool) -> int:
    """Bytes that the forward pass keeps for the backward pass, with the weights that autocast has made of others."""
    dims = DIMENSIONS[name]
    storages: dict[int, tuple[Any, int]] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            storage = tensor.untyped_storage()
            storages[storage._cdata] = (storage, storage.nbytes())
        return tensor

    with FakeTensorMode(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model = Whisper(dims)
        if again:
            for layer in [*model.encoder.blocks, *model.decoder.blocks]:
                layer.forward = _again(layer.forward)
        mel, written = torch.empty(windows, dims.n_mels, 3000), torch.zeros(windows, tokens, dtype=torch.long)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(mel, written)
            loss = F.cross_entropy(logits.flatten(0, 1), written.flatten(), reduction="sum")
        assert loss.requires_grad
        return sum(size for _, size in storages.values())


def _again(forward: Any) -> Any:
    return lambda *inputs: checkpoint(forward, *inputs, use_reentrant=False)


def window_bytes(name: str, tokens: int, *, again: bool) -> int:
    """Bytes that each window adds: those of two windows less those of one."""
    one, two = (kept_bytes(name, count, tokens, again=again) for count in (1, 2))
    if not again:
        return two - one
    dims = DIMENSIONS[name]
    # While it is computed again, one layer has all of its activations.
    layers = dims.n_audio_layer + dims.n_text_layer
    return two - one + (window_bytes(name, tokens, again=False) - (two - one)) // layers


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["base", "small", "medium", "large-v3", "turbo"])
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--windows", type=int, default=8, help="in a batch; data.batch_seconds is 30 times that")
    parser.add_argument("--tokens", type=int, default=448)
    options = parser.parse_args(args)
    print(f"GB on each GPU; {options.windows} windows of 30 s and {options.tokens} tokens on each\n")
    print(
        "| Model | Parameters | State, data | State, FSDP | FSDP, accumulating | A window | A window, checkpointing "
        "| Data | FSDP | FSDP, checkpointing |"
    )
    print("|---" * 10 + "|")
    for name in options.models:
        with torch.device("meta"):
            sizes = Sizes.of(Whisper(DIMENSIONS[name]))
        states = [
            state_bytes(sizes, options.gpus, sharded=sharded, average=False, accumulates=accumulates)
            for sharded, accumulates in ((False, False), (True, False), (True, True))
        ]
        window, again = (window_bytes(name, options.tokens, again=each) for each in (False, True))
        totals = [
            states[0] + options.windows * window,
            states[1] + options.windows * window,
            states[1] + options.windows * again,
        ]
        cells = [f"{each / 1e9:.1f}" for each in (*states, window, again, *totals)]
        print(f"| {name} | {sizes.all / 1e6:.0f} M | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
