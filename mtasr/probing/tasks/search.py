"""Spoken-term search: which recordings contain an example, without any training.

    {"audio": "q.wav", "split": "dev", "query": "lights"}
    {"audio": "a.wav", "contains": ["lights", "kitchen"]}

A recording without a split belongs to both, dev and test. `contains` names queries by their `query`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from mtasr.arrays import Float32Array, FloatArray
from mtasr.errors import ManifestError
from mtasr.probing.dtw import Moments, best_matches, spread
from mtasr.probing.figures import best_weighted_value
from mtasr.probing.labels import LabelledClip
from mtasr.probing.states import StateStore
from mtasr.probing.superb import quesst
from mtasr.probing.tasks.task import LayerTask

#: Frames of recordings that are searched at once.
_AT_ONCE = 20_000
_SPLITS = ("dev", "test")


class SearchTask(LayerTask):
    """The maximum term weighted value (MTWV) of each layer, by subsequence dynamic time warping (`mtasr.probing.dtw`).

    States are standardised over the queries and the recordings of a split, and the scores of a query over recordings.
    """

    name, area = "search", "content"
    figure, falls, whole = "MTWV", False, True
    corpus = staticmethod(quesst.read)

    def __init__(self, clips: Sequence[LabelledClip]) -> None:  # not as `Task` does: nothing is trained
        for clip in clips:
            if ("query" in clip.fields) == ("contains" in clip.fields):
                raise clip.error("needs either 'query' or 'contains'")
        self.clips = {split: [clip for clip in clips if clip.split in (split, None)] for split in _SPLITS}
        self.queries = {split: [clip for clip in self.clips[split] if "query" in clip.fields] for split in _SPLITS}
        self.recordings = {
            split: [clip for clip in self.clips[split] if "contains" in clip.fields] for split in _SPLITS
        }
        self.contained = {split: self._contained(split) for split in _SPLITS}

    def _contained(self, split: str) -> npt.NDArray[np.bool_]:
        """Which recordings contain which queries: (queries, recordings). Raises `ManifestError`."""
        queries, recordings = self.queries[split], self.recordings[split]
        if not (queries and recordings):
            raise ManifestError(f"no {'recordings' if queries else 'queries'} for {split}")
        named = []
        for clip in recordings:
            names = clip.fields["contains"]
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise clip.error("'contains' is not a list of names")
            named.append(frozenset(names))
        found = np.array([[query.text("query") in names for names in named] for query in queries])
        if not found.any():
            raise ManifestError(f"no recording for {split} contains a query")
        return found

    @property
    def needed(self) -> list[LabelledClip]:
        every = [clip for split in _SPLITS for clip in self.clips[split]]
        return list({id(clip): clip for clip in every}.values())

    def values(
        self, store: StateStore, split: str, layers: Sequence[int], done: Callable[[], object] = lambda: None
    ) -> list[float]:
        """The MTWV of each of these layers; `done` is called for each recording."""
        scores = self._scores(store, split, layers, done)
        return [best_weighted_value(np.stack([spread(row) for row in each]), self.contained[split]) for each in scores]

    def _scores(self, store: StateStore, split: str, layers: Sequence[int], done: Callable[[], object]) -> FloatArray:
        """Minus the costs of the best matches: (layers, queries, recordings)."""
        queries = [store.states(clip)[list(layers)] for clip in self.queries[split]]
        # One pass for all layers: states that are not kept are extracted anew in each.
        moments = [Moments() for _ in layers]
        for states in itertools.chain(queries, self._states(store, split, layers)):
            for each, layer in zip(moments, states, strict=True):
                each.add(layer)
        standards = [each.standard() for each in moments]
        examples = [[standard.applied(states[place]) for states in queries] for place, standard in enumerate(standards)]
        scores = np.zeros((len(layers), len(queries), len(self.recordings[split])))
        first = 0
        for group in _groups(self._states(store, split, layers)):
            last = first + len(group)
            for place, standard in enumerate(standards):
                documents = [standard.applied(states[place]) for states in group]
                for number, example in enumerate(examples[place]):
                    matches = best_matches(example, documents)
                    scores[place, number, first:last] = [-match.cost for match in matches]
            for _ in group:
                done()
            first = last
        return scores

    def _states(self, store: StateStore, split: str, layers: Sequence[int]) -> Iterator[Float32Array]:
        return (store.states(clip)[list(layers)] for clip in self.recordings[split])


def _groups(arrays: Iterator[Float32Array]) -> Iterator[list[Float32Array]]:
    """Arrays (N, S, D) together, up to `_AT_ONCE` frames or one array."""
    group: list[Float32Array] = []
    for array in arrays:
        if group and sum(each.shape[1] for each in group) + array.shape[1] > _AT_ONCE:
            yield group
            group = []
        group.append(array)
    if group:
        yield group
