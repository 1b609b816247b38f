"""Heads that learn together with adapters inside a frozen encoder."""

from __future__ import annotations

import json
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from mtasr.checkpoints.encoders import save_encoder
from mtasr.cli import program
from mtasr.errors import InputError, ModelError, ModelNotFoundError, UsageError
from mtasr.networks.wave import WAVE_PRESETS, WaveEncoder
from mtasr.probing.adapted import AdaptedEncoder, fit_adapted, probe_adapted, save_adapted_head, with_adapters
from mtasr.probing.answers import check_fit
from mtasr.probing.fitting import ProbeSettings
from mtasr.probing.heads import Head, load_head, normalised
from mtasr.probing.labels import read_labels
from mtasr.probing.states import StateStore, identity_of
from mtasr.probing.tasks import task_class
from mtasr.probing.tasks.task import HeadReader, HeadTask

STEPS = ProbeSettings(steps=3, batch_size=4, sizes=(8,))


def encoder() -> WaveEncoder:
    torch.manual_seed(0)
    config = replace(WAVE_PRESETS["tiny"], layers=2)
    return WaveEncoder(config, "tiny").eval()


def task_of(name: str, labels: Path) -> HeadTask:
    task = task_class(name)(read_labels(labels))
    assert isinstance(task, HeadTask)
    return task


@pytest.mark.parametrize("kind", ["houlsby", "prefix"])
def test_adapters_and_head_learn_and_the_encoder_stays(kind: Any, tones: Path) -> None:
    frozen, twin = encoder(), encoder()
    task, told = task_of("keyword", tones), []
    found = fit_adapted(task, frozen, kind, 4, STEPS, 1e-2, told.append)
    adapted = found.encoder
    assert len(told) == STEPS.steps
    assert all(a.equal(b) for a, b in zip(frozen.state_dict().values(), twin.state_dict().values(), strict=True))
    begun = AdaptedEncoder(twin, type(adapted.adapters)(twin, kind, 4))
    assert any(not a.equal(b) for a, b in zip(adapted.adapters.parameters(), begun.adapters.parameters(), strict=True))
    again = fit_adapted(task, encoder(), kind, 4, STEPS, 1e-2)
    assert identity_of(again.encoder) == identity_of(adapted) == found.head.config.identity
    audio = torch.randn(1, 4000)
    assert not adapted.states(audio)[-1].equal(twin.states(audio)[-1])
    assert frozen.states(audio)[-1].equal(twin.states(audio)[-1])


