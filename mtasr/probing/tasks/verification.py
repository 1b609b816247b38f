"""Whether two recordings are of one voice.

    {"audio": "a.wav", "split": "train", "label": "Ada"}
    {"audio": "b.wav", "split": "test", "other": "c.wav", "same": true}

`other_start` and `other_end` are seconds of the other recording, as `start` and `end` are of the first.
Without trials for dev, a tenth of the training speakers is held out, and their recordings are compared.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, normalize

from mtasr.arrays import Float32Array
from mtasr.errors import ManifestError
from mtasr.probing.figures import equal_error_rate
from mtasr.probing.heads import Head, XVectorHead
from mtasr.probing.labels import LabelledClip, seconds_of
from mtasr.probing.superb import voxceleb
from mtasr.probing.tasks.task import HeadBatch, HeadReader, HeadTask, known

#: Of the published recipe: the scale and the margin of the loss.
_SCALE, _MARGIN = 30.0, 0.4
_DEV_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class VoiceTrial:
    """Two clips, and whether they are of one voice."""

    one: LabelledClip
    other: LabelledClip
    same: bool


class VerificationTask(HeadTask):
    """An x-vector, learnt by telling the training speakers apart: the equal error rate (EER) of cosines of pairs."""

    name, area = "verification", "speaker"
    kind = "x-vector"
    figure, falls, whole = "EER", True, True
    crop_seconds = 8.0
    corpus = staticmethod(voxceleb.verification)

    def __init__(self, clips: Sequence[LabelledClip]) -> None:
        if not any(clip.split == "dev" for clip in clips):
            clips = _with_development(clips)
        super().__init__(clips)
        self.trials = {split: [_trial(clip) for clip in self.clips[split]] for split in ("dev", "test")}
        for split, trials in self.trials.items():
            if len({trial.same for trial in trials}) < 2:
                raise ManifestError(f"trials for {split} must be of one voice and of two")
        self._places = known(self._speakers())
        if len(self._places) < 2:
            raise ManifestError("at least two training speakers are needed")

    def _speakers(self) -> list[str]:
        return sorted(set(self.targets["train"]))

    def target(self, clip: LabelledClip) -> str | None:
        return clip.text("label") if clip.split == "train" else None

    def labels(self) -> Mapping[str, tuple[str, ...]]:
        return {}  # an embedding is of any voice

    @property
    def needed(self) -> list[LabelledClip]:
        both = [clip for trials in self.trials.values() for trial in trials for clip in (trial.one, trial.other)]
        return [*self.clips["train"], *_distinct(both)]

    def lesson(self, head: Head) -> nn.Module:
        return AngularLesson(head, len(self._places))

    def loss(self, model: Any, batch: HeadBatch) -> Tensor:
        for clip, length in zip(batch.clips, batch.lengths.tolist(), strict=True):
            _check_length(clip, length)
        wanted = torch.tensor([self._places[speaker] for speaker in batch.targets], device=batch.states.device)
        found: Tensor = model(batch.states, batch.lengths, wanted)
        return found

    def figures(self, head: Head, reader: HeadReader, split: str) -> dict[str, float]:
        trials = self.trials[split]
        clips = _distinct([clip for trial in trials for clip in (trial.one, trial.other)])
        voices = {_key(clip): self._embedding(head, reader, clip) for clip in clips}
        scores = np.array([voices[_key(trial.one)] @ voices[_key(trial.other)] for trial in trials])
        return {"EER": equal_error_rate(scores, np.array([trial.same for trial in trials]))}

    def _embedding(self, head: Head, reader: HeadReader, clip: LabelledClip) -> Float32Array:
        """(V,) of length 1."""
        (array,) = reader.arrays([clip])
        _check_length(clip, array.shape[1])
        with torch.inference_mode():
            found = head(torch.from_numpy(array)[None].to(head.layer_weights.device))[0]
            embedding: Float32Array = normalize(found, dim=0).cpu().numpy()
        return embedding


class AngularLesson(nn.Module):
    """Additive margin softmax on an x-vector: scaled cosines to each speaker, that of the right one less a margin.

    Source: Wang et al. 2018. As in SUPERB, a second Linear stands between the embedding and the speakers.
    """

    def __init__(self, head: Head, speakers: int) -> None:
        super().__init__()
        size = head.config.sizes[-1]
        self.head = head
        self.classifier = nn.Linear(size, size)
        self.speakers = nn.Parameter(nn.init.xavier_normal_(torch.empty(speakers, size)))

    def forward(self, states: Tensor, lengths: Tensor, wanted: Tensor) -> Tensor:
        found = self.classifier(torch.relu(self.head(states, lengths)))
        cosines = linear(normalize(found), normalize(self.speakers))
        margin = _MARGIN * torch.nn.functional.one_hot(wanted, len(self.speakers))
        return cross_entropy(_SCALE * (cosines - margin), wanted)


def _trial(clip: LabelledClip) -> VoiceTrial:
    other, same = clip.fields.get("other"), clip.fields.get("same")
    if same in ("true", "false", "1", "0"):  # from CSV
        same = same in ("true", "1")
    if not isinstance(other, str) or not isinstance(same, bool):
        raise clip.error("a trial has 'other', a recording, and 'same', true or false")
    start, end = (
        seconds_of(clip.fields.get(f"other_{name}"), f"other_{name}", clip.origin) for name in ("start", "end")
    )
    second = LabelledClip(audio=Path(other), start=start or 0.0, end=end, origin=clip.origin)
    return VoiceTrial(replace(clip, fields={}), second, same)


def _key(clip: LabelledClip) -> tuple[Path, float, float | None]:
    return clip.audio, clip.start, clip.end


def _distinct(clips: Sequence[LabelledClip]) -> list[LabelledClip]:
    return list({_key(clip): clip for clip in clips}.values())


def _check_length(clip: LabelledClip, frames: int) -> None:
    if frames < XVectorHead.SHORTENED + 2:
        raise clip.error(f"too short to know a voice: {frames} frames instead of {XVectorHead.SHORTENED + 2}")


def _with_development(clips: Sequence[LabelledClip]) -> list[LabelledClip]:
    """The clips with a tenth of the training speakers, two at least, made trials for dev.

    Each recording of theirs is compared with the next one of the same speaker and with one of the next speaker. A
    checksum of the name chooses the speakers, so that they are the same for every encoder.
    """
    speakers: dict[str, list[LabelledClip]] = {}
    for clip in clips:
        if clip.split == "train":
            speakers.setdefault(clip.text("label"), []).append(clip)
    usable = [name for name, own in speakers.items() if len(own) > 1]
    held = sorted(usable, key=lambda name: zlib.crc32(name.encode()))[: max(2, round(_DEV_SHARE * len(speakers)))]
    if len(held) < 2 or len(speakers) - len(held) < 2:
        raise ManifestError("no trials for dev, and too few training speakers with two recordings to make some")
    trials = []
    for place, name in enumerate(held):
        own, others = speakers[name], speakers[held[(place + 1) % len(held)]]
        for number, clip in enumerate(own):
            pairs = ((own[(number + 1) % len(own)], True), (others[number % len(others)], False))
            for other, same in pairs:
                fields = {"other": str(other.audio), "other_start": other.start, "other_end": other.end, "same": same}
                trials.append(replace(clip, split="dev", fields=fields))
    return [clip for clip in clips if clip.split != "train" or clip.text("label") not in held] + trials
