"""Int8 copies: the same model to the bit, made once, never of another model, and never in anybody's way."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import ctranslate2
import numpy as np
import pytest
from fakehub import COMMIT
from speech import speak
from tiny_model import make_tiny_model

import mtasr
from mtasr import system
from mtasr.checkpoints.ctranslate2 import stored_weights
from mtasr.engines.ctranslate2 import CTranslate2Engine
from mtasr.errors import ModelIntegrityError, ModelNotFoundError
from mtasr.features import log_mel
from mtasr.models import cache, int8_copy, pull, registry, remove, resolve, verify
from mtasr.models.folder import sha256_of
from mtasr.models.model_bin import ModelFile, read_contents
from mtasr.models.registry import ModelSpec
from mtasr.transcribe import Model


@pytest.fixture(autouse=True)
def every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8_copy, "_SMALLEST", 0)


@pytest.fixture
def mine(tiny_models: dict[str, Path], tmp_path: Path) -> Path:
    """A model folder of the user's own."""
    return shutil.copytree(tiny_models["multilingual"], tmp_path / "mine")


@pytest.fixture
def cached(tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A named model in the cache."""
    source = tiny_models["multilingual"]
    names = ("model.bin", "config.json", "vocabulary.json")
    pins = {name: sha256_of(source / name) for name in names}
    spec = ModelSpec(name="small-one", repo="acme/small-one", revision=COMMIT, size=1, sha256=pins)
    monkeypatch.setitem(registry.MODELS, spec.name, spec)

    def install(*_: object, **settings: bool) -> Path:
        def fill(staging: cache.Staging) -> None:
            for name in names:
                staging.write(name, [(source / name).read_bytes()])

        return cache.install(spec.name, spec.repo, spec.revision, fill, replace=settings.get("replace", False))

    monkeypatch.setattr("mtasr.models.manage.install", install)
    return install()


def loaded_from(folder: Path, compute_type: str = "auto") -> Path:
    """Load a model as a program does, let its thread finish, and tell which folder was read."""
    engine = mtasr.load_model(folder, device="cpu", threads=1, compute_type=compute_type).engine
    assert isinstance(engine, CTranslate2Engine)
    for thread in threading.enumerate():
        if thread.name == "mtasr-int8-copy":
            thread.join()
    return engine.folder


def copies(cache_folder: Path) -> list[str]:
    folder = cache_folder / "int8"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def outputs(folder: Path, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[int], float]:
    """Encoder output, logits of the first steps, tokens and score in int8 on the CPU."""
    model = ctranslate2.models.Whisper(str(folder), device="cpu", compute_type="int8", intra_threads=1)
    mel = log_mel(samples)[: model.n_mels]
    mel = np.ascontiguousarray(mel[:, : mel.shape[1] // 2 * 2])
    encoded = model.encode(ctranslate2.StorageView.from_array(mel[None]), to_cpu=True)
    # Start of transcript, English, transcribe: the same ids in every multilingual vocabulary of 99 languages.
    result = model.generate(
        encoded, [[50258, 50259, 50359]], beam_size=1, max_length=30, return_scores=True, return_logits_vocab=True
    )[0]
    logits = np.stack([np.asarray(step) for step in result.logits[0]])
    return np.asarray(encoded), logits, list(result.sequences_ids[0]), result.scores[0]


def assert_same_outputs(one: Path, other: Path, samples: np.ndarray) -> None:
    ours, theirs = outputs(one, samples), outputs(other, samples)
    assert ours[1].shape[0] > 1
    assert np.isfinite(ours[0]).all()
    for mine, yours in zip(ours, theirs, strict=True):
        assert np.array_equal(mine, yours)


# The weights


def tensor(file: ModelFile, name: str) -> tuple[str, tuple[int, ...], bytes]:
    variable = file.variables[name]
    return variable.dtype, variable.shape, bytes(file.read(variable))


def test_matrices_are_those_of_ctranslate2(tmp_path: Path) -> None:
    """Against what its own converter makes of the same float32 weights."""
    source = make_tiny_model(tmp_path / "float32", quantization=None)
    theirs = read_contents(make_tiny_model(tmp_path / "int8", quantization="int8") / "model.bin")
    copy = int8_copy.make(source)
    assert copy
    ours, original = read_contents(copy / "model.bin"), read_contents(source / "model.bin")
    matrices = {name for name, each in theirs.variables.items() if each.dtype == "int8" and len(each.shape) == 2}
    assert len(matrices) > 10
    assert "decoder/projection/weight" in matrices
    for name in matrices:
        for part in (name, f"{name}_scale"):
            assert tensor(ours, part) == tensor(theirs, part), part
    for name in original.variables.keys() - matrices:
        assert tensor(ours, name) == tensor(original, name), name
    assert ours.variables.keys() - original.variables.keys() == {f"{name}_scale" for name in matrices}


def test_the_size_of_a_block_changes_nothing(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for values in (1 << 30, 100, 5000):
        monkeypatch.setattr(int8_copy, "_VALUES", values)
        copy = int8_copy.make(mine)
        assert copy
        made.append((copy / "model.bin").read_bytes())
        shutil.rmtree(copy)
    assert made[0] == made[1] == made[2]


def test_a_row_of_zeros_and_a_row_out_of_range() -> None:
    rows = np.array([[0, 0], [3, -4]], np.float32)
    values, factors = int8_copy._quantize(iter([rows]), rows.shape)
    assert values.tolist() == [[0, 0], [95, -127]]
    assert factors.tolist() == [1.0, 31.75]
    for wrong in (np.nan, np.inf, 1e-40):
        with pytest.raises(ModelIntegrityError, match="out of the range"):
            int8_copy._quantize(iter([np.full((1, 2), wrong, np.float32)]), (1, 2))


@pytest.mark.parametrize("quantization", [None, "float16"])
def test_a_copy_computes_what_its_source_computes(tmp_path: Path, quantization: str | None) -> None:
    source = make_tiny_model(tmp_path / "model", quantization=quantization)
    copy = int8_copy.make(source)
    assert copy
    assert_same_outputs(source, copy, np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32))


@pytest.mark.weights
@pytest.mark.slow
def test_base_hears_the_same() -> None:
    source = resolve("base")
    assert loaded_from(source) == source
    copy = int8_copy.find(source)
    assert copy
    for voice, language, sentence in (
        ("en-us", "en", "The morning train was late again, so we walked along the river to the old market."),
        ("fr", "fr", "Il a laissé ses clés sur la table de la cuisine avant de partir."),
    ):
        samples = speak(sentence, voice)
        assert_same_outputs(source, copy, samples)
        heard = []
        for folder in (source, copy):
            model = Model(CTranslate2Engine(folder, device="cpu", threads=1))
            options = {"temperature": (0.0,), "no_speech_threshold": None, "word_timestamps": True}
            heard.append(model.transcribe(samples, language=language, **options))
        assert heard[0] == heard[1], "texts, times and scores"
        assert heard[0].segments


def test_an_overflowing_processor_gets_smaller_weights(mine: Path, narrow: None) -> None:
    copy = int8_copy.provide(mine)
    assert copy, "it is made before the model is loaded for the first time"
    assert loaded_from(mine) == copy
    ours, source = read_contents(copy / "model.bin"), read_contents(mine / "model.bin")
    for name, each in ours.variables.items():
        if each.dtype == "int8" and len(each.shape) == 2:
            values = np.frombuffer(ours.read(each), np.int8).reshape(each.shape)
            assert np.array_equal(np.abs(values).max(axis=1), np.full(len(values), 96))
            assert np.allclose(
                stored_weights.values(ours, name), stored_weights.values(source, name), atol=0.51 * 5 / 96, rtol=0
            )


def test_each_processor_has_its_own_copy(mine: Path, narrow: None, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = int8_copy.provide(mine)
    assert copy
    monkeypatch.setattr(system, "largest_weight", lambda: 127)
    assert int8_copy.find(mine) is None
    assert int8_copy.provide(mine) is None, "CTranslate2 does it as well"
    assert loaded_from(mine) == mine


def test_an_overflowing_processor_waits_for_who_is_at_it(mine: Path, narrow: None) -> None:
    with cache.lock("int8"):
        waiting = threading.Thread(target=int8_copy.provide, args=(mine,))
        waiting.start()
        waiting.join(timeout=0.2)
        assert waiting.is_alive()
    waiting.join()
    assert int8_copy.find(mine)


# Its life


def test_it_is_made_once_and_used_from_then_on(mine: Path, cache_folder: Path) -> None:
    assert loaded_from(mine) == mine
    copy = int8_copy.find(mine)
    assert copy
    assert copies(cache_folder) == [copy.name]
    assert (copy / "model.bin").stat().st_size < 0.7 * (mine / "model.bin").stat().st_size
    made = (copy / "model.bin").stat().st_ino
    assert loaded_from(mine) == copy
    assert loaded_from(mine / ".." / "mine") == copy, "another spelling of the same folder"
    assert (copy / "model.bin").stat().st_ino == made
    assert loaded_from(mine, "float32") == mine


def test_only_int8_asks_for_it(mine: Path, cache_folder: Path) -> None:
    assert loaded_from(mine, "float32") == mine
    assert copies(cache_folder) == []


def test_a_model_in_int8_needs_none(tmp_path: Path, cache_folder: Path) -> None:
    assert loaded_from(make_tiny_model(tmp_path / "int8", quantization="int8")) == tmp_path / "int8"
    assert copies(cache_folder) == []


def test_a_small_model_needs_none(mine: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8_copy, "_SMALLEST", (mine / "model.bin").stat().st_size + 1)
    assert loaded_from(mine) == mine
    assert copies(cache_folder) == []


def test_another_model_in_the_folder_gets_another_copy(mine: Path, cache_folder: Path) -> None:
    loaded_from(mine)
    before = (cache_folder / "int8" / copies(cache_folder)[0] / "model.bin").read_bytes()
    make_tiny_model(mine, seed=1)
    assert loaded_from(mine) == mine, "the copy of what was there before is not used"
    copy = int8_copy.find(mine)
    assert copy
    assert copies(cache_folder) == [copy.name]
    assert (copy / "model.bin").read_bytes() != before
    assert loaded_from(mine) == copy


def test_settings_are_those_of_the_source(mine: Path) -> None:
    copy = int8_copy.make(mine)
    assert copy
    (mine / "config.json").write_text((mine / "config.json").read_text().replace("[1, 2, 7]", "[3]"))
    assert int8_copy.find(mine) == copy
    assert (copy / "config.json").read_bytes() == (mine / "config.json").read_bytes()


def truncate(copy: Path) -> None:
    os.truncate(copy / "model.bin", 100_000)


def damage_a_header(copy: Path) -> None:
    data = bytearray((copy / "model.bin").read_bytes())
    data[data.index(b"decoder/layer_norm/beta") + 1] ^= 2
    (copy / "model.bin").write_bytes(data)


def forget(copy: Path) -> None:
    (copy / "copy.json").write_text("[" * 100_000)


def of_another_version(copy: Path) -> None:
    record = (copy / "copy.json").read_text()
    (copy / "copy.json").write_text(record.replace('"version": 2', '"version": 3'))


def unlink_settings(copy: Path) -> None:
    (copy / "config.json").unlink()


def empty(copy: Path) -> None:
    shutil.rmtree(copy)
    copy.mkdir()


@pytest.mark.parametrize("damage", [truncate, damage_a_header, forget, of_another_version, unlink_settings, empty])
def test_a_damaged_copy_is_made_anew(mine: Path, damage: Callable[[Path], None]) -> None:
    copy = int8_copy.make(mine)
    assert copy
    good = (copy / "model.bin").read_bytes()
    damage(copy)
    assert int8_copy.find(mine) is None
    assert loaded_from(mine) == mine
    assert int8_copy.find(mine) == copy
    assert (copy / "model.bin").read_bytes() == good


def test_a_copy_that_cannot_be_loaded_gives_way_to_the_source(mine: Path, tmp_path: Path) -> None:
    engine = CTranslate2Engine(mine, device="cpu", int8_copy=lambda: tmp_path / "gone")
    assert engine.folder == mine


@pytest.mark.parametrize("beginning", [True, False])
def test_a_cache_that_cannot_be_written(
    mine: Path, cache_folder: Path, beginning: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "mtasr")
    if beginning:
        cache_folder.write_text("a file where the folder should be")
    else:
        cache_folder.mkdir()
        (cache_folder / "int8").write_text("a file where the folder should be")
    assert loaded_from(mine) == mine
    assert "no int8 copy" in caplog.text
    assert {record.levelname for record in caplog.records} == {"DEBUG"}


def test_a_full_disk(mine: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(int8_copy.os, "fsync", no_space)  # type: ignore[attr-defined]
    assert loaded_from(mine) == mine
    assert copies(cache_folder) == []


def test_a_nearly_full_disk_is_left_alone(mine: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = (mine / "model.bin").stat().st_size
    usage = shutil.disk_usage(mine)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2 * size - 1))
    assert loaded_from(mine) == mine
    assert copies(cache_folder) == []


def test_a_source_that_changes_meanwhile_gets_no_copy(
    mine: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantize = int8_copy._quantize

    def touching(*arguments: object) -> object:
        os.utime(mine / "model.bin", ns=(1, 1))
        return quantize(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(int8_copy, "_quantize", touching)
    assert int8_copy.make(mine) is None
    assert copies(cache_folder) == []


def test_unwanted_work_is_dropped(mine: Path, cache_folder: Path) -> None:
    answers = iter([True] * 5)
    assert int8_copy.make(mine, lambda: next(answers, False)) is None
    assert copies(cache_folder) == []


LOAD_AND_LEAVE = """
import sys, mtasr
from mtasr import system
from mtasr.models import int8_copy
system.largest_weight = lambda: 127
int8_copy._SMALLEST, int8_copy._VALUES = 0, 16  # row by row, which takes long enough to be caught at it
mtasr.load_model(sys.argv[1], device="cpu", threads=1)
"""


def test_the_end_of_the_program_does_not_wait(mine: Path, cache_folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOAD_AND_LEAVE, mine], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert copies(cache_folder) == []


MAKE = """
import sys, pathlib
from mtasr import system
from mtasr.models import int8_copy
system.largest_weight = lambda: 127
int8_copy._SMALLEST = 0
print("ready", flush=True)
sys.stdin.readline()
print(int8_copy.make(pathlib.Path(sys.argv[1])))
"""


def test_two_processes_at_once(mine: Path, cache_folder: Path) -> None:
    command = [sys.executable, "-c", MAKE, mine]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(2)]  # type: ignore[call-overload]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    results = [process.communicate(timeout=60) for process in processes]
    copy = int8_copy.find(mine)
    assert copy
    assert copies(cache_folder) == [copy.name]
    assert str(copy) in {out.strip() for out, _ in results}
    assert {out.strip() for out, _ in results} <= {str(copy), "None"}
    assert [errors for _, errors in results] == ["", ""]


def test_who_comes_second_does_not_wait(mine: Path, cache_folder: Path) -> None:
    with cache.lock("int8"):
        assert int8_copy.make(mine) is None
    assert copies(cache_folder) == []
    assert int8_copy.make(mine)


def test_what_nobody_needs_any_more_is_swept(mine: Path, tmp_path: Path, cache_folder: Path) -> None:
    other = shutil.copytree(mine, tmp_path / "other")
    first, second = int8_copy.make(mine), int8_copy.make(other)
    assert first
    assert second
    (cache_folder / "int8" / ".killed.partial").mkdir()
    (cache_folder / "int8" / "nothing").mkdir()
    shutil.rmtree(mine)
    third = int8_copy.make(shutil.copytree(other, tmp_path / "third"))
    assert third
    assert copies(cache_folder) == sorted([second.name, third.name])


# Models in the cache


def test_a_cached_model_has_its_copy_beside_it(cached: Path, cache_folder: Path, tmp_path: Path) -> None:
    assert loaded_from(cached) == cached
    copy = cache_folder / "int8" / cached.name
    assert loaded_from(cached) == copy
    os.utime(cached / "model.bin", ns=(1, 1))
    assert int8_copy.find(cached) == copy, "the hash in the manifest counts, not the time"
    assert resolve("small-one") == cached


def test_a_cache_that_moves_keeps_its_copies(
    cached: Path, cache_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert int8_copy.make(cached)
    cache_folder.rename(tmp_path / "elsewhere")
    monkeypatch.setenv("MTASR_CACHE", str(tmp_path / "elsewhere"))
    moved = tmp_path / "elsewhere" / cached.name
    assert loaded_from(moved) == tmp_path / "elsewhere" / "int8" / cached.name


def test_remove_removes_it(cached: Path, mine: Path, cache_folder: Path) -> None:
    copy, other = int8_copy.make(cached), int8_copy.make(mine)
    assert copy
    assert other
    assert remove("small-one") == [cached, copy]
    assert copies(cache_folder) == [other.name]
    with pytest.raises(ModelNotFoundError):
        remove("small-one")


def test_verify_reads_it(cached: Path) -> None:
    copy = int8_copy.make(cached)
    assert copy
    assert [(result.path, result.problems) for result in verify("small-one")] == [(cached, ()), (copy, ())]
    data = bytearray((copy / "model.bin").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "model.bin").write_bytes(data)
    assert [len(result.problems) for result in verify("small-one")] == [0, 1]
    forget(copy)
    assert "incomplete" in verify("small-one")[1].problems[0]


def test_installing_anew_makes_it_anew(cached: Path, cache_folder: Path) -> None:
    assert int8_copy.make(cached)
    assert pull("small-one") == cached
    assert copies(cache_folder) == [cached.name]
    assert pull("small-one", force=True) == cached
    assert copies(cache_folder) == []


def test_without_a_thread_there_is_none(mine: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    int8_copy.make_later(mine)
    assert copies(cache_folder) == []
