"""The torch engine against CTranslate2 in float32: one tiny random model, read by both."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fakes import LoudIsSpeech  # noqa: E402
from one_window import encode_one, generate_one  # noqa: E402
from vocabularies import vocabulary  # noqa: E402

import mtasr  # noqa: E402
from mtasr.checkpoints.checkpoint import Checkpoint  # noqa: E402
from mtasr.checkpoints.formats import save_checkpoint  # noqa: E402
from mtasr.checkpoints.settings import default_settings  # noqa: E402
from mtasr.engines.ctranslate2 import CTranslate2Engine  # noqa: E402
from mtasr.engines.engine import Encoded  # noqa: E402
from mtasr.engines.torch import TorchEngine, torch_device  # noqa: E402
from mtasr.errors import DeviceError, UsageError  # noqa: E402
from mtasr.extras import install_extra  # noqa: E402
from mtasr.networks.whisper import ModelDimensions, Whisper  # noqa: E402
from mtasr.options import DecodingOptions  # noqa: E402
from mtasr.tokenizer import Tokenizer  # noqa: E402
from mtasr.tokenizer.prompt_tokens import renamed  # noqa: E402

EXAMPLE = Path(__file__).parents[2] / "examples" / "interview.flac"
WIDTH, HEADS, LAYERS = 16, 2, 2


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def random_model(tokens: list[str], n_mels: int, seed: int) -> Whisper:
    """Weights that make lively text: ends and timestamps come neither at once nor never."""
    dims = ModelDimensions(
        n_mels=n_mels, n_audio_ctx=1500, n_audio_state=WIDTH, n_audio_head=HEADS, n_audio_layer=LAYERS,
        n_vocab=len(tokens), n_text_ctx=448, n_text_state=WIDTH, n_text_head=HEADS, n_text_layer=LAYERS,
    )  # fmt: skip
    model, tokenizer = Whisper(dims), Tokenizer(tokens)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            around = 1.0 if "norm.weight" in name else 0.0
            weights.copy_(around + 0.3 * torch.randn(weights.shape, generator=generator))
        model.decoder.positions *= 4  # without which such a model falls into a loop at once
        # The bias before the output projection is a direction in which some tokens can be made likelier than others.
        likely = model.decoder.norm.bias / model.decoder.norm.bias.square().sum()
        embedding = model.decoder.embedding.weight
        embedding[tokenizer.eot] += 3 * likely
        embedding[tokenizer.timestamp_begin :] -= 4 * likely
    return model


@dataclass
class Pair:
    """The same model in both engines, and the same features encoded by each."""

    ours: TorchEngine
    theirs: CTranslate2Engine
    encoded: Encoded
    their_encoded: Encoded

    def prompt(self, *, timestamps: bool = True) -> tuple[int, ...]:
        return self.ours.tokenizer.sot_sequence("en", "transcribe", timestamps=timestamps)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """CTranslate2 folders in float32, by the layout of their vocabularies."""
    root = tmp_path_factory.mktemp("random")
    # The seeds are of models that write much and varied text; of large-v3's, some fills the context.
    for kind, n_mels, seed in (("multilingual", 80, 4), ("english", 80, 0), ("large-v3", 128, 0), ("prompted", 80, 4)):
        tokens = renamed(vocabulary(), range(660, 668)) if kind == "prompted" else vocabulary(kind)
        model = random_model(tokens, n_mels, seed)
        (root / kind).mkdir()
        save_checkpoint(Checkpoint(model, tokens, default_settings(tokens, LAYERS, HEADS)), root / kind, "ctranslate2")
    return {path.name: path for path in root.iterdir()}


@pytest.fixture(scope="module", params=["multilingual", "english", "large-v3", "prompted"])
def pair(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Pair:
    ours = mtasr.load_model(folders[request.param], engine="torch", device="cpu").engine
    theirs = CTranslate2Engine(folders[request.param], device="cpu", compute_type="float32", threads=1)
    assert isinstance(ours, TorchEngine)
    assert (ours.limits.n_mels, ours.limits.max_length) == (theirs.limits.n_mels, theirs.limits.max_length)
    features = noise(ours.limits.n_mels, 1000)
    return Pair(ours, theirs, encode_one(ours, features), encode_one(theirs, features))


def noise(n_mels: int, frames: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n_mels, frames)).astype(np.float32)


@pytest.mark.parametrize("frames", [2, 100, 3000])
def test_the_encoders_agree(pair: Pair, frames: int) -> None:
    features = noise(pair.ours.limits.n_mels, frames)
    theirs = np.asarray(encode_one(pair.theirs, features))
    np.testing.assert_allclose(encode_one(pair.ours, features)[0].numpy(), theirs, atol=1e-4)


def test_the_languages_agree(pair: Pair) -> None:
    if not pair.ours.tokenizer.is_multilingual:
        pytest.skip("knows one language")
    ours = {guess.code: guess.probability for guess in pair.ours.detect_language(pair.encoded)}
    theirs = {guess.code: guess.probability for guess in pair.theirs.detect_language(pair.their_encoded)}
    assert ours == pytest.approx(theirs, abs=1e-5)
    assert sum(ours.values()) == pytest.approx(1)
    assert next(iter(ours)) == next(iter(theirs))


OPTIONS: dict[str, dict[str, object]] = {
    "defaults": {},
    "no own list": {"suppress_tokens": (), "suppress_blank": False},
    "penalties": {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2},
    "patient": {"patience": 2.0},
    "impatient": {"patience": 0.5},
    "no length penalty": {"length_penalty": 0.0},
    "early first time": {"max_initial_timestamp": 0.1},
}


@pytest.mark.parametrize("timestamps", [True, False], ids=["timestamps", "plain"])
@pytest.mark.parametrize("beam_size", [1, 5])
@pytest.mark.parametrize("changes", OPTIONS.values(), ids=OPTIONS)
def test_the_same_tokens_come_out(pair: Pair, changes: dict[str, object], beam_size: int, timestamps: bool) -> None:
    options = DecodingOptions(beam_size=beam_size, **changes)  # type: ignore[arg-type]
    prompt = pair.prompt(timestamps=timestamps)
    ours = generate_one(pair.ours, pair.encoded, prompt, options, 0.0)
    theirs = generate_one(pair.theirs, pair.their_encoded, prompt, options, 0.0)
    assert ours.tokens == theirs.tokens
    if ours.tokens:  # an empty text has no score in CTranslate2
        assert ours.avg_logprob == pytest.approx(theirs.avg_logprob, abs=1e-4)
    assert ours.no_speech_prob == pytest.approx(theirs.no_speech_prob, rel=1e-3)


def test_these_models_write_texts_worth_comparing(pair: Pair) -> None:
    texts = [
        generate_one(
            pair.ours, pair.encoded, pair.prompt(timestamps=timestamps), DecodingOptions(**changes), 0.0
        ).tokens  # type: ignore[arg-type]
        for changes in OPTIONS.values()
        for timestamps in (True, False)
    ]
    assert len(set(texts)) >= 5
    assert len({len(text) for text in texts}) >= 3
    assert any(pair.ours.tokenizer.is_timestamp(token) for text in texts for token in text[2:])


def test_previous_text_stands_in_the_prompt(pair: Pair) -> None:
    tokenizer = pair.ours.tokenizer
    prompt = (tokenizer.sot_prev, *tokenizer.encode(" the people said water" * 40)[:223], *pair.prompt())
    options = DecodingOptions(beam_size=2)
    ours = generate_one(pair.ours, pair.encoded, prompt, options, 0.0)
    theirs = generate_one(pair.theirs, pair.their_encoded, prompt, options, 0.0)
    assert ours.tokens == theirs.tokens
    assert ours.no_speech_prob == pytest.approx(theirs.no_speech_prob, rel=1e-3)


@pytest.mark.parametrize("timestamps", [True, False])
@pytest.mark.parametrize("beam_size", [1, 4])
def test_text_goes_on_from_how_it_begins(pair: Pair, beam_size: int, timestamps: bool) -> None:
    tokenizer = pair.ours.tokenizer
    begun = (*([tokenizer.timestamp_begin] if timestamps else []), *tokenizer.encode(" the people"))
    prompt = (tokenizer.sot_prev, *tokenizer.encode(" water"), *pair.prompt(timestamps=timestamps), *begun)
    options = DecodingOptions(beam_size=beam_size)
    ours = generate_one(pair.ours, pair.encoded, prompt, options, 0.0)
    theirs = generate_one(pair.theirs, pair.their_encoded, prompt, options, 0.0)
    assert ours.tokens == theirs.tokens
    assert ours.tokens[: len(begun)] == begun
    assert ours.no_speech_prob == pytest.approx(theirs.no_speech_prob, rel=1e-3)


def test_the_same_readings_come_out(pair: Pair) -> None:
    options = DecodingOptions(n_best=3, beam_size=3)
    ours = generate_one(pair.ours, pair.encoded, pair.prompt(), options, 0.0)
    theirs = generate_one(pair.theirs, pair.their_encoded, pair.prompt(), options, 0.0)
    assert [tokens for tokens, _ in ours.others] == [tokens for tokens, _ in theirs.others]
    assert [mean for _, mean in ours.others] == pytest.approx([mean for _, mean in theirs.others], abs=1e-4)


@pytest.mark.parametrize("frames", [1000, 301, 7, 2, 1, 0])
def test_the_alignments_agree(pair: Pair, frames: int) -> None:
    text = pair.ours.tokenizer.encode(" the people said water")
    ours = pair.ours.align(pair.encoded, pair.prompt(), text, frames)
    theirs = pair.theirs.align(pair.their_encoded, pair.prompt(), text, frames)
    np.testing.assert_array_equal(ours.token_indices, theirs.token_indices)
    np.testing.assert_array_equal(ours.frame_indices, theirs.frame_indices)
    np.testing.assert_allclose(ours.token_probs, theirs.token_probs, rtol=1e-3)


def test_texts_are_as_probable(pair: Pair) -> None:
    encode = pair.ours.tokenizer.encode
    texts = [encode(" the people said water"), [], encode(" day")]
    prompts = [pair.prompt(timestamps=False)] * 3
    ours = pair.ours.score([pair.encoded] * 3, prompts, texts)
    theirs = pair.theirs.score([pair.their_encoded] * 3, prompts, texts)
    for text, one, other in zip(texts, ours, theirs, strict=True):
        assert len(one.logprobs) == len(one.end_logprobs) == len(text) + 1
        assert one.logprobs[-1] == one.end_logprobs[-1]
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=2e-3)
        np.testing.assert_allclose(one.end_logprobs, other.end_logprobs, atol=2e-3)


def test_sampling_is_repeatable_whatever_was_decoded_before(pair: Pair) -> None:
    options = DecodingOptions(best_of=3)
    first = generate_one(pair.ours, pair.encoded, pair.prompt(), options, 1.0)
    generate_one(pair.ours, pair.encoded, pair.prompt(), options, 0.4)
    assert generate_one(pair.ours, pair.encoded, pair.prompt(), options, 1.0) == first
    assert generate_one(pair.ours, pair.encoded, pair.prompt(), options, 0.4) != first


def test_a_sampler_draws_from_its_seed_and_leaves_the_engines_alone(pair: Pair) -> None:
    options, prompt = DecodingOptions(best_of=3), pair.prompt()
    first = generate_one(pair.ours, pair.encoded, prompt, options, 1.0)
    with pair.ours.sampler(1) as sampler, pair.ours.sampler(0) as same:
        assert sampler.model is pair.ours.model
        drawn = generate_one(sampler, pair.encoded, prompt, options, 1.0)
        assert drawn != first
        assert generate_one(same, pair.encoded, prompt, options, 1.0) == first
        assert generate_one(pair.ours, pair.encoded, prompt, options, 1.0) == first
        assert generate_one(sampler, pair.encoded, prompt, options, 1.0) == drawn
    assert generate_one(pair.ours, pair.encoded, prompt, options, 1.0) == first


def test_an_empty_text_has_a_probability(folders: dict[str, Path]) -> None:
    tokens = vocabulary("english")
    model = random_model(tokens, 80, seed=0)
    with torch.no_grad():
        model.decoder.embedding.weight[Tokenizer(tokens).eot] += 40 * model.decoder.norm.bias
    engine = TorchEngine(model, Tokenizer(tokens), device="cpu")
    prompt = engine.tokenizer.sot_sequence("en", "transcribe", timestamps=False)
    for options in (DecodingOptions(beam_size=1), DecodingOptions(beam_size=3, length_penalty=0.0)):
        hypothesis = generate_one(engine, encode_one(engine, noise(80, 100)), prompt, options, 0.0)
        assert hypothesis.tokens == ()
        assert -1 < hypothesis.avg_logprob <= 0


def test_without_alignment_heads_the_upper_half_of_the_decoder_is_taken() -> None:
    tokens = vocabulary()
    engine = TorchEngine(random_model(tokens, 80, seed=0), Tokenizer(tokens), device="cpu")
    assert engine.alignment_heads == ((1, 0), (1, 1))


def test_the_whole_program_runs_on_it(folders: dict[str, Path]) -> None:
    model = mtasr.load_model(folders["multilingual"], engine="torch", threads=1)
    transcript = model.transcribe(
        EXAMPLE, temperature=(0.0,), beam_size=2, no_speech_threshold=None, word_timestamps=True
    )
    reference = mtasr.load_model(folders["multilingual"], compute_type="float32", device="cpu").transcribe(
        EXAMPLE, temperature=(0.0,), beam_size=2, no_speech_threshold=None, word_timestamps=True
    )
    assert transcript.segments
    assert transcript.text == reference.text
    assert [(word.word, word.start) for segment in transcript for word in segment.words or ()] == [
        (word.word, word.start) for segment in reference for word in segment.words or ()
    ]


def test_it_takes_a_detector_too(folders: dict[str, Path]) -> None:
    model = mtasr.load_model(folders["english"], engine="torch", device="cpu", threads=1, detector=LoudIsSpeech)
    samples = np.concatenate([np.zeros(2 * 16_000), np.random.default_rng(0).normal(0, 0.1, 16_000)])
    transcript = model.transcribe(samples, temperature=(0.0,), beam_size=1)
    assert transcript.speech == (pytest.approx((2, 3), abs=0.05),)


def test_devices_and_precisions(monkeypatch: pytest.MonkeyPatch, folders: dict[str, Path]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert torch_device("auto") == torch.device("cpu")
    with pytest.raises(DeviceError, match="no CUDA device was found"):
        torch_device("cuda")
    with pytest.raises(UsageError, match="device must be auto"):
        torch_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert torch_device("auto", 1) == torch_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(DeviceError, match="no CUDA device 2"):
        torch_device("cuda:2")
    with pytest.raises(DeviceError, match="float32, float16 or bfloat16, not in 'int8'"):
        mtasr.load_model(folders["english"], engine="torch", device="cpu", compute_type="int8")


def test_half_precision_computes(folders: dict[str, Path]) -> None:
    engine = mtasr.load_model(folders["english"], engine="torch", device="cpu", compute_type="bfloat16").engine
    prompt = engine.tokenizer.sot_sequence("en", "transcribe")
    encoded = encode_one(engine, noise(80, 200))
    assert encoded.dtype == torch.bfloat16
    assert generate_one(engine, encoded, prompt, DecodingOptions(), 0.0).avg_logprob < 0
    assert len(engine.align(encoded, prompt, engine.tokenizer.encode(" water"), 200).token_indices)


def test_an_unknown_engine_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="engine must be ctranslate2 or torch, not 'jax'"):
        mtasr.load_model(folders["english"], engine="jax")  # type: ignore[arg-type]


def run_python(code: str, *args: str | Path) -> str:
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_torch_one_line_says_what_to_install(folders: dict[str, Path]) -> None:
    code = """if True:
        import sys
        sys.modules["torch"] = None  # as if it were not installed
        import mtasr
        from mtasr.errors import MissingExtraError
        try:
            mtasr.load_model(sys.argv[1], engine="torch")
        except MissingExtraError as error:
            print(error)
    """
    assert run_python(code, folders["english"]) == f"this needs torch: {install_extra('train')} brings it\n"


def test_the_ordinary_path_leaves_torch_alone(folders: dict[str, Path]) -> None:
    code = """if True:
        import sys
        import mtasr
        mtasr.load_model(sys.argv[1], device="cpu").transcribe(sys.argv[2], temperature=(0.0,), beam_size=1)
        print("torch" in sys.modules)
    """
    assert run_python(code, folders["english"], EXAMPLE) == "False\n"


@pytest.mark.weights
def test_the_base_model_says_the_same_in_both_engines() -> None:
    load: Callable[..., mtasr.Model] = mtasr.load_model
    ours, theirs = load("base", engine="torch", device="cpu"), load("base", device="cpu", compute_type="float32")
    said = ours.transcribe(EXAMPLE, temperature=(0.0,), word_timestamps=True)
    expected = theirs.transcribe(EXAMPLE, temperature=(0.0,), word_timestamps=True)
    assert said.text == expected.text
    for segment, other in zip(said, expected, strict=True):
        assert segment.tokens == other.tokens
        assert segment.avg_logprob == pytest.approx(other.avg_logprob, abs=1e-4)
        for word, other_word in zip(segment.words or (), other.words or (), strict=True):
            assert word.start == pytest.approx(other_word.start, abs=0.05)
