"""Experiments by name: each done once, its figures kept, and its goals judged. Not a script."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from speed import machine, table

Figures = dict[str, Any]
#: What a job must show, and whether its figures do.
Goal = tuple[str, Callable[[Figures], bool]]
_B = TypeVar("_B")
#: What a job does, given the bench and a seed; the seed; and its goals.
Job = tuple[Callable[[_B, int], Figures], int, list[Goal]]


def run_jobs(bench: _B, jobs: Mapping[str, Job[_B]], names: Sequence[str], kept: Path) -> None:
    """Do the jobs of these names, or all, that have no figures in the file `kept` yet, and print all that it has."""
    for name in names or jobs:
        if name not in _figures(kept):
            work, seed, _ = jobs[name]
            figures = work(bench, seed)
            # Read again: another job may have ended meanwhile.
            kept.write_text(json.dumps(_figures(kept) | {name: figures}, indent=1), encoding="utf-8")
    print(machine("cpu"))
    print("\n".join(_report(_figures(kept), jobs)))


def _figures(kept: Path) -> dict[str, Figures]:
    found: dict[str, Figures] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    return found


def _report(results: Mapping[str, Figures], jobs: Mapping[str, Job[Any]]) -> Iterator[str]:
    rows = []
    for name, figures in results.items():
        shown = ", ".join(f"{key} {value:.3f}" for key, value in figures.items())
        for goal, holds in jobs[name][2] or [("", lambda _: True)]:
            rows.append([name, goal, ("held" if holds(figures) else "MISSED") if goal else "", shown])
            shown = ""
    yield from table(("Job", "Goal", "", "Figures"), rows)
