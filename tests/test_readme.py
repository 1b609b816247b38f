"""Every command and program of the README does what the README says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
COMMANDS = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
PROGRAMS = [text for kind, text in BLOCKS if kind == "python"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    return tmp_path


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_first_two_commands_set_everything_up() -> None:
    install, test = COMMANDS[:2]
    assert install.endswith("mtasr transcribe examples/interview.flac")
    assert test.endswith("pytest -m ''")
    assert "README.md | head -n 2" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.weights
@pytest.mark.parametrize("command", COMMANDS[2:])
def test_commands(command: str, folder: Path) -> None:
    assert command.startswith("mtasr ")
    program = Path(sys.executable).with_name("mtasr")
    assert run(["bash", "-c", command.replace("mtasr", str(program), 1) + " 2>&1"], folder).strip()


@pytest.mark.weights
def test_programs(folder: Path) -> None:
    (program,) = PROGRAMS
    printed = run([sys.executable, "-W", "error", "-c", program], folder)
    assert printed.startswith("en Good morning")
    assert re.search(r"^0\.\d\d - \d+\.\d\d Good morning", printed, re.MULTILINE)
