"""Every test and every measurement that docs/reliability.md names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROMISES = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("named", sorted(set(re.findall(r"`(tests/[^`]+)`", PROMISES))))
def test_the_test_exists(named: str) -> None:
    path, _, name = named.partition("::")
    text = (ROOT / path).read_text(encoding="utf-8")
    assert not name or f"def {name}(" in text


@pytest.mark.parametrize("script", re.findall(r"measured: `([^`]+)`", PROMISES))
def test_the_measurement_exists(script: str) -> None:
    assert (ROOT / "benchmarks" / script).is_file()
    assert script in (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
