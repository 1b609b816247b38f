"""Training adapters and prompts beside a frozen model, and what becomes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from training_model import DIMS, TOKENS, Configure, checkpoint

from mtasr.checkpoints.adapter_file import read_note
from mtasr.checkpoints.checkpoint import Checkpoint
from mtasr.checkpoints.formats import load_checkpoint, save_checkpoint
from mtasr.cli import program
from mtasr.engines.ctranslate2 import CTranslate2Engine
from mtasr.errors import UsageError
from mtasr.networks.adapters import Adapters, adapters_of
from mtasr.training.adaptation import plain_copy
from mtasr.training.batches import TextBatch
from mtasr.training.finetune import finetune_config
from mtasr.training.loop import export, train
from mtasr.training.objectives import make_objective
from mtasr.training.objectives.sequence import SequenceObjective
from mtasr.training.state import checkpoints, load_document
from mtasr.training.targets import IGNORED
from mtasr.transcribe import load_model

CPU = torch.device("cpu")
METHODS = ("houlsby", "prefix", "prompt")
#: Fillers of the vocabulary, in whose place are runs of symbols that a prompt can take.
PLACES = (290, 291, 292)


@pytest.fixture(scope="module")
def symbols(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with symbols in its vocabulary."""
    made = checkpoint()
    tokens = list(TOKENS)
    for place, run in zip(PLACES, ("----", "====", "...."), strict=True):
        tokens[place] = run
    path = tmp_path_factory.mktemp("symbols") / "tiny.pt"
    save_checkpoint(Checkpoint(made.model, tokens, made.settings), path, "openai")
    return path


def settings(method: str, model: Path, *more: str) -> list[str]:
    return [f"method={method}", f"model={model}", "adapter_size=3", "regularisation.stochastic_depth=0", *more]


def batch(objective: SequenceObjective) -> TextBatch:
    return objective.batch(objective.epoch(0)[0], np.random.default_rng(0))


@pytest.mark.parametrize("method", METHODS)
def test_only_what_was_added_is_trained(method: str, symbols: Path, configure: Configure, tmp_path: Path) -> None:
    objective = SequenceObjective(configure(tmp_path, *settings(method, symbols)))
    model = objective.model(CPU)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=1e-2)
    for _ in range(2):  # the first moves only what is behind a zero
        optimizer.zero_grad()
        objective.loss(model, batch(objective)).backward()
        optimizer.step()
    changed = {name for name, weight in model.named_parameters() if not weight.equal(before[name])}
    assert changed == {name for name in before if name.startswith("adapters.")} or (
        method == "prompt" and changed == {"decoder.embedding.vectors"}
    )


@pytest.mark.parametrize("method", ["houlsby", "prefix"])
def test_adapters_begin_as_nothing(method: str, symbols: Path, configure: Configure, tmp_path: Path) -> None:
    plain = SequenceObjective(configure(tmp_path, f"model={symbols}"))
    adapted = SequenceObjective(configure(tmp_path, *settings(method, symbols)))
    loss = plain.loss(plain.model(CPU).eval(), batch(plain))
    assert adapted.loss(adapted.model(CPU).eval(), batch(adapted)).equal(loss)


def test_a_prompt_begins_as_text_said_before(symbols: Path, configure: Configure, tmp_path: Path) -> None:
    objective = SequenceObjective(configure(tmp_path, *settings("prompt", symbols)))
    assert objective.tokenizer.prompt == PLACES[::-1]
    model = objective.model(CPU)
    words = [objective.tokenizer.sot_prev, *(objective.tokenizer.encode(f" {text}")[0] for text in ("the", "of"))]
    wanted = checkpoint().model.decoder.embedding.weight[words]
    assert model.decoder.embedding.get_parameter("vectors").equal(wanted)


