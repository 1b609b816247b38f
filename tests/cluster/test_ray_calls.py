"""Calls of Ray, without a cluster."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mtasr.cluster import ray_nodes
from mtasr.cluster.ray_nodes import RayNodes, _RayCall

ray = pytest.importorskip("ray")


def test_a_bug_on_a_worker_has_its_own_short_message():
    def get(reference: object) -> Any:
        raise ray.exceptions.RayTaskError("work", "Traceback\n  KeyError: 'name'", KeyError("name"))

    with pytest.raises(KeyError) as raised:
        _RayCall(SimpleNamespace(get=get, exceptions=ray.exceptions), None).result()
    assert str(raised.value) == "'name'"
    assert "Traceback" in raised.value.__notes__[0]


def test_waiting_for_no_call_takes_its_time(monkeypatch: pytest.MonkeyPatch):
    slept: list[float] = []
    monkeypatch.setattr(ray_nodes.time, "sleep", slept.append)
    assert object.__new__(RayNodes).wait([], 0.2) == []
    assert slept == [0.2]
