"""Corpora that several tests read."""

from __future__ import annotations

from pathlib import Path

import pytest
from probing_corpora import in_splits, tone, write_corpus


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    """Labels of low and high tones, of slightly different pitch in each split."""
    return write_corpus(
        tmp_path / "tones",
        in_splits(
            lambda split, number: [
                (tone(hertz + 7 * number + 3 * turn), {"label": label})
                for label, hertz in (("low", 300), ("high", 2000))
                for turn in range(4)
            ]
        ),
    )
