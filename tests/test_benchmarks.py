"""Scripts that take too long for tests must at least find what they use."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.parametrize("script", sorted(path.stem for path in BENCHMARKS.glob("*.py")))
def test_a_script_finds_its_imports(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    try:
        importlib.import_module(script)
    except ModuleNotFoundError as error:
        if error.name in {"mtasr", script} or str(error.name).startswith("mtasr."):
            raise
        pytest.skip(f"{error.name} is a peer's, and not installed")
