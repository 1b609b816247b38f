"""Heads with adapters: what a frozen encoder does not tell a head, adapters inside it may learn to (Chen et al. 2022,
arXiv:2210.06175). The encoder's own weights stay, so the adapters and heads of many tasks share one in memory.

The states change at every step, so nothing is kept on disk, and each step hears its clips: one after the other, each
alone, because padding would change the states of others. It hears them twice: for the head, and once the gradients of
the states are known, for the adapters. So memory holds the graph of one clip, however many are in a batch.

Letters in shapes: B clips of a batch, N states of each frame (L + 1), S frames, D width of the encoder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from mtasr.arrays import Float32Array
from mtasr.checkpoints.adapter_file import load_adapters, save_adapters
from mtasr.errors import UsageError
from mtasr.networks.adapters import AdapterKind, Adapters
from mtasr.networks.speech_encoder import SpeechEncoder, device_of, longest_seconds
from mtasr.probing.fitting import ProbeSettings
from mtasr.probing.heads import Head, clear_for_head, lasting_name, normalised, save_head
from mtasr.probing.labels import LabelledClip
from mtasr.probing.run import ProbeResult, distinct, mean_of
from mtasr.probing.states import StateStore, check_lengths, identity_of
from mtasr.probing.tasks.task import HeadBatch, HeadReader, HeadTask, Task

#: Beside `head.json` in the folder of a head.
ADAPTERS = "adapters.safetensors"
#: How often the development clips are scored; the best head and adapters are kept.
_SCORED = 5
_CLIPPED = 1.0
#: Seconds of a clip at most: the memory of attention grows with their square.
_LONGEST = 60.0
#: Samples of clips that are kept in memory: 2 h of audio.
_MOST_SAMPLES = 2 * 3600 * 16_000


class AdaptedEncoder(nn.Module):
    """An encoder and the adapters of one task, as a `SpeechEncoder`. The encoder computes without them elsewhere."""

    def __init__(self, encoder: SpeechEncoder, adapters: Adapters) -> None:
        super().__init__()
        self.encoder = cast(nn.Module, encoder)
        self.adapters = adapters
        self.name = f"{encoder.name}+{adapters.kind}"
        self.width, self.layers = encoder.width, encoder.layers
        self.frame_seconds, self.offset_seconds = encoder.frame_seconds, encoder.offset_seconds
        #: What else decides the states.
        self.config = f"{type(encoder).__name__} {getattr(encoder, 'config', '')} {adapters.kind} {adapters.size}"

    def states(self, audio: Tensor) -> list[Tensor]:
        """(B, N samples) -> L + 1 tensors (B, S, D), as `SpeechEncoder` says."""
        with self.adapters.attached(self.encoder):
            found: list[Tensor] = cast(SpeechEncoder, self.encoder).states(audio)
        return found


@dataclass(frozen=True, slots=True)
class AdaptedHead:
    """A head, the encoder with its adapters, the rate at which both learnt, and the figure on the development clips."""

    head: Head
    encoder: AdaptedEncoder
    rate: float
    dev: float


class _LiveStates(StateStore):
    """The states of clips as the encoder gives them now. Keeps no states."""

    def __init__(self, encoder: AdaptedEncoder, *, layer_norm: bool) -> None:
        super().__init__(encoder, Path("no folder"), 0, layer_norm=layer_norm)
        self.longest = _longest(encoder)
        self._audio: dict[tuple[Path, float, float | None], Float32Array] = {}
        self._left = _MOST_SAMPLES

    def states(self, clip: LabelledClip) -> Float32Array:
        with torch.no_grad():
            found: Float32Array = self.heard(clip).cpu().numpy()
        return found

    def means(self, clip: LabelledClip) -> Float32Array:
        with torch.no_grad():
            found: Float32Array = self.heard(clip).mean(dim=1).cpu().numpy()
        return found

    def heard(self, clip: LabelledClip) -> Tensor:
        """The states (N, S, D), with their history where gradients are on."""
        place = clip.audio, clip.start, clip.end
        samples = self._audio.get(place)
        if samples is None:
            samples = self._samples(clip)
            if len(samples) <= self._left:
                self._audio[place] = samples
                self._left -= len(samples)
        audio = torch.from_numpy(samples)[None].to(device_of(self.encoder))
        states = torch.cat(self.encoder.states(audio)).float()
        return normalised(states) if self.layer_norm else states


def _longest(encoder: SpeechEncoder) -> float:
    """Seconds of a clip, which is heard as a whole, at most."""
    return min(_LONGEST, longest_seconds(encoder))


def fit_adapted(
    task: HeadTask,
    encoder: SpeechEncoder,
    kind: AdapterKind,
    size: int,
    settings: ProbeSettings,
    rate: float,
    tell: Callable[[str], object] = lambda line: None,
) -> AdaptedHead:
    """A head and adapters that learnt together at one rate, those of the best score on the development clips.

    The encoder keeps its weights, but is put into evaluation mode, and its weights take no gradients afterwards. Raises
    `InputError` for a recording that cannot be used, `ModelError` for an encoder without attention, and `UsageError`
    for settings that do not fit the task.
    """
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    device = device_of(encoder)
    cast(nn.Module, encoder).requires_grad_(False)
    adapted = AdaptedEncoder(encoder, Adapters(cast(nn.Module, encoder), kind, size).to(device))
    store = _LiveStates(adapted, layer_norm=settings.layer_norm)
    reader = HeadReader(store, task.whole)
    head = Head(task.head_config(reader, settings.sizes)).to(device)
    model = task.lesson(head).to(device).train()
    learning = [*model.parameters(), *adapted.adapters.parameters()]
    optimizer = torch.optim.Adam(learning, lr=rate)
    best, kept = math.nan, _copied(head, adapted.adapters)
    every = max(1, settings.steps // _SCORED)
    drawn = task.drawn(settings.batch_size, rng)
    for step in range(1, settings.steps + 1):
        optimizer.zero_grad()
        batch = task.batch(reader, "train", next(drawn), device, rng)
        states = batch.states.requires_grad_()
        loss = task.loss(model, replace(batch, states=states))
        if not loss.isfinite():
            break
        loss.backward()  # type: ignore[no-untyped-call]
        _send_back(states.grad, batch, reader, store)
        torch.nn.utils.clip_grad_norm_(learning, _CLIPPED)
        optimizer.step()
        if step % every == 0 or step == settings.steps:
            model.eval()
            found = task.figures(head, reader, "dev")[task.figure]
            model.train()
            tell(f"step {step}: {task.figure} {found:.4f} on dev")
            if not task.better(best, found):
                best, kept = found, _copied(head, adapted.adapters)
    for module, state in zip((head, adapted.adapters), kept, strict=True):
        module.load_state_dict(state)
    head.eval()
    chosen = head.config.settings if math.isnan(best) else task.settled(head, reader)
    if chosen != head.config.settings:
        head.config = replace(head.config, settings=chosen)
        best = task.figures(head, reader, "dev")[task.figure]
    head.config = replace(head.config, encoder=lasting_name(encoder.name), identity=identity_of(adapted))
    return AdaptedHead(head, adapted, rate, best)


def _copied(*modules: nn.Module) -> list[dict[str, Tensor]]:
    return [{name: tensor.clone() for name, tensor in module.state_dict().items()} for module in modules]


def _send_back(gradient: Tensor | None, batch: HeadBatch, reader: HeadReader, store: _LiveStates) -> None:
    """Hear each clip of a batch again, and let the gradient (B, N, S, D) of its states reach the adapters.

    A step may have read a part of a clip; the rest has a gradient of zero.
    """
    if gradient is None:
        return
    for row, clip in enumerate(batch.clips):
        states = store.heard(clip)
        if not reader.whole:
            states.mean(dim=1).backward(gradient[row, :, 0].to(states.dtype))  # type: ignore[no-untyped-call]
            continue
        count = int(batch.lengths[row])
        past = (batch.times[row][0] - reader.times(clip, 1)[0]) / store.encoder.frame_seconds
        begin = round(past)
        own = torch.zeros_like(states)
        own[:, begin : begin + count] = gradient[row, :, :count]
        states.backward(own)  # type: ignore[no-untyped-call]


def probe_adapted(
    tasks: Sequence[Task],
    encoder: SpeechEncoder,
    kind: AdapterKind,
    size: int,
    settings: ProbeSettings,
    tell: Callable[[str], object] = lambda line: None,
) -> tuple[ProbeResult, AdaptedHead]:
    """What an encoder knows with adapters, as `mtasr.probing.run.probe` says what it knows without; no single layers.

    Raises as `fit_adapted` does, and `UsageError` for a task without heads or if all rates diverge. Clips that are too
    long are an `InputError` before any is heard.
    """
    trained = [task for task in tasks if isinstance(task, HeadTask)]
    if len(trained) < len(tasks):
        raise UsageError(f"task {tasks[0].name} trains nothing; adapters need a task with heads")
    check_lengths(distinct([clip for task in tasks for clip in task.needed]), _longest(encoder))
    found = []
    for task in trained:
        best: AdaptedHead | None = None
        for rate in settings.learning_rates:
            each = fit_adapted(task, encoder, kind, size, settings, rate)
            tell(f"learning rate {rate:g}: {task.figure} {each.dev:.4f} on dev")
            if not math.isnan(each.dev) and (best is None or task.better(each.dev, best.dev)):
                best = each
        if best is None:
            raise UsageError(f"task {task.name}: training diverges at every learning rate; try lower ones")
        found.append((_result(task, best, settings), best))
    result, best = found[0]
    for task, (other, each) in zip(trained, found, strict=True):
        if task.better(other.dev, result.dev):
            result, best = other, each
    return mean_of([each for each, _ in found], result), best


def _result(task: HeadTask, found: AdaptedHead, settings: ProbeSettings) -> ProbeResult:
    encoder, head = found.encoder, found.head
    store = _LiveStates(encoder, layer_norm=settings.layer_norm)
    trained = [*head.parameters(), *encoder.adapters.parameters()]
    return ProbeResult(
        task=task.name,
        area=task.area,
        encoder=encoder.name,
        identity=identity_of(encoder),
        figure=task.figure,
        falls=task.falls,
        dev=found.dev,
        figures=task.figures(head, HeadReader(store, task.whole), "test"),
        learning_rate=found.rate,
        weights=tuple(head.weights.tolist()),
        sizes=tuple(store.sizes(task.clips["train"]).tolist()),
        clips={split: len(clips) for split, clips in task.clips.items()},
        parameters=sum(weight.numel() for weight in trained),
    )


def save_adapted_head(found: AdaptedHead, folder: Path) -> None:
    """Write a head and its adapters to a folder. Raises `OutputError`."""
    clear_for_head(folder)
    save_adapters(found.encoder.adapters, found.encoder.encoder, folder / ADAPTERS, found.head.config.encoder)
    save_head(found.head, folder)  # last: with its document the folder is whole


def with_adapters(encoder: SpeechEncoder, folder: Path) -> SpeechEncoder:
    """The encoder with the adapters in the folder of a head; the encoder itself if there are none.

    Raises what `load_adapters` raises.
    """
    if not (folder / ADAPTERS).is_file():
        return encoder
    return AdaptedEncoder(encoder, load_adapters(folder / ADAPTERS, cast(nn.Module, encoder)))
