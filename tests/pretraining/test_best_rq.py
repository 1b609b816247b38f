"""BEST-RQ: its loss against the definition, what the encoder must not see, and runs of a few steps."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from training_model import Configure

from mtasr.checkpoints.encoders import read_encoder
from mtasr.data.records import Record, write_records
from mtasr.errors import UsageError
from mtasr.features import log_mel
from mtasr.networks.whisper_encoder import WhisperEncoder
from mtasr.pretraining.best_rq import BestRqModel, BestRqObjective
from mtasr.pretraining.heads.quantiser import RandomQuantiser
from mtasr.pretraining.objective import CropBatch
from mtasr.training.loop import best_checkpoints, export, train
from mtasr.training.objectives import make_objective
from mtasr.training.optimizer import make_optimizer
from mtasr.training.run_log import read_log
from mtasr.training.state import checkpoints


@pytest.fixture
def objective(pretraining: Configure, tmp_path: Path) -> BestRqObjective:
    made = make_objective(pretraining(tmp_path / "run"))
    assert isinstance(made, BestRqObjective)
    return made


def _model(objective: BestRqObjective, seed: int = 0) -> BestRqModel:
    torch.manual_seed(seed)
    model = objective.model(torch.device("cpu"))
    assert isinstance(model, BestRqModel)
    return model


def _batch(objective: BestRqObjective, number: int = 0) -> CropBatch:
    batch = objective.batch(objective.epoch(0)[number], np.random.default_rng(number))
    assert isinstance(batch, CropBatch)
    return batch


def _features(model: BestRqModel, batch: CropBatch) -> tuple[Tensor, Tensor]:
    return model.encoder.mel(torch.from_numpy(batch.audio)), torch.from_numpy(batch.mask)


def test_the_loss_is_that_of_its_definition(objective: BestRqObjective) -> None:
    """Frame by frame and book by book, in float64, with the nearest code by its distance."""
    model, batch = _model(objective), _batch(objective)
    mel, mask = _features(model, batch)
    torch.manual_seed(3)
    loss = objective.loss(model, batch).detach()
    torch.manual_seed(3)
    states = model.encoder.contextualised(model.hidden(mel, mask))[-1].detach().double().numpy()
    weight, bias = (each.detach().double().numpy() for each in (model.heads.weight, model.heads.bias))
    mean, deviation = model.mean.double().numpy(), model.deviation.double().numpy()
    projections, codes = model.quantiser.projections.double().numpy(), model.quantiser.codes.double().numpy()
    expected = 0.0
    for row, frame in np.argwhere(batch.mask):
        pair = np.concatenate([(mel[row, :, 2 * frame + side].numpy() - mean) / deviation for side in (0, 1)])
        for book in range(2):
            projected = pair @ projections[book]
            projected /= np.linalg.norm(projected)
            target = min(range(16), key=lambda code: np.linalg.norm(projected - codes[book, code]))
            scores = [states[row, frame] @ weight[16 * book + code] + bias[16 * book + code] for code in range(16)]
            expected += (np.log(np.exp(scores).sum()) - scores[target]) / 2
    assert batch.targets == batch.mask.sum() > 0
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_a_batch_is_audio_and_masks(objective: BestRqObjective) -> None:
    for number, plan in enumerate(objective.epoch(0)):
        batch = _batch(objective, number)
        rows, samples = batch.audio.shape
        assert rows == len(plan)
        assert samples % 320 == 0
        assert batch.mask.shape == (rows, samples // 320)
        assert batch.seconds == batch.padded_seconds == rows * samples / 16000
    again = _batch(objective)
    assert (again.audio == _batch(objective).audio).all()
    assert objective.epoch(0) == objective.epoch(0) != objective.epoch(1)


def _leak(model: BestRqModel, mel: Tensor, mask: Tensor) -> float:
    """The largest gradient of the predictions, for the features inside masks."""
    mel = mel.clone().requires_grad_()
    codes = model.targets(mel.detach(), mask)
    torch.manual_seed(0)
    scores = model.logits(mel, mask)
    torch.nn.functional.cross_entropy(scores.flatten(0, 1), codes.flatten()).backward()
    inside = mask.repeat_interleave(2, dim=1)[:, None].expand_as(mel)
    assert mel.grad[~inside].abs().max() > 0
    return float(mel.grad[inside].abs().max())


class Leaking(BestRqModel):
    """Shows the encoder the last frame of each span of masked ones."""

    def hidden(self, mel: Tensor, mask: Tensor) -> Tensor:
        ends = mask & ~torch.nn.functional.pad(mask, (0, 1))[:, 1:]
        return super().hidden(mel, mask & ~ends)


def test_nothing_inside_masks_reaches_the_predictions(objective: BestRqObjective) -> None:
    model, batch = _model(objective), _batch(objective)
    mel, mask = _features(model, batch)
    assert _leak(model, mel, mask) == 0.0
    inside = mask.repeat_interleave(2, dim=1)[:, None]
    torch.manual_seed(1)
    before = model.logits(mel, mask)
    torch.manual_seed(1)
    assert torch.equal(model.logits(torch.where(inside, torch.full_like(mel, 7.0), mel), mask), before)
    model.__class__ = Leaking
    assert _leak(model, mel, mask) > 0


def test_evaluation_passes_through_the_network_once(
    pretraining: Configure, tmp_path: Path, recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss and accuracy are then those of the same noise."""
    objective = make_objective(pretraining(tmp_path, f"data.evaluation={recordings}"))
    assert isinstance(objective, BestRqObjective)
    model, passes, hidden = _model(objective), [], BestRqModel.hidden

    def counted(model: BestRqModel, mel: Tensor, mask: Tensor) -> Tensor:
        passes.append(len(mel))
        return hidden(model, mel, mask)

    monkeypatch.setattr(BestRqModel, "hidden", counted)
    objective.evaluate(model, {})
    assert passes == [len(plan) for plan in objective.held_out] != []


