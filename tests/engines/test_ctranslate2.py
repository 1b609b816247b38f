from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import ctranslate2
import numpy as np
import pytest
from one_window import encode_one, generate_one
from tiny_model import TINY

import mtasr
from mtasr import system
from mtasr.engines.ctranslate2 import CTranslate2Engine, choose_compute_type, fit_memory
from mtasr.engines.engine import Encoded, Engine, Hypothesis
from mtasr.errors import DeviceError, ModelIntegrityError, UsageError
from mtasr.options import DecodingOptions


@pytest.fixture(scope="module")
def engine(tiny_models: dict[str, Path]) -> CTranslate2Engine:
    return CTranslate2Engine(tiny_models["multilingual"], device="cpu", dims=TINY)


def noise(n_mels: int, frames: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(n_mels, frames)).astype(np.float32)


def test_the_cpu_computes_in_int8(engine: CTranslate2Engine) -> None:
    assert (engine.device, engine.compute_type, engine.limits.n_mels) == ("cpu", "int8", 80)


@pytest.mark.parametrize("frames", [2, 100, 101, 158, 159, 160, 161, 3000])
def test_any_length_is_encoded(engine: CTranslate2Engine, frames: int) -> None:
    # 160 frames give as many encoder frames as there are mel bins, which CTranslate2 takes for raw features.
    encoded = encode_one(engine, noise(80, frames))
    assert encoded.shape[1] == 16
    assert encoded.shape[0] >= frames // 2
    assert encoded.shape[0] != 80
    hypothesis = generate_one(
        engine, encoded, engine.tokenizer.sot_sequence("en", "transcribe"), DecodingOptions(), 0.0
    )
    assert hypothesis.avg_logprob < 0
    assert 0 <= hypothesis.no_speech_prob <= 1


def test_timestamps_start_and_rise(engine: CTranslate2Engine) -> None:
    tokenizer = engine.tokenizer
    encoded = encode_one(engine, noise(80, 300))
    options = DecodingOptions(max_initial_timestamp=0.5)
    tokens = generate_one(engine, encoded, tokenizer.sot_sequence("en", "transcribe"), options, 0.0).tokens
    stamps = [tokenizer.seconds(token) for token in tokens if tokenizer.is_timestamp(token)]
    assert tokenizer.is_timestamp(tokens[0])
    assert stamps[0] <= 0.5
    assert stamps == sorted(stamps)
    assert not set(tokens) & {*tokenizer.never_text, tokenizer.no_timestamps}


def test_suppressed_tokens_are_not_written(engine: CTranslate2Engine) -> None:
    prompt = engine.tokenizer.sot_sequence("en", "transcribe", timestamps=False)
    encoded = encode_one(engine, noise(80, 300))
    plain = generate_one(engine, encoded, prompt, DecodingOptions(), 0.0).tokens
    without = generate_one(engine, encoded, prompt, DecodingOptions(suppress_tokens=(-1, plain[0])), 0.0).tokens
    assert plain[0] not in without


def test_sampling_is_repeatable_from_run_to_run(tiny_models: dict[str, Path]) -> None:
    def sample() -> tuple[int, ...]:
        engine = CTranslate2Engine(tiny_models["english"], device="cpu", dims=TINY)
        options = DecodingOptions(best_of=2)
        return generate_one(
            engine, encode_one(engine, noise(80, 100)), engine.tokenizer.sot_sequence("en", "transcribe"), options, 1.0
        ).tokens

    assert sample() == sample()


def test_languages_are_codes_with_probabilities(engine: CTranslate2Engine) -> None:
    guesses = engine.detect_language(encode_one(engine, noise(80, 3000)))
    assert len(guesses) == 99
    assert sum(guess.probability for guess in guesses) == pytest.approx(1, abs=1e-3)
    assert {guess.code for guess in guesses} == set(engine.tokenizer.language_tokens)
    assert guesses == sorted(guesses, key=lambda guess: -guess.probability)


