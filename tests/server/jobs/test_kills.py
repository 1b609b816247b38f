"""A server that is killed again and again finishes its jobs with the same bytes."""

from __future__ import annotations

import multiprocessing
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx
import pytest
from cli.faults import without_privileges
from fakes import DEFAULT_CHECKS, HearingEngine
from job_runs import until, write_sentences

from mtasr.engines.engine import EngineLimits
from mtasr.formats.registry import OUTPUT_FORMATS
from mtasr.server import Settings, run
from mtasr.transcribe import Model, load_model

#: Starts processes that have imported most already.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["ctranslate2", "mtasr.server"])


def hearing(name: str) -> Model:
    """A stand-in that takes its time."""
    DEFAULT_CHECKS["thin"] = 0.0
    return Model(HearingEngine(limits=EngineLimits(workers=2, batch_size=2), pause=0.1), lambda: "hearing")


def serve(data: Path, started: Connection, *, fake: bool) -> None:
    with (data.parent / "log").open("ab") as log:
        os.dup2(log.fileno(), sys.stderr.fileno())
    run(Settings(data=data, port=0), load=hearing if fake else load_model, started=started.send)


class Server:
    """A server in a process of its own, with the jobs of a data folder."""

    def __init__(self, data: Path, *, fake: bool) -> None:
        receiver, sender = _PROCESSES.Pipe(duplex=False)
        self._process = _PROCESSES.Process(target=serve, args=(data, sender), kwargs={"fake": fake}, daemon=True)
        self._process.start()
        assert receiver.poll(60), "the server does not start"
        self._client = httpx.Client(base_url=receiver.recv(), timeout=60)
        for end in (receiver, sender):
            end.close()

    def add(self, recording: Path, **fields: Any) -> str:
        answer = self._client.post("/v1/jobs", files={"file": (recording.name, recording.read_bytes())}, data=fields)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def get(self, job: str) -> dict[str, Any]:
        found: dict[str, Any] = self._client.get(f"/v1/jobs/{job}").json()
        return found

    def results(self, job: str) -> dict[str, bytes]:
        """The job's results, once it has ended."""
        ended = until(lambda: (found := self.get(job))["ended"] and found, within=200)
        assert ended["status"] == "done", ended["error"]
        path = f"/v1/jobs/{job}/result"
        return {name: self._client.get(path, params={"format": name}).content for name in OUTPUT_FORMATS}

    def wait_beyond(self, seconds: float, job: str) -> None:
        """Wait until more of the recording is decoded, or the job has ended."""
        until(lambda: (found := self.get(job))["ended"] or found["progress"]["seconds"] > seconds)

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self._client.close()


@contextmanager
def serving(data: Path, *, fake: bool) -> Iterator[Server]:
    server = Server(data, fake=fake)
    try:
        yield server
    finally:
        server.kill()


def kill_all(
    folder: Path, recording: Path, kills: int, *, fake: bool, seed: int, longest: float, **fields: Any
) -> list[int]:
    """Kill servers with a job under way at random moments; returns how many kills each job outlived.

    After a kill that comes before a job got further, the next one waits until it has: otherwise the job would count as
    one that kills its server.
    """
    with serving(folder / "whole", fake=fake) as server:
        expected = server.results(server.add(recording, **fields))
    assert all(expected.values())
    chooser, data = random.Random(seed), folder / "data"
    job, outlived, unlucky = None, [], False
    while sum(outlived) < kills:
        with serving(data, fake=fake) as server:
            if job is None:
                job, unlucky = server.add(recording, **fields), False
                outlived.append(0)
            reached = server.get(job)["progress"]["seconds"]
            if unlucky:
                server.wait_beyond(reached, job)
            time.sleep(chooser.uniform(0, longest))
            found = server.get(job)
            if found["ended"]:
                assert server.results(job) == expected
                job = None
            else:
                outlived[-1] += 1
                unlucky = found["progress"]["seconds"] <= reached
    with serving(data, fake=fake) as server:
        if job is not None:
            assert server.results(job) == expected
    return outlived


@pytest.mark.slow
def test_ten_kills_change_no_byte(tmp_path: Path, long_recording: Path) -> None:
    outlived = kill_all(tmp_path, long_recording, 10, fake=True, seed=1, longest=0.8)
    assert max(outlived) > 1


@pytest.mark.slow
@pytest.mark.weights
def test_kills_change_no_byte_of_a_real_model(tmp_path: Path) -> None:
    fields = {"task": "transcribe,translate", "beam_size": "1"}
    write_sentences(tmp_path / "short.wav", 5)
    kill_all(tmp_path, tmp_path / "short.wav", 2, fake=False, seed=2, longest=3.0, **fields)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["folder", "database"])
def test_a_data_folder_that_cannot_be_used_is_one_clear_error(tmp_path: Path, what: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    if what == "folder":
        data.chmod(0o500)
        expected = f"mtasr: error: {data}: cannot be used: Permission denied\n"
    else:
        (data / "jobs.sqlite").write_text("no database")
        expected = (
            f"mtasr: error: {data / 'jobs.sqlite'}: is damaged (file is not a database); "
            "with the file moved away, the server starts without jobs\n"
        )
    command = [sys.executable, "-m", "mtasr", "serve", "--port", "0", "--data", data]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=100, check=False, preexec_fn=without_privileges
    )
    assert done.stderr == expected
    assert done.returncode == 4