def test_noise_around_the_mean_replaces_masked_frames(objective: BestRqObjective) -> None:
    model, batch = _model(objective), _batch(objective)
    mel, mask = _features(model, batch)
    inside = mask.repeat_interleave(2, dim=1)[:, None].expand_as(mel)
    hidden = model.hidden(mel, mask)
    assert torch.equal(hidden[~inside], mel[~inside])
    noise = ((hidden - model.mean[:, None]) / model.deviation[:, None])[inside]
    assert float(noise.mean()) == pytest.approx(0, abs=0.01)
    assert float(noise.std()) == pytest.approx(0.1, abs=0.01)


def test_mean_and_deviation_are_those_of_the_data(objective: BestRqObjective, recordings: Path) -> None:
    model = _model(objective)
    frames = [
        log_mel(objective.store.stretch(record.audio, 0, record.duration))
        for record in objective.records.pool(0)
        if record.duration >= 1.5
    ]
    every = np.concatenate(frames, axis=1)
    assert model.mean.numpy() == pytest.approx(every.mean(axis=1), abs=0.05)
    assert model.deviation.numpy() == pytest.approx(every.std(axis=1), abs=0.05)


def test_the_quantiser_stays_as_it_is(objective: BestRqObjective, pretraining: Configure, tmp_path: Path) -> None:
    """After a step with decay, in averages of weights and in another process that reads the checkpoint."""
    model = _model(objective)
    before = {name: tensor.clone() for name, tensor in model.quantiser.state_dict().items()}
    assert set(before) == {"projections", "codes"}
    optimizer = make_optimizer(model, objective.config.optimizer)
    objective.loss(model, _batch(objective)).backward()
    optimizer.step()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.quantiser.state_dict().items())
    other = _model(objective, seed=1)
    assert not torch.equal(other.quantiser.codes, before["codes"])
    run = train(pretraining(tmp_path / "run", "regularisation.ema=0.5", steps=2))
    (document,) = best_checkpoints(run)
    assert not any("quantiser" in name for name in document["average"])
    for name, tensor in before.items():
        assert torch.equal(document["model"][f"quantiser.{name}"], tensor), "drawn from the seed of the run"