def test_alignment_is_a_path(engine: CTranslate2Engine) -> None:
    encoded = encode_one(engine, noise(80, 3000))
    text = engine.tokenizer.encode(" the people said water")
    alignment = engine.align(encoded, engine.tokenizer.sot_sequence("en", "transcribe"), text, 1000)
    assert (np.diff(alignment.token_indices) >= 0).all()
    assert (np.diff(alignment.frame_indices) >= 0).all()
    assert alignment.frame_indices[-1] < 500
    assert len(alignment.token_probs) == len(text)


def test_the_devices_are_those_that_ctranslate2_finds(
    tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 0)
    with pytest.raises(DeviceError, match="no CUDA device was found"):
        CTranslate2Engine(tiny_models["english"], device="cuda")
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 2)
    with pytest.raises(DeviceError, match="no CUDA device 5; this machine has 2"):
        CTranslate2Engine(tiny_models["english"], device="cuda", device_index=5)


def test_compute_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctranslate2, "get_supported_compute_types", lambda device, index: {"float32", "int8"})
    assert choose_compute_type("auto", "cpu") == "int8"
    assert choose_compute_type("auto", "cuda") == "float32"
    with pytest.raises(DeviceError, match=r"cannot compute in 'float16'; it can in float32, int8"):
        choose_compute_type("float16", "cpu")
    monkeypatch.setattr(
        ctranslate2, "get_supported_compute_types", lambda device, index: {"float32", "int8_float16", "float16"}
    )
    assert choose_compute_type("auto", "cuda") == "int8_float16"


