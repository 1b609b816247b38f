"""Formatting, lint, types and import layers are tests, so that one command runs everything."""

from __future__ import annotations

import subprocess
import sys
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