def test_codes_are_used_evenly() -> None:
    torch.manual_seed(0)
    quantiser = RandomQuantiser(160, 3, 64, 16)
    features = torch.randn(5000, 160)
    codes = quantiser(features)
    assert codes.shape == (5000, 3)
    for book in range(3):
        shares = torch.bincount(codes[:, book], minlength=64) / 5000
        assert float(torch.special.entr(shares).sum().exp()) > 40
    assert not torch.equal(codes[:, 0], codes[:, 1])
    shifted = torch.bincount(quantiser(features + 5)[:, 0], minlength=64) / 5000
    assert float(torch.special.entr(shifted).sum().exp()) < 10, "which is why features are normalised"


@pytest.mark.slow
def test_interrupted_is_uninterrupted(pretraining: Configure, tmp_path: Path, recordings: Path) -> None:
    settings = ["regularisation.ema=0.5", f"data.evaluation={recordings}/below", "evaluate_every=3", "save_every=3"]
    train(pretraining(tmp_path / "whole", *settings, steps=7))
    run = train(pretraining(tmp_path / "resumed", *settings, steps=7))
    for path in checkpoints(run.folder)[1:]:
        shutil.rmtree(path)
    run = train(pretraining(tmp_path / "resumed", *settings, steps=7))
    whole, resumed = (read_log(tmp_path / name / "log.jsonl") for name in ("whole", "resumed"))

    def losses(log: list[dict[str, float]]) -> list[float]:
        return [entry["loss"] for entry in log if "loss" in entry]

    assert losses(resumed) == losses(whole)
    assert losses(whole)[-1] < losses(whole)[0]
    evaluations = [entry["evaluation"] for entry in whole if "evaluation" in entry]
    assert [entry["evaluation"] for entry in resumed if "evaluation" in entry] == evaluations
    assert len(evaluations) == 3
    for figures in evaluations:
        assert set(figures) == {"loss", "accuracy", "unigram", "perplexity"}
        assert 0 <= figures["accuracy"] <= 1 < figures["perplexity"] <= 16
        assert figures["unigram"] <= np.log(16)


def test_the_result_is_an_encoder(pretraining: Configure, tmp_path: Path) -> None:
    run = train(pretraining(tmp_path / "run", "average_best=2", "save_every=2"))
    exported = export(run)
    assert exported.path == tmp_path / "run" / "encoder"
    encoder = read_encoder(exported.path)
    assert isinstance(encoder, WhisperEncoder)
    last, before = best_checkpoints(run)
    for name, tensor in encoder.state_dict().items():
        expected = (last["model"][f"encoder.{name}"] + before["model"][f"encoder.{name}"]) / 2
        assert torch.allclose(tensor, expected, atol=1e-6)
    assert [state.shape for state in encoder.states(torch.randn(2, 16000))] == [(2, 50, 16)] * 3


