"""What a run writes down of itself: `log.jsonl`, one object a line, and the same for TensorBoard if that is wanted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mtasr.data.records import read_jsonl, written_whole
from mtasr.errors import UsageError
from mtasr.extras import pip_install


class RunLog:
    """Appends to the log of a run. One that goes on from `step` forgets what an interrupted run did after it."""

    def __init__(self, path: Path, step: int, *, tensorboard: bool = False) -> None:
        self._path = path
        self._board = _board(path.parent / "tensorboard", step) if tensorboard else None
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
        if self._board is not None:
            figures = {"evaluation": entry["evaluation"]} if "evaluation" in entry else {"train": entry}
            for group, values in figures.items():
                for name, value in values.items():
                    if name != "step":
                        self._board.add_scalar(f"{group}/{name}", value, entry["step"])
            self._board.flush()  # so that a run that is killed leaves no gap

    def close(self) -> None:
        if self._board is not None:
            self._board.close()


def _board(folder: Path, step: int) -> Any:
    """A writer that hides what an interrupted run wrote after `step`. Raises `UsageError` without TensorBoard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as exc:
        raise UsageError(f"tensorboard=true needs tensorboard: {pip_install('tensorboard')} brings it") from exc
    return SummaryWriter(str(folder), purge_step=step + 1)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Raises `InputError`."""
    return [line for _, line in read_jsonl(path) if isinstance(line, dict)]
