"""The log of a run: `log.jsonl` with one object per line, the same for TensorBoard, and a picture of its curves."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtasr import plots
from mtasr.data.records import read_jsonl, written_whole
from mtasr.errors import UsageError
from mtasr.extras import pip_install

#: Figures drawn under another name and in another unit than they have in the log.
_TITLES = {"wer": ("WER %", 100), "loss": ("Loss", 1)}


class RunLog:
    """Appends to the log of a run that resumes at `step`, dropping what an interrupted run wrote after that step."""

    def __init__(self, path: Path, step: int, *, tensorboard: bool = False) -> None:
        self._path = path
        self._board = _board(path.parent / "tensorboard", step) if tensorboard else None
        lines: list[Any] = []
        if path.exists():
            text = path.read_text(encoding="utf-8")
            if not text.endswith("\n"):  # the run was stopped while it wrote the last line
                path.write_text(text[: text.rfind("\n") + 1], encoding="utf-8")
            lines = read_log(path)
        with written_whole(path) as staging, staging.open("w", encoding="utf-8") as stream:
            stream.writelines(json.dumps(line) + "\n" for line in lines if line.get("step", 0) <= step)

    def write(self, entry: dict[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
        if self._board is not None:
            group, values = ("evaluation", entry["evaluation"]) if "evaluation" in entry else ("train", entry)
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
        raise UsageError(f"tensorboard=true needs tensorboard; {pip_install('tensorboard')} installs it") from exc
    return SummaryWriter(str(folder), purge_step=step + 1)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The entries of a log, in order. Raises `InputError`."""
    return [line for _, line in read_jsonl(path) if isinstance(line, dict)]


def write_curves(log: Sequence[dict[str, Any]], path: Path, score: str) -> None:
    """Draw the loss, and the figure `score` of the evaluations, over the steps, as SVG. Raises `OutputError`."""
    curves = {
        "loss": [(entry["step"], entry["loss"]) for entry in log if math.isfinite(entry.get("loss", math.nan))],
        score: [(entry["step"], entry["evaluation"][score]) for entry in log if score in entry.get("evaluation", {})],
    }
    last = max((curve[-1][0] for curve in curves.values() if curve), default=1)
    panels = []
    for name, curve in curves.items():
        title, scale = _TITLES.get(name, (name, 1))
        if curve:
            scaled = [(step, scale * value) for step, value in curve]
            panels.append(plots.curves(title, {name: scaled}, x_title=f"step {last}", last=last))
    with written_whole(path) as staging:
        staging.write_text(plots.picture(panels), encoding="utf-8")
