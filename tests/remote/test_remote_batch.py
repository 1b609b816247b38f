"""Batches whose recordings, results, or both are in a store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from fake_model import FakeModel
from fakes import HearingEngine
from hostile_server import HASTE, HostileServer, Page
from object_store import BUCKET, ObjectStore, forget_connections
from speech import SAMPLE_RATE, speak, write_wav

from mtasr.batch import BatchRun, Ending, Input, Job, Observer, gather, plan
from mtasr.batch.identity import content_of, size_of, state_of
from mtasr.batch.journal import folder_for
from mtasr.batch.outputs import new_folders, to_destination, to_folder
from mtasr.errors import InputError, InputNotFoundError, OutputError, UsageError
from mtasr.remote.folder import RemotePath, check_writable, write_object
from mtasr.remote.patience import Patience
from mtasr.transcribe import Model
from mtasr.transcript import Segment

OUT = f"s3://{BUCKET}/out"


@pytest.fixture(autouse=True)
def haste(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Patience, "usual", lambda: HASTE)
    monkeypatch.setenv("MTASR_CACHE", str(tmp_path / "cache"))


def sources(inputs: Sequence[Input]) -> list[str]:
    return [each.source for each in inputs]


def outcomes(run: BatchRun) -> list[tuple[str, str, str]]:
    return [(ending.name, ending.result, ending.reason) for ending in run.run()]


def test_a_prefix_is_a_folder(store: ObjectStore) -> None:
    for key in ("in/a.wav", "in/b/c.MP3", "in/b/d.txt", "in/.e/f.wav", "in/b/../g.wav", "in//h.wav", "in2/i.wav"):
        store.put(key, b"sound")
    url = f"s3://{BUCKET}/in"
    assert sources(gather([f"{url}/"])) == [f"{url}/a.wav"]
    found = gather([url], recursive=True)
    assert [(each.source, str(each.stem)) for each in found] == [(f"{url}/a.wav", "a"), (f"{url}/b/c.MP3", "b/c")]
    assert [each.state and each.state.size for each in found] == [5, 5]
    with pytest.raises(InputNotFoundError, match="this folder has no recordings; --recursive"):
        gather([f"s3://{BUCKET}/nothing/"])


def test_a_star_stands_for_any_characters(store: ObjectStore) -> None:
    for key in ("in/a1.flac", "in/a2.FLAC", "in/b[1].flac", "in/.a.flac", "in/deep/a3.flac", "in/c*.wav", "in/cd.wav"):
        store.put(key, b"sound")
    url = f"s3://{BUCKET}/in"
    found = gather([f"{url}/a*", f"{url}/*[1].flac", f"{url}/c*.wav", f"{url}/none*"])
    assert sources(found) == [f"{url}/{name}" for name in ("a1.flac", "a2.FLAC", "b[1].flac", "c*.wav", "none*")]
    assert [str(each.stem) for each in found][:2] == ["a1", "a2"]
    assert [each.state and each.state.size for each in found] == [5, 5, 5, 5, None]
    assert sources(gather(["https://host/a*.wav"])) == ["https://host/a*.wav"]


def test_a_list_may_name_what_is_allowed(store: ObjectStore, tmp_path: Path) -> None:
    store.put("in/a.wav", b"sound")
    names = tmp_path / "list"
    names.write_text(f"s3://{BUCKET}/in/a.wav\nHTTPS://host/b.wav?key=1\ns3://{BUCKET}/in/\n")
    found = gather([], str(names), allowed_schemes=["S3", "https"])
    assert sources(found) == [f"s3://{BUCKET}/in/a.wav", "HTTPS://host/b.wav?key=1"]
    with pytest.raises(UsageError, match="--allow-scheme https"):
        gather([], str(names), allowed_schemes=["s3"])
    assert sources(gather(["https://host/b.wav"])) == ["https://host/b.wav"]


def test_recordings_and_results_in_a_store(store: ObjectStore) -> None:
    urls = [store.put(f"in/{name}.wav", b"sound") for name in "ab"]
    jobs = plan(gather([*urls, f"s3://{BUCKET}/in/none.wav"]), to_destination(OUT), ["txt", "json"])
    assert outcomes(BatchRun(jobs, FakeModel())) == [
        (f"s3://{BUCKET}/in/none.wav", "failed", f"s3://{BUCKET}/in/none.wav: no such file"),
        (urls[0], "done", ""),
        (urls[1], "done", ""),
    ]
    assert store.listed("out") == ["out/a.json", "out/a.txt", "out/b.json", "out/b.txt"]
    assert store.get("out/a.txt") == b"Hello there.\nHow are you?\n"
    assert store.uploads() == []
    jobs = plan(gather(urls), to_destination(OUT), ["txt", "json"])
    again = BatchRun(jobs, lambda: pytest.fail("no model is needed"), existing="skip")
    assert [result for _, result, _ in outcomes(again)] == ["skipped", "skipped"]
    store.client.delete_object(Bucket=BUCKET, Key="out/b.txt")
    assert [result for _, result, _ in outcomes(BatchRun(jobs, FakeModel(), existing="skip"))] == ["skipped", "done"]


def test_results_are_written_through_a_line_that_is_cut(store: ObjectStore) -> None:
    forget_connections()
    store.proxy.cuts = [0, 0, 0]
    write_object(RemotePath(f"{OUT}/a.txt"), b"text")
    assert store.get("out/a.txt") == b"text"
    forget_connections()
    store.proxy.cuts = [0] * 100
    with pytest.raises(OutputError, match=rf"^{OUT}/b.txt: the connection failed"):
        write_object(RemotePath(f"{OUT}/b.txt"), b"text")
    assert store.listed("out") == ["out/a.txt"]


@pytest.mark.slow
def test_even_a_large_result_leaves_no_upload_open(store: ObjectStore) -> None:
    large = b"x" * (101 << 20)  # fsspec would send it in parts
    write_object(RemotePath(f"{OUT}/a.json"), large)
    assert len(store.get("out/a.json")) == len(large)
    forget_connections()
    store.proxy.cuts = [20] * 100
    with pytest.raises(OutputError, match="the connection failed"):
        write_object(RemotePath(f"{OUT}/b.json"), large)
    assert (store.listed("out"), store.uploads()) == (["out/a.json"], [])


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("s3://no-such-bucket/out", "cannot write here: no such bucket or folder"),
        ("https://host/out", "cannot write here: a web server takes no files"),
    ],
)
def test_an_output_folder_that_takes_nothing_is_refused_before_any_work(
    store: ObjectStore, folder: str, words: str
) -> None:
    jobs = plan(gather([store.put("a.wav", b"sound")]), to_destination(folder), ["txt"])
    with pytest.raises(OutputError) as caught:
        list(BatchRun(jobs, lambda: pytest.fail("no model is needed")).run())
    assert str(caught.value) == f"{folder}: {words}"


def test_checking_leaves_nothing(store: ObjectStore) -> None:
    with new_folders([RemotePath(OUT)]):
        pass
    assert (store.listed(), store.uploads()) == ([], [])


def test_other_stores_get_whole_files_too(tmp_path: Path) -> None:
    """A file system of fsspec's that shows what is half written: the file comes under a passing name."""
    folder = RemotePath(f"dir::file://{tmp_path}")
    check_writable(RemotePath("memory://out"))
    write_object(RemotePath("memory://out/a.txt"), b"text")
    assert RemotePath("memory://out/a.txt").exists()
    assert not RemotePath("memory://out/b.txt").exists()
    with pytest.raises(OutputError, match="is a file of this machine"):
        check_writable(folder)


