"""The unit language model: its data, its loss, its folder, and what a run learns."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from fake_encoder import LocalEncoder
from speech import SAMPLE_RATE, write_wav

from mtasr.cli import program
from mtasr.errors import InputError, ModelIntegrityError, ModelNotFoundError, OutputError, UsageError
from mtasr.generative.sampling import Sampling
from mtasr.generative.transformer import CausalTransformer, TransformerSizes
from mtasr.generative.unit_lm import UnitLmObjective, make_sequence_batch, unit_loss
from mtasr.generative.unit_model import UnitModel, load_unit_model, shuffled_blocks
from mtasr.generative.unit_sequences import read_unit_file
from mtasr.pretraining.recipes import pretrain_config
from mtasr.pretraining.units.kmeans import UnitCentres
from mtasr.pretraining.units.runs import expanded, joined
from mtasr.training.loop import export, train
from mtasr.training.run_log import read_log
from mtasr.training.targets import IGNORED

TINY = [
    "objective=unit_lm", "device=cpu", "objective_options.layers=1", "objective_options.width=16",
    "objective_options.heads=2", "objective_options.hidden=32", "objective_options.context=64",
    "objective_options.dropout=0", "data.batch_tokens=512", "optimizer.learning_rate=0.02",
]  # fmt: skip
CENTRES = UnitCentres(centres=np.array([[0, 0, 0], [0, 0.5, 0]], np.float32), encoder="local", layer=0)


@pytest.fixture(autouse=True)
def _local(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any name means the encoder of the tests, and sums of one thread have the same order."""
    for module in ("unit_sequences", "unit_model"):
        monkeypatch.setattr(f"mtasr.generative.{module}.load_encoder", lambda name, device: LocalEncoder())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """Sixty sequences of six units of which each says what follows."""
    rng = np.random.default_rng(0)
    lines = []
    for number in range(60):
        first = int(rng.integers(6))
        lines.append(f"{number}\t{' '.join(str((first + place) % 6) for place in range(int(rng.integers(5, 20))))}")
    path = tmp_path / "units.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_runs_and_back() -> None:
    rng = np.random.default_rng(0)
    for size in (0, 1, 2, 50):
        frames = rng.integers(0, 3, size)
        found, lengths = joined(frames)
        assert (np.diff(found) != 0).all()
        assert lengths.sum() == size
        assert np.array_equal(expanded(found, lengths), frames)
    found, lengths = joined(np.array([5, 5, 2, 5]))
    assert (found.tolist(), lengths.tolist()) == ([5, 2, 5], [2, 1, 1])


def test_files_of_units(tmp_path: Path) -> None:
    path = tmp_path / "u.txt"
    path.write_text("a name\t3 3 1\n\n1 2 2 2 1\n")
    assert [each.tolist() for each in read_unit_file(path, 4)] == [[3, 1], [1, 2, 1]]
    for text, message in (
        ("1 2\n1 4\n", r"line 2: '4' is no unit from 0 to 3"),
        ("1 -2\n", "'-2' is no unit"),
        ("1 ²\n", "'²' is no unit"),
        ("1 " + "9" * 5000, "'99999999999999999999' is no unit"),
        ("\n", "holds no units"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=message):
            read_unit_file(path, 4)


def test_the_loss_is_that_of_the_definition() -> None:
    pieces = [np.array([4, 0, 1, 3, 4]), np.array([4, 2, 4])]
    batch = make_sequence_batch(pieces)
    assert batch.targets == 6
    assert batch.labels.tolist() == [[0, 1, 3, 4], [2, 4, IGNORED, IGNORED]]
    logits = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))
    expected = 0.0
    for row, piece in enumerate(pieces):
        for place in range(len(piece) - 1):
            scores = [math.exp(each) for each in logits[row, place].double().tolist()]
            expected -= math.log(scores[int(piece[place + 1])] / sum(scores))
    assert float(unit_loss(logits, torch.from_numpy(batch.labels))) == pytest.approx(expected, rel=1e-6)


