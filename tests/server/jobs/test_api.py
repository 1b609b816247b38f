"""/v1/jobs, over a real socket."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fakes import Heard, HearingEngine, LoudIsSpeech
from job_runs import Gate, until
from server.running import Running, fake_model, running
from speech import write_wav

from mtasr.engines.engine import EngineLimits, Hypothesis
from mtasr.formats.registry import OUTPUT_FORMATS, render
from mtasr.server import Settings
from mtasr.server.jobs.run import PRIORITY
from mtasr.transcribe import Model

KEYS = (("anna", "a" * 20), ("bert", "b" * 20))


def gated(gate: Gate) -> Callable[[str], Model]:
    """Loads a model that stops before its third window."""
    engine = HearingEngine(limits=EngineLimits(workers=1, batch_size=1), fails=gate)
    return lambda name: Model(engine, lambda: "hearing", detector=LoudIsSpeech)


@pytest.fixture(scope="module")
def bursts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise of 12 s, six times, with pauses: six windows."""
    noise = np.random.default_rng(3).normal(0, 0.1, 12 * 16000).astype(np.float32)
    path = tmp_path_factory.mktemp("bursts") / "my talk.wav"
    write_wav(path, np.tile(np.concatenate([noise, np.zeros(16000, np.float32)]), 6))
    return path


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running() as started:
        yield started


def create(server: Running, file: Path, **fields: Any) -> dict[str, Any]:
    answer = server.post("/v1/jobs", file, **fields)
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    return job


def get(server: Running, path: str, **settings: Any) -> httpx.Response:
    with server.client() as client:
        return client.get(path, **settings)


