"""Heads that others have published with their encoders, in Hugging Face's formats, as a `Head`.

    ...ForSequenceClassification      labels of a recording: superb/{wav2vec2,hubert}-base-superb-{ks,er,sid,ic}
    ...ForXVector                     a vector that tells voices apart: microsoft/wavlm-base-plus-sv
    ...ForAudioFrameClassification    which speakers talk in each frame: microsoft/wavlm-base-plus-sd

Each reads the weighted sum of the states of all layers, or the final output if `use_weighted_layer_sum` is not set in
config.json. Its tensors lie beside the encoder's, and everything that gives a size is checked. No code is run.

Of encoders that normalise their output (wav2vec 2.0 Large) the last state is the normalised one, as it was where
SUPERB's heads were trained; transformers takes the one before the normalisation.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mtasr.checkpoints.encoders.stored import StoredTensors
from mtasr.checkpoints.settings import read_json
from mtasr.checkpoints.weights import header_problems
from mtasr.errors import ModelIntegrityError
from mtasr.networks.speech_encoder import SpeechEncoder
from mtasr.probing.heads import Head, HeadConfig, XVectorHead

#: The questions of Fluent Speech Commands and their answers, which superb/*-superb-ic has in one classifier.
_INTENTS = {
    "action": {"activate", "bring", "change language", "deactivate", "decrease", "increase"},
    "object": {
        "chinese", "english", "german", "heat", "juice", "korean", "lamp", "lights", "music", "newspaper", "none",
        "shoes", "socks", "volume",
    },
    "location": {"bedroom", "kitchen", "none", "washroom"},
}  # fmt: skip
#: Logit of the weight of a state that does not count: the weight is exactly 0.
_NOT_COUNTED = -1e4
#: Cosine from which on two voices are the same, as the authors of WavLM's head suggest.
_SAME_VOICE = 0.86
#: Frames over which the activity of a speaker is smoothed: the median that SUPERB takes before it counts errors.
_MEDIAN = 11


class _Layout(NamedTuple):
    """Of a head that is to be read: what makes it, and the names of its tensors, ours and theirs."""

    kind: str
    task: str
    sizes: tuple[int, ...]
    labels: Mapping[str, tuple[str, ...]]
    settings: Mapping[str, float]
    names: Mapping[str, str]


def read_public_head(folder: Path, encoder: SpeechEncoder) -> Head:
    """The head in the folder of a checkpoint of transformers, for the encoder in it; in evaluation mode, on the CPU.

    Raises `ModelIntegrityError` if the checkpoint has no head of a known kind, or a damaged one.
    """
    config = read_json(folder / "config.json")
    stored = StoredTensors(folder)
    shapes = {name: header.shape for name, header in stored.headers.items()}
    layout = _layout(config, shapes, folder)
    try:
        made = HeadConfig(
            task=layout.task,
            kind=layout.kind,
            encoder=encoder.name,
            width=encoder.width,
            states=encoder.layers + 1,
            frame_seconds=encoder.frame_seconds,
            sizes=layout.sizes,
            labels=layout.labels,
            settings=layout.settings,
        )
    except ValueError as exc:
        raise ModelIntegrityError(f"{folder}: no head can be like this: {exc}") from exc
    names = dict(layout.names)
    if config.get("use_weighted_layer_sum") is True:
        names["layer_weights"] = "layer_weights"
    with torch.device("meta"):
        head = Head(made)
    own = {ours: tuple(tensor.shape) for ours, tensor in head.state_dict().items()}
    expected = {theirs: _stored_shape(own[ours]) for ours, theirs in names.items()}
    if problems := header_problems(
        expected, {each: stored.headers[each] for each in expected if each in stored.headers}
    ):
        raise ModelIntegrityError(f"{folder}: not a usable head: {'; '.join(problems)}")
    tensors = stored.read(list(expected))
    state = {ours: _as_ours(tensors[theirs], own[ours]) for ours, theirs in names.items()}
    state.setdefault("layer_weights", _the_last_of(encoder.layers + 1))
    head.load_state_dict(state, assign=True)
    return head.eval().requires_grad_(False)


def _layout(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], folder: Path) -> _Layout:
    listed = config.get("architectures")
    name = (
        listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], str) else "of unknown architecture"
    )
    for ending, layout in _LAYOUTS.items():
        if name.endswith(ending):
            return layout(config, shapes, folder)
    known = ", ".join(f"...{ending}" for ending in _LAYOUTS)
    raise ModelIntegrityError(f"{folder}: is {name}; heads that classify are {known}")


def _labels_layout(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], folder: Path) -> _Layout:
    labels = _questions(_labels(config, _rows("classifier", shapes, folder), folder))
    sizes = (_rows("projector", shapes, folder),)
    return _Layout("mean", "labels", sizes, labels, {}, _renamed("projector", "classifier"))


def _voice_layout(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], folder: Path) -> _Layout:
    for name, known in (("tdnn_kernel", XVectorHead.CONTEXTS), ("tdnn_dilation", XVectorHead.DILATIONS)):
        if config.get(name) != list(known):
            raise ModelIntegrityError(f"{folder}: {name} is {config.get(name)!r}; only {list(known)} is known")
    convolutions = {f"tdnn.{index}.kernel": f"tdnn.{index}" for index in range(len(XVectorHead.CONTEXTS))}
    parts = {"projector": "projector", **convolutions, "feature_extractor": "embedding"}
    sizes = tuple(_rows(theirs, shapes, folder) for theirs in parts)
    names = {
        f"network.{ours}.{leaf}": f"{theirs}.{leaf}" for theirs, ours in parts.items() for leaf in ("weight", "bias")
    }
    return _Layout("x-vector", "voices", sizes, {}, {"threshold": _SAME_VOICE}, names)


def _turns_layout(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], folder: Path) -> _Layout:
    speakers = tuple(f"Speaker {number + 1}" for number in range(_rows("classifier", shapes, folder)))
    settings = {"threshold": 0.5, "median": float(_MEDIAN)}
    return _Layout("frame-activity", "turns", (), {"speaker": speakers}, settings, _renamed("classifier"))


_LAYOUTS = {
    "ForSequenceClassification": _labels_layout,
    "ForXVector": _voice_layout,
    "ForAudioFrameClassification": _turns_layout,
}


def _renamed(*modules: str) -> dict[str, str]:
    return {f"network.{name}.{leaf}": f"{name}.{leaf}" for name in modules for leaf in ("weight", "bias")}


def _rows(module: str, shapes: Mapping[str, tuple[int, ...]], folder: Path) -> int:
    shape = shapes.get(f"{module}.weight", ())
    if len(shape) != 2:
        raise ModelIntegrityError(f"{folder}: has no matrix {module}.weight, so no head of this kind")
    return shape[0]


def _labels(config: Mapping[str, Any], count: int, folder: Path) -> tuple[str, ...]:
    """The names of the classifier's outputs, or their numbers if config.json has no names."""
    names = config.get("id2label")
    if names is None:
        return tuple(map(str, range(count)))
    known = isinstance(names, dict) and len(names) == count and all(str(index) in names for index in range(count))
    if not known or not all(isinstance(name, str) for name in names.values()):
        raise ModelIntegrityError(f"{folder}: id2label does not name the {count} outputs of the classifier")
    return tuple(names[str(index)] for index in range(count))


def _questions(labels: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The labels by question: three of intents, if these are the labels; their answers follow each other."""
    found, begin = {}, 0
    for question, answers in _INTENTS.items():
        found[question] = labels[begin : begin + len(answers)]
        begin += len(answers)
    same = all({each.replace("_", " ").lower() for each in found[name]} == known for name, known in _INTENTS.items())
    return found if same and begin == len(labels) else {"label": labels}


def _stored_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """In files, a convolution over k frames is a matrix for these frames side by side: (out, k · in)."""
    return (shape[0], shape[1] * shape[2]) if len(shape) == 3 else shape


def _as_ours(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    return tensor.view(shape[0], shape[2], shape[1]).transpose(1, 2).contiguous() if len(shape) == 3 else tensor


def _the_last_of(states: int) -> Tensor:
    weights = torch.full((states,), _NOT_COUNTED)
    weights[-1] = 0.0
    return weights
