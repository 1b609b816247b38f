"""What `mtasr train` shows while it trains; `tests/training` has the training."""

from __future__ import annotations

import io
import sys

import pytest

from mtasr.cli.train import _shown


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
