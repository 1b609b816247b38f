"""Gradients of one process, which lie as those of several; `test_processes.py` has two."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from training_model import checkpoint

from mtasr.training.layout import Replicated, compile_layers, layers_of
from mtasr.training.parallel import Crew


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 3)
        self.second = nn.Linear(3, 1)
        self.unused = nn.Linear(1, 1)


def loss(model: Pair, batch: Tensor) -> Tensor:
    return model.second(model.first(batch)).sum()


def test_gradients_add_up_until_they_are_cleared() -> None:
    torch.manual_seed(0)
    model, batch = Pair(), torch.randn(4, 2)
    layout = Replicated(model, loss, Crew(), bucket_bytes=40)
    for last in (False, True):
        layout.expect(last)
        layout.loss(batch).backward()
    layout.complete()
    found = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    other = Pair()
    other.load_state_dict(model.state_dict())
    (2 * loss(other, batch)).backward()
    for name, weight in other.named_parameters():
        assert found[name].allclose(torch.zeros_like(weight) if weight.grad is None else weight.grad), name
    layout.clear()
    assert all(not weight.grad.any() for weight in model.parameters())


def test_buffers_are_sent_in_order_as_soon_as_they_are_full(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []

    class Work:
        def wait(self) -> None:
            sent.append(-1)

    def all_reduce(buffer: Tensor, **_: Any) -> Work:
        sent.append(buffer.numel())
        return Work()

    monkeypatch.setattr(dist, "all_reduce", all_reduce)
    model = Pair()
    layout = Replicated(model, loss, Crew(size=2), bucket_bytes=16)
    layout.expect(False)
    layout.loss(torch.ones(1, 2)).backward()
    assert sent == [], "all but the last batch are added up by each process"
    layout.expect(True)
    layout.loss(torch.ones(1, 2)).backward()
    assert sent == [], "the first buffer has weights that the loss does not depend on"
    layout.complete()
    assert sent == [3, 3, 3, 6, -1, -1, -1, -1]
    model.unused.requires_grad_(False)
    sent.clear()
    layout = Replicated(model, loss, Crew(size=2), bucket_bytes=16)
    layout.expect(True)
    layout.loss(torch.ones(1, 2)).backward()
    assert sent == [4, 3, 6]


def test_compiling_changes_no_names_and_no_results(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []

    def compiling(function: Any) -> Any:
        compiled.append(function)
        return lambda *inputs: 2 * function(*inputs)

    monkeypatch.setattr(torch, "compile", compiling)
    model, mel = checkpoint().model, torch.randn(1, 80, 40)
    names, before = list(model.state_dict()), model.encode(mel)
    compile_layers(model)
    assert len(compiled) == len(layers_of(model)) == 4
    assert list(model.state_dict()) == names
    assert not model.encode(mel).allclose(before), "the compiled functions are called"


def test_layers_within_layers_come_first() -> None:
    """FSDP must shard them before what they are in, and cannot shard lists."""
    inner = [nn.Linear(1, 1), nn.Linear(1, 1)]
    outer = nn.Module()
    outer.parts = nn.ModuleList([inner[0]])
    model = nn.Module()
    model.layers = nn.ModuleList([outer, nn.ModuleList([inner[1]]), nn.ModuleDict({"a": nn.Linear(1, 1)})])
    model.again = nn.ModuleList([outer])
    found = layers_of(model)
    assert len(found) == 3
    assert {id(each) for each in found} == {id(each) for each in (*inner, outer)}
    assert found.index(inner[0]) < found.index(outer)
