"""The log of a run, its picture, and what TensorBoard is given."""

from __future__ import annotations

import sys
import types
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from mtasr.errors import UsageError
from mtasr.training.run_log import RunLog, read_log, write_curves

_SVG = "{http://www.w3.org/2000/svg}"


def steps(count: int) -> list[dict[str, Any]]:
    return [{"step": step, "loss": 10.0 - 9 * step / count} for step in range(1, count + 1)]


def points(path: Path) -> list[list[tuple[float, float]]]:
    lines = ET.parse(path).getroot().findall(f"{_SVG}polyline")
    return [[(float(x), float(y)) for x, y in (p.split(",") for p in line.attrib["points"].split())] for line in lines]


@pytest.mark.parametrize("count", [1, 40, 5000])
def test_the_picture_falls_as_the_loss_does(count: int, tmp_path: Path) -> None:
    evaluated = [{"step": step, "evaluation": {"wer": wer}} for step, wer in ((1, 0.9), (count, 0.5))]
    write_curves([*steps(count), *evaluated, {"step": count, "evaluation": {}}], tmp_path / "curves.svg", "wer")
    losses, rates = points(tmp_path / "curves.svg")
    assert len(losses) == min(count, 500)
    assert [y for _, y in losses] == sorted(y for _, y in losses)  # y grows downwards
    assert rates[0][1] < rates[1][1]
    assert losses[-1][0] == rates[-1][0] == 620
    shown = "".join(ET.parse(tmp_path / "curves.svg").getroot().itertext())
    assert "90" in shown
    assert "50" in shown
    assert f"step {count}" in shown


def test_losses_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    broken = [{"step": 5, "loss": float("nan")}, {"step": 6, "loss": float("inf")}]
    write_curves([*steps(4), *broken], tmp_path / "c.svg", "wer")
    write_curves(steps(4), tmp_path / "without.svg", "wer")
    assert points(tmp_path / "c.svg") == points(tmp_path / "without.svg")


def test_a_log_without_steps_is_an_empty_picture(tmp_path: Path) -> None:
    write_curves([], tmp_path / "curves.svg", "wer")
    assert points(tmp_path / "curves.svg") == []


def test_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Any] = []

    class Writer:
        def __init__(self, folder: str, purge_step: int) -> None:
            written.append((Path(folder).name, purge_step))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, value, step))

        def flush(self) -> None:
            written.append("flushed")

        def close(self) -> None:
            written.append("closed")

    module = types.ModuleType("torch.utils.tensorboard")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    with pytest.raises(UsageError, match="needs tensorboard"):
        RunLog(tmp_path / "log.jsonl", 0, tensorboard=True)
    monkeypatch.setattr(module, "SummaryWriter", Writer, raising=False)
    log = RunLog(tmp_path / "log.jsonl", 4, tensorboard=True)
    log.write({"step": 5, "loss": 2.0})
    log.write({"step": 5, "evaluation": {"wer": 0.5}, "seconds": 1.0})
    log.close()
    figures = [("train/loss", 2.0, 5), "flushed", ("evaluation/wer", 0.5, 5), "flushed"]
    assert written == [("tensorboard", 5), *figures, "closed"]
    assert len(read_log(tmp_path / "log.jsonl")) == 2