def ended(server: Running, job: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """The job, once it has ended."""
    found: dict[str, Any] = until(
        lambda: (shown := get(server, f"/v1/jobs/{job['id']}", **settings).json())["ended"] and shown
    )
    return found


def events(server: Running, job: dict[str, Any], most: int | None = None, **settings: Any) -> list[dict[str, Any]]:
    """The events of a job: all, or the first `most`."""
    found: list[dict[str, Any]] = []
    with server.client() as client, client.stream("GET", f"/v1/jobs/{job['id']}/events", **settings) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        current: dict[str, Any] = {}
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if line:
                current[name] = json.loads(value) if name == "data" else value
                continue
            found.append(current)
            current = {}
            if len(found) == most:
                break
    return found


def error(answer: httpx.Response) -> tuple[int, str, str | None]:
    said = answer.json()["error"]
    assert set(said) >= {"message", "type", "param", "code"}
    return answer.status_code, said["code"], said["param"]


def test_a_job_from_the_recording_to_its_results(server: Running, bursts: Path) -> None:
    job = create(server, bursts, language="fr")
    assert job["status"] == "queued"
    assert (job["object"], job["model"], job["task"]) == ("job", "base", "transcribe")
    assert job["file"] == {"name": "my talk.wav", "bytes": bursts.stat().st_size}
    assert (job["ended"], job["expires"], job["error"], job["coverage"]) == (None, None, None, None)
    job = ended(server, job)
    assert (job["status"], job["language"], job["warnings"]) == ("done", "fr", [])
    assert job["progress"] == {"seconds": 78.0, "total": 78.0}
    assert job["duration"] == 78.0
    assert set(job["coverage"]) == {"speech", "speech_without_text", "text_without_speech"}
    assert job["expires"] > job["ended"] >= job["created"]
    model = server.model
    transcript = model.transcribe(bursts, language="fr", word_timestamps=True)
    for name in OUTPUT_FORMATS:
        answer = get(server, f"/v1/jobs/{job['id']}/result", params={"format": name})
        assert answer.status_code == 200
        text = render(transcript, name, recording="my talk")
        assert answer.text == text != ""
        assert answer.headers["content-disposition"] == f"attachment; filename*=utf-8''my%20talk.{name}"
    assert get(server, f"/v1/jobs/{job['id']}/result").json() == transcript.to_dict()


def test_a_job_that_is_kept_for_good_does_not_expire(bursts: Path) -> None:
    with running(Settings(job_seconds=math.inf)) as server:
        job = ended(server, create(server, bursts, language="fr"))
        assert (job["status"], job["expires"]) == ("done", None)


def test_a_result_comes_whole_or_not_at_all(server: Running, bursts: Path) -> None:
    job = ended(server, create(server, bursts, language="fr"))
    path = f"/v1/jobs/{job['id']}/result"
    whole = get(server, path, params={"format": "txt"})
    for wanted in ("bytes=x", "bytes=99999999-", "bytes=0-3"):
        answer = get(server, path, params={"format": "txt"}, headers={"range": wanted})
        assert (answer.status_code, answer.content) == (200, whole.content)
    server.service.jobs.files.result(job["id"], "txt").unlink()
    answer = get(server, path, params={"format": "txt"})
    assert error(answer) == (404, "no_result", None)
    assert answer.json()["error"]["message"] == "the job has no such result: the server has lost it"


def test_a_model_that_cannot_translate_is_refused_as_requests_have_it(bursts: Path) -> None:
    with running(Settings(models=("large-v3-turbo",))) as server:
        job = server.post("/v1/jobs", bursts, model="large-v3-turbo", task="translate")
        request = server.post("/v1/audio/translations", bursts, model="large-v3-turbo")
    assert error(job) == (400, "invalid_value", "model")
    assert job.json() == request.json()
    assert "--model" not in job.text


def test_the_result_may_be_asked_for_in_advance(server: Running, bursts: Path) -> None:
    job = ended(server, create(server, bursts, response_format="srt", subtitle_style="social", highlight_words="true"))
    model = server.model
    transcript = model.transcribe(bursts, word_timestamps=True)
    expected = transcript.to_srt(subtitle_style="social", highlight_words=True)
    assert get(server, f"/v1/jobs/{job['id']}/result").text == expected


def test_both_texts_from_one_job(server: Running, bursts: Path) -> None:
    job = ended(server, create(server, bursts, task="transcribe,translate"))
    assert job["task"] == "transcribe,translate"
    model = server.model
    transcript = model.transcribe(bursts, also_translate=True, word_timestamps=True)
    assert transcript.translation is not None
    path = f"/v1/jobs/{job['id']}/result"
    assert get(server, path, params={"format": "srt", "translation": True}).text == transcript.translation.to_srt()
    assert get(server, path, params={"format": "txt"}).text == transcript.to_txt()


def test_a_translation_has_no_word_times(server: Running, bursts: Path) -> None:
    job = ended(server, create(server, bursts, task="translate"))
    document = get(server, f"/v1/jobs/{job['id']}/result").json()
    assert document["segments"]
    assert not any("words" in segment for segment in document["segments"])
    answer = get(server, f"/v1/jobs/{job['id']}/result", params={"translation": True})
    assert error(answer) == (404, "no_result", None)


def test_strict_jobs_fail_where_text_is_missing_and_keep_the_rest(bursts: Path) -> None:
    def judge(heard: Heard, temperature: float, hypothesis: Hypothesis) -> Hypothesis:
        return replace(hypothesis, tokens=()) if heard.number % 2 else hypothesis

    model = fake_model(judge=judge)
    with running(load=lambda name: model) as server:
        doubtful, strict = (ended(server, create(server, bursts, strict=value)) for value in ("false", "true"))
        assert doubtful["coverage"]["speech_without_text"]
        assert (doubtful["status"], doubtful["error"]) == ("done", None)
        assert (strict["status"], strict["error"]["code"]) == ("failed", "incomplete_transcript")
        assert strict["coverage"] == doubtful["coverage"]
        texts = [get(server, f"/v1/jobs/{job['id']}/result").text for job in (doubtful, strict)]
        assert texts[0] == texts[1]
        assert any(each["event"] == "segment" for each in events(server, strict))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"colour": "red"}, (400, "unknown_parameter", "colour")),
        ({"stream": "true"}, (400, "unknown_parameter", "stream")),
        ({"task": "sing"}, (400, "invalid_value", "task")),
        ({"language": "klingon"}, (400, "invalid_value", "language")),
        ({"languages[]": ["fr", "klingon"]}, (400, "invalid_value", "languages")),
        ({"beam_size": "0"}, (400, "invalid_value", "beam_size")),
        ({"task": "transcribe,translate", "condition_on_previous_text": "true"}, (400, "invalid_value", None)),
        ({"model": "enormous"}, (404, "model_not_found", "model")),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_what_makes_no_sense_is_refused_at_once(
    server: Running, bursts: Path, fields: dict[str, Any], expected: tuple[int, str, str | None]
) -> None:
    before = get(server, "/v1/jobs", params={"limit": 100}).json()["data"]
    assert error(server.post("/v1/jobs", bursts, **fields)) == expected
    assert get(server, "/v1/jobs", params={"limit": 100}).json()["data"] == before
    assert not list(server.service.incoming.iterdir())


