"""The guide: its labels are read by the tasks, and its own task runs."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from mtasr.probing.labels import LabelledClip
from mtasr.probing.tasks import SUPERB_NAMES, TASKS, task_class
from mtasr.probing.tasks.search import SearchTask
from mtasr.probing.tasks.task import HeadTask
from mtasr.probing.tasks.verification import VerificationTask

GUIDE = (Path(__file__).parent.parent.parent / "docs" / "guide" / "probing.md").read_text("utf-8")
ROWS = dict(re.findall(r"^\| `([\w-]+)` \| (.*) \|$", GUIDE, re.MULTILINE))


def fields(row: str) -> list[dict[str, object]]:
    return [json.loads(text) for text in re.findall(r"`(\{.*?\})`", row)]


def test_every_task_is_in_the_table() -> None:
    assert TASKS.keys() <= ROWS.keys()
    for short, name in SUPERB_NAMES.items():
        assert ROWS[name].split(" | ")[0].lower() == short


@pytest.mark.parametrize("name", TASKS)
def test_its_labels_are_read(name: str) -> None:
    kind = task_class(name)
    for own in fields(ROWS[name]):
        clip = LabelledClip(audio=Path("a.wav"), split="train", fields=own)
        if kind is SearchTask:
            SearchTask([replace(clip, split=None, fields=each) for each in fields(ROWS[name])])
        elif kind is VerificationTask and "other" in own:
            train = [replace(clip, fields={"label": name}) for name in "aabbccdd"]
            trials = [replace(clip, split="test", fields={**own, "same": same}) for same in (True, False)]
            assert VerificationTask([*train, *trials]).trials["test"]
        elif "rttm" not in own:
            assert issubclass(kind, HeadTask)
            assert kind.target(kind.__new__(kind), clip)


@pytest.mark.slow
def test_its_own_task_runs(tones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tones.parent)
    tones.rename("accents.jsonl")
    monkeypatch.setattr("mtasr.probing.tasks.TASKS", dict(TASKS))
    program = "\n".join(re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL))
    scope: dict[str, object] = {}
    exec(program, scope)
    assert scope["found"].result.figures["accuracy"] > 0.5  # type: ignore[attr-defined]