def test_results_that_would_replace_a_recording(store: ObjectStore) -> None:
    url = store.put("out/a.json", b"sound")
    with pytest.raises(UsageError, match=r"out/a.json: would be overwritten by its own or another input's result"):
        plan(gather([url]), to_destination(OUT), ["json"])


def test_local_folders_have_no_address() -> None:
    with pytest.raises(UsageError, match="is a folder of this machine: give its path"):
        to_destination("file:///tmp")
    with pytest.raises(UsageError, match="these results go to a folder of this machine"):
        to_folder("s3://b/c")


def test_what_is_known_of_a_source(store: ObjectStore, server: HostileServer, tmp_path: Path) -> None:
    url = store.put("a.wav", b"sound")
    assert size_of(url) == 5
    assert state_of(url) is not None
    before = content_of(url)
    store.put("a.wav", b"noise")
    assert content_of(url) != before
    untold = server.put("a.wav", Page(b"sound", headers={}))
    assert (size_of(untold), state_of(untold), content_of(untold)) == (5, None, None)
    assert (size_of(f"{url}x"), state_of(f"{url}x"), content_of(f"{url}x")) == (0, None, None)
    (tmp_path / "a.wav").write_bytes(b"sound")
    assert size_of(str(tmp_path / "a.wav")) == 5


