"""What a head says of a recording, in words and times rather than logits.

Letters in shapes: N states of each frame (L + 1), S frames, D width of the encoder, V labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mtasr.arrays import Float32Array
from mtasr.errors import InputError, UsageError
from mtasr.networks.speech_encoder import SpeechEncoder
from mtasr.probing.heads import Head, HeadConfig, XVectorHead, normalised
from mtasr.probing.states import identity_of

#: The kinds of heads that tell who speaks in each frame, several speakers at a time.
ACTIVITY = frozenset({"activity", "frame-activity"})

#: Which head finds voices, and so needs a number of frames.
_FEWEST_FRAMES = {"x-vector": XVectorHead.SHORTENED + 2}


@dataclass(frozen=True, slots=True)
class LabelSpan:
    """A label that holds from `start` to `end` seconds."""

    label: str
    start: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a head says; which of the fields it fills depends on its kind."""

    #: For each question, all labels with their probabilities, the most probable first ("mean").
    choices: Mapping[str, tuple[tuple[str, float], ...]] = field(default_factory=dict)
    #: Labels with times: neighbouring frames of one label ("frames"), or turns that may overlap ("activity").
    spans: tuple[LabelSpan, ...] = ()
    #: The labels as one text ("ctc" and "recurrent-ctc").
    text: str | None = None
    #: (V,) of length 1; the scalar product of two says whether they are of one voice ("x-vector").
    embedding: Float32Array | None = None


def check_fit(head: HeadConfig, encoder: SpeechEncoder) -> None:
    """Raise `UsageError` if a head was made for another encoder."""
    for what, wanted, found in (
        ("width", head.width, encoder.width),
        ("number of states", head.states, encoder.layers + 1),
        ("seconds of a frame", head.frame_seconds, encoder.frame_seconds),
    ):
        if wanted != found:
            raise UsageError(f"the head is for {head.encoder}: its {what} is {wanted}, that of {encoder.name} {found}")
    if head.identity and head.identity != identity_of(encoder):
        raise UsageError(f"the head is for {head.encoder}, and {encoder.name} has other weights")


def fewest_frames(kind: str) -> int:
    """How many frames a head of that kind needs."""
    return _FEWEST_FRAMES.get(kind, 1)


@torch.inference_mode()
def logits_of(head: Head, states: Tensor) -> Tensor:
    """What the network of the head's kind gives for states (N, S, D): logits (V,) or (S, V), or a voice (V,).

    Raises `InputError` for too few frames.
    """
    kind = head.config.kind
    if states.shape[1] < fewest_frames(kind):
        raise InputError(
            f"too short for a head of kind {kind}: {states.shape[1]} frames instead of {fewest_frames(kind)}"
        )
    if head.config.layer_norm:
        states = normalised(states)
    found: Tensor = head(states[None])[0].float()
    return found


def answer_of(config: HeadConfig, found: Tensor, offset_seconds: float = 0.0) -> Answer:
    """In words and times, what `logits_of` gave for a recording or for all of its windows together.

    `offset_seconds` is the middle of frame 0.
    """
    if config.kind == "mean":
        return Answer(choices=_choices(found, config.labels))
    if config.kind == "x-vector":
        embedding: Float32Array = torch.nn.functional.normalize(found, dim=0).cpu().numpy()
        return Answer(embedding=embedding)
    labels = [label for each in config.labels.values() for label in each]
    if config.kind in ("ctc", "recurrent-ctc"):
        return Answer(text=written(best_path(found, labels), labels))
    if config.kind == "frames":
        ones = found.argmax(dim=1).cpu().numpy()[:, None] == np.arange(len(labels))
        return Answer(spans=spans_of(ones, labels, config.frame_seconds, offset_seconds))
    loud = found.sigmoid().cpu().numpy() > config.settings.get("threshold", 0.5)
    active = smoothed(loud, int(config.settings.get("median", 1)))
    return Answer(spans=spans_of(active, labels, config.frame_seconds, offset_seconds))


def _choices(logits: Tensor, labels: Mapping[str, Sequence[str]]) -> dict[str, tuple[tuple[str, float], ...]]:
    found = {}
    for question, part in split_logits(logits, labels).items():
        probabilities = part.softmax(dim=-1).tolist()
        ranked = sorted(zip(labels[question], probabilities, strict=True), key=lambda each: -each[1])
        found[question] = tuple(ranked)
    return found


def split_logits(logits: Tensor, labels: Mapping[str, Sequence[str]]) -> dict[str, Tensor]:
    """The logits (..., V) of each question."""
    parts = torch.split(logits, [len(each) for each in labels.values()], dim=-1)
    return dict(zip(labels, parts, strict=True))


def best_path(logits: Tensor, labels: Sequence[str]) -> list[str]:
    """The labels along the best path of CTC through logits (S, V + 1): the best of each frame, runs joined."""
    best = torch.unique_consecutive(logits.argmax(dim=-1)).tolist()
    return [labels[place - 1] for place in best if place]


def written(labels: Sequence[str], inventory: Sequence[str]) -> str:
    """Labels as one text: characters follow each other if the space is a label too; other labels get spaces between.

    The marks of slots among characters ("B-artist", "E-artist") stand by themselves.
    """
    if " " not in inventory:
        return " ".join(labels)
    pieces = (f" {label} " if len(label) > 1 else label for label in labels)
    return " ".join("".join(pieces).split())


def smoothed(active: npt.NDArray[np.bool_], frames: int) -> npt.NDArray[np.bool_]:
    """Activity (S, V) after a median over an odd number of frames; silence precedes and follows the recording."""
    if frames < 2:
        return active
    around = frames // 2
    sums = np.pad(active.astype(np.int64), ((around + 1, around), (0, 0))).cumsum(axis=0)
    smooth: npt.NDArray[np.bool_] = sums[2 * around + 1 :] - sums[: -2 * around - 1] > around
    return smooth


def spans_of(
    active: npt.NDArray[np.bool_], labels: Sequence[str], frame_seconds: float, offset_seconds: float
) -> tuple[LabelSpan, ...]:
    """Runs of frames (S, V) in which a label holds, in order of time. A frame lasts from half of its length before
    its middle to half after it.
    """
    begin = offset_seconds - frame_seconds / 2
    found = []
    for label, column in zip(labels, active.T, strict=True):
        changes = np.flatnonzero(np.diff(np.pad(column.astype(np.int8), 1)))
        for start, end in zip(changes[::2], changes[1::2], strict=True):
            times = (float(max(0.0, begin + place * frame_seconds)) for place in (start, end))
            found.append(LabelSpan(label, *times))
    return tuple(sorted(found, key=lambda span: (span.start, span.end)))
