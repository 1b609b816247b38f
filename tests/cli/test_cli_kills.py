"""Kills of a real batch; benchmarks/kills.py does more of them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = Path(__file__).parents[2] / "benchmarks" / "kills.py"


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ["--workers", "1", "--batch-size", "1", "--language", "en"],
        ["--also-translate", "--n-best", "2", "--beam-size", "2"],
        # Resumes by file, so the runs must be long enough for one.
        ["--condition-on-previous-text", "--beam-size", "1", "--without-timestamps"],
    ],
    ids=" ".join,
)
def test_killed_batches_end_with_the_same_bytes(options: list[str]) -> None:
    kills, longest = ("2", "6") if "--condition-on-previous-text" in options else ("3", "3")
    command = [
        sys.executable,
        KILLS,
        "--kills",
        kills,
        "--files",
        "2",
        "--sentences",
        "6",
        "--shortest",
        "1",
        "--longest",
        longest,
    ]
    done = subprocess.run([*command, "--", "--model", "base", *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"(\d+) at most", done.stdout)
    assert found is not None
    if "--batch-size" in options:
        assert int(found[1]) <= 1
