"""The log of a run: `log.jsonl` with one object per line, the same for TensorBoard, and a picture of its curves."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtasr.data.records import read_jsonl, written_whole
from mtasr.errors import UsageError
from mtasr.extras import pip_install

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 220, 60, 20, 30, 30
#: Points of a curve at most; more would fall on the same pixels.
_POINTS = 500
#: Figures drawn under another name and in another unit than they have in the log.
_TITLES = {"wer": ("WER %", 100), "loss": ("Loss", 1)}

#: (step, value), in order of steps.
Curve = Sequence[tuple[int, float]]


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
    panels = []
    for name, curve in curves.items():
        title, scale = _TITLES.get(name, (name, 1))
        if curve:
            panels.append((title, _thinned([(step, scale * value) for step, value in curve])))
    last = max((curve[-1][0] for _, curve in panels), default=1)
    drawn = "".join(_panel(title, curve, last, place * _HEIGHT) for place, (title, curve) in enumerate(panels))
    size = f'width="{_WIDTH}" height="{_HEIGHT * len(panels)}"'
    with written_whole(path) as staging:
        staging.write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
            f'<rect width="100%" height="100%" fill="white"/>{drawn}</svg>\n',
            encoding="utf-8",
        )


def _thinned(curve: Curve) -> Curve:
    """At most `_POINTS` points: the means of neighbours."""
    size = -(-len(curve) // _POINTS) or 1
    groups = [curve[first : first + size] for first in range(0, len(curve), size)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def _panel(title: str, curve: Curve, last: int, top: int) -> str:
    values = [value for _, value in curve]
    low, high = min(values), max(values)
    bottom = top + _HEIGHT - _BOTTOM
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(step: int) -> float:
        return _LEFT + width * step / last

    def y(value: float) -> float:
        return bottom - height * (value - low) / ((high - low) or 1)

    points = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in curve)
    end, value = curve[-1]
    lines = f"M{_LEFT} {top + _TOP}V{bottom}H{_WIDTH - _RIGHT}"
    return (
        f'<text x="{_LEFT}" y="{top + _TOP - 10}" font-weight="bold">{title}</text>'
        f'<path d="{lines}" fill="none" stroke="#888"/>'
        f'<text x="{_LEFT - 6}" y="{y(high) + 4:.1f}" text-anchor="end">{high:.4g}</text>'
        + (f'<text x="{_LEFT - 6}" y="{y(low) + 4:.1f}" text-anchor="end">{low:.4g}</text>' if low < high else "")
        + f'<text x="{_WIDTH - _RIGHT}" y="{bottom + 18}" text-anchor="end">step {last}</text>'
        f'<polyline points="{points}" fill="none" stroke="#1f6fb4" stroke-width="1.5"/>'
        f'<circle cx="{x(end):.1f}" cy="{y(value):.1f}" r="2" fill="#1f6fb4"/>'
    )
