"""The labelled speech of `benchmarks/superb_table.py` gives no answer away, and its summary is right."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mtasr.probing.labels import read_labels
from mtasr.probing.run import tasks_of
from mtasr.probing.tasks import task_class

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def made_tasks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """With noise instead of speech, for speed."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    module = importlib.import_module("made_tasks")
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    monkeypatch.setattr(module, "coloured_noise", lambda size, rng: np.zeros(size, np.float32))
    monkeypatch.setattr(module, "speak", lambda text, **style: noise)
    monkeypatch.setattr(module, "write_wav", lambda path, samples: path.touch())
    return module


@pytest.fixture
def superb_table(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("superb_table")


def rows_of(path: Path, split: str) -> list[dict[str, object]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [row for row in rows if row["split"] == split]


def test_labels_are_what_their_tasks_read(made_tasks: ModuleType, tmp_path: Path) -> None:
    for name, task in (
        ("commands", "intent"), ("commands", "slots"), ("commands", "characters"), ("keyword", "keyword"),
        ("search", "search"), ("speaker", "speaker"), ("verification", "verification"),
        ("prosody", "emotion"), ("language", "language"),
    ):  # fmt: skip
        tasks_of(task_class(task), read_labels(made_tasks.make(tmp_path, name, 0.1)))


def test_answers_are_not_in_the_training_data(made_tasks: ModuleType, tmp_path: Path) -> None:
    commands = made_tasks.make(tmp_path, "commands", 0.2)
    known, asked = ({str(row["text"]) for row in rows_of(commands, split)} for split in ("train", "test"))
    assert not known & asked
    pairs = rows_of(made_tasks.make(tmp_path, "verification", 0.2), "test")
    assert sum(bool(row["same"]) for row in pairs) == len(pairs) / 2
    assert all((tmp_path / "verification" / str(row["other"])).exists() for row in pairs)
    assert all(row["other"] != row["audio"] for row in pairs)
    voices = made_tasks._VOICES
    assert not set(voices["train"]) & {*voices["dev"], *voices["test"], *made_tasks._PAIRED["test"]}


def test_the_summary_compares_seed_by_seed(superb_table: ModuleType, tmp_path: Path) -> None:
    assert superb_table.centre([0.25, 0.25, 0.5]) == 0.625
    found = superb_table._differences([[0.1, 0.3], [0.5]], [[0.9, 0.7]])
    assert found == pytest.approx([0.6, 0.3])
    assert superb_table.title("random:/a/b/run") == "random:run"
    assert superb_table.title("log-mel+5") == "log-mel+5"
    (tmp_path / "runs").mkdir()
    (tmp_path / "results.json").write_text('{"hubert": {}, "usm": {}}')
    runs = [str(tmp_path / "runs" / name) for name in ("hubert-1", "hubert-2")]
    assert list(superb_table.all_encoders(["base", str(tmp_path)])) == ["base", *runs]
