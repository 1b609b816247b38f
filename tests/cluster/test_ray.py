"""A cluster of Ray on this machine, with the command line as users run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from speech import SAMPLE_RATE, speak, write_wav
from tiny_model import make_tiny_model

pytest.importorskip("ray")

from ray_cluster import RayCluster

from mtasr.cluster import ray_nodes
from mtasr.errors import ClusterError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, recordings, and what one machine makes of them."""
    folder = tmp_path_factory.mktemp("cluster")
    make_tiny_model(folder / "model")
    talks = folder / "talks"
    talks.mkdir()
    pause = np.zeros(SAMPLE_RATE, np.float32)
    for number in range(6):
        write_wav(talks / f"{number:02}.wav", np.concatenate([speak(f"This is talk number {number}."), pause]))
    assert mtasr(folder, "one").returncode == 0
    return folder


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[RayCluster]:
    # A cache of their own, so that the nodes lack the model, and a folder where the driver's is not.
    with RayCluster(1, 1, environment={"MTASR_CACHE": str(folder / "cache")}) as cluster:
        yield cluster


def command(folder: Path, output: str, *arguments: str) -> list[str]:
    settings = ("--device", "cpu", "--temperature", "0", "--beam-size", "1", "-f", "json", "--no-verbose")
    return [
        *(sys.executable, "-m", "mtasr", "transcribe", str(folder / "talks"), "-o", str(folder / output)),
        *("--model", str(folder / "model"), *settings, *arguments),
    ]


def mtasr(folder: Path, output: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, output, *arguments),
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=120,
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.json")}


def test_the_bytes_are_those_of_one_machine(folder: Path, cluster: RayCluster):
    done = mtasr(folder, "many", "--cluster", cluster.address, "--progress", "json")
    assert done.returncode == 0, done.stderr
    assert contents(folder / "many") == contents(folder / "one")
    events = [json.loads(line) for line in done.stderr.splitlines()]
    nodes = [event["nodes"] for event in events if event["event"] == "nodes"][-1]
    assert sum(node["recordings"] for node in nodes) == 6


def test_nothing_listens_beyond_this_machine(cluster: RayCluster):
    assert cluster.listening() == []


def test_killed_workers_and_drivers(folder: Path, cluster: RayCluster):
    for kind in ("worker", "driver"):
        running = subprocess.Popen(
            command(folder, kind, "--cluster", cluster.address), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while not cluster.workers() and running.poll() is None:
            time.sleep(0.05)
        if kind == "worker":
            os.kill(cluster.workers()[0], signal.SIGKILL)
            assert running.wait(120) == 0
        else:
            running.kill()
            running.wait()
            assert mtasr(folder, kind, "--cluster", cluster.address, "--resume").returncode == 0
        assert contents(folder / kind) == contents(folder / "one")


def test_no_cluster_is_one_line(folder: Path):
    done = mtasr(folder, "none", "--cluster", "127.0.0.1:1")
    assert done.returncode == 7
    assert done.stderr == (
        "mtasr: error: there is no cluster at 127.0.0.1:1 (Connection refused): `ray start --head` starts a cluster "
        "(docs/guide/scale.md has the commands)\n"
    )
    assert not (folder / "none").exists()


def test_an_open_cluster_is_refused(monkeypatch: pytest.MonkeyPatch):
    class Open:
        @staticmethod
        def nodes() -> list[dict[str, object]]:
            return [{"Alive": True, "NodeManagerAddress": "192.0.2.7"}]

    joined = ray_nodes.RayNodes("127.0.0.1:1")
    joined._ray = Open
    monkeypatch.setattr(ray_nodes, "_checks_tokens", lambda: False)
    with pytest.raises(ClusterError, match=r"the cluster listens at 192\.0\.2\.7 and runs the code of anybody"):
        joined.require_safe()
    monkeypatch.setattr(ray_nodes, "_checks_tokens", lambda: True)
    joined.require_safe()


def test_a_cluster_without_its_head_is_one_line():
    joined = ray_nodes.RayNodes("127.0.0.1:1")
    with pytest.raises(ClusterError, match=r"the head of the cluster at 127\.0\.0\.1:1 is gone"):
        joined.alive()
    joined.close()