def test_long_sequences_are_cut_and_nothing_is_lost(units: Path, tmp_path: Path) -> None:
    units.write_text(" ".join(str(place % 6) for place in range(200)) + "\n0 1\n")
    config = pretrain_config(None, [*TINY, f"data={units}", f"output={tmp_path / 'run'}", "objective_options.units=6"])
    objective = UnitLmObjective(config)
    assert [len(piece) for piece in objective.pieces] == [65, 65, 65, 10, 4]
    whole = np.concatenate([objective.pieces[0], *(piece[1:] for piece in objective.pieces[1:4])])
    assert whole.tolist() == [6, *(place % 6 for place in range(200)), 6]
    plans = objective.epoch(0)
    assert sorted(number for plan in plans for number in plan) == [0, 1, 2, 3, 4]
    for plan in plans:
        assert objective.batch(plan, np.random.default_rng(0)).tokens.size <= 512


@pytest.mark.slow
def test_a_run_learns_resumes_and_continues(units: Path, tmp_path: Path) -> None:
    def trained(name: str, *more: str) -> Path:
        where = [f"data={units}", f"output={tmp_path / name}", "objective_options.units=6"]
        run = train(pretrain_config(None, [*TINY, *where, f"data.evaluation={units}", "optimizer.warmup=2", *more]))
        assert export(run).path == tmp_path / name / "unit-lm"
        return tmp_path / name

    run = trained("run", "steps=40")
    figures = read_log(run / "log.jsonl")[-1]["evaluation"]
    assert figures["perplexity"] == pytest.approx(math.exp(figures["loss"]))
    # Only the first unit, one of 6, and the place of the end are open: some 4 nats of 13 tokens, or .3 a token.
    assert figures["loss"] < 0.7
    model = load_unit_model(run)
    (found,) = model.continuations([2, 3], 1, 6, Sampling(temperature=0))
    assert found[:3] == [4, 5, 0]
    assert model.log_probability([1, 2, 3, 4, 5, 0]) > model.log_probability([1, 4, 3, 0, 5, 2]) + 3
    assert len(model.continuations([0, 1] * 100, 1, 6, Sampling())[0]) <= 6, "the end of a long prompt counts"
    losses = [entry["loss"] for entry in read_log(run / "log.jsonl") if "loss" in entry]
    stopped = pretrain_config(
        None,
        [*TINY, f"data={units}", f"output={tmp_path / 'b'}", "objective_options.units=6",
         f"data.evaluation={units}", "optimizer.warmup=2", "steps=40", "save_every=5"],
    )  # fmt: skip

    class Stop(Exception):
        pass

    def stop(entry: dict[str, object]) -> None:
        if entry["step"] == 7:
            raise Stop

    with pytest.raises(Stop):
        train(stopped, stop)
    train(stopped)
    assert [entry["loss"] for entry in read_log(tmp_path / "b" / "log.jsonl") if "loss" in entry] == losses


def test_what_does_not_fit(units: Path, tmp_path: Path) -> None:
    where = [f"data={units}", f"output={tmp_path / 'run'}"]
    for more, message in (
        ([], "set objective_options.centres"),
        (["objective_options.units=0"], "units cannot be 0"),
        (["objective_options.units=6", "objective_options.context=2000"], "has no room for"),
        (["objective_options.units=6", "data.longest=20"], "does not use data.longest"),
        (["objective_options.units=6", f"data={tmp_path}"], "recordings need objective_options.centres"),
    ):
        with pytest.raises(UsageError, match=message):
            UnitLmObjective(pretrain_config(None, [*TINY, *where, *more]))


def saved(folder: Path) -> UnitModel:
    torch.manual_seed(0)
    sizes = TransformerSizes(vocabulary=3, layers=1, width=8, heads=2, hidden=8, context=4000)
    model = UnitModel(network=CausalTransformer(sizes).eval(), units=2, centres=CENTRES)
    model.save(folder)
    return model


