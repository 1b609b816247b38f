"""What a task is: which fields of a label it reads, what a head learns from them, and how it is scored.

Letters in shapes: B clips of a batch, N states of each frame (L + 1), S frames, D width of the encoder.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mtasr.arrays import Float32Array, FloatArray
from mtasr.errors import InputError, ManifestError, UsageError
from mtasr.probing.heads import KINDS, Head, HeadConfig, lasting_name
from mtasr.probing.labels import SPLITS, LabelledClip, read_labels
from mtasr.probing.states import StateStore, padded, shuffled


class Task(ABC):
    """Labels of clips, checked. A subclass is made for each fold, before any encoder is loaded.

    Raises `InputError`, which names the place, for labels that the task cannot use.
    """

    #: Its name in `TASKS`, and what SUPERB would file it under: content, speaker, semantics or paralinguistics.
    name: ClassVar[str]
    area: ClassVar[str]
    #: The figure that chooses learning rates, steps and layers, and whether less of it is better.
    figure: ClassVar[str]
    falls: ClassVar[bool]
    #: Whether all frames of a clip are needed, or only their mean.
    whole: ClassVar[bool]

    def __init__(self, clips: Sequence[LabelledClip]) -> None:
        self.clips = {split: [clip for clip in clips if clip.split == split] for split in SPLITS}
        if without := [clip for clip in clips if clip.split is None]:
            raise without[0].error("has no 'split' and no 'fold'")
        for split in SPLITS:
            if not self.clips[split]:
                raise ManifestError(f"no recordings for {split}")

    @staticmethod
    def corpus(folders: Sequence[Path]) -> list[LabelledClip] | None:
        """The clips of a corpus in SUPERB's layout; None if the task has no such corpus. Raises `ManifestError`."""
        del folders
        return None

    @property
    def needed(self) -> list[LabelledClip]:
        """The clips whose states are needed."""
        return [clip for clips in self.clips.values() for clip in clips]

    def better(self, one: float, other: float) -> bool:
        """Whether a value of `figure` is better than another; NaN is the worst."""
        if np.isnan(one) or np.isnan(other):
            return bool(np.isnan(other) and not np.isnan(one))
        return one < other if self.falls else one > other


def read_clips(task: type[Task], paths: Sequence[Path]) -> list[LabelledClip]:
    """The clips of files of labels, or of the folders of a corpus in SUPERB's layout.

    Raises `InputError`, and `UsageError` for folders where the task has no corpus.
    """
    folders = [path for path in paths if path.is_dir()]
    if not folders:
        return [clip for path in paths for clip in read_labels(path)]
    if len(folders) < len(paths):
        raise UsageError("give files of labels or the folders of a corpus, not both")
    clips = task.corpus(folders)
    if clips is None:
        raise UsageError(f"{folders[0]}: is a folder; {task.name} reads files of labels only")
    return clips


class LayerTask(Task):
    """A task without training, which each layer does by itself. The layer that is best on dev is tested."""

    @abstractmethod
    def values(
        self, store: StateStore, split: str, layers: Sequence[int], done: Callable[[], object] = lambda: None
    ) -> list[float]:
        """`figure` of each of these layers; `done` is called for each clip."""


@dataclass(frozen=True, slots=True)
class HeadReader:
    """What heads read of one encoder: all of its states, or those of one `layer`.

    Unless `whole`, a clip has a single frame: the mean of its frames.
    """

    store: StateStore
    whole: bool
    layer: int | None = None

    @property
    def states(self) -> int:
        return self.store.encoder.layers + 1 if self.layer is None else 1

    def arrays(self, clips: Sequence[LabelledClip]) -> list[Float32Array]:
        """(N, S, D) for each clip."""
        found = []
        for clip in clips:
            array = self.store.states(clip) if self.whole else self.store.means(clip)[:, None]
            found.append(array if self.layer is None else array[self.layer : self.layer + 1])
        return found

    def times(self, clip: LabelledClip, frames: int) -> FloatArray:
        """The middles of the frames of a clip, in seconds of the recording."""
        encoder = self.store.encoder
        times: FloatArray = clip.start + encoder.offset_seconds + encoder.frame_seconds * np.arange(frames)
        return times


@dataclass(frozen=True, slots=True)
class HeadBatch:
    """States (B, N, S, D) on a device, the frames (B,) of each clip, and the clips with what the task made of them."""

    states: Tensor
    lengths: Tensor
    clips: Sequence[LabelledClip]
    targets: Sequence[Any]
    #: The middles of the frames of each clip.
    times: Sequence[FloatArray]


