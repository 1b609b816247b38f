"""Who speaks when, of at most two speakers.

    {"audio": "a.wav", "split": "train", "turns": [[0.0, 2.4, "Ada"], [2.1, 4.0, "Bo"]]}
    {"audio": "a.wav", "split": "test", "rttm": "a.rttm"}

Times are seconds of the recording.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from mtasr.arrays import FloatArray
from mtasr.evaluation.diarization import DiarizationErrors, diarization_errors
from mtasr.extras import extras
from mtasr.formats.rttm import read_rttm, turns_of
from mtasr.probing.answers import smoothed, spans_of
from mtasr.probing.heads import Head
from mtasr.probing.labels import LabelledClip, stretch_of
from mtasr.probing.superb import librimix
from mtasr.probing.tasks.task import HeadBatch, HeadReader, HeadTask
from mtasr.transcript import Turn

SPEAKERS = ("Speaker 1", "Speaker 2")
#: What SUPERB tries for each head; there, on the test set.
_THRESHOLDS, _MEDIANS = (0.3, 0.4, 0.5, 0.6, 0.7), (1, 11)


class DiarizationTask(HeadTask):
    """Two independent speakers for each frame, in either order: the diarization error rate (DER), without a collar."""

    name, area = "diarization", "speaker"
    kind = "activity"
    figure, falls, whole = "DER", True, True
    corpus = staticmethod(librimix.read)

    def __init__(self, clips: Sequence[LabelledClip]) -> None:
        with extras():
            import scipy.optimize  # noqa: F401 - what the figures need, missed before an encoder has listened
        super().__init__(clips)

    def target(self, clip: LabelledClip) -> tuple[Turn, ...]:
        if isinstance(clip.fields.get("rttm"), str):
            path = Path(clip.fields["rttm"])
            turns = list(turns_of(clip.audio.stem, path, read_rttm(path)))
        else:
            turns = _turns(clip)
        end = math.inf if clip.end is None else clip.end
        inside = [
            replace(turn, start=max(turn.start, clip.start), end=min(turn.end, end))
            for turn in turns
            if turn.start < end and turn.end > max(turn.start, clip.start)  # turns of no length are not heard
        ]
        names = {turn.speaker for turn in inside}
        if len(names) > len(SPEAKERS):
            raise clip.error(f"{len(names)} people speak; the head tells {len(SPEAKERS)} apart")
        if not inside:
            raise clip.error("nobody speaks")
        return tuple(inside)

    def labels(self) -> Mapping[str, tuple[str, ...]]:
        return {"speaker": SPEAKERS}

    def loss(self, model: Any, batch: HeadBatch) -> Tensor:
        """For each clip the mean binary cross-entropy in the order of speakers for which it is less."""
        logits = model(batch.states, batch.lengths)
        losses = []
        for row, length in enumerate(batch.lengths.tolist()):
            wanted = activity(batch.targets[row], batch.times[row]).to(logits.device)
            losses.append(either_order(logits[row, :length], wanted))
        return torch.stack(losses).mean()

    def figures(self, head: Head, reader: HeadReader, split: str) -> dict[str, float]:
        probabilities = self._probabilities(head, reader, split)
        settings = head.config.settings
        return {
            "DER": self._der(
                probabilities, reader, split, settings.get("threshold", 0.5), int(settings.get("median", 1))
            )
        }

    def settled(self, head: Head, reader: HeadReader) -> dict[str, float]:
        """`threshold` and `median` (frames) with the lowest error on the development clips."""
        probabilities = self._probabilities(head, reader, "dev")
        choices = list(itertools.product(_THRESHOLDS, _MEDIANS))
        threshold, median = min(choices, key=lambda choice: self._der(probabilities, reader, "dev", *choice))
        return {"threshold": threshold, "median": float(median)}

    def _probabilities(self, head: Head, reader: HeadReader, split: str) -> list[FloatArray]:
        """(S, 2) for each clip."""
        return [
            each[:length].sigmoid().cpu().numpy()
            for batch, found in self.outputs(head, reader, split)
            for each, length in zip(found, batch.lengths.tolist(), strict=True)
        ]

    def _der(
        self, probabilities: Sequence[FloatArray], reader: HeadReader, split: str, threshold: float, median: int
    ) -> float:
        encoder = reader.store.encoder
        errors = DiarizationErrors()
        for clip, target, found in zip(self.clips[split], self.targets[split], probabilities, strict=True):
            active = smoothed(found > threshold, median)
            spans = spans_of(active, SPEAKERS, encoder.frame_seconds, clip.start + encoder.offset_seconds)
            turns = [Turn(start=span.start, end=span.end, speaker=span.label) for span in spans]
            errors += diarization_errors(target, turns)
        return errors.seconds / errors.speech


def _turns(clip: LabelledClip) -> list[Turn]:
    rows = clip.fields.get("turns")
    if not isinstance(rows, list):
        raise clip.error("has neither 'turns' nor 'rttm'")
    turns = []
    for row in rows:
        if not isinstance(row, list | tuple) or len(row) != 3 or not isinstance(row[2], str):
            raise clip.error("each of 'turns' must be [start, end, speaker]")
        stretch = stretch_of(row[0], row[1])
        if stretch is None:
            raise clip.error(f"a turn of {row[2]!r} has no times")
        turns.append(Turn(start=stretch[0], end=stretch[1], speaker=row[2]))
    return turns


def activity(turns: Sequence[Turn], times: FloatArray) -> Tensor:
    """1 where a speaker talks, at each of the times: (S, 2). Speakers are in order of their names."""
    names = sorted({turn.speaker for turn in turns})
    active = torch.zeros(len(times), len(SPEAKERS))
    for turn in turns:
        inside = torch.from_numpy((times >= turn.start) & (times < turn.end))
        active[inside, names.index(turn.speaker)] = 1.0
    return active


def either_order(logits: Tensor, wanted: Tensor) -> Tensor:
    """The mean loss over frames and speakers (S, 2), in the order of speakers that makes it least.

    Source: Fujita et al. 2019, permutation-free training.
    """
    orders = itertools.permutations(range(wanted.shape[1]))
    return torch.stack([binary_cross_entropy_with_logits(logits, wanted[:, list(order)]) for order in orders]).min()
