"""How the weights and gradients of a model lie in the memory of the processes that train it together.

`Replicated`  every process holds everything; gradients are added up (data parallelism)
`Sharded`     every process holds a part of each weight and gradient; blocks are put together while they compute (FSDP)

Both give the sums of the gradients over all processes, not their means, because the loss is a sum that is divided by
the targets of all processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from mtasr.training.batches import Batch
from mtasr.training.parallel import Crew

#: Bytes of gradients that are added up in one call: few enough to begin early, enough to use a network well.
_BUCKET_BYTES = 25_000_000

#: Computes the loss of a batch.
Loss = Callable[[Batch], Tensor]


class WeightLayout(Protocol):
    """The gradients of the trained weights during a step."""

    #: Computes the loss of a batch; its backward pass adds to the gradients.
    loss: Loss

    def expect(self, last: bool) -> None:
        """Call before each loss. Gradients are added up over processes during the backward pass of the last one."""
        ...

    def complete(self) -> None:
        """Call after the last backward pass: `grad` of each trained weight then is a sum over all processes."""
        ...

    def clear(self) -> None:
        """Forget the gradients of a step."""
        ...


def layers_of(model: nn.Module) -> list[nn.Module]:
    """The layers that a model has several of: the members of each `ModuleList`, those within others before these.

    Members that are lists or dictionaries of modules are no layers, since nothing calls them.
    """
    # Not what torch derives from lists, such as lists of parametrizations.
    members = {member for module in model.modules() if type(module) is nn.ModuleList for member in module}
    inside_out = reversed(list(model.modules()))
    return [each for each in inside_out if each in members and not isinstance(each, nn.ModuleList | nn.ModuleDict)]


def compile_layers(model: nn.Module) -> None:
    """Compile the layers of a model, in place. Names in its state stay the same.

    Layers of a kind share the result. Hooks, by which layers are skipped and sharded, stay outside of it.
    """
    for block in layers_of(model):
        block.forward = torch.compile(block.forward)


class _Bucket:
    """Gradients in one flat buffer, each weight's `grad` being a view of it."""

    def __init__(self, weights: Sequence[nn.Parameter]) -> None:
        self.weights = weights
        first = weights[0]
        self.buffer = torch.zeros(sum(each.numel() for each in weights), dtype=first.dtype, device=first.device)
        begin = 0
        for weight in weights:
            weight.grad = self.buffer[begin : begin + weight.numel()].view(weight.shape)
            begin += weight.numel()
        self.missing = len(weights)
        self.work: dist.Work | None = None


class Replicated:
    """Data parallelism. A buffer is added up as soon as the backward pass has filled it, while others are computed.

    A weight that takes part in no loss has gradients of zero, in one process as in several. Buffers are cut and added
    up in an order that never changes, so that a resumed run rounds as the whole run does.
    """

    def __init__(
        self, model: nn.Module, loss: Callable[[Any, Any], Tensor], crew: Crew, bucket_bytes: int = _BUCKET_BYTES
    ) -> None:
        self.loss: Loss = partial(loss, model)
        self._crew = crew
        self._last = False
        self._begun = 0
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        #: From the last layer to the first, which is nearly the order in which the backward pass finishes them.
        self._buckets = [_Bucket(group) for group in _grouped(reversed(weights), bucket_bytes)]
        for bucket in self._buckets:
            for weight in bucket.weights:
                weight.register_post_accumulate_grad_hook(self._hook(bucket))  # type: ignore[no-untyped-call]

    def expect(self, last: bool) -> None:
        self._last = last
        self._begun = 0
        for bucket in self._buckets:
            bucket.missing = len(bucket.weights)

    def complete(self) -> None:
        for bucket in self._buckets[self._begun :]:  # with weights that took no part in the loss
            self._begin(bucket)
        for bucket in self._buckets:
            if bucket.work is not None:
                bucket.work.wait()
                bucket.work = None

    def clear(self) -> None:
        for bucket in self._buckets:
            bucket.buffer.zero_()

    def _hook(self, bucket: _Bucket) -> Callable[[Tensor], None]:
        def arrived(_: Tensor) -> None:
            bucket.missing -= 1
            if self._last:
                for ready in self._buckets[self._begun :]:
                    if ready.missing:
                        return
                    self._begin(ready)

        return arrived

    def _begin(self, bucket: _Bucket) -> None:
        self._begun += 1
        if self._crew.size > 1:
            bucket.work = dist.all_reduce(bucket.buffer, async_op=True)


def _grouped(weights: Iterable[nn.Parameter], most: int) -> list[list[nn.Parameter]]:
    """Neighbours of the same type, in groups of at most so many bytes, or of one weight."""
    groups: list[list[nn.Parameter]] = []
    size = 0
    for weight in weights:
        if groups and weight.dtype == groups[-1][0].dtype and size + weight.nbytes <= most:
            groups[-1].append(weight)
            size += weight.nbytes
        else:
            groups.append([weight])
            size = weight.nbytes
    return groups


class _LossModule(nn.Module):
    """The loss as a module. FSDP puts weights together when a module is called, and those of the root when this is."""

    def __init__(self, model: nn.Module, loss: Callable[[Any, Any], Tensor]) -> None:
        super().__init__()
        self.model = model
        self._loss = loss

    def forward(self, batch: Batch) -> Tensor:
        return self._loss(self.model, batch)


class Sharded:
    """FSDP (`torch.distributed.fsdp.fully_shard`), layer by layer; weights outside of layers are one more group.

    With several batches per step, each process keeps whole gradients until the last batch. That saves communication,
    and needs memory for all gradients. Every trained weight must take part in every loss, with a gradient of zero if
    need be: processes wait for each other's gradients.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Any, Any], Tensor],
        device: torch.device,
        crew: Crew,
        precision: torch.dtype | None = None,
    ) -> None:
        """`precision`: that in which the weights of layers are put together, if not their own.

        Gradients are added up in float32. Weights outside of layers keep their precision, as heads compute in float32.
        """
        if device.type == "cuda":
            torch.cuda.set_device(device)
        mesh = init_device_mesh(device.type, (crew.size,))
        # Inputs are not cast: autocast decides what is computed in which precision, as without shards.
        policy = MixedPrecisionPolicy(precision, torch.float32 if precision else None, cast_forward_inputs=False)
        for block in layers_of(model):
            fully_shard(block, mesh=mesh, mp_policy=policy)
        root = _LossModule(model, loss)
        fully_shard(root, mesh=mesh)
        for module in root.modules():
            if isinstance(module, FSDPModule):  # sums instead of means
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)
        assert isinstance(root, FSDPModule)  # noqa: S101 - `fully_shard` has made it one
        self._root = root
        self.loss: Loss = root
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]

    def expect(self, last: bool) -> None:
        self._root.set_requires_gradient_sync(last)
        self._root.set_is_last_backward(last)

    def complete(self) -> None:
        for weight in self._weights:
            if weight.grad is None:  # as in `Replicated`
                weight.grad = torch.zeros_like(weight)

    def clear(self) -> None:
        for weight in self._weights:
            weight.grad = None