@pytest.mark.parametrize(
    ("name", "layer_norm", "kind", "crop"),
    [
        ("keyword", False, "houlsby", None),
        ("keyword", True, "houlsby", None),
        ("phones", False, "houlsby", None),
        ("phones", False, "houlsby", 0.1),
        ("phones", False, "prefix", None),
    ],
)
def test_gradients_are_those_of_the_whole(
    name: str, layer_norm: bool, kind: Any, crop: float | None, tones: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """One step with a plain loss through the encoder and the head, in one graph."""
    rows = [json.loads(line) for line in tones.read_text().splitlines()]
    for row in rows:
        row["audio"] = str(tones.parent / row["audio"])
        row["phones"] = [[row["label"], row["start"], row["end"]]]
    labels = tmp_path / "labels.jsonl"
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = task_of(name, labels)
    monkeypatch.setattr(type(task), "crop_seconds", crop)
    settings = replace(STEPS, steps=1, sizes=(8,) if name == "keyword" else None, layer_norm=layer_norm)
    found = fit_adapted(task, encoder(), kind, 4, settings, 1e-2)
    head, adapted = found.head, found.encoder
    torch.manual_seed(0)
    twin = encoder()
    torch.manual_seed(settings.seed)
    plain = AdaptedEncoder(twin, type(adapted.adapters)(twin, kind, 4))
    own = Head(replace(head.config, identity="")).train()
    rng = np.random.default_rng(settings.seed)
    clips = [task.clips["train"][place] for place in next(task.drawn(settings.batch_size, rng))]
    reader = HeadReader(StateStore(plain, tmp_path / "none", 0, layer_norm=layer_norm), task.whole)
    batch = task.batch(reader, "train", [task.clips["train"].index(clip) for clip in clips], torch.device("cpu"), rng)

    def read(row: int, clip: Any) -> Tensor:
        """The part of a clip that the step reads: where the batch has the same states."""
        states, count = heard(clip), int(batch.lengths[row])
        places = range(states.shape[1] - count + 1)
        wanted = batch.states[row, :, :count]
        return next(part for place in places if (part := states[:, place : place + count]).allclose(wanted, atol=1e-5))

    def heard(clip: Any) -> Tensor:
        states = torch.cat(plain.states(torch.from_numpy(reader.store._reader.samples(clip))[None]))
        states = normalised(states) if layer_norm else states
        return states if task.whole else states.mean(dim=1, keepdim=True)

    states = torch.nn.utils.rnn.pad_sequence(
        [read(row, clip).transpose(0, 1) for row, clip in enumerate(clips)], batch_first=True
    )
    loss = task.loss(own, replace(batch, states=states.transpose(1, 2)))
    optimizer = torch.optim.Adam([*own.parameters(), *plain.adapters.parameters()], lr=1e-2)
    loss.backward()
    torch.nn.utils.clip_grad_norm_([*own.parameters(), *plain.adapters.parameters()], 1.0)
    optimizer.step()
    for module, other in ((head, own), (adapted.adapters, plain.adapters)):
        for (key, found), wanted in zip(module.named_parameters(), other.parameters(), strict=True):
            assert found.allclose(wanted, atol=1e-4), key


def test_one_clip_at_a_time_has_a_graph(tones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs: list[weakref.ref[Any]] = []
    states = AdaptedEncoder.states

    def watched(self: AdaptedEncoder, audio: Tensor) -> list[Tensor]:
        assert not [graph for graph in graphs if graph() is not None]
        found = states(self, audio)
        graphs.extend(weakref.ref(each) for each in found if each.grad_fn is not None)
        return found

    monkeypatch.setattr(AdaptedEncoder, "states", watched)
    fit_adapted(task_of("keyword", tones), encoder(), "houlsby", 4, STEPS, 1e-2)
    assert graphs


def test_an_interrupted_save_leaves_no_head(tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = fit_adapted(task_of("keyword", tones), encoder(), "houlsby", 4, replace(STEPS, steps=1), 1e-2)
    save_adapted_head(found, tmp_path)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mtasr.probing.adapted.save_adapters", killed)
    with pytest.raises(KeyboardInterrupt):
        save_adapted_head(found, tmp_path)
    with pytest.raises(ModelNotFoundError):
        load_head(tmp_path)


def test_several_tasks_share_one_encoder(tones: Path, tmp_path: Path) -> None:
    shared, task = encoder(), task_of("keyword", tones)
    for number in range(2):
        settings = replace(STEPS, steps=2, seed=number)
        save_adapted_head(fit_adapted(task, encoder(), "houlsby", 4, settings, 1e-2), tmp_path / str(number))
        assert (tmp_path / str(number) / "adapters.safetensors").stat().st_size < 50_000
    audio = torch.randn(1, 4000)
    plain = shared.states(audio)
    folders = [tmp_path / str(number) for number in range(2)]
    loaded = [(load_head(folder), with_adapters(shared, folder)) for folder in folders]
    one, two, again = (found.states(audio) for _, found in (*loaded, loaded[0]))
    assert not one[-1].equal(two[-1])
    assert all(a.equal(b) for a, b in zip(one, again, strict=True))
    assert all(a.equal(b) for a, b in zip(shared.states(audio), plain, strict=True))
    for head, found in loaded:
        check_fit(head.config, found)
        assert head.config.encoder == "tiny"
    with pytest.raises(UsageError, match="has other weights"):
        check_fit(loaded[0][0].config, loaded[1][1])
    (tmp_path / "1" / "adapters.safetensors").unlink()
    assert with_adapters(shared, folders[1]) is shared
    other = encoder()
    with torch.no_grad():
        other.masked.add_(1)
    with pytest.raises(ModelError, match="trained on other weights"):
        with_adapters(other, folders[0])


def test_the_best_rate_is_kept(tones: Path) -> None:
    task, lines = task_of("keyword", tones), []
    settings = replace(STEPS, learning_rates=(1e-6, 1e-2))
    result, found = probe_adapted([task], encoder(), "prefix", 4, settings, lines.append)
    assert len(lines) == 2
    assert result.encoder == "tiny+prefix"
    assert result.learning_rate == found.rate
    assert result.dev == found.dev
    assert set(result.figures) == {"accuracy", "majority"}
    assert result.parameters == sum(
        weight.numel() for module in (found.head, found.encoder.adapters) for weight in module.parameters()
    )
    with pytest.raises(UsageError, match="trains nothing; adapters need a task with heads"):
        probe_adapted([cast(Any, object.__new__(task_class("search")))], encoder(), "prefix", 4, settings)


def test_clips_too_long_for_adapters_are_counted_before_the_work(tones: Path) -> None:
    class Short(WaveEncoder):
        longest_seconds = 0.25

    short = Short(replace(WAVE_PRESETS["tiny"], layers=2), "tiny").eval()
    with pytest.raises(InputError, match=r"line 1: the first of 24 clips of more than 0\.25 s"):
        probe_adapted([task_of("keyword", tones)], short, "houlsby", 4, STEPS)


@pytest.mark.slow
def test_probe_and_classify(tones: Path, tmp_path: Path) -> None:
    """As a user would: the folder of a head with adapters is what the other command takes."""
    folder = tmp_path / "tiny-encoder"
    save_encoder(encoder(), folder)
    command = ["probe", str(tones), "--encoder", str(folder), "--task", "keyword", "--output", str(tmp_path / "out")]
    few = ["--steps", "2", "--learning-rates", "0.01", "--sizes", "8", "--device", "cpu"]
    done = CliRunner().invoke(program, [*command, *few, "--adapters", "houlsby", "--adapter-size", "4"])
    assert done.exit_code == 0, done.output
    (head,) = (tmp_path / "out" / "heads" / "keyword").iterdir()
    assert head.name.endswith("houlsby")
    assert {path.name for path in head.iterdir()} == {"adapters.safetensors", "head.json", "head.safetensors"}
    said = CliRunner().invoke(
        program, ["classify", str(tones.parent / "all.wav"), "--head", str(head), "--json", "--device", "cpu"]
    )
    assert said.exit_code == 0, said.output
    assert {each["label"] for each in json.loads(said.stdout.splitlines()[0])["label"]} == {"low", "high"}
    refused = CliRunner().invoke(program, [*command, *few, "--adapter-size", "4"])
    assert refused.exit_code == 2
    assert "--adapter-size needs --adapters" in refused.output
