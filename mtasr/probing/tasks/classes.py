"""Tasks with one answer for a clip: keyword, speaker, intent, emotion, spoken language.

    {"audio": "a.wav", "split": "train", "label": "yes"}
    {"audio": "b.wav", "split": "train", "label": {"action": "activate", "object": "lights", "location": "none"}}

The head takes the mean over time after a Linear. So it needs only the means of the states, which are the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from mtasr.probing.answers import split_logits
from mtasr.probing.heads import Head
from mtasr.probing.labels import SPLITS, LabelledClip
from mtasr.probing.superb import emotion, fluent, keywords, voxceleb
from mtasr.probing.tasks.task import HeadBatch, HeadReader, HeadTask, known, unknown_label

#: The question of labels that are only a text.
_QUESTION = "label"


class ClassTask(HeadTask):
    """Which of the labels of the training clips a clip has: the share of clips with the right one."""

    kind = "mean"
    figure, falls, whole = "accuracy", False, False

    def __init__(self, clips: Sequence[LabelledClip]) -> None:
        super().__init__(clips)
        self._places = {question: known(labels) for question, labels in self.labels().items()}
        for split in SPLITS:
            for clip, target in zip(self.clips[split], self.targets[split], strict=True):
                if target.keys() != self._places.keys():
                    raise clip.error(f"the label answers {sorted(target)} instead of {sorted(self._places)}")
                for question, label in target.items():
                    if label not in self._places[question]:
                        raise unknown_label(clip, label)

    def target(self, clip: LabelledClip) -> Mapping[str, str]:
        return {_QUESTION: clip.text("label")}

    def labels(self) -> Mapping[str, tuple[str, ...]]:
        targets = self.targets["train"]
        return {
            question: tuple(sorted({each[question] for each in targets if question in each})) for question in targets[0]
        }

    def loss(self, model: Any, batch: HeadBatch) -> Tensor:
        logits = split_logits(model(batch.states, batch.lengths), model.config.labels)
        wanted = self._wanted(batch)
        losses = [cross_entropy(each, wanted[question].to(each.device)) for question, each in logits.items()]
        return torch.stack(losses).sum()

    def _wanted(self, batch: HeadBatch) -> dict[str, Tensor]:
        return {
            question: torch.tensor([places[target[question]] for target in batch.targets])
            for question, places in self._places.items()
        }

    def figures(self, head: Head, reader: HeadReader, split: str) -> dict[str, float]:
        """`accuracy`, and `majority`: that of who always gives the most frequent answer of the training clips."""
        right = 0
        for batch, found in self.outputs(head, reader, split, 256):
            wanted = self._wanted(batch)
            parts = split_logits(found, head.config.labels)
            hits = [each.argmax(dim=1).cpu() == wanted[question] for question, each in parts.items()]
            right += int(torch.stack(hits).all(dim=0).sum())
        counts = Counter(frozenset(target.items()) for target in self.targets["train"])
        most = counts.most_common(1)[0][0]
        majority = sum(frozenset(target.items()) == most for target in self.targets[split])
        return {"accuracy": right / len(self.clips[split]), "majority": majority / len(self.clips[split])}


class KeywordTask(ClassTask):
    """Which word is said. Training draws all words equally often, as SUPERB does."""

    name, area = "keyword", "content"
    corpus = staticmethod(keywords.read)

    def drawn(self, size: int, rng: np.random.Generator) -> Iterator[list[int]]:
        labels = [target[_QUESTION] for target in self.targets["train"]]
        counts = Counter(labels)
        chances = np.array([1 / counts[label] / len(counts) for label in labels])
        while True:
            yield rng.choice(len(labels), size, p=chances / chances.sum()).tolist()


class SpeakerTask(ClassTask):
    """Who speaks, of the speakers heard in training."""

    name, area = "speaker", "speaker"
    corpus = staticmethod(voxceleb.identification)


class IntentTask(ClassTask):
    """What a command wants. A label with several answers is right if all are."""

    name, area = "intent", "semantics"
    corpus = staticmethod(fluent.read)

    def target(self, clip: LabelledClip) -> Mapping[str, str]:
        label = clip.fields.get("label")
        if not isinstance(label, dict):
            return super().target(clip)
        if not label or not all(isinstance(value, str) and value for value in label.values()):
            raise clip.error("'label' has answers that are no texts")
        return label


class EmotionTask(ClassTask):
    """Which emotion a voice has. Corpora of acted speech are tested in folds that share no speaker."""

    name, area = "emotion", "paralinguistics"
    corpus = staticmethod(emotion.read)


class LanguageTask(ClassTask):
    """Which language is spoken."""

    name, area = "language", "paralinguistics"
