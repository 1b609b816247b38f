"""A module that an extra brings: named with its extra where it is missing, at each command that needs one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mtasr.errors import MissingExtraError
from mtasr.extras import _EXTRAS, extras, install_extra, pip_install

ROOT = Path(__file__).parent.parent


def test_what_we_do_not_bring_is_a_bug() -> None:
    with pytest.raises(ModuleNotFoundError), extras():
        raise ModuleNotFoundError("No module named 'click'", name="click")


def test_a_part_of_a_package_counts_for_it() -> None:
    with (
        pytest.raises(MissingExtraError, match=r"this needs torch.cuda: `.*install '\.\[train\]'` in the clone"),
        extras(),
    ):
        raise ModuleNotFoundError("No module named 'torch.cuda'", name="torch.cuda")


def test_it_is_brought_to_the_python_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/my programs/bin/python3")
    assert install_extra("train") == "`'/my programs/bin/python3' -m pip install '.[train]'` in the clone of mtasr"
    monkeypatch.setattr(sys, "executable", "")  # where Python is a part of another program
    assert pip_install("sounddevice") == "`python3 -m pip install sounddevice`"


def test_extras_are_those_of_the_project() -> None:
    text = (ROOT / "pyproject.toml").read_text().replace('"pyyaml', '"yaml')
    text = re.sub("(whisper|python|prometheus)-", r"\1_", text)
    for module, extra in _EXTRAS.items():
        brought = re.search(rf"^{extra} = \[(.*)\]$", text, re.MULTILINE)
        assert brought is not None
        assert f'"{module}' in brought[1]


def test_nothing_names_the_package_of_that_name_on_pypi() -> None:
    wrong = re.compile(r"mtasr\\?\[(?:\{|[a-z, ]+\])|pip install (?:-\S+ )*['\"]?mtasr\b")
    found = (each for folder in ("mtasr", "docs", "examples", "benchmarks") for each in (ROOT / folder).rglob("*.*"))
    texts = [each for each in found if each.suffix in {".py", ".md", ".html", ".js"}] + [*ROOT.glob("*.md")]
    ours = [each for each in texts if each != ROOT / "mtasr/extras.py"]
    assert len(ours) > 200
    assert [str(each) for each in ours if wrong.search(each.read_text("utf-8"))] == []


@pytest.mark.parametrize(
    ("module", "args"),
    [
        ("yaml", ["train", "config.yaml"]),
        ("yaml", ["finetune", "base", "records.jsonl", "--output", "run"]),
        ("jiwer", ["evaluate", "manifest.json"]),
        ("torch", ["models", "info", "README.md"]),
    ],
)
def test_every_command_says_it_alike(module: str, args: list[str]) -> None:
    script = f"import sys; sys.modules[{module!r}] = None; from mtasr.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script, *args], capture_output=True, text=True, check=False, cwd=ROOT)
    way = f"`{sys.executable} -m pip install '.[{_EXTRAS[module]}]'` in the clone of mtasr"
    assert done.stderr == f"mtasr: error: this needs {module}: {way} brings it\n"
    assert done.returncode == 2