def test_statistics_are_computed_once(pretraining: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint has them: who resumes or exports needs no recording for them."""
    train(pretraining(tmp_path / "run", steps=2))
    monkeypatch.setattr(BestRqObjective, "_statistics", property(lambda objective: pytest.fail("computed again")))
    run = train(pretraining(tmp_path / "run", steps=2))
    (document,) = best_checkpoints(run)
    assert document["model"]["deviation"].min() > 0.009
    shutil.rmtree(tmp_path / "run" / "encoder", ignore_errors=True)
    assert export(run).path.is_dir()


def test_activation_checkpointing_changes_no_loss(pretraining: Configure, tmp_path: Path) -> None:
    found = []
    for name, setting in (("plain", "false"), ("recomputed", "true")):
        run = train(pretraining(tmp_path / name, f"activation_checkpointing={setting}", steps=2))
        found.append([entry["loss"] for entry in read_log(run.folder / "log.jsonl")])
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.longest=3", r"data\.longest=3 s exceeds the encoder, which hears 2 s"),
        ("objective_options.mask_span=80", r"data\.shortest=1\.5 s is shorter than a mask of 1\.6 s"),
        (
            "objective_options.sizes={n_audio_head: 3}",
            r"sizes: encoder width 128 is not divisible by 3",
        ),
        ("objective_options.sizes={n_text_ctx: 3}", r"objective_options\.sizes: .*n_text_ctx"),
        ("objective_options.preset=whisper-tini", "preset must be one of tiny, whisper-tiny, .*not 'whisper-tini'"),
        ("objective_options.books=0", r"objective_options\.books cannot be 0"),
        ("objective_options.codebooks=2", r"no setting objective_options\.codebooks"),
        ("data.shortest=2", r"no recording lasts data\.shortest=2 s"),
        ("data.join=0.5", None),
        ("data.join=0.6", r"objective=best-rq learns from audio alone and does not use data\.join"),
        ("optimizer.frozen_encoder_steps=2", "objective=best-rq trains an encoder and does not use frozen_encoder"),
        ("method=lora", "objective=best-rq learns from audio alone and does not use method"),
        ("scratch={n_mels: 80}", r"objective=best-rq learns from audio alone and does not use scratch\.n_mels"),
    ],
)
def test_settings_that_do_not_fit(
    pretraining: Configure, tmp_path: Path, recordings: Path, override: str, message: str | None
) -> None:
    some = f"data.train={recordings}/below/5.wav"
    if message is None:
        make_objective(pretraining(tmp_path, some, override))
        return
    with pytest.raises(UsageError, match=message):
        make_objective(pretraining(tmp_path, some, override))


def test_a_first_epoch_without_pieces_is_refused(
    pretraining: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = make_objective(pretraining(tmp_path))
    monkeypatch.setattr(objective.records, "pool", lambda number: [])  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match=r"none of the recordings of the first epoch lasts data\.shortest"):
        objective.model(torch.device("cpu"))


def test_a_run_that_learned_nothing_says_so(pretraining: Configure, tmp_path: Path) -> None:
    """By the evaluation that scored best."""
    objective = make_objective(pretraining(tmp_path))
    assert isinstance(objective, BestRqObjective)

    def remarks(*losses: float) -> list[str]:
        entries = [{"step": 1, "evaluation": {"loss": each, "unigram": 2.617}} for each in losses]
        (tmp_path / "log.jsonl").write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
        return list(objective._remarks(tmp_path))

    assert remarks() == remarks(2.6, 3.0) == []
    (line,) = remarks(5.8069, 7.0)
    assert line.startswith("the encoder has learned nothing: its loss of 5.807 is not below 2.617")


def test_a_cache_that_is_too_small_for_long_recordings(
    pretraining: Configure, tmp_path: Path, recordings: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = Record(id="long", audio=str(recordings / "4.wav"), duration=7200.0, language=None, captions=())
    write_records([record], tmp_path / "long.jsonl")
    for gigabytes, messages in ((0.3, 0), (0.1, 1)):
        settings = (f"data.train={tmp_path}/long.jsonl", f"data.cache_gigabytes={gigabytes}")
        objective = make_objective(pretraining(tmp_path / "run", *settings))
        assert len(caplog.messages) == messages
    assert caplog.messages[0].startswith("data.cache_gigabytes=0.1 keeps 1 of 2 hours of decoded audio")
    objective._compare_data(resumes=False)  # type: ignore[attr-defined]
    objective._compare_data(resumes=True)  # type: ignore[attr-defined]
    assert len(caplog.messages) == 1
    write_records([record, record], tmp_path / "long.jsonl")
    make_objective(pretraining(tmp_path / "run", *settings))._compare_data(resumes=True)  # type: ignore[attr-defined]
    assert caplog.messages[-1].endswith("its records have changed; the run goes on with what there is")


def test_masks_are_whole_spans(pretraining: Configure, tmp_path: Path) -> None:
    objective = make_objective(pretraining(tmp_path))
    span = objective.options.mask_span  # type: ignore[attr-defined]
    for number, plan in enumerate(objective.epoch(0)):
        mask = objective.batch(plan, np.random.default_rng(number)).mask  # type: ignore[attr-defined]
        edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(int))
        assert ((edges == -1).nonzero()[1] - (edges == 1).nonzero()[1] >= span).all()
