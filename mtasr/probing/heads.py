"""Heads: light networks on the states of a frozen encoder, and how they are kept in a folder.

    H/head.json          what the head is for, of which encoder, its sizes and labels
    H/head.safetensors   its weights

A head weighs the L + 1 states of each frame (softmax of `layer_weights`, which begin equal) and reads their sum, as in
SUPERB (Yang et al. 2021, section 3). The names of the weights and the order of the parts are those of transformers'
`...ForSequenceClassification` where it has such a head.

Letters in shapes: B recordings, N states of each frame (L + 1), S frames, D width of the encoder, V outputs.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from mtasr.atomic import write_file, write_text
from mtasr.checkpoints.settings import read_json
from mtasr.checkpoints.weights import TensorHeader, check_headers
from mtasr.encoders.loading import LOG_MEL, MFCC, RANDOM
from mtasr.errors import ModelIntegrityError, ModelNotFoundError, OutputError
from mtasr.models import registry

DOCUMENT, WEIGHTS = "head.json", "head.safetensors"
#: More than any head has; a file that says more is not a head.
_MOST_SIZE, _MOST_LABELS, _MOST_STATES = 1 << 14, 1 << 18, 1 << 10
#: Frames over which the activity of a speaker is smoothed, at most.
_MOST_MEDIAN = 999
_TYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadConfig:
    """All that a head is besides its weights."""

    #: What it was trained for, a name in `mtasr.probing.tasks.TASKS`.
    task: str
    #: One of `KINDS`.
    kind: str
    encoder: str
    #: The digest of the encoder's weights (`mtasr.probing.states.identity_of`); an empty one fits any of these sizes.
    identity: str = ""
    #: D, L + 1, and seconds from one frame to the next.
    width: int
    states: int
    frame_seconds: float
    #: Whether each state is normalised first, to mean 0 and deviation 1 over its width.
    layer_norm: bool = False
    #: Sizes of its layers, see `KINDS`.
    sizes: tuple[int, ...] = ()
    #: Labels by the question that they answer: one for most tasks, several for intents (action, object, location).
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: Numbers that were chosen on held-out recordings, such as the threshold of a speaker's activity.
    settings: Mapping[str, float] = field(default_factory=dict)

    @property
    def outputs(self) -> int:
        """V without the blank of CTC."""
        return sum(map(len, self.labels.values()))

    def __post_init__(self) -> None:
        kind = KINDS.get(self.kind)
        if kind is None:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {self.kind!r}")
        if len(self.sizes) != len(kind.sizes) or not all(0 < size <= _MOST_SIZE for size in self.sizes):
            raise ValueError(f"sizes of {self.kind} are {len(kind.sizes)} positive numbers, not {list(self.sizes)}")
        if not (0 < self.width <= _MOST_SIZE and 0 < self.states <= _MOST_STATES):
            raise ValueError(f"width {self.width} or states {self.states} is out of range")
        if not 0 < self.frame_seconds < 10:
            raise ValueError(f"frame_seconds {self.frame_seconds} is out of range")
        if not (kind.labelled <= self.outputs <= _MOST_LABELS) or not all(self.labels.values()):
            raise ValueError(f"it has {self.outputs} labels")


def lasting_name(encoder: str) -> str:
    """The name of an encoder so that it means the same in every working directory: a path in it becomes absolute."""
    if encoder in {LOG_MEL, MFCC}:
        return encoder
    path = Path(encoder)
    with contextlib.suppress(RuntimeError):  # there is no such user
        path = path.expanduser()
    if path.exists():
        is_published = registry.find(encoder) is not None and not (path / "config.json").is_file()
        return encoder if is_published else str(path.absolute())
    name, plus, frames = encoder.rpartition("+")
    if plus and frames.isdecimal():
        return f"{lasting_name(name)}+{frames}"
    if encoder.startswith(RANDOM):
        return RANDOM + lasting_name(encoder.removeprefix(RANDOM))
    return encoder


class MeanHead(nn.Module):
    """A label for a recording: Linear, mean over time, Linear. `forward` gives logits (B, V)."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        (hidden,) = config.sizes
        self.projector = nn.Linear(config.width, hidden)
        self.classifier = nn.Linear(hidden, config.outputs)

    def forward(self, mixed: Tensor, lengths: Tensor) -> Tensor:
        projected: Tensor = self.projector(mixed)
        logits: Tensor = self.classifier(_mean(projected, lengths))
        return logits


class FrameHead(nn.Module):
    """A label for each frame: Linear. `forward` gives logits (B, S, V)."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.classifier = nn.Linear(config.width, config.outputs)

    def forward(self, mixed: Tensor, lengths: Tensor) -> Tensor:
        del lengths
        logits: Tensor = self.classifier(mixed)
        return logits


class LinearCtcHead(nn.Module):
    """A sequence of labels: two Linear. `forward` gives logits (B, S, V + 1), of which the first is the blank."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        (hidden,) = config.sizes
        self.projector = nn.Linear(config.width, hidden)
        self.classifier = nn.Linear(hidden, config.outputs + 1)

    def forward(self, mixed: Tensor, lengths: Tensor) -> Tensor:
        del lengths
        logits: Tensor = self.classifier(self.projector(mixed))
        return logits


