"""Formatting, lint, types and import layers are tests, so that one command runs everything."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["lint-imports"],
        ["mypy"],
        ["mypy", "--platform", "darwin", "--cache-dir", ".mypy_cache/darwin"],
        ["mypy", "--platform", "win32", "--cache-dir", ".mypy_cache/win32"],
    ],
    ids=" ".join,
)
def test_style(command: list[str]) -> None:
    done = subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_two_test_files_share_a_name() -> None:
    """Of two, pytest imports one; it leaves out the second, with an error that a run of one folder does not show."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
