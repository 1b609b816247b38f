from __future__ import annotations

import pytest

from mtasr.cluster import team


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks at the nodes does so at once."""
    monkeypatch.setattr(team, "_LOOK", 0.0)
