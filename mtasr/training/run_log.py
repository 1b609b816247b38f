"""What a run writes down of itself: `log.jsonl`, one object a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mtasr.training.records import read_jsonl, written_whole


class RunLog:
    """Appends to the log of a run. One that goes on from `step` forgets what an interrupted run did after it."""

    def __init__(self, path: Path, step: int) -> None:
        self._path = path
        lines: list[Any] = []
        if path.exists():
            text = path.read_text(encoding="utf-8")
            if not text.endswith("\n"):  # the last line was being written when the run was stopped
                path.write_text(text[: text.rfind("\n") + 1], encoding="utf-8")
            lines = [line for _, line in read_jsonl(path)]
        with written_whole(path) as staging, staging.open("w", encoding="utf-8") as stream:
            for line in lines:
                if isinstance(line, dict) and line.get("step", 0) <= step:
                    stream.write(json.dumps(line) + "\n")

    def write(self, entry: dict[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """Raises `InputError`."""
    return [line for _, line in read_jsonl(path) if isinstance(line, dict)]
