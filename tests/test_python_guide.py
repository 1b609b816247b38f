"""The guide for Python: its programs run, in their order, and its table of options is true."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from mtasr import DecodingOptions

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs" / "guide" / "python.md").read_text(encoding="utf-8")


@pytest.mark.weights
def test_programs(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    programs = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
    command = [sys.executable, "-W", "error", "-c", "\n".join(programs)]
    done = subprocess.run(command, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("en ")
    assert "missing.wav: no such file\n" in done.stdout
    assert done.stdout.endswith("no-such-file.wav: no such file\n")
    assert re.search(r"^es (0\.|1)", done.stdout, re.MULTILINE)
    assert re.search(r"^examples/interview.flac (done|in doubt) $", done.stdout, re.MULTILINE)
    assert (tmp_path / "texts" / "entrevista.json").stat().st_size > 100
    assert "Good morning" in (tmp_path / "interview.srt").read_text(encoding="utf-8")
    assert "<u>" in (tmp_path / "talk.vtt").read_text(encoding="utf-8")
    assert (tmp_path / "interview.txt").stat().st_size > 100


def test_options_have_their_defaults() -> None:
    defaults = {field.name: field.default for field in fields(DecodingOptions)}
    table = GUIDE.partition("| Option | Type | Default |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| [^|]* \| `([^`]*)` \|", table, re.MULTILINE)
    assert len(rows) > 10
    for name, default in rows:
        assert defaults[name] == eval(default), name