class Stop(Observer):
    def segment(self, segment: Segment) -> None:
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("speech") / "long.wav"
    sentence = speak("The train leaves at noon from the second platform.")
    write_wav(path, np.tile(np.concatenate([sentence, np.zeros(SAMPLE_RATE, np.float32)]), 15))
    return path.read_bytes()


def interrupted(jobs: Sequence[Job], change: object = None) -> tuple[int, int, Ending]:
    """Windows decoded by a whole run, and after an interruption, `change` and `--resume`, whose end is returned."""
    engines: list[HearingEngine] = []

    def model() -> Model:
        engines.append(HearingEngine())
        return Model(engines[-1], lambda: "hearing")

    list(BatchRun(jobs, model).run())
    with pytest.raises(KeyboardInterrupt):
        list(BatchRun(jobs, model, observer=Stop()).run())
    if callable(change):
        change()
    (resumed,) = BatchRun(jobs, model, existing="resume").run()
    return len(engines[0].generated), len(engines[2].generated), resumed


def test_a_batch_in_a_store_goes_on(store: ObjectStore, speech: bytes) -> None:
    jobs = plan(gather([store.put("in/long.wav", speech)]), to_destination(OUT), ["json"])
    whole, left, resumed = interrupted(jobs)
    assert resumed.result == "done"
    assert 0 < left < whole
    segments = json.loads(store.get("out/long.json"))["segments"]
    assert len(segments) == whole
    assert not folder_for(RemotePath(OUT)).exists()


def test_but_not_with_another_recording(store: ObjectStore, speech: bytes) -> None:
    jobs = plan(gather([store.put("in/long.wav", speech)]), to_destination(OUT), ["json"])
    whole, left, _ = interrupted(jobs, lambda: store.put("in/long.wav", speech[:-2]))
    assert left == whole


def test_nor_if_nothing_tells_that_it_is_the_same(server: HostileServer, speech: bytes, tmp_path: Path) -> None:
    url = server.put("long.wav", Page(speech, headers={}))
    whole, left, _ = interrupted(plan(gather([url]), tmp_path, ["json"]))
    assert left == whole


def test_what_is_done_is_skipped(store: ObjectStore) -> None:
    urls = [store.put(f"in/{name}.wav", b"sound") for name in "ab"]
    jobs = plan(gather(urls), to_destination(OUT), ["txt"])
    model = FakeModel(errors={urls[1]: InputError("noise")})
    assert [result for _, result, _ in outcomes(BatchRun(jobs, model))] == ["done", "failed"]
    again = outcomes(BatchRun(jobs, FakeModel(), existing="resume"))
    assert again == [(urls[0], "skipped", "it was done before"), (urls[1], "done", "")]


def test_the_journal_of_a_store_is_in_the_cache(tmp_path: Path) -> None:
    found = folder_for(RemotePath(OUT))
    assert found.parent == tmp_path / "cache" / "journals"
    assert found == folder_for(RemotePath(f"{OUT}/"))
    assert found != folder_for(RemotePath(f"{OUT}2"))
