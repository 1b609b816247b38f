"""An encoder of the waveform learns to spell: the loss against all alignments, what is frozen, runs and results."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contrastive_runs import SIZES
from speech import SAMPLE_RATE, write_wav

from mtasr.checkpoints.encoders import save_encoder
from mtasr.data.excerpts import Excerpt, Part
from mtasr.data.records import Caption, Record, write_records
from mtasr.data.samples import samples_in
from mtasr.encoders import load_encoder
from mtasr.errors import UsageError
from mtasr.networks.wave import WAVE_PRESETS, WaveEncoder
from mtasr.networks.wave_config import convolutions
from mtasr.pretraining.wave_ctc import AudibleExcerpt, SpelledBatch, WaveCtcObjective
from mtasr.training.config import TrainConfig, make_config
from mtasr.training.loop import export, train
from mtasr.training.run_log import read_log
from mtasr.training.state import checkpoints, load_document

#: What a tone of this pitch is taught to mean.
_PITCHES = {"a": 400, "b": 1100, "c": 2300}
_SMALL = replace(WAVE_PRESETS["tiny"], convolutions=convolutions(24), dropout=0.0, **SIZES["wav2vec2"])

Configured = Callable[..., TrainConfig]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of tones of a fifth of a second, and an encoder to begin with."""
    folder = tmp_path_factory.mktemp("spelled")
    rng = np.random.default_rng(0)
    records = []
    for number in range(12):
        letters = rng.choice(list("abc"), 5 + number % 3)
        text = f"{''.join(letters[:2])} {''.join(letters[2:])}"
        times = np.arange(SAMPLE_RATE // 5) / SAMPLE_RATE
        shape = np.hanning(len(times))
        sound = np.concatenate([0.3 * shape * np.sin(2 * np.pi * _PITCHES[each] * times) for each in letters])
        write_wav(folder / f"{number}.wav", sound.astype(np.float32))
        caption = Caption(start=0.0, end=len(letters) / 5, text=text.capitalize() + ".")
        records.append(
            Record(
                id=str(number), audio=str(folder / f"{number}.wav"), duration=len(letters) / 5, language="en",
                captions=(caption,), timed=False,
            )
        )  # fmt: skip
    write_records(records, folder / "spelled.jsonl")
    torch.manual_seed(0)
    save_encoder(WaveEncoder(_SMALL), folder / "begin")
    return folder


@pytest.fixture(scope="module")
def configured(folder: Path) -> Configured:
    def made(output: Path, *overrides: str, steps: int = 4) -> TrainConfig:
        records = str(folder / "spelled.jsonl")
        document: dict[str, Any] = {
            "objective": "wave-ctc", "init_encoder": str(folder / "begin"), "output": str(output), "steps": steps,
            "device": "cpu", "objective_options": {"channel_span": 4},
            "data": {
                "train": records, "evaluation": records, "cache": str(folder / "cache"), "batch_seconds": 6.0,
                "longest": 5.0,
            },
            "optimizer": {"learning_rate": 1e-3, "warmup": 2},
        }  # fmt: skip
        return make_config(document, overrides)

    return made


def test_the_loss_is_that_of_all_alignments(configured: Configured, tmp_path: Path) -> None:
    objective = WaveCtcObjective(configured(tmp_path))
    torch.manual_seed(1)
    model = objective.model(torch.device("cpu")).eval()
    width = model.encoder.width
    examples = []
    for samples, numbers in ((1_800, (5, 6)), (2_000, (7, 7))):
        frames = model.encoder.frames(samples)
        audio = 0.1 * np.random.default_rng(samples).standard_normal(samples).astype(np.float32)
        shown = {"mask": np.zeros(frames, bool), "channels": np.zeros(width, bool)}
        examples.append(AudibleExcerpt(audio=audio, numbers=numbers, **shown))
    batch = SpelledBatch(targets=4, seconds=0.2, padded_seconds=0.2, heard=tuple(examples))
    with torch.no_grad():
        found = float(objective.loss(model, batch))
        expected = 0.0
        for each in examples:
            chances = model(torch.from_numpy(each.audio)[None])[0].exp().double()  # (S, V)
            total = 0.0
            for path in itertools.product(range(chances.shape[1]), repeat=len(chances)):
                said = tuple(number for number, _ in itertools.groupby(path) if number != 0)
                if said == each.numbers:
                    total += math.prod(float(chances[frame, number]) for frame, number in enumerate(path))
            expected -= math.log(total)
    assert found == pytest.approx(expected, rel=1e-5)


def test_letters_have_frames_in_the_audio_that_is_heard(
    configured: Configured, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ends of an excerpt are rounded to samples, and its length by itself has one more, and a frame more."""
    objective = WaveCtcObjective(configured(tmp_path))
    samples = objective._encoder.config.field + 3 * objective._encoder.config.hop
    start, seconds = 1000.6 / SAMPLE_RATE, (samples - 0.3) / SAMPLE_RATE
    part = Part(audio=str(folder / "0.wav"), start=start, end=start + seconds)
    excerpt = Excerpt(parts=(part,), language="en", task="transcribe", captions=())
    assert round(excerpt.seconds * SAMPLE_RATE) == samples
    assert samples_in(excerpt) == len(objective.store.excerpt(excerpt)) == samples - 1
    for text, count in (("abca", 0), ("abc", 1)):
        spoken = replace(excerpt, captions=(Caption(start=0.0, end=seconds, text=text),))
        monkeypatch.setattr("mtasr.pretraining.wave_ctc.cut_excerpts", lambda record, length, spoken=spoken: [spoken])
        assert len(list(objective._spelled(None))) == count, text  # type: ignore[arg-type]


def test_targets_are_letters_and_masks_come_from_the_seed_of_the_batch(configured: Configured, tmp_path: Path) -> None:
    objective = WaveCtcObjective(configured(tmp_path))
    assert objective.letters.tokens[5:] == ("a", "b", "c")
    plans = objective.epoch(0)
    assert sum(len(plan) for plan in plans) == 12
    assert all(sum(each.excerpt.seconds for each in plan) <= 6 for plan in plans)
    batch = objective.batch(plans[0], np.random.default_rng(3))
    assert batch.targets == sum(len(objective.letters.numbers(each.excerpt.text)) for each in plans[0])
    again, other = (objective.batch(plans[0], np.random.default_rng(seed)) for seed in (3, 4))
    for one, same, different in zip(batch.heard, again.heard, other.heard, strict=True):
        assert one.mask.any()
        assert one.channels.any()
        assert (one.mask == same.mask).all()
        assert (one.channels == same.channels).all()
        assert (one.mask != different.mask).any()


def test_masked_frames_and_channels_are_not_heard(configured: Configured, tmp_path: Path) -> None:
    objective = WaveCtcObjective(configured(tmp_path))
    model = objective.model(torch.device("cpu")).eval()
    audio = 0.1 * torch.randn(1, 3_200, generator=torch.Generator().manual_seed(0))
    frames, width = model.encoder.frames(3_200), model.encoder.width
    everything = torch.ones(1, frames, dtype=torch.bool), torch.ones(1, width, dtype=torch.bool)
    with torch.no_grad():
        for masks in ((everything[0], None), (None, everything[1])):
            assert torch.equal(model(audio, *masks), model(audio * 0.5 + 0.1 * audio.roll(50), *masks))


def _weights(run: Path) -> dict[str, Any]:
    return load_document(checkpoints(run)[-1])["model"]


@pytest.mark.parametrize("frozen", [0, 4])
def test_convolutions_never_learn_and_the_encoder_when_it_thaws(
    frozen: int, configured: Configured, folder: Path, tmp_path: Path
) -> None:
    train(configured(tmp_path, f"optimizer.frozen_encoder_steps={frozen}", "optimizer.weight_decay=0.1"))
    after, before = _weights(tmp_path), load_encoder(str(folder / "begin"), "cpu").state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[f"encoder.{name}"])}
    if frozen:
        assert not changed
    else:
        assert {"projection.weight", "masked", "context.blocks.0.mlp.up.weight"} <= changed
        assert not any(name.startswith("convolutions") for name in changed)


def test_an_interrupted_run_ends_as_an_uninterrupted_one(configured: Configured, tmp_path: Path) -> None:
    settings = ["save_every=1", "keep=9", "optimizer.frozen_encoder_steps=1"]
    train(configured(tmp_path / "run", *settings))
    whole, log = _weights(tmp_path / "run"), read_log(tmp_path / "run" / "log.jsonl")
    for later in checkpoints(tmp_path / "run")[2:]:
        later.rename(tmp_path / later.name)
    train(configured(tmp_path / "run", *settings))
    again = _weights(tmp_path / "run")
    assert all(again[name].equal(whole[name]) for name in whole)
    assert [each.get("loss") for each in read_log(tmp_path / "run" / "log.jsonl")] == [each.get("loss") for each in log]


def test_the_result_is_an_encoder_with_a_vocabulary(configured: Configured, tmp_path: Path) -> None:
    run = train(configured(tmp_path / "run"))
    result = export(run).path
    assert json.loads((result / "vocab.json").read_text()) == {
        token: number for number, token in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", "a", "b", "c"])
    }
    config = json.loads((result / "config.json").read_text())
    assert (config["architectures"], config["vocab_size"], config["pad_token_id"]) == (["Wav2Vec2ForCTC"], 8, 0)
    encoder = load_encoder(str(tmp_path / "run"), "cpu")
    state = _weights(tmp_path / "run")
    assert all(torch.equal(tensor, state[f"encoder.{name}"]) for name, tensor in encoder.state_dict().items())
    assert export(run).path == result  # replaces it


@pytest.mark.slow
def test_it_learns_to_spell(configured: Configured, tmp_path: Path) -> None:
    settings = [
        "optimizer.learning_rate=1e-2", "optimizer.warmup=10", "objective_options.masked=0.1",
        "objective_options.masked_channels=0", "objective_options.layerdrop=0",
    ]  # fmt: skip
    train(configured(tmp_path, *settings, steps=120))
    (evaluation,) = [each["evaluation"] for each in read_log(tmp_path / "log.jsonl") if "evaluation" in each]
    assert evaluation["cer"] < 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["init_encoder=null"], "needs init_encoder"),
        (["init_encoder=log-mel"], "no transformer over the waveform"),
        (["parallel=fsdp"], "does not use parallel"),
        (["objective_options.masked=2"], "masked cannot be 2"),
        (["objective_options.layerdrop=1"], "layerdrop cannot be 1"),
        (["data.timestamps=1"], "does not use data.timestamps"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    settings: list[str], message: str, configured: Configured, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        WaveCtcObjective(configured(tmp_path, *settings))


def test_translations_teach_no_spelling(configured: Configured, folder: Path, tmp_path: Path) -> None:
    caption = Caption(start=0.0, end=1.0, text="Bonjour")
    record = Record(
        id="0", audio=str(folder / "0.wav"), duration=1.0, language="fr", captions=(caption,), task="translate"
    )
    write_records([record], tmp_path / "translated.jsonl")
    with pytest.raises(UsageError, match="nothing to learn"):
        WaveCtcObjective(configured(tmp_path / "run", f"data.train={tmp_path / 'translated.jsonl'}"))