class HeadTask(Task):
    """A task that a head learns."""

    #: The head's kind, a name in `mtasr.probing.heads.KINDS`.
    kind: ClassVar[str]
    #: Seconds of a random part of each clip that a step reads; None for all of it.
    crop_seconds: ClassVar[float | None] = None

    def __init__(self, clips: Sequence[LabelledClip]) -> None:
        super().__init__(clips)
        self.targets = {split: [self.target(clip) for clip in self.clips[split]] for split in SPLITS}

    @abstractmethod
    def target(self, clip: LabelledClip) -> Any:
        """What the fields of a clip say. Raises `InputError` (`clip.error`) for what the task cannot use."""

    @abstractmethod
    def labels(self) -> Mapping[str, tuple[str, ...]]:
        """The head's labels by question, from the targets of the training clips."""

    @abstractmethod
    def loss(self, model: Any, batch: HeadBatch) -> Tensor:
        """The mean loss of a batch, where `model` is what `lesson` made."""

    @abstractmethod
    def figures(self, head: Head, reader: HeadReader, split: str) -> dict[str, float]:
        """The figures of a head on the clips of a split, `figure` among them."""

    def lesson(self, head: Head) -> nn.Module:
        """The head together with what only learns beside it."""
        return head

    def settled(self, head: Head, reader: HeadReader) -> dict[str, float]:
        """The head's settings, chosen on the development clips once it is trained."""
        del reader
        return dict(head.config.settings)

    def drawn(self, size: int, rng: np.random.Generator) -> Iterator[list[int]]:
        """Batches of places of training clips without end."""
        return shuffled(len(self.clips["train"]), size, rng)

    def head_config(self, reader: HeadReader, sizes: Sequence[int] | None = None) -> HeadConfig:
        """The head of this task for an encoder; `sizes` replace those of SUPERB. Raises `UsageError`."""
        store = reader.store
        try:
            return HeadConfig(
                task=self.name,
                kind=self.kind,
                encoder=lasting_name(store.encoder.name),
                identity=store.identity,
                width=store.encoder.width,
                states=reader.states,
                frame_seconds=store.encoder.frame_seconds,
                layer_norm=store.layer_norm,
                sizes=KINDS[self.kind].sizes if sizes is None else tuple(sizes),
                labels=self.labels(),
            )
        except ValueError as exc:
            raise UsageError(f"task {self.name}: {exc}") from exc

    def batch(
        self, reader: HeadReader, split: str, places: Sequence[int], device: torch.device,
        rng: np.random.Generator | None = None,
    ) -> HeadBatch:  # fmt: skip
        """The clips at these places of a split; with `rng`, random parts of them. Raises `InputError`."""
        clips = [self.clips[split][place] for place in places]
        arrays = reader.arrays(clips)
        times = [reader.times(clip, array.shape[1]) for clip, array in zip(clips, arrays, strict=True)]
        most = None if self.crop_seconds is None else round(self.crop_seconds / reader.store.encoder.frame_seconds)
        if rng is not None and most is not None:
            begins = [int(rng.integers(max(1, array.shape[1] - most + 1))) for array in arrays]
            arrays = [array[:, begin : begin + most] for array, begin in zip(arrays, begins, strict=True)]
            times = [each[begin : begin + most] for each, begin in zip(times, begins, strict=True)]
        states, lengths = padded(arrays)
        targets = [self.targets[split][place] for place in places]
        return HeadBatch(states.to(device), lengths, clips, targets, times)

    def outputs(self, head: Head, reader: HeadReader, split: str, size: int = 16) -> Iterator[tuple[HeadBatch, Tensor]]:
        """All clips of a split in batches, with what the head gives for them."""
        device = head.layer_weights.device
        with torch.inference_mode():
            for first in range(0, len(self.clips[split]), size):
                places = range(first, min(first + size, len(self.clips[split])))
                batch = self.batch(reader, split, places, device)
                yield batch, head(batch.states, batch.lengths).float()


def known(labels: Sequence[str]) -> dict[str, int]:
    """The place of each label."""
    return {label: place for place, label in enumerate(labels)}


def unknown_label(clip: LabelledClip, label: str) -> InputError:
    return clip.error(f"no training recording has the label {label!r}")
