"""Heads with adapters: what a frozen encoder does not tell a head, adapters inside it may learn to (Chen et al. 2022,
arXiv:2210.06175). The encoder's own weights stay, so the adapters and heads of many tasks share one in memory.

The states change at every step, so nothing is kept on disk, and each step hears its clips: one after the other, each
alone, because padding would change the states of others. It hears them twice: for the head, and once the gradients of
the states are known, for the adapters. So memory holds the graph of one clip, however many are in a batch.

Letters in shapes: B clips of a batch, N states of each frame (L + 1), S frames, D width of the encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from mtasr.arrays import Float32Array
from mtasr.checkpoints.adapter_file import load_adapters, save_adapters
from mtasr.errors import UsageError
from mtasr.networks.adapters import AdapterKind, Adapters
from mtasr.networks.speech_encoder import SpeechEncoder, device_of, longest_seconds
from mtasr.probing.clip_samples import ClipReader, check_lengths
from mtasr.probing.fitting import ProbeSettings, best_fit, learn
from mtasr.probing.heads import Head, clear_for_head, lasting_name, normalised, save_head
from mtasr.probing.labels import LabelledClip
from mtasr.probing.run import ProbeResult, distinct, mean_of, result_of
from mtasr.probing.states import StateStore, identity_of
from mtasr.probing.tasks.task import HeadBatch, HeadReader, HeadTask, Task

#: Beside `head.json` in the folder of a head.
ADAPTERS = "adapters.safetensors"
#: How often the development clips are scored; the best head and adapters are kept.
_SCORED = 5
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
        self._reader = ClipReader(self.longest)
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
            samples = self._reader.samples(clip)
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
    device = device_of(encoder)
    cast(nn.Module, encoder).requires_grad_(False)
    adapted = AdaptedEncoder(encoder, Adapters(cast(nn.Module, encoder), kind, size).to(device))
    store = _LiveStates(adapted, layer_norm=settings.layer_norm)
    reader = HeadReader(store, task.whole)
    head = Head(task.head_config(reader, settings.sizes)).to(device)

    def backward(model: nn.Module, batch: HeadBatch) -> Tensor:
        states = batch.states.requires_grad_()
        loss = task.loss(model, replace(batch, states=states))
        loss.backward()  # type: ignore[no-untyped-call]
        _send_back(states.grad, batch, reader, store)
        return loss

    dev = learn(
        task, reader, head, settings, rate, backward, beside=[adapted.adapters], scored=_SCORED, tell=tell
    )  # fmt: skip
    head.config = replace(head.config, encoder=lasting_name(encoder.name), identity=identity_of(adapted))
    return AdaptedHead(head, adapted, rate, dev)


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
        fitted = partial(fit_adapted, task, encoder, kind, size, settings)
        best = best_fit(task, settings.learning_rates, fitted, tell)
        store = _LiveStates(best.encoder, layer_norm=settings.layer_norm)
        weights = sum(weight.numel() for weight in best.encoder.adapters.parameters())
        reader = HeadReader(store, task.whole)
        found.append((result_of(task, reader, best.head, best.rate, best.dev, beside=weights), best))
    result, best = found[0]
    for task, (other, each) in zip(trained, found, strict=True):
        if task.better(other.dev, result.dev):
            result, best = other, each
    return mean_of([each for each, _ in found], result), best


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
