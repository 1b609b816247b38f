"""Recordings of any length through a head: what is said in them, whose voice it is, who speaks when.

A recording of up to 27 s is heard as a whole. A longer one is heard in windows (`mtasr.encoders.extract`): labels come
from the mean over all frames, a voice from the mean of the windows, sequences from one window after the other. Turns
come from windows that overlap, because the order of speakers is any in each.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mtasr.arrays import Float32Array
from mtasr.audio.ffmpeg import printable
from mtasr.audio.read import open_audio
from mtasr.encoders import load_encoder
from mtasr.encoders.extract import Progress, chosen_layers, extract, whole_states
from mtasr.errors import InputError, ModelNotFoundError, UsageError
from mtasr.models.encoders import names_repo, resolve_encoder
from mtasr.models.hub import Progress as DownloadProgress
from mtasr.networks.speech_encoder import SpeechEncoder, longest_seconds
from mtasr.probing.adapted import with_adapters
from mtasr.probing.answers import ACTIVITY, Answer, answer_of, check_fit, fewest_frames, logits_of
from mtasr.probing.heads import DOCUMENT, Head, load_head
from mtasr.probing.public_heads import read_public_head
from mtasr.remote.urls import name_of
from mtasr.spans import SAMPLE_RATE

#: Seconds of the windows of turns, if the encoder hears as much. A third of a window overlaps the one before.
_WINDOW = 30.0
#: Most speakers of a head whose orders in two windows are compared.
_MOST_SPEAKERS = 6


class Classifier(NamedTuple):
    """A head, on the CPU, and the encoder that it is for, on any device."""

    encoder: SpeechEncoder
    head: Head


def load_classifier(
    name: str, device: str = "auto", *, encoder: str | None = None, progress: DownloadProgress | None = None
) -> Classifier:
    """The head in a folder that `mtasr probe` wrote, or one of transformers, in a folder or on the hub.

    `encoder` names the encoder of a head of `mtasr probe` where it is not found by the name that the head has for it.
    Raises `ModelError` if there is no head, or if it is damaged, and `UsageError` for another encoder than the head's.
    No code in it is run.
    """
    own = _folder(name)
    if (own / DOCUMENT).is_file():
        head = load_head(own)
        listener = with_adapters(_own_encoder(own, head, encoder, device, progress), own)
        check_fit(head.config, listener)
    else:
        if not name or (not own.is_dir() and not names_repo(name)):
            raise ModelNotFoundError(f"there is no head {name}; it may be a folder, or OWNER/NAME on the hub")
        if own.is_dir() and not (own / "config.json").is_file():
            raise ModelNotFoundError(f"{name}: is not the folder of a head: it has neither {DOCUMENT} nor config.json")
        if encoder is not None:
            raise UsageError(f"{name}: its encoder is in the same folder, so that none is to be named")
        folder = own if own.is_dir() else resolve_encoder(name, progress)
        listener = load_encoder(folder, device)
        head = read_public_head(folder, listener)
    return Classifier(listener, head)


def _folder(name: str) -> Path:
    """The path that a name means if it is one. Raises `ModelNotFoundError` for what cannot be one."""
    try:
        path = Path(name).expanduser()
        path.exists()
    except (OSError, RuntimeError) as exc:  # name too long, no permission, unknown user
        raise ModelNotFoundError(f"there is no head {name}: {getattr(exc, 'strerror', None) or exc}") from exc
    return path


def _own_encoder(
    folder: Path, head: Head, name: str | None, device: str, progress: DownloadProgress | None
) -> SpeechEncoder:
    try:
        return load_encoder(name or head.config.encoder, device, progress=progress)
    except ModelNotFoundError as exc:
        if name is not None:
            raise
        raise ModelNotFoundError(f"{folder}: {exc}; if the head's encoder was moved, name it (--encoder)") from exc


def classified(
    classifier: Classifier,
    source: str,
    *,
    threshold: float | None = None,
    audio_stream: int = 0,
    progress: Progress | None = None,
) -> Answer:
    """What the head says of a recording. Raises `InputError` if it cannot be read or is too short.

    `threshold` is the probability above which somebody speaks, instead of the head's own; only heads that tell who
    speaks when have one.
    """
    encoder, head = classifier
    kind = head.config.kind
    if kind in ACTIVITY:
        logits = _activity(classifier, source, audio_stream, progress)
    else:
        parts, lengths = [], []
        layers = chosen_layers(encoder, None)
        for block in extract(encoder, source, layers, audio_stream=audio_stream, progress=progress):
            if block.states.shape[1] >= fewest_frames(kind):
                parts.append(logits_of(head, torch.from_numpy(block.states)))
                lengths.append(block.states.shape[1])
        logits = _together(kind, parts, lengths, source)
    config = head.config
    if threshold is not None:
        config = replace(config, settings={**config.settings, "threshold": threshold})
    return answer_of(config, logits, encoder.offset_seconds)


def _together(kind: str, parts: list[Tensor], lengths: list[int], source: str) -> Tensor:
    if not parts:
        raise InputError(f"{printable(name_of(source))}: is too short; the head needs {fewest_frames(kind)} frames")
    if kind not in ("mean", "x-vector"):
        return torch.cat(parts)
    # What follows the mean over frames is linear, so the weighted mean of logits is that of all frames.
    vectors = torch.stack(parts if kind == "mean" else [normalize(part, dim=0) for part in parts])
    weights = torch.tensor(lengths, dtype=vectors.dtype, device=vectors.device) / sum(lengths)
    return weights @ vectors


def _activity(classifier: Classifier, source: str, audio_stream: int, progress: Progress | None) -> Tensor:
    """Logits (S, V) of who speaks in each frame of a recording."""
    encoder, head = classifier
    layers = chosen_layers(encoder, None)
    step = round(encoder.frame_seconds * SAMPLE_RATE)
    seconds = min(_WINDOW, longest_seconds(encoder))
    found = torch.zeros(0, head.config.outputs)
    with open_audio(source, track=audio_stream) as stream:
        for begin, samples in overlapping(stream, step, seconds):
            states = torch.from_numpy(whole_states(encoder, samples, layers))
            if states.shape[1]:
                found = in_one_order(found, logits_of(head, states).cpu(), begin // step)
            if progress is not None:
                progress(stream.samples_read / SAMPLE_RATE, stream.duration)
    if not len(found):
        raise InputError(f"{printable(name_of(source))}: is too short for a frame")
    return found


def overlapping(
    blocks: Iterable[Float32Array], step: int, seconds: float = _WINDOW
) -> Iterator[tuple[int, Float32Array]]:
    """Windows of so many seconds, of which a third overlaps the one before, with the places of their first samples.

    Lengths and places are multiples of `step`.
    """
    length, advance = (max(1, round(part * SAMPLE_RATE) // step) * step for part in (seconds, seconds * 2 / 3))
    held, begin = np.zeros(0, np.float32), 0
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) > length:  # so what is left in the end is longer than what overlaps
            yield begin, held[:length]
            held, begin = held[advance:], begin + advance
    yield begin, held


def in_one_order(before: Tensor, found: Tensor, begin: int) -> Tensor:
    """Logits (S, V) of a recording so far, and of a window whose first frame is `begin`, as one.

    The window's speakers are put in the order that agrees best with those before, where both are known. The window
    counts from the middle of that on. A speaker who is silent there may change places with another.
    """
    overlap = len(before) - begin
    if overlap <= 0:
        return torch.cat([before, found])
    if found.shape[1] > _MOST_SPEAKERS:
        raise UsageError(f"a head for {found.shape[1]} speakers takes only what its encoder hears at once")
    old, new = before[begin:].sigmoid(), found[:overlap].sigmoid()
    agreement = (old.T @ new + (1 - old).T @ (1 - new)).tolist()
    speakers = range(found.shape[1])
    order = max(
        itertools.permutations(speakers),
        key=lambda each: sum(agreement[known][other] for known, other in zip(speakers, each, strict=True)),
    )
    middle = overlap // 2
    return torch.cat([before[: begin + middle], found[middle:, list(order)]])
