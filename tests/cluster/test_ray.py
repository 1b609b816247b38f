"""A cluster of Ray on this machine, with the command line as users run it."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
import pytest
from speech import SAMPLE_RATE, speak, write_wav
from tiny_model import make_tiny_model

pytest.importorskip("ray")

from ray_cluster import RayCluster

from mtasr.batch.journal import FOLDER
from mtasr.cli import program
from mtasr.cluster import ray_nodes
from mtasr.errors import ClusterError

COUNT = 8

#: Both the cluster and its drivers ask for a token, as on many machines.
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "5" * 64}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, recordings, and what one machine makes of them."""
    folder = tmp_path_factory.mktemp("cluster")
    make_tiny_model(folder / "model")
    talks = folder / "talks"
    talks.mkdir()
    pause = np.zeros(SAMPLE_RATE, np.float32)
    spoken = [np.concatenate([speak(f"Talk {number}."), pause]) for number in range(5)]
    for number, samples in zip(range(COUNT), itertools.cycle(spoken), strict=False):
        write_wav(talks / f"{number:02}.wav", samples)
    with pytest.raises(SystemExit) as ended:
        program.main(arguments(folder, "one"), prog_name="mtasr")
    assert not ended.value.code
    return folder


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[RayCluster]:
    # A cache of their own, so that the nodes lack the model, and a folder where the driver's is not.
    with RayCluster(1, 1, environment={"MTASR_CACHE": str(folder / "cache"), **TOKEN}) as cluster:
        yield cluster


def arguments(folder: Path, output: str, *more: str) -> list[str]:
    settings = ("--device", "cpu", "--temperature", "0", "--beam-size", "1", "-f", "json", "--no-verbose")
    return [
        *("transcribe", str(folder / "talks"), "-o", str(folder / output), "--model", str(folder / "model")),
        *(*settings, *more),
    ]


class Driver:
    """A run of mtasr on a cluster, whose events can be waited for."""

    def __init__(self, folder: Path, cluster: RayCluster, *more: str) -> None:
        settings = ("--cluster", cluster.address, "--progress", "json", *more)
        command = [sys.executable, "-m", "mtasr", *arguments(folder, "many", *settings)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **TOKEN})
        self.events: list[dict[str, Any]] = []

    def until(self, event: str) -> None:
        """Read its events up to the first of a kind."""
        for line in self.process.stderr or ():
            self.events.append(json.loads(line))
            if self.events[-1]["event"] == event:
                return
        raise AssertionError(f"ended without {event}: {self.events[-5:]}")

    def end(self) -> int:
        """Read what is left of its events, and return its exit code."""
        self.events += [json.loads(line) for line in self.process.stderr or ()]
        return self.process.wait(60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with self.process:  # which closes the pipe
            self.process.kill()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.json")}


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_bytes_are_those_of_one_machine_though_the_driver_is_ended_and_a_worker_killed(
    folder: Path, cluster: RayCluster
):
    with Driver(folder, cluster) as driver:
        driver.until("end")
        driver.process.terminate()
        assert driver.end() == 128 + signal.SIGTERM, driver.events[-5:]
    done = len(contents(folder / "many"))
    assert 0 < done < COUNT
    assert list((folder / "many" / FOLDER).glob("*.jsonl"))
    with Driver(folder, cluster, "--resume") as driver:
        driver.until("nodes")
        addresses = cluster.listening(driver.process.pid)
        os.kill(cluster.workers()[0], signal.SIGKILL)
        assert driver.end() == 0, driver.events[-5:]
    assert contents(folder / "many") == contents(folder / "one")
    assert 0 < driver.events[-1]["skipped"] <= done
    nodes = [event["nodes"] for event in driver.events if event["event"] == "nodes"][-1]
    assert 0 < sum(node["recordings"] for node in nodes) < COUNT
    hosts, ports = zip(*(each.rpartition(":")[::2] for each in addresses), strict=True)
    assert str(cluster.port) in ports
    assert set(hosts) <= {"127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"}


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_who_refuses_strangers(cluster: RayCluster):
    assert ray_nodes._refuses_strangers(cluster.address)
    with RayCluster() as is_open:
        assert not ray_nodes._refuses_strangers(is_open.address)


def test_no_cluster_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    make_tiny_model(tmp_path / "model")
    (tmp_path / "talks").mkdir()
    write_wav(tmp_path / "talks" / "a.wav", np.zeros(SAMPLE_RATE, np.float32))
    with pytest.raises(SystemExit) as ended:
        program.main(arguments(tmp_path, "none", "--cluster", "127.0.0.1:1"), prog_name="mtasr")
    assert ended.value.code == 7
    assert capfd.readouterr().err == (
        "mtasr: error: there is no cluster at 127.0.0.1:1 (Connection refused): `ray start --head` starts a cluster "
        "(docs/guide/scale.md has the commands)\n"
    )
    assert not (tmp_path / "none").exists()


def test_an_address_of_another_kind_is_refused():
    with pytest.raises(ClusterError, match=r"ray://127\.0\.0\.1:10001: is no address of a cluster"):
        ray_nodes.connect("ray://127.0.0.1:10001")


def test_an_open_cluster_is_refused(monkeypatch: pytest.MonkeyPatch):
    class Open:
        @staticmethod
        def nodes() -> list[dict[str, object]]:
            return [{"Alive": True, "NodeManagerAddress": "192.0.2.7"}]

        @staticmethod
        def get_runtime_context() -> SimpleNamespace:
            return SimpleNamespace(gcs_address="192.0.2.7:6379")

    joined = ray_nodes.RayNodes("127.0.0.1:1")
    joined._ray = Open
    for has_token, refuses in ((False, True), (True, False)):
        monkeypatch.setattr(ray_nodes, "_has_token", lambda has_token=has_token: has_token)
        monkeypatch.setattr(ray_nodes, "_refuses_strangers", lambda address, refuses=refuses: refuses)
        with pytest.raises(ClusterError, match=r"the cluster listens at 192\.0\.2\.7 and runs the code of anybody"):
            joined.require_safe()
    asked: list[str] = []
    monkeypatch.setattr(ray_nodes, "_refuses_strangers", lambda address: asked.append(address) or True)
    joined.require_safe()
    assert asked == ["192.0.2.7:6379"]


def test_a_cluster_without_its_head_is_one_line(monkeypatch: pytest.MonkeyPatch):
    joined = ray_nodes.RayNodes("127.0.0.1:1")
    assert joined.alive() == []  # it may come back
    monkeypatch.setattr(ray_nodes, "_ABSENT", 0.0)
    with pytest.raises(ClusterError, match=r"the head of the cluster at 127\.0\.0\.1:1 is gone"):
        joined.alive()
    joined.close()
