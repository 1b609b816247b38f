"""The benchmark that corrupts transcripts and lets the filters find them: what it takes for corrupted."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mtasr.data.records import Caption, Record

pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from grammar import LANGUAGES, sentence
from weak_labels import corrupted


def records(count: int) -> list[Record]:
    rng = np.random.default_rng(0)
    return [
        Record(
            id=f"{language}/{number}", audio=f"{number}.wav", duration=4.0, language=language,
            captions=(Caption(start=0.5, end=3.5, text=sentence(rng, held_out=False)[language]),), task="transcribe",
        )
        for number in range(count) for language in LANGUAGES
    ]  # fmt: skip


def test_each_way_corrupts_as_many_and_nothing_else_is_touched() -> None:
    originals = records(50)
    changed, ways = corrupted(originals, 0.3)
    assert set(Counter(ways.values()).values()) == {9}, "45 of 150 in five ways"
    for before, after in zip(originals, changed, strict=True):
        assert (before != after) == (before.id in ways)
        assert (before.audio, before.language, before.captions[0].start) == (
            after.audio,
            after.language,
            after.captions[0].start,
        )
    texts = {record.id: record.text for record in originals}
    by_way = {
        way: [(texts[each.id], each) for each in changed if ways.get(each.id) == way] for way in set(ways.values())
    }
    assert all(after.text == f"{before} {before}" for before, after in by_way["duplicated"])
    assert all(before.startswith(after.text) for before, after in by_way["truncated"])
    assert all(after.text.islower() and "." not in after.text for _, after in by_way["machine-made"])
    spoken = {language: {text for key, text in texts.items() if key.startswith(language)} for language in LANGUAGES}
    assert all(after.text in spoken[after.id[:2]] for _, after in by_way["shifted"])
    assert not any(after.text in spoken[after.id[:2]] for _, after in by_way["wrong language"])
    assert corrupted(originals, 0.3) == (changed, ways)