def test_a_model_in_a_folder(tmp_path: Path) -> None:
    model = saved(tmp_path / "m")
    again = load_unit_model(tmp_path / "m", "cpu")
    assert again.log_probability([0, 1, 0]) == model.log_probability([0, 1, 0])
    assert again.centres is not None
    assert np.array_equal(again.centres.centres, CENTRES.centres)
    with pytest.raises(InputError, match="2 is no unit from 0 to 1"):
        again.log_probability([0, 2])
    with pytest.raises(UsageError, match="3 centres, and the model knows 2"):
        again.with_centres(UnitCentres(centres=np.eye(3, dtype=np.float32)))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    with pytest.raises(OutputError, match=r"notes\.txt"):
        model.save(tmp_path / "other")
    with pytest.raises(ModelNotFoundError, match="holds no language model"):
        load_unit_model(tmp_path)


@pytest.mark.parametrize(
    "change",
    [{"kind": "x"}, {"layers": 2}, {"units": 3}, {"width": 1 << 40}, {"width": "8"}, {"more": 1}],
)
def test_damaged_settings_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    saved(tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelIntegrityError):
        load_unit_model(tmp_path / "m", "cpu")


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    model = saved(tmp_path / "m")
    with torch.no_grad():
        model.network.norm.bias[0] = torch.nan
    model.save(tmp_path / "m")
    with pytest.raises(ModelIntegrityError, match="not finite"):
        load_unit_model(tmp_path / "m", "cpu")
    (tmp_path / "m" / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(ModelIntegrityError, match="not a safetensors file"):
        load_unit_model(tmp_path / "m", "cpu")


def test_shuffled_blocks_keep_the_units() -> None:
    units = list(range(40))
    mixed = shuffled_blocks(units, 8, np.random.default_rng(0))
    assert sorted(mixed) == units
    assert mixed != units
    assert {tuple(mixed[start : start + 8]) for start in range(0, 40, 8)} == {
        tuple(units[start : start + 8]) for start in range(0, 40, 8)
    }
    assert shuffled_blocks([0, 1, 1, 0], 2, np.random.default_rng(1)) in ([0, 1, 0], [1, 0, 1])


def recorded(folder: Path) -> Path:
    """Quiet and loud tenths of a second in turn."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        tenths = [rng.choice([-1, 1], SAMPLE_RATE // 10) * level for level in (0.02, 0.5) * 15]
        write_wav(folder / f"{name}.wav", np.concatenate(tenths).astype(np.float32))
    return folder


def test_from_recordings_to_continuations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run on recordings and centres hears each once, leaves out what is broken, and `mtasr continue` follows."""
    monkeypatch.chdir(tmp_path)
    recorded(tmp_path / "recordings")
    (tmp_path / "recordings" / "broken.wav").write_bytes(b"no sound")
    CENTRES.save(tmp_path / "units.npz")
    run: Callable[..., object] = CliRunner().invoke
    settings = [*TINY, "data=recordings", "objective_options.centres=units.npz", "output=run", "steps=12"]
    ran = run(program, ["pretrain", *settings, "optimizer.warmup=2"])
    assert ran.exit_code == 0, ran.output
    assert "the language model is in" in ran.stderr
    assert len(list((tmp_path / "run" / "units").rglob("*.npy"))) == 2
    base = ["continue", "recordings/a.wav", "--model", "run", "--device", "cpu", "--quiet"]
    found = run(program, [*base, "-n", "3", "--seconds", "1", "--temperature", "0"])
    assert found.exit_code == 0, found.output
    lines = found.stdout.splitlines()
    assert len(lines) == 3
    name, _, units = lines[0].partition("\t")
    assert name == "recordings/a.wav"
    assert set(units.split()) == {"0", "1"}
    assert len(units.split()) == 10, "at the pace of the prompt, a tenth of a second each"
    found = run(program, [*base, "--format", "json", "-n", "1", "--seconds", "2"])
    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    assert document["prompt"] == [0, 1] * 15
    assert len(document["continuations"]) == 1
    wrong = run(program, [*base[:3], "recordings", *base[4:]])
    assert wrong.exit_code == 5
    assert "holds no language model over units" in wrong.stderr
