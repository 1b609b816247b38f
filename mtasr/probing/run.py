"""One encoder on one task: states, the head of the weighted sum, heads on single layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mtasr.errors import InputError
from mtasr.networks.speech_encoder import SpeechEncoder, device_of
from mtasr.probing.fitting import ProbeSettings, best_fit, fit
from mtasr.probing.heads import Head
from mtasr.probing.labels import LabelledClip, folds_of
from mtasr.probing.states import StateStore
from mtasr.probing.tasks.task import HeadReader, HeadTask, LayerTask, Task

#: Bytes of states on disk at most, by default: 1.4 h of audio by a base model, or the means of 250,000 clips.
MOST_BYTES = 10e9


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFigure:
    """What a head on one layer alone reaches, or the search in it; NaN if its training diverged."""

    layer: int
    dev: float
    test: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """One encoder on one task; with folds, all numbers are means over them."""

    task: str
    area: str
    encoder: str
    identity: str
    #: The figure that counts, whether less is better, and its value on dev.
    figure: str
    falls: bool
    dev: float
    #: All figures on test.
    figures: dict[str, float]
    #: The learning rate that was chosen; in folds, that of the fold whose head is kept. None without training.
    learning_rate: float | None
    #: The softmax weight of each state in the sum, and its root mean square over the clips; () without training.
    weights: tuple[float, ...] = ()
    sizes: tuple[float, ...] = ()
    layers: tuple[LayerFigure, ...] = ()
    #: The layer that was searched; None for tasks with heads, which read all of them.
    layer: int | None = None
    #: The clips of each split; with folds, of the first.
    clips: dict[str, int]
    folds: int = 1
    #: Weights of the head.
    parameters: int = 0

    @property
    def value(self) -> float:
        return self.figures[self.figure]

    @property
    def shares(self) -> tuple[float, ...]:
        """Each state's share of the sum: weight times size, over all. Weights alone mislead, as states differ in size.

        () without training.
        """
        products = np.array(self.weights) * np.array(self.sizes)
        return tuple((products / products.sum()).tolist()) if len(products) and products.sum() else ()

    def to_json(self) -> dict[str, Any]:
        """As JSON, which has no NaN: None instead."""
        fields = asdict(self) | {"shares": self.shares}
        for numbers in (fields["figures"], *fields["layers"]):
            for name, value in numbers.items():
                numbers[name] = None if math.isnan(value) else value
        return fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """A result, and the head to keep; no head where nothing is trained."""

    result: ProbeResult
    head: Head | None


def tasks_of(kind: type[Task], clips: Sequence[LabelledClip]) -> list[Task]:
    """The task on all clips, or one for each fold. Raises `InputError` for labels that it cannot use."""
    return [kind(own) for own in folds_of(clips)]


def probe(
    tasks: Sequence[Task],
    encoder: SpeechEncoder,
    settings: ProbeSettings,
    states: Path,
    *,
    most_bytes: float = MOST_BYTES,
    tell: Callable[[str], object] = lambda line: None,
    done: Callable[[int, int], object] = lambda count, total: None,
) -> Probed:
    """What the encoder knows of a task. States are kept in the folder `states`, `most_bytes` of them at most.

    `tasks` are those of `tasks_of`. `tell` is called with a line now and then, and `done` with the clips whose states
    are there. Raises `InputError` for a recording that cannot be used, `UsageError` for settings that do not fit the
    task, and `OutputError`.
    """
    store = StateStore(encoder, states, most_bytes, layer_norm=settings.layer_norm)
    for task in tasks:
        if isinstance(task, HeadTask):
            task.head_config(HeadReader(store, task.whole), settings.sizes)  # a mistake shows before the work
    needed = distinct([clip for task in tasks for clip in task.needed])
    count = 0

    def extracted() -> None:
        nonlocal count
        count += 1
        done(count, len(needed))

    store.prepare(needed, whole=tasks[0].whole, done=extracted)
    if store.unkept:
        tell(
            f"no room on disk for the states of {store.unkept} clips, which are heard again whenever they are needed; "
            f"a cache of {(most_bytes + store.unkept_bytes) / 1e9:.1f} GB holds all"
        )
    found = [
        _by_layers(task, store) if isinstance(task, LayerTask) else _by_heads(task, store, settings, tell)
        for task in tasks
    ]
    best = found[0]
    for task, each in zip(tasks, found, strict=True):
        if task.better(each.result.dev, best.result.dev):
            best = each
    return Probed(result=mean_of([each.result for each in found], best.result), head=best.head)


def distinct(clips: Sequence[LabelledClip]) -> list[LabelledClip]:
    """Each clip once, however many labels it has."""
    return list({(clip.audio, clip.start, clip.end): clip for clip in clips}.values())


def _by_layers(task: LayerTask, store: StateStore) -> Probed:
    layers = range(store.encoder.layers + 1)
    dev, test = (task.values(store, split, layers) for split in ("dev", "test"))
    best = (min if task.falls else max)(layers, key=lambda layer: dev[layer])
    result = ProbeResult(
        task=task.name,
        area=task.area,
        encoder=store.encoder.name,
        identity=store.identity,
        figure=task.figure,
        falls=task.falls,
        dev=dev[best],
        figures={task.figure: test[best]},
        learning_rate=None,
        layers=tuple(LayerFigure(layer=layer, dev=dev[layer], test=test[layer]) for layer in layers),
        layer=best,
        clips={split: len(clips) for split, clips in task.clips.items()},
    )
    return Probed(result=result, head=None)


def _by_heads(task: Task, store: StateStore, settings: ProbeSettings, tell: Callable[[str], object]) -> Probed:
    if not isinstance(task, HeadTask):
        raise TypeError(f"task {task.name} derives from neither HeadTask nor LayerTask")
    device = device_of(store.encoder)
    reader = HeadReader(store, task.whole)
    fitted = best_fit(task, settings.learning_rates, partial(fit, task, reader, settings, device), tell)
    layers = []
    if settings.single_layers and store.encoder.layers:
        for layer in range(store.encoder.layers + 1):
            alone = HeadReader(store, task.whole, layer)
            own = fit(task, alone, settings, device, fitted.rate)
            diverged = math.isnan(own.dev)
            test = math.nan if diverged else task.figures(own.head, alone, "test")[task.figure]
            layers.append(LayerFigure(layer=layer, dev=own.dev, test=test))
            said = "training diverges" if diverged else f"{task.figure} {own.dev:.4f} on dev"
            tell(f"layer {layer}: {said}")
    return Probed(result=result_of(task, reader, fitted.head, fitted.rate, fitted.dev, layers), head=fitted.head)


def result_of(
    task: HeadTask,
    reader: HeadReader,
    head: Head,
    rate: float,
    dev: float,
    layers: Sequence[LayerFigure] = (),
    *,
    beside: int = 0,
) -> ProbeResult:
    """The result of a head that has learnt; `beside` are weights that learnt with it and are not its own."""
    store = reader.store
    return ProbeResult(
        task=task.name,
        area=task.area,
        encoder=store.encoder.name,
        identity=store.identity,
        figure=task.figure,
        falls=task.falls,
        dev=dev,
        figures=task.figures(head, reader, "test"),
        learning_rate=rate,
        weights=tuple(head.weights.tolist()),
        sizes=tuple(store.sizes(task.clips["train"]).tolist()),
        layers=tuple(layers),
        clips={split: len(clips) for split, clips in task.clips.items()},
        parameters=sum(weight.numel() for weight in head.parameters()) + beside,
    )


def mean_of(results: Sequence[ProbeResult], best: ProbeResult) -> ProbeResult:
    """Results of folds as one; what is not a number of all is that of the best on dev."""
    if len(results) == 1:
        return results[0]

    def mean(values: Sequence[float]) -> float:
        return float(np.mean(values))

    return ProbeResult(
        **{
            **{name: getattr(best, name) for name in ("task", "area", "encoder", "identity", "figure", "falls")},
            "learning_rate": best.learning_rate,
            "dev": mean([each.dev for each in results]),
            "figures": {name: mean([each.figures[name] for each in results]) for name in best.figures},
            "weights": tuple(map(mean, zip(*(each.weights for each in results), strict=True))),
            "sizes": tuple(map(mean, zip(*(each.sizes for each in results), strict=True))),
            "layers": tuple(
                LayerFigure(
                    layer=layers[0].layer,
                    dev=mean([each.dev for each in layers]),
                    test=mean([each.test for each in layers]),
                )
                for layers in zip(*(each.layers for each in results), strict=True)
            ),
            "clips": results[0].clips,
            "folds": len(results),
            "parameters": best.parameters,
        }
    )


def check_recordings(tasks: Sequence[Task]) -> None:
    """Raise `InputError` for the first recording that is not there, before an encoder is loaded."""
    for clip in distinct([clip for task in tasks for clip in task.needed]):
        if not clip.audio.is_file():
            raise InputError(f"{clip.origin}: {clip.audio}: no such file")
