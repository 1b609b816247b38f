"""What `mtasr train` shows while it trains; `tests/training` has the training."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mtasr.cli.failures import ExitCode, exit_code
from mtasr.cli.train import _Lines, _shown, _told_how_to_continue, run_to_end
from mtasr.errors import ProcessEndedError
from mtasr.training import loop
from mtasr.training.config import make_config
from mtasr.training.objectives import Exported
from mtasr.training.parallel import Crew


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_process_that_has_nothing_to_tell_shows_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several that train together the first alone tells of steps; the bars of the others would lie over its own."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    with _shown(3):
        pass
    assert sys.stderr.getvalue() == ""
    step = {"step": 1, "loss": 2.5, "audio_seconds": 3.0, "seconds": 1.0, "waited": 0.0, "padding": 0.0}
    with _shown(3) as progress:
        progress(step)
        progress({"step": 1, "evaluation": {"wer": 0.5}})
    assert "loss 2.500" in sys.stderr.getvalue()
    assert "wer 0.500" in sys.stderr.getvalue()


@pytest.mark.parametrize(("steps", "told"), [(60, [1, 10, 20, 30, 40, 50, 60]), (100_000, [1, 310, 610, 910])])
def test_a_long_run_prints_few_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], steps: int, told: list[int]
) -> None:
    """Of a tenth of a second a step, one every half a minute, with the time that is left."""
    now = 0.0
    monkeypatch.setattr("mtasr.cli.train.time.monotonic", lambda: now)
    lines = _Lines(steps)
    figures = {"loss": 2.5, "audio_seconds": 3.0, "seconds": 0.1, "waited": 0.0, "padding": 0.0}
    for step in range(1, min(steps, 1000) + 1):
        now = step / 10
        lines.show({"step": step, **figures})
    lines.show({"step": 1000, "evaluation": {"wer": 0.5}})
    printed = capsys.readouterr().err.splitlines()
    assert [int(line.split()[1].partition("/")[0]) for line in printed] == [*told, 1000]
    assert [line.endswith(" left") for line in printed[1:-1]] == [steps > 60] * (len(told) - 1)
    if steps > 60:
        assert printed[1].endswith(", 2:46:09 left")


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(ExitCode.TERMINATED)])
def test_a_stopped_run_says_how_to_continue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stop: BaseException
) -> None:
    settings = {"model": "base", "output": str(tmp_path), "steps": 90, "data": {"train": ["records.jsonl"]}}

    def told(resume: str = "auto") -> str:
        with pytest.raises(type(stop)), _told_how_to_continue(make_config({**settings, "resume": resume})):
            raise stop
        return capsys.readouterr().err

    assert told() == "the same command begins anew, as there is no checkpoint yet\n"
    for step in (20, 40):
        (tmp_path / f"step-{step:08}").mkdir()
    assert told() == "the same command continues from step 40\n"
    assert told("never") == "the same command with resume=auto continues from step 40\n"
    for name, value in {"TORCHELASTIC_RUN_ID": "1", "RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert told() == "", "the first process tells"


def test_remarks_have_a_line_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging.getLogger("mtasr"), "handlers", [])
    monkeypatch.setattr(loop, "train", lambda config, progress: SimpleNamespace(crew=Crew()))
    for remark, lines in (("", 1), ("1 recording was left out\nthe encoder has learned nothing", 3)):
        monkeypatch.setattr(loop, "export", lambda run, remark=remark: Exported(path=tmp_path / "run", remark=remark))
        run_to_end(make_config({"model": "base", "output": str(tmp_path), "steps": 9, "data": {"train": ["a.jsonl"]}}))
        printed = capsys.readouterr().err.splitlines()
        assert "\n".join(printed[:-1]) == remark
        assert len(printed) == lines


def test_the_end_of_another_process_has_the_code_of_clusters() -> None:
    assert exit_code(ProcessEndedError("another process of this run ended")) == ExitCode.CLUSTER
