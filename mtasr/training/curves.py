"""The course of a run as a picture: losses and word error rates over steps, in SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtasr.data.records import written_whole

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 220, 60, 20, 30, 30
#: Points of a line at most; more than there are pixels show nothing more.
_POINTS = 500

#: (step, value), in order of steps.
Curve = Sequence[tuple[int, float]]


def write_curves(log: Sequence[dict[str, Any]], path: Path) -> None:
    """A panel for each curve that the log of a run has, without what is no number. Raises `OutputError`."""
    losses = [(entry["step"], entry["loss"]) for entry in log if math.isfinite(entry.get("loss", math.nan))]
    rates = [(entry["step"], 100 * entry["evaluation"]["wer"]) for entry in log if "wer" in entry.get("evaluation", {})]
    panels = [(title, curve) for title, curve in (("Loss", _thinned(losses)), ("WER %", rates)) if curve]
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
    """Means of neighbours, where there are many."""
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
    dots = "".join(
        f'<circle cx="{x(step):.1f}" cy="{y(value):.1f}" r="2" fill="#1f6fb4"/>' for step, value in curve[-1:]
    )
    lines = f"M{_LEFT} {top + _TOP}V{bottom}H{_WIDTH - _RIGHT}"
    return (
        f'<text x="{_LEFT}" y="{top + _TOP - 10}" font-weight="bold">{title}</text>'
        f'<path d="{lines}" fill="none" stroke="#888"/>'
        f'<text x="{_LEFT - 6}" y="{y(high) + 4:.1f}" text-anchor="end">{high:.4g}</text>'
        + (f'<text x="{_LEFT - 6}" y="{y(low) + 4:.1f}" text-anchor="end">{low:.4g}</text>' if low < high else "")
        + f'<text x="{_WIDTH - _RIGHT}" y="{bottom + 18}" text-anchor="end">step {last}</text>'
        f'<polyline points="{points}" fill="none" stroke="#1f6fb4" stroke-width="1.5"/>{dots}'
    )