def test_a_prompt_stands_before_each_text_and_is_not_taught(
    symbols: Path, configure: Configure, tmp_path: Path
) -> None:
    objective = SequenceObjective(configure(tmp_path, *settings("prompt", symbols, "data.silence=1")))
    silences = 0
    for plan in objective.epoch(0):
        made = objective.batch(plan, np.random.default_rng(0))
        for tokens, labels in zip(made.tokens.tolist(), made.labels.tolist(), strict=True):
            start = tokens.index(objective.tokenizer.sot)
            assert tuple(tokens[start - 3 : start]) == objective.tokenizer.prompt
            assert set(labels[:start]) == {IGNORED}
            assert labels[start] != IGNORED
            assert not set(labels) & set(objective.tokenizer.prompt)
            silences += labels[start] == objective.tokenizer.no_speech
    assert silences


@pytest.mark.parametrize("method", METHODS)
def test_the_plain_copy_computes_the_same(method: str, symbols: Path, configure: Configure, tmp_path: Path) -> None:
    objective = SequenceObjective(configure(tmp_path, *settings(method, symbols)))
    model = objective.model(CPU).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.normal_(std=0.5)
    copied = plain_copy(model)
    assert objective.loss(copied, batch(objective)).item() == pytest.approx(
        objective.loss(model, batch(objective)).item(), rel=1e-6
    )
    average = {name: torch.zeros_like(weight) for name, weight in model.named_parameters() if weight.requires_grad}
    averaged = plain_copy(model, average)
    adapters = adapters_of(averaged)
    if method == "prompt":
        assert adapters is None
        assert not averaged.decoder.embedding.weight[list(PLACES)].any()
    else:
        assert isinstance(adapters, Adapters)
        assert not any(weight.any() for weight in adapters.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_a_run_that_was_stopped_ends_as_the_whole_run(
    method: str, symbols: Path, configure: Configure, tmp_path: Path
) -> None:
    more = ["save_every=2", "keep=3"]
    whole = configure(tmp_path / "whole", *settings(method, symbols, *more), steps=4)
    train(whole)
    again = configure(tmp_path / "again", *settings(method, symbols, *more), steps=4)
    train(again)
    last = checkpoints(tmp_path / "again")[-1]
    last.rename(tmp_path / "gone")
    train(again)
    one, other = (load_document(checkpoints(tmp_path / name)[-1]) for name in ("whole", "again"))
    assert all(tensor.equal(other["model"][name]) for name, tensor in one["model"].items())
    assert one["average"].keys() == other["average"].keys()
    assert all("adapters." in name or name.endswith("embedding.vectors") for name in one["average"])


def test_the_result_of_a_prompt_is_a_model_for_ctranslate2(
    symbols: Path, configure: Configure, tmp_path: Path, data: dict[str, Path]
) -> None:
    more = [f"data.evaluation={data['records']}", "export=float32", "optimizer.learning_rate=0.1"]
    run = train(configure(tmp_path / "run", *settings("prompt", symbols, *more), steps=3))
    result = export(run)
    assert result.path == tmp_path / "run" / "model"
    torch_model = load_model(result.path, engine="torch", device="cpu").engine
    fast = CTranslate2Engine(
        result.path,
        device="cpu",
        compute_type="float32",
        threads=1,
        dims=DIMS,
        tokens=load_checkpoint(result.path).tokens,
    )
    assert fast.tokenizer.prompt == torch_model.tokenizer.prompt == PLACES[::-1]
    features = np.random.default_rng(1).normal(size=(80, 400)).astype(np.float32)
    start = fast.tokenizer.sot_sequence("it", "transcribe", timestamps=False)
    text = fast.tokenizer.encode(" the people")
    scores = []
    for engine in (fast, torch_model):
        encoded = engine.encode([features])
        scores.append(engine.score(encoded, [start], [text])[0])
        bare = engine.score(encoded, [start[3:]], [text])[0]
        assert np.abs(bare.logprobs - scores[-1].logprobs).max() > 1e-2
    np.testing.assert_allclose(scores[0].logprobs, scores[1].logprobs, atol=1e-3)
    alone = load_checkpoint(tmp_path / "run" / "adapter.safetensors")
    whole = load_checkpoint(result.path)
    assert (alone.tokens, alone.settings) == (whole.tokens, whole.settings)
    assert set(PLACES) <= set(whole.settings.suppress_ids)
    assert alone.model.decoder.embedding.weight.allclose(whole.model.decoder.embedding.weight, atol=1e-6)


@pytest.mark.parametrize("method", ["houlsby", "prefix"])
def test_the_result_of_adapters_is_a_file_for_torch(
    method: str, symbols: Path, configure: Configure, tmp_path: Path
) -> None:
    run = train(configure(tmp_path / "run", *settings(method, symbols, "average_best=2", "save_every=1"), steps=2))
    result = export(run)
    assert result.path == tmp_path / "run" / "adapter.safetensors"
    assert result.remark.endswith("of the weights, for --engine torch")
    assert not (tmp_path / "run" / "model").exists()
    assert (read_note(result.path).method, read_note(result.path).model) == (method, str(symbols))
    engine = load_model(result.path, engine="torch", device="cpu").engine
    adapters = adapters_of(engine.model)
    assert adapters is not None
    ends = [load_document(path)["average"] for path in checkpoints(run.folder)]
    for name, weight in adapters.named_parameters():
        mean = (ends[0][f"adapters.{name}"] + ends[1][f"adapters.{name}"]) / 2
        assert weight.allclose(mean, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_finetune_and_transcribe(method: str, symbols: Path, data: dict[str, Path], tmp_path: Path) -> None:
    """As a user would: the result of each method is what the other command takes."""
    command = ["finetune", str(symbols), str(data["records"]), "--output", str(tmp_path), "--method", method]
    done = CliRunner().invoke(
        program, [*command, "steps=2", "adapter_size=3", "export=float32", "device=cpu", f"data.cache={data['cache']}"]
    )
    assert done.exit_code == 0, done.output
    audio = data["records"].parent / "0.wav"
    result = ["--model", str(tmp_path / ("model" if method == "prompt" else "adapter.safetensors"))]
    engine = [] if method == "prompt" else ["--engine", "torch"]
    options = ["--language", "it", "--device", "cpu", "--beam-size", "1", "--temperature", "0"]
    said = CliRunner().invoke(program, ["transcribe", str(audio), *result, *engine, *options])
    assert said.exit_code == 0, said.output


def test_what_cannot_be(symbols: Path, configure: Configure, tmp_path: Path, data: dict[str, Path]) -> None:
    for changes, message in (
        (["method=lora", "adapter_size=4"], "adapter_size is for method=houlsby, prefix, prompt, not lora"),
        (["method=houlsby", "adapter_size=0"], "adapter_size cannot be 0"),
        (["method=prefix", "regularisation.initial_share=0.2"], "leaves the model as it is"),
        (["method=prompt", "scratch={n_audio_layer: 1}"], "adapts a trained model"),
        (["method=prompt", "regularisation.ctc=0.5"], "trains the encoder, which method=prompt leaves as it is"),
    ):
        with pytest.raises(UsageError, match=message):
            configure(tmp_path, *changes)
    with pytest.raises(UsageError, match="objective=ctc trains the encoder itself"):
        make_objective(configure(tmp_path, "method=houlsby", "objective=ctc"))
    with pytest.raises(UsageError, match="has 3 tokens that nobody needs; a prompt of 4 does not fit"):
        make_objective(configure(tmp_path, f"model={symbols}", "method=prompt", "adapter_size=4"))
    with pytest.raises(UsageError, match="has 0 tokens that nobody needs"):
        make_objective(configure(tmp_path, "method=prompt"))


def test_the_recipe_of_each_method(symbols: Path, data: dict[str, Path], tmp_path: Path) -> None:
    for method in METHODS:
        config = finetune_config(
            str(symbols), [data["records"]], tmp_path, method=method,  # type: ignore[arg-type]
            overrides=["steps=200", "adapter_size=3", f"data.cache={data['cache']}"],
        )  # fmt: skip
        assert config.regularisation.initial_share == 0
        assert config.optimizer.weight_decay == 0
        assert config.variable_length is None
