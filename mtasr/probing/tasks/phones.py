"""Which phone each frame is in.

    {"audio": "a.wav", "split": "train", "phones": [["HH", 0.12, 0.18], ["AH", 0.18, 0.25]]}

Times are seconds of the recording. Frames outside of all phones, and those of silence, do not count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from mtasr.arrays import FloatArray
from mtasr.probing.heads import Head
from mtasr.probing.labels import LabelledClip, stretch_of
from mtasr.probing.tasks.task import HeadBatch, HeadReader, HeadTask, known

#: What aligners and corpora call time without a phone.
SILENCES = frozenset({"", "sil", "SIL", "sp", "SP", "spn", "SPN", "pau", "h#", "_:"})
#: The label of frames that do not count.
_IGNORED = -100

#: A phone from `start` to `end` seconds.
Phone = tuple[str, float, float]


def timed_phones(clip: LabelledClip) -> list[Phone]:
    """The phones of a clip, in order of time, without silence. Raises `InputError`."""
    rows = clip.fields.get("phones")
    if not isinstance(rows, list):
        raise clip.error("'phones' is missing or no list")
    phones = []
    for row in rows:
        if not isinstance(row, list | tuple) or len(row) != 3 or not isinstance(row[0], str):
            raise clip.error("each of 'phones' must be [phone, start, end]")
        stretch = stretch_of(row[1], row[2])
        if stretch is None:
            raise clip.error(f"the phone {row[0]!r} has no times")
        phones.append((row[0], *stretch))
    phones.sort(key=lambda phone: phone[1])
    return [phone for phone in phones if phone[0] not in SILENCES]


class PhonesTask(HeadTask):
    """A linear head on each frame: the share of frames in the right phone."""

    name, area = "phones", "content"
    kind = "frames"
    figure, falls, whole = "accuracy", False, True

    def __init__(self, clips: Sequence[LabelledClip]) -> None:
        super().__init__(clips)
        self._places = known(self.labels().get("phone", ()))

    def target(self, clip: LabelledClip) -> list[Phone]:
        return timed_phones(clip)

    def labels(self) -> Mapping[str, tuple[str, ...]]:
        return {"phone": tuple(sorted({phone for each in self.targets["train"] for phone, _, _ in each}))}

    def loss(self, model: Any, batch: HeadBatch) -> Tensor:
        logits = model(batch.states, batch.lengths).flatten(end_dim=1)
        wanted = self._wanted(batch).to(logits.device)
        # The mean over no frames would be NaN.
        return cross_entropy(logits, wanted.flatten(), ignore_index=_IGNORED, reduction="sum") / max(
            1, int((wanted != _IGNORED).sum())
        )

    def _wanted(self, batch: HeadBatch) -> Tensor:
        """The place (B, S) of the phone of each frame. One that no training clip has is a place after the last."""
        wanted = torch.full((len(batch.clips), batch.states.shape[2]), _IGNORED)
        for row, (target, times) in enumerate(zip(batch.targets, batch.times, strict=True)):
            found = phones_at(target, times)
            places = [_IGNORED if phone is None else self._places.get(phone, len(self._places)) for phone in found]
            wanted[row, : len(places)] = torch.tensor(places, dtype=torch.int64)
        return wanted

    def figures(self, head: Head, reader: HeadReader, split: str) -> dict[str, float]:
        """`accuracy`, and `majority`: the accuracy of who always says the most frequent phone of the training clips."""
        right, counts = 0, Counter[int]()
        for batch, found in self.outputs(head, reader, split):
            wanted = self._wanted(batch)
            counted = wanted != _IGNORED
            right += int((found.argmax(dim=2).cpu() == wanted)[counted].sum())
            counts.update(wanted[counted].tolist())
        total = counts.total()
        if not total:
            raise self.clips[split][0].error(f"no frame of the {split} recordings is in a phone")
        seconds = dict.fromkeys(self._places, 0.0)
        for target in self.targets["train"]:
            for phone, start, end in target:
                seconds[phone] += end - start
        most = self._places[max(seconds, key=lambda phone: seconds[phone])]
        return {"accuracy": right / total, "majority": counts[most] / total}


def phones_at(phones: Sequence[Phone], times: FloatArray) -> list[str | None]:
    """The phone at each of the times, None between phones."""
    if not phones:
        return [None] * len(times)
    places = np.searchsorted([start for _, start, _ in phones], times, side="right") - 1
    return [
        phones[place][0] if place >= 0 and time < phones[place][2] else None
        for place, time in zip(places.tolist(), times.tolist(), strict=True)
    ]