def test_a_file_without_sound_fails_with_its_own_name(server: Running) -> None:
    job = ended(server, server.post("/v1/jobs", b"this is no recording", language="en").json())
    assert job["status"] == "failed"
    assert job["error"]["code"] == "invalid_audio"
    assert job["error"]["message"].startswith("sound.wav: ")
    assert str(server.service.folder) not in json.dumps(job)
    answer = get(server, f"/v1/jobs/{job['id']}/result")
    assert error(answer) == (404, "no_result", None)
    assert job["error"]["message"] in answer.json()["error"]["message"]


def test_jobs_are_listed_by_page(bursts: Path) -> None:
    with running() as server:
        ids = [create(server, bursts)["id"] for _ in range(3)][::-1]
        first = get(server, "/v1/jobs", params={"limit": 2}).json()
        assert ([job["id"] for job in first["data"]], first["has_more"]) == (ids[:2], True)
        rest = get(server, "/v1/jobs", params={"limit": 2, "after": ids[1]}).json()
        assert ([job["id"] for job in rest["data"]], rest["has_more"]) == (ids[2:], False)
        assert error(get(server, "/v1/jobs", params={"limit": 0})) == (400, "invalid_value", "limit")


def test_events_tell_the_whole_story(bursts: Path, gate: Gate) -> None:
    with running(load=gated(gate)) as server:
        job = create(server, bursts, language="fr")
        first = events(server, job, most=6)
        assert {each["event"] for each in first} == {"status", "segment", "progress"}
        assert not get(server, f"/v1/jobs/{job['id']}").json()["ended"]
        gate.open()
        live = events(server, job)
        later = events(server, job)
        document = get(server, f"/v1/jobs/{job['id']}/result").json()
    for told in (live, later):
        segments = [each for each in told if each["event"] == "segment"]
        assert [each["data"] for each in segments] == document["segments"]
        assert [each["id"] for each in segments] == [str(number) for number in range(1, len(segments) + 1)]
        assert told[-1]["event"] == "done"
        assert (told[-1]["id"], told[-1]["data"]["status"]) == ("end", "done")
        progress = [each["data"]["seconds"] for each in told if each["event"] == "progress"]
        assert progress == sorted(progress)


def test_followers_go_on_where_they_were(bursts: Path, gate: Gate) -> None:
    with running(load=gated(gate)) as server:
        job = create(server, bursts, language="fr")
        until(lambda: get(server, f"/v1/jobs/{job['id']}").json()["progress"]["seconds"] > 20)
        heard = events(server, job, most=2)
        assert [each["event"] for each in heard] == ["status", "segment"]
        gate.open()
        rest = events(server, job, headers={"last-event-id": heard[-1]["id"]})
        document = get(server, f"/v1/jobs/{job['id']}/result").json()
        segments = [each["data"] for each in heard + rest if each["event"] == "segment"]
        assert segments == document["segments"]
        assert rest[-1]["event"] == "done"
        numbers = [each["id"] for each in events(server, job, params={"after": 3}) if each["event"] == "segment"]
        assert numbers[0] == "4"
        nonsense = events(server, job, headers={"last-event-id": "nonsense"})
        assert len([each for each in nonsense if each["event"] == "segment"]) == len(segments)
        assert get(server, f"/v1/jobs/{job['id']}/events", headers={"last-event-id": "end"}).status_code == 204