def test_a_damaged_model_is_one_clear_line(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    source = tiny_models["multilingual"]
    for name in ("config.json", "vocabulary.json"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    (tmp_path / "model.bin").write_bytes((source / "model.bin").read_bytes()[:5000])
    with pytest.raises(ModelIntegrityError, match="cannot load the model") as caught:
        CTranslate2Engine(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("token", [51865, 10**9])
def test_tokens_that_do_not_exist_are_refused(engine: CTranslate2Engine, token: int) -> None:
    encoded = encode_one(engine, noise(80, 100))
    prompt = engine.tokenizer.sot_sequence("en", "transcribe")
    with pytest.raises(UsageError, match="ids go from 0 to 51864"):
        generate_one(engine, encoded, prompt, DecodingOptions(suppress_tokens=(-1, token)), 0.0)


@pytest.mark.parametrize("threads", [-1, 100_000])
def test_absurd_numbers_of_threads_are_refused(tiny_models: dict[str, Path], threads: int) -> None:
    with pytest.raises(UsageError, match="threads must be between"):
        CTranslate2Engine(tiny_models["english"], threads=threads)


@pytest.mark.parametrize("key", ["lang_ids", "suppress_ids", "suppress_ids_begin"])
def test_a_config_without_what_decoding_needs_is_refused(
    tiny_models: dict[str, Path], tmp_path: Path, key: str
) -> None:
    folder = shutil.copytree(tiny_models["multilingual"], tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    del config[key]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelIntegrityError, match=f"lacks {key}: convert the model again"):
        CTranslate2Engine(folder)


@pytest.mark.parametrize(
    ("model", "workers", "free", "fitting"),
    [
        (75e6, 2, 20e9, (2, 8)),
        (1.55e9, 2, 20e9, (2, 4)),
        (1.55e9, 16, 20e9, (7, 2)),
        (1.55e9, 4, 1e9, (1, 1)),
    ],
)
def test_work_fits_into_memory(model: float, workers: int, free: float, fitting: tuple[int, int]) -> None:
    assert fit_memory(int(model), workers, 8, int(free)) == fitting


class BrokenGpu:
    """A CTranslate2 model that loads on the GPU and cannot compute there."""

    n_mels = 80

    def __init__(self, path: str, device: str, **settings: object) -> None:
        self.device = device

    def encode(self, features: object, *, to_cpu: bool) -> str:
        if self.device == "cuda":
            raise RuntimeError("Library libcublas.so.12 is not found or cannot be loaded")
        return "encoded"


def test_a_gpu_that_does_not_work_gives_way_to_the_cpu(
    tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 1)
    monkeypatch.setattr(ctranslate2, "get_supported_compute_types", lambda device, index: {"float32"})
    monkeypatch.setattr(ctranslate2.models, "Whisper", BrokenGpu)
    engine = CTranslate2Engine(tiny_models["english"], device="auto")
    assert engine.device == "cpu"
    assert "libcublas" in caplog.text
    with pytest.raises(DeviceError, match=r"libcublas.*--device cpu does without it"):
        CTranslate2Engine(tiny_models["english"], device="cuda")


@pytest.fixture(scope="module")
def workers(tiny_models: dict[str, Path]) -> dict[int, CTranslate2Engine]:
    return {
        count: CTranslate2Engine(tiny_models["multilingual"], device="cpu", threads=count, workers=count, dims=TINY)
        for count in (1, 2)
    }


def windows(engine: CTranslate2Engine, count: int = 3, frames: int = 900) -> list[np.ndarray]:
    rng = np.random.default_rng(2)
    return engine.encode([rng.normal(size=(80, frames)).astype(np.float32) for _ in range(count)])


@pytest.mark.parametrize("beam_size", [1, 5])
@pytest.mark.parametrize("count", [1, 2])
def test_a_batch_says_the_same_as_one_by_one(workers: dict[int, CTranslate2Engine], count: int, beam_size: int) -> None:
    engine, options = workers[count], DecodingOptions(beam_size=beam_size)
    encoded = windows(engine)
    tokenizer = engine.tokenizer
    prompts = [tokenizer.sot_sequence(language, "transcribe") for language in ("en", "fr", "en")]
    together = engine.generate(encoded, prompts, options, 0.0)
    assert len({hypothesis.tokens for hypothesis in together}) > 1
    for window, prompt, hypothesis in zip(encoded, prompts, together, strict=True):
        single = generate_one(engine, window, prompt, options, 0.0)
        assert hypothesis.tokens == single.tokens
        assert hypothesis.avg_logprob == pytest.approx(single.avg_logprob, abs=1e-5)
        assert hypothesis.no_speech_prob == pytest.approx(single.no_speech_prob, abs=1e-5)


def test_the_number_of_workers_changes_nothing(workers: dict[int, CTranslate2Engine]) -> None:
    prompts = [workers[1].tokenizer.sot_sequence("en", "transcribe")] * 3
    for one, other in zip(windows(workers[1]), windows(workers[2]), strict=True):
        np.testing.assert_array_equal(one, other)
    one, other = (engine.generate(windows(engine), prompts, DecodingOptions(), 0.0) for engine in workers.values())
    assert one == other


def test_calls_side_by_side_say_the_same(workers: dict[int, CTranslate2Engine]) -> None:
    engine = workers[2]
    encoded = windows(engine, 6)
    prompt = engine.tokenizer.sot_sequence("en", "transcribe")

    def generate(window: np.ndarray) -> Hypothesis:
        return generate_one(engine, window, prompt, DecodingOptions(beam_size=1), 0.0)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(generate, encoded)) == [generate(window) for window in encoded]


@pytest.mark.parametrize("frames", [160, 900])
def test_encoding_together_is_encoding_one_by_one(engine: CTranslate2Engine, frames: int) -> None:
    features = [np.random.default_rng(seed).normal(size=(80, frames)).astype(np.float32) for seed in range(3)]
    for one, other in zip(engine.encode(features), (encode_one(engine, each) for each in features), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("count", [1, 2])
def test_a_sampler_is_one_worker_with_the_same_model(workers: dict[int, CTranslate2Engine], count: int) -> None:
    engine, options = workers[count], DecodingOptions(best_of=2)
    prompt, encoded = engine.tokenizer.sot_sequence("en", "transcribe"), windows(engine, 1)[0]
    with engine.sampler(0) as sampler:
        assert (sampler is engine) == (count == 1), "with one worker the model is not loaded twice"
        with engine.sampler(0) as second:
            assert second not in (sampler, engine), "a second recording has its own"
        assert (sampler.limits.workers, sampler.device, sampler.compute_type) == (1, "cpu", engine.compute_type)
        said = generate_one(sampler, encoded, prompt, options)
    assert said == generate_one(workers[1], encoded, prompt, options)
    with engine.sampler(0) as other:
        assert other is sampler, "it is kept for the next recording"


def draws(sampler: Engine, encoded: Encoded, times: int) -> list[Hypothesis]:
    prompt = sampler.tokenizer.sot_sequence("en", "transcribe")
    return [generate_one(sampler, encoded, prompt, DecodingOptions(best_of=1), 1.0) for _ in range(times)]


@pytest.mark.parametrize("count", [1, 2])
def test_a_sampler_begins_with_its_seed_whatever_was_drawn_before(
    workers: dict[int, CTranslate2Engine], count: int
) -> None:
    encoded = windows(workers[1], 1)[0]

    def drawn(seed: int, times: int) -> list[Hypothesis]:
        with workers[count].sampler(seed) as sampler:
            return draws(sampler, encoded, times)

    first = drawn(7, 3)
    assert first[0] != first[1], "there is something to draw"
    assert drawn(8, 2) != first[:2]
    assert drawn(7, 3) == first
    draws(workers[count], encoded, 1)
    assert drawn(7, 3) == first


def test_two_samplers_at_a_time_draw_what_each_draws_alone(workers: dict[int, CTranslate2Engine]) -> None:
    """Turn by turn, and from two threads. CTranslate2 has one seed for the whole process."""
    engine, encoded = workers[2], windows(workers[2], 1)[0]
    alone = {}
    for seed in (7, 8):
        with engine.sampler(seed) as sampler:
            alone[seed] = draws(sampler, encoded, 4)
    assert alone[7] != alone[8]
    with engine.sampler(7) as one, engine.sampler(8) as other:
        assert one is not other
        turns = [[draws(sampler, encoded, 1)[0] for sampler in (one, other)] for _ in range(4)]
    assert [list(each) for each in zip(*turns, strict=True)] == list(alone.values())
    with engine.sampler(7) as one, engine.sampler(8) as other, ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda sampler: draws(sampler, encoded, 4), (one, other))) == list(alone.values())


def test_a_sampler_that_has_drawn_leaves_the_seed_to_those_that_begin(
    workers: dict[int, CTranslate2Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one that draws again between another's seed and its first draw would change what that draws."""
    seeds: list[int] = []
    set_seed = ctranslate2.set_random_seed
    monkeypatch.setattr(ctranslate2, "set_random_seed", lambda seed: (seeds.append(seed), set_seed(seed)))
    encoded = windows(workers[1], 1)[0]
    with workers[1].sampler(7) as one, workers[1].sampler(8) as other:
        for sampler in (one, other, one):
            draws(sampler, encoded, 2)
    assert seeds == [7, 8]


def test_n_best_readings_are_the_best_first(engine: CTranslate2Engine) -> None:
    prompt = engine.tokenizer.sot_sequence("en", "transcribe")
    encoded = encode_one(engine, noise(80, 300))
    for temperature, options in ((0.0, DecodingOptions(n_best=4)), (0.8, DecodingOptions(n_best=4, best_of=4))):
        found = generate_one(engine, encoded, prompt, options, temperature)
        readings = [(found.tokens, found.avg_logprob), *found.others]
        assert len(readings) == 4
        scores = [logprob * (len(tokens) + 1) / max(len(tokens), 1) for tokens, logprob in readings]
        assert scores == sorted(scores, reverse=True)
        assert len({tokens for tokens, _ in readings}) > 1
        assert replace(found, others=()) == generate_one(engine, encoded, prompt, DecodingOptions(), 0.0) or temperature


def test_sampling_in_file_order_is_the_same_for_any_number_of_workers(tiny_models: dict[str, Path]) -> None:
    samples = np.concatenate([np.random.default_rng(5).normal(0, 0.1, 6 * 16_000).astype(np.float32)] * 3)
    said = []
    for count in (1, 2):
        model = mtasr.load_model(tiny_models["multilingual"], device="cpu", threads=count, workers=count, batch_size=2)
        # A random model passes no check, so every window is sampled.
        options = {"vad_filter": False, "temperature": (0.0, 0.5), "best_of": 2, "no_speech_threshold": None}
        said.append(model.transcribe(np.tile(samples, 2), language="en", **options))
    assert said[0].segments
    assert said[0] == said[1]


@pytest.mark.weights
def test_memory_for_samples_is_given_back() -> None:
    code = """
import re
from pathlib import Path
import numpy as np
from mtasr.options import DecodingOptions
from mtasr.transcribe import load_model

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

engine = load_model("base", device="cpu", workers=1, threads=1).engine
encoded = engine.encode([np.random.default_rng(1).normal(size=(80, 3000)).astype(np.float32)])
start = [engine.tokenizer.sot_sequence("en", "transcribe")]
engine.generate(encoded, start, DecodingOptions(), 0.0)
with engine.sampler(0) as sampler:
    sampler.generate(encoded, start, DecodingOptions(), 0.0)
before = resident()
for seed in range(3):
    with engine.sampler(seed) as sampler:
        sampler.generate(encoded, start, DecodingOptions(), 1.0)
print(resident() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 60


@pytest.mark.weights
@pytest.mark.parametrize("asked", [None, "3"])
def test_threads_share_what_is_freed(asked: str | None, tmp_path: Path) -> None:
    code = """
import ctypes, re, sys
from pathlib import Path
from mtasr.system import share_freed_memory
share_freed_memory()
import numpy as np
from mtasr.transcribe import load_model

model = load_model("base", device="cpu", workers=2, threads=2)
sounds = [np.random.default_rng(seed).normal(size=32000).astype(np.float32) for seed in range(4)]
with model.stream_all(sounds, vad_filter=False, language="en") as streams:
    for stream in streams:
        with stream:
            stream.transcript()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
print(len(re.findall("<heap nr", Path(sys.argv[1]).read_text())))
"""
    environment = {
        name: value for name, value in os.environ.items() if name not in {"MALLOC_ARENA_MAX", "GLIBC_TUNABLES"}
    }
    environment |= {"OPENBLAS_NUM_THREADS": "1"} | ({} if asked is None else {"MALLOC_ARENA_MAX": asked})
    command = [sys.executable, "-c", code, str(tmp_path / "arenas.xml")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) <= -(-system.available_cores() // 4) if asked is None else done.stdout == f"{asked}\n"


def test_a_text_of_any_length_that_is_allowed_is_scored(engine: CTranslate2Engine) -> None:
    prompt = engine.tokenizer.sot_sequence("en", "transcribe", timestamps=False)
    encoded = encode_one(engine, noise(80, 300))
    longest = engine.tokenizer.encode(" the")[:1] * (engine.limits.max_length // 2 - 2)
    texts = [longest, [], longest[:3]]
    found = engine.score([encoded] * 3, [prompt] * 3, texts)
    assert [len(each.logprobs) for each in found] == [len(text) + 1 for text in texts]
    # Alone or beside others, a text is as probable.
    (alone,) = engine.score([encoded], [prompt], texts[2:])
    np.testing.assert_allclose(alone.logprobs, found[2].logprobs, atol=1e-4)
