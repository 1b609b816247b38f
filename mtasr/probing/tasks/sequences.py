"""Tasks whose answer is a sequence, learnt by CTC and read along the best path, without a language model.

{"audio": "a.wav", "split": "train", "phones": "HH AH L OW"}              phones-ctc; or a list, with times or without
{"audio": "a.wav", "split": "train", "text": "hello there"}               characters
{"audio": "a.wav", "split": "train", "words": ["play", "bach"], "slots": ["O", "artist"]}       slots
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import ctc_loss

from mtasr.edit_distance import ErrorCount, count_errors
from mtasr.probing.answers import best_path, written
from mtasr.probing.figures import slot_figures
from mtasr.probing.heads import Head
from mtasr.probing.labels import LabelledClip
from mtasr.probing.superb import librispeech, snips
from mtasr.probing.tasks.phones import SILENCES, timed_phones
from mtasr.probing.tasks.task import HeadBatch, HeadReader, HeadTask, known

#: The slot of words in none.
_OUTSIDE = "O"
_MARK = re.compile(r"([BE])-(.+)", re.DOTALL)


class SequenceTask(HeadTask):
    """Targets are lists of labels."""

    falls, whole = True, True

    def __init__(self, clips: Sequence[LabelledClip]) -> None:
        super().__init__(clips)
        self._places = known([label for each in self.labels().values() for label in each])

    @abstractmethod
    def target(self, clip: LabelledClip) -> list[str]: ...

    def labels(self) -> Mapping[str, tuple[str, ...]]:
        return {"label": tuple(sorted({label for target in self.targets["train"] for label in target}))}

    def loss(self, model: Any, batch: HeadBatch) -> Tensor:
        """CTC, a clip's loss divided by its labels; a clip with fewer frames than labels counts as 0, as in SUPERB."""
        probabilities = model(batch.states, batch.lengths).float().log_softmax(dim=2).transpose(0, 1)
        wanted = [self._places[label] + 1 for target in batch.targets for label in target]
        lengths = torch.tensor([len(target) for target in batch.targets])
        targets = torch.tensor(wanted, dtype=torch.int64, device=probabilities.device)
        return ctc_loss(probabilities, targets, batch.lengths, lengths, zero_infinity=True)

    def figures(self, head: Head, reader: HeadReader, split: str) -> dict[str, float]:
        labels = list(self._places)
        pairs = [
            (target, best_path(found[:length], labels))
            for batch, logits in self.outputs(head, reader, split)
            for target, found, length in zip(batch.targets, logits, batch.lengths.tolist(), strict=True)
        ]
        return self.compared(pairs)

    @abstractmethod
    def compared(self, pairs: Sequence[tuple[list[str], list[str]]]) -> dict[str, float]:
        """The figures of (wanted, found) labels of clips."""


def _rate(pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> float:
    return sum((count_errors(wanted, found) for wanted, found in pairs), ErrorCount()).rate


class PhonesCtcTask(SequenceTask):
    """Phones in order: the phone error rate (PER)."""

    name, area = "phones-ctc", "content"
    kind, figure = "ctc", "PER"
    corpus = staticmethod(librispeech.phones)

    def target(self, clip: LabelledClip) -> list[str]:
        rows = clip.fields.get("phones")
        if isinstance(rows, str):
            rows = rows.split()
        if isinstance(rows, list) and all(isinstance(row, str) for row in rows):
            return [phone for phone in rows if phone not in SILENCES]
        return [phone for phone, _, _ in timed_phones(clip)]

    def compared(self, pairs: Sequence[tuple[list[str], list[str]]]) -> dict[str, float]:
        return {"PER": _rate(pairs)}


class CharactersTask(SequenceTask):
    """Words by their characters: the word error rate (WER), and the character error rate (CER)."""

    name, area = "characters", "content"
    kind, figure = "recurrent-ctc", "WER"
    corpus = staticmethod(librispeech.characters)

    def target(self, clip: LabelledClip) -> list[str]:
        return list(" ".join(clip.text("text").split()))

    def labels(self) -> Mapping[str, tuple[str, ...]]:
        return {"character": tuple(sorted({" ", *(label for target in self.targets["train"] for label in target)}))}

    def compared(self, pairs: Sequence[tuple[list[str], list[str]]]) -> dict[str, float]:
        texts = [("".join(wanted), written(found, list(self._places))) for wanted, found in pairs]
        return {"WER": _rate([(wanted.split(), found.split()) for wanted, found in texts]), "CER": _rate(texts)}


class SlotsTask(SequenceTask):
    """Words by their characters, between marks of slots: the F1 of slots, and the CER of their values."""

    name, area = "slots", "semantics"
    kind, figure, falls = "recurrent-ctc", "F1", False
    corpus = staticmethod(snips.read)

    def target(self, clip: LabelledClip) -> list[str]:
        words, slots = (_texts(clip, name) for name in ("words", "slots"))
        if len(words) != len(slots):
            raise clip.error(f"there are {len(words)} words and {len(slots)} slots")
        return marked(words, slots)

    def labels(self) -> Mapping[str, tuple[str, ...]]:
        return {"character": tuple(sorted({" ", *(label for target in self.targets["train"] for label in target)}))}

    def compared(self, pairs: Sequence[tuple[list[str], list[str]]]) -> dict[str, float]:
        return slot_figures([(slots_of(wanted), slots_of(found)) for wanted, found in pairs])


def _texts(clip: LabelledClip, name: str) -> list[str]:
    found = clip.fields.get(name)
    if not isinstance(found, list) or not all(isinstance(text, str) and text for text in found):
        raise clip.error(f"{name!r} is no list of texts")
    return found


def marked(words: Sequence[str], slots: Sequence[str]) -> list[str]:
    """The characters of words with a space between words, and "B-NAME" and "E-NAME" around each run of one slot."""
    labels: list[str] = []
    for place, (word, slot) in enumerate(zip(words, slots, strict=True)):
        if slot != _OUTSIDE and (place == 0 or slots[place - 1] != slot):
            labels.append(f"B-{slot}")
        labels += word
        if slot != _OUTSIDE and (place + 1 == len(slots) or slots[place + 1] != slot):
            labels.append(f"E-{slot}")
        labels.append(" ")
    return labels[:-1]


def slots_of(labels: Sequence[str]) -> list[tuple[str, str]]:
    """The slots (name, value) between marks that belong together; other marks count for nothing."""
    found, name, value = [], "", ""
    for label in labels:
        mark = _MARK.fullmatch(label)
        if mark is None:
            value += label
        elif mark[1] == "B":
            name, value = mark[2], ""
        else:
            if mark[2] == name:
                found.append((name, " ".join(value.split())))
            name = ""
    return found