class RecurrentCtcHead(nn.Module):
    """A sequence of labels: Linear, two bidirectional LSTM, Linear. Logits as in `LinearCtcHead`."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        hidden, memory = config.sizes
        self.projector = nn.Linear(config.width, hidden)
        self.memory = nn.LSTM(hidden, memory, num_layers=2, bidirectional=True, batch_first=True, dropout=0.2)
        self.classifier = nn.Linear(2 * memory, config.outputs + 1)

    def forward(self, mixed: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.projector(mixed), lengths.cpu(), batch_first=True, enforce_sorted=False)
        heard, _ = pad_packed_sequence(self.memory(packed)[0], batch_first=True, total_length=mixed.shape[1])
        logits: Tensor = self.classifier(heard)
        return logits


class XVectorHead(nn.Module):
    """A voice as a vector: Linear, five convolutions over time, their mean and deviation, Linear.

    `forward` gives embeddings (B, V') whose cosine says whether two voices are one. Source: Snyder et al. 2018.
    """

    #: Frames that the convolutions see, and how far apart. Without padding they shorten the recording.
    CONTEXTS, DILATIONS = (5, 3, 3, 1, 1), (1, 2, 3, 1, 1)
    SHORTENED = sum((context - 1) * apart for context, apart in zip(CONTEXTS, DILATIONS, strict=True))

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        first, *channels, embedding = config.sizes
        self.projector = nn.Linear(config.width, first)
        self.tdnn = nn.ModuleList(
            nn.Conv1d(before, after, context, dilation=apart)
            for before, after, context, apart in zip(
                (first, *channels), channels, self.CONTEXTS, self.DILATIONS, strict=False
            )
        )
        self.embedding = nn.Linear(2 * channels[-1], embedding)

    def forward(self, mixed: Tensor, lengths: Tensor) -> Tensor:
        found = self.projector(mixed).transpose(1, 2)
        for convolution in self.tdnn:
            found = torch.relu(convolution(found))
        found, lengths = found.transpose(1, 2), lengths - self.SHORTENED
        mean = _mean(found, lengths)
        apart = (found - mean[:, None]) * _inside(found, lengths)
        variance = apart.square().sum(dim=1) / (lengths - 1).clamp(min=1)[:, None]
        # The root has no gradient at 0.
        embedded: Tensor = self.embedding(torch.cat([mean, (variance + 1e-10).sqrt()], dim=1))
        return embedded


class ActivityHead(nn.Module):
    """Who speaks: LSTM, Linear. `forward` gives logits (B, S, V) of V independent speakers."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        (hidden,) = config.sizes
        self.memory = nn.LSTM(config.width, hidden, batch_first=True)
        self.classifier = nn.Linear(hidden, config.outputs)

    def forward(self, mixed: Tensor, lengths: Tensor) -> Tensor:
        del lengths  # the LSTM looks back only, so padding after the end changes nothing before it
        logits: Tensor = self.classifier(self.memory(mixed)[0])
        return logits


@dataclass(frozen=True, slots=True)
class HeadKind:
    """A network, the sizes that SUPERB gives it, and the fewest labels that it needs."""

    network: type[nn.Module]
    sizes: tuple[int, ...]
    labelled: int


KINDS: dict[str, HeadKind] = {
    "mean": HeadKind(MeanHead, (256,), 1),
    "frames": HeadKind(FrameHead, (), 1),
    "ctc": HeadKind(LinearCtcHead, (256,), 1),
    "recurrent-ctc": HeadKind(RecurrentCtcHead, (1024, 1024), 1),
    "x-vector": HeadKind(XVectorHead, (512, 512, 512, 512, 512, 1500, 512), 0),
    "activity": HeadKind(ActivityHead, (512,), 1),
    # As "activity" without the LSTM: V independent speakers in each frame.
    "frame-activity": HeadKind(FrameHead, (), 1),
}


class Head(nn.Module):
    """The weighted sum of the states of each frame, and the network of the head's kind on it."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        self.layer_weights = nn.Parameter(torch.zeros(config.states))
        self.network = KINDS[config.kind].network(config)

    def forward(self, states: Tensor, lengths: Tensor | None = None) -> Tensor:
        """States (B, N, S, D), normalised if `config.layer_norm`, -> what the network of the head's kind gives.

        `lengths` (B,) are frames; what follows them in a row is ignored. Without them, no row is padded.
        """
        mixed = torch.einsum("n,bnsd->bsd", self.weights.to(states.dtype), states)
        if lengths is None:
            lengths = torch.full((len(states),), states.shape[2])
        found: Tensor = self.network(mixed, lengths.to(states.device))
        return found

    @property
    def weights(self) -> Tensor:
        """The weights (N,) of the states, which sum to 1."""
        return self.layer_weights.softmax(dim=0)


def normalised(states: Tensor) -> Tensor:
    """States (..., D) with mean 0 and deviation 1 over their width, for heads with `layer_norm`."""
    return nn.functional.layer_norm(states, states.shape[-1:])


def _inside(frames: Tensor, lengths: Tensor) -> Tensor:
    """1 for the frames (B, S, D) before the end of their row, 0 after it: (B, S, 1)."""
    places = torch.arange(frames.shape[1], device=frames.device)
    return (places[None] < lengths[:, None])[..., None].to(frames.dtype)


def _mean(frames: Tensor, lengths: Tensor) -> Tensor:
    """The mean (B, D) over the frames (B, S, D) before the end of each row."""
    return (frames * _inside(frames, lengths)).sum(dim=1) / lengths.clamp(min=1)[:, None]


# In a folder


def save_head(head: Head, folder: Path) -> None:
    """Write the head; its files replace older ones, the document last. Raises `OutputError`."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
    document = {name: dict(value) if isinstance(value, Mapping) else value for name, value in _plain(head.config)}

    def write_tensors(path: Path) -> None:
        save_file(tensors, path)
        path.chmod(0o644)  # safetensors makes its files unreadable for other users

    clear_for_head(folder)
    write_file(folder / WEIGHTS, write_tensors)
    write_text(
        folder / DOCUMENT, lambda stream: stream.write(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    )


def clear_for_head(folder: Path) -> None:
    """Make the folder, without the document of an older head, which must not describe other weights.

    Raises `OutputError`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / DOCUMENT).unlink(missing_ok=True)
    except OSError as exc:
        raise OutputError(f"cannot write {folder}: {exc.strerror or exc}") from exc


def _plain(config: HeadConfig) -> list[tuple[str, Any]]:
    return [(each.name, getattr(config, each.name)) for each in fields(config)]


def load_head(folder: Path) -> Head:
    """The head in a folder, on the CPU, in evaluation mode. Runs no code in it.

    Raises `ModelNotFoundError` for a folder that is none of a head, `ModelIntegrityError` for one that is damaged.
    """
    if not (folder / DOCUMENT).is_file():
        raise ModelNotFoundError(f"{folder}: is not the folder of a head: has no {DOCUMENT}")
    try:
        config = config_of(read_json(folder / DOCUMENT))
    except (TypeError, ValueError) as exc:
        raise ModelIntegrityError(f"{folder / DOCUMENT}: {exc}") from exc
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in Head(config).state_dict().items()}
    check_headers(expected, _headers(folder / WEIGHTS), folder)
    with safe_open(folder / WEIGHTS, framework="pt") as stream:
        tensors = {name: stream.get_tensor(name).float() for name in expected}
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise ModelIntegrityError(f"{folder / WEIGHTS}: {broken[0]} has values that are no numbers")
    head = Head(config)
    head.load_state_dict(tensors)
    return head.eval()


def config_of(document: Mapping[str, Any]) -> HeadConfig:
    """The configuration in a JSON object. Raises `ValueError` that names the mistake."""
    names = {each.name for each in fields(HeadConfig)}
    if wrong := sorted(document.keys() ^ names):
        raise ValueError(f"{wrong[0]!r} is {'missing' if wrong[0] in names else 'unknown'}")
    for name, kinds in _JSON_TYPES.items():
        value = document[name]
        if not isinstance(value, kinds) or isinstance(value, bool) != (kinds is bool):
            raise ValueError(f"{name} is of the wrong type")
    sizes, labels, settings = document["sizes"], document["labels"], document["settings"]
    if not all(type(size) is int for size in sizes):
        raise ValueError("sizes are not whole numbers")
    if not all(isinstance(each, list) and all(isinstance(label, str) for label in each) for each in labels.values()):
        raise ValueError("labels are not lists of texts")
    try:
        numbers = [float(value) for value in settings.values() if isinstance(value, int | float)]
        frame_seconds = float(document["frame_seconds"])
    except OverflowError as exc:  # whole numbers may have hundreds of digits
        raise ValueError("settings or frame_seconds are too large") from exc
    if len(numbers) < len(settings) or not all(map(math.isfinite, numbers)):
        raise ValueError("settings are not numbers")
    if not 1 <= settings.get("median", 1) <= _MOST_MEDIAN:
        raise ValueError("the median is out of range")
    return HeadConfig(
        **{
            **document,
            "sizes": tuple(sizes),
            "labels": {question: tuple(each) for question, each in labels.items()},
            "frame_seconds": frame_seconds,
        }
    )


_JSON_TYPES: dict[str, Any] = {
    "task": str, "kind": str, "encoder": str, "identity": str, "width": int, "states": int,
    "frame_seconds": int | float, "layer_norm": bool, "sizes": list, "labels": dict, "settings": dict,
}  # fmt: skip


def _headers(path: Path) -> dict[str, TensorHeader]:
    found = {}
    try:
        with safe_open(path, framework="pt") as stream:
            for name in stream.keys():  # noqa: SIM118 - not a dictionary
                part = stream.get_slice(name)
                found[name] = TensorHeader(tuple(part.get_shape()), _TYPES.get(part.get_dtype(), part.get_dtype()))
    except (OSError, SafetensorError) as exc:
        raise ModelIntegrityError(f"{path} is damaged or not a safetensors file: {exc}") from exc
    return found
