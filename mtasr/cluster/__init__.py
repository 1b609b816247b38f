"""Transcribing on the machines of a cluster: a driver plans and writes, workers decode.

    from pathlib import Path

    from mtasr.batch import BatchRun, gather, plan
    from mtasr.cluster import ClusterModel, connect
    from mtasr.models import resolve

    jobs = plan(gather(["/shared/talks"]), Path("texts"), ["srt"])
    with ClusterModel(connect(), resolve("base"), [job.source for job in jobs]) as model:
        for ending in BatchRun(jobs, model, existing="resume").run():
            print(ending.name, ending.result, ending.reason)

`connect` joins a cluster of Ray (extra `cluster`). `ClusterModel` stands in for a `Model` in a batch, so outputs,
journal and `--resume` are those of one machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mtasr.cluster.recogniser import ClusterModel
from mtasr.cluster.team import examine

if TYPE_CHECKING:
    from mtasr.cluster.ray_nodes import RayNodes

__all__ = ["ClusterModel", "connect", "examine"]


def connect(address: str | None = None) -> RayNodes:
    """As `mtasr.cluster.ray_nodes.connect`."""
    from mtasr.cluster import ray_nodes

    return ray_nodes.connect(address)