def test_followers_go_on_after_a_restart(bursts: Path, tmp_path: Path, gate: Gate) -> None:
    settings = Settings(data=tmp_path / "data", stop_seconds=0)
    with running(settings, gated(gate)) as server:
        job = create(server, bursts, language="fr")
        until(lambda: get(server, f"/v1/jobs/{job['id']}").json()["progress"]["seconds"] > 20)
        heard = events(server, job, most=3)
        server.service.jobs.halt()
        gate.open()
    seen = [each for each in heard if each["event"] == "segment"]
    with running(settings, gated(gate)) as server:
        rest = events(server, job, headers={"last-event-id": seen[-1]["id"]})
        document = get(server, f"/v1/jobs/{job['id']}/result").json()
    assert [each["data"] for each in seen + rest if each.get("event") == "segment"] == document["segments"]


def test_a_server_that_stops_ends_the_events(bursts: Path, tmp_path: Path, gate: Gate) -> None:
    with running(Settings(stop_seconds=0), gated(gate)) as server:
        job = create(server, bursts, language="fr")
        with server.client() as client, client.stream("GET", f"/v1/jobs/{job['id']}/events") as answer:
            lines = answer.iter_lines()
            assert next(lines) == "event: status"
            stopping = server.call(server.service.stop())
            assert "event: done" not in list(lines)
            gate.open()
            stopping.result(30)


def test_a_removed_job_is_gone(bursts: Path, gate: Gate) -> None:
    with running(load=gated(gate)) as server, server.client() as client:
        job = create(server, bursts, language="fr")
        until(lambda: get(server, f"/v1/jobs/{job['id']}").json()["status"] == "running")
        with client.stream("GET", f"/v1/jobs/{job['id']}/events") as following:
            lines = following.iter_lines()
            next(lines)
            answer = client.delete(f"/v1/jobs/{job['id']}")
            assert answer.json() == {"id": job["id"], "object": "job", "deleted": True}
            rest = list(lines)
        assert "event: done" in rest
        assert json.loads(rest[-2].removeprefix("data: "))["status"] == "cancelled"
        assert error(client.delete(f"/v1/jobs/{job['id']}")) == (404, "no_job", None)
        for path in ("", "/events", "/result"):
            assert error(client.get(f"/v1/jobs/{job['id']}{path}")) == (404, "no_job", None)
        gate.open()
        until(lambda: not any((server.service.folder / "jobs").iterdir()))


def test_jobs_of_another_key_do_not_exist(bursts: Path) -> None:
    anna, bert = ({"authorization": f"Bearer {key}"} for _, key in KEYS)
    with running(Settings(keys=KEYS)) as server, server.client() as client:
        answer = client.post("/v1/jobs", files={"file": ("a.wav", bursts.read_bytes())}, headers=anna)
        job = answer.json()
        ended(server, job, headers=anna)
        for path in ("", "/events", "/result"):
            assert error(client.get(f"/v1/jobs/{job['id']}{path}", headers=bert)) == (404, "no_job", None)
            assert error(client.get(f"/v1/jobs/{job['id']}{path}"))[0] == 401
        assert client.get("/v1/jobs", headers=bert).json()["data"] == []
        assert error(client.delete(f"/v1/jobs/{job['id']}", headers=bert)) == (404, "no_job", None)
        assert [each["id"] for each in client.get("/v1/jobs", headers=anna).json()["data"]] == [job["id"]]
        assert client.delete(f"/v1/jobs/{job['id']}", headers=anna).status_code == 200


def test_a_key_has_half_of_the_queue(bursts: Path, gate: Gate) -> None:
    anna, bert = ({"authorization": f"Bearer {key}"} for _, key in KEYS)
    settings = Settings(keys=KEYS, jobs_at_once=1, waiting_jobs=2)
    with running(settings, gated(gate)) as server, server.client() as client:

        def add(headers: dict[str, str]) -> httpx.Response:
            return client.post("/v1/jobs", files={"file": ("a.wav", bursts.read_bytes())}, headers=headers)

        first = add(anna).json()
        until(lambda: client.get(f"/v1/jobs/{first['id']}", headers=anna).json()["status"] == "running")
        assert [add(headers).status_code for headers in (anna, anna, bert)] == [202, 429, 202]
        gate.open()


def test_a_full_queue_refuses_before_the_recording_is_sent(bursts: Path, gate: Gate) -> None:
    with running(Settings(jobs_at_once=1, waiting_jobs=1), gated(gate)) as server:
        job = create(server, bursts, language="fr")
        until(lambda: get(server, f"/v1/jobs/{job['id']}").json()["status"] == "running")
        create(server, bursts)
        answer = server.post("/v1/jobs", bursts)
        assert error(answer) == (429, "too_many_requests", None)
        assert int(answer.headers["retry-after"]) > 0
        gate.open()


def test_a_job_waits_for_those_who_wait_for_an_answer(bursts: Path, clip: Path, gate: Gate) -> None:
    """A request for another model than the job's, where only one may be loaded."""
    loaded: list[str] = []

    def load(name: str) -> Model:
        loaded.append(name)
        return gated(gate)(name) if name == "base" else fake_model()

    settings = Settings(models=("tiny",), loaded_models=1, jobs_at_once=1)
    with running(settings, load) as server:
        job = create(server, bursts, language="fr")
        until(lambda: get(server, f"/v1/jobs/{job['id']}").json()["progress"]["seconds"] > 0)
        opener = threading.Timer(0.5, gate.open)
        with ThreadPoolExecutor() as pool:
            following = pool.submit(events, server, job)
            opener.start()
            answer = server.post("/v1/audio/transcriptions", clip, model="tiny")
        opener.join()
        assert answer.status_code == 200, answer.text
        assert loaded == ["base", "tiny", "base"]
        told = following.result()
        document = get(server, f"/v1/jobs/{job['id']}/result").json()
    assert [each["data"] for each in told if each["event"] == "segment"] == document["segments"]
    assert "queued" in {each["data"]["status"] for each in told if each["event"] == "status"}
    progress = [each["data"]["seconds"] for each in told if each["event"] == "progress"]
    assert progress == sorted(progress)


def test_figures_count_jobs(bursts: Path, gate: Gate) -> None:
    with running(Settings(jobs_at_once=1), gated(gate)) as server:
        first, second = create(server, bursts), create(server, bursts)
        until(lambda: get(server, f"/v1/jobs/{first['id']}").json()["status"] == "running")
        found = get(server, "/metrics").text
        assert 'mtasr_jobs{state="queued"} 1.0\n' in found
        assert 'mtasr_jobs{state="running"} 1.0\n' in found
        gate.open()
        ended(server, second)
        found = get(server, "/metrics").text
    assert 'mtasr_jobs{state="queued"} 0.0\n' in found
    assert 'mtasr_audio_seconds_total{model="base"} 156.0\n' in found


def test_windows_of_jobs_come_after_those_of_requests(bursts: Path, clip: Path, gate: Gate) -> None:
    engine = HearingEngine(limits=EngineLimits(workers=1, batch_size=1), fails=gate)
    model = Model(engine, lambda: "hearing", detector=LoudIsSpeech)
    with running(load=lambda name: model) as server, ThreadPoolExecutor() as pool:
        job = create(server, bursts, language="fr")
        until(lambda: gate.is_reached)
        answer = pool.submit(server.post, "/v1/audio/transcriptions", clip, language="en")
        until(lambda: any(each.state.group.priority > PRIORITY for each in model._scheduler._waiting))
        before = len(engine.encoded)
        gate.open()
        assert answer.result().status_code == 200
        ended(server, job)
    assert len(engine.encoded) == 7
    # The window under way ends, and then it is the turn of the clip, the last to come.
    short = min(engine.encoded, key=lambda heard: heard.frames)
    assert engine.encoded.index(short) == before + 1


def test_a_full_disk_is_one_clear_error(bursts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with running() as server:
        with monkeypatch.context() as patch:
            patch.setattr("mtasr.server.upload.os.write", full)
            answer = server.post("/v1/jobs", bursts)
        assert error(answer) == (500, "storage_error", None)
        assert answer.json()["error"]["message"] == "the server cannot write to its disk: No space left on device"
        assert answer.headers["x-should-retry"] == "false"
        broken = sqlite3.connect(":memory:", check_same_thread=False)
        with monkeypatch.context() as patch, contextlib.closing(broken):
            patch.setattr(server.service.jobs.store, "_connection", broken)
            assert error(get(server, "/v1/jobs")) == (500, "storage_error", None)
            assert error(server.post("/v1/jobs", bursts)) == (500, "storage_error", None)
        assert not any(server.service.incoming.iterdir())
        assert not any((server.service.folder / "jobs").iterdir())
        assert ended(server, create(server, bursts))["status"] == "done"
