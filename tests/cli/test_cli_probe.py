"""`mtasr probe`: from files of labels to the table, the page and the heads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from layered_encoder import LayeredEncoder
from probing_corpora import in_splits, tone, write_corpus

from mtasr import encoders
from mtasr.cli import program
from mtasr.networks.context import ContextEncoder
from mtasr.networks.log_mel import LogMelEncoder
from mtasr.probing import heads
from mtasr.probing.heads import load_head
from mtasr.probing.report import read_results


@pytest.fixture
def labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Labels of tones; the encoders are small ones."""
    made = {"layered": LayeredEncoder, "log-mel+1": lambda: ContextEncoder(LogMelEncoder(6), 1)}
    monkeypatch.setattr(encoders, "load_encoder", lambda name, device, progress: made[name]())
    return write_corpus(
        tmp_path / "tones",
        in_splits(
            lambda split, number: [
                (tone(hertz + 7 * number + 3 * turn), {"label": label})
                for label, hertz in (("low", 300), ("high", 2000))
                for turn in range(2)
            ]
        ),
    )


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(program, ["probe", *map(str, args)], catch_exceptions=False)


QUICK = ("--steps", "20", "--batch-size", "4", "--learning-rates", "0.01", "--sizes", "8")


def test_a_table_a_page_and_heads(labels: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    done = run(
        labels, "--task", "KS", "--encoder", "layered", "--encoder", "log-mel+1", "--encoder", "layered",
        "--output", output,
        "--json", tmp_path / "some.json", *QUICK,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    head, first, second = done.stdout.splitlines()
    assert head.split() == [
        "Encoder",
        "keyword",
        "accuracy",
        "keyword",
        "majority",
        "test",
        "clips",
        "best",
        "layer",
        "learning",
        "rate",
    ]
    assert first.split()[:6] == ["layered", "100.0", "%", "50.0", "%", "4"]
    assert second.split()[0] == "log-mel+1"
    assert "layered: heard 12 of 12 recordings" in done.stderr
    assert "layered: keyword accuracy 100.0 %" in done.stderr
    assert json.loads((tmp_path / "some.json").read_text()) == json.loads((output / "results.json").read_text())
    assert load_head(output / "heads" / "keyword" / "layered").config.labels == {"label": ("high", "low")}
    assert load_head(output / "heads" / "keyword" / "log-mel+1").config.width == 36
    assert "log-mel+1" in (output / "report.html").read_text()

    again = run(labels, "--task", "emotion", "--encoder", "layered", "--output", output, "--quiet", *QUICK)
    assert again.exit_code == 0, again.output
    assert again.stderr == ""
    results = json.loads((output / "results.json").read_text())
    assert [(result["task"], result["encoder"]) for result in results] == [
        ("keyword", "layered"), ("keyword", "log-mel+1"), ("emotion", "layered"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("args", "code", "problem"),
    [
        (("--task", "dreams"), 2, "task must be one of phones"),
        (("--task", "phones"), 3, "line 1: 'phones' is missing"),
        (("--task", "KS", "--learning-rates", "0.1,x"), 2, "is not a list of learning rates"),
        (("--task", "KS", "--learning-rates", "-1"), 2, "learning_rates must be positive"),
        (("--task", "KS", "--sizes", "1.5"), 2, "is not a list of sizes"),
        (("--task", "KS", "--sizes", "1,2"), 2, "sizes of mean are 1 positive numbers"),
        (("--task", "KS", "--steps", "0"), 2, "less than 1"),
        (("--task", "KS", "--json", "{labels}"), 2, "labels.jsonl"),
        (
            ("--task", "KS", "--adapters", "prefix", "--single-layers"),
            2,
            "--single-layers has no effect: with --adapters",
        ),
        (("--task", "KS", "--adapters", "prefix", "--cache-size", "3"), 2, "--cache-size has no effect"),
        (("--task", "QbE", "--steps", "3"), 2, "--steps has no effect: task search trains no heads"),
        (("--task", "QbE", "--adapters", "prefix"), 2, "--adapters has no effect: task search"),
        (("--task", "KS", "--output", "{labels}"), 4, "is not a folder"),
    ],
)
def test_mistakes_are_one_line(args: tuple[str, ...], code: int, problem: str, labels: Path, tmp_path: Path) -> None:
    filled = [arg.format(labels=labels) for arg in args]
    output = () if "--output" in args else ("--output", tmp_path / "out")
    done = run(labels, "--encoder", "layered", *filled, *output)
    assert done.exit_code == code, done.output
    assert problem in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2


def test_results_written_meanwhile_stay(labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "out"
    save = heads.save_head

    def other_task_first(head: heads.Head, folder: Path) -> None:
        save(head, folder)
        if folder.parent.name == "keyword":
            assert run(labels, "--task", "emotion", "--encoder", "layered", "--output", output, *QUICK).exit_code == 0

    monkeypatch.setattr(heads, "save_head", other_task_first)
    done = run(labels, "--task", "keyword", "--encoder", "layered", "--output", output, *QUICK)
    assert done.exit_code == 0, done.output
    assert {found.task for found in read_results(output)} == {"emotion", "keyword"}


def test_labels_that_are_not_there(tmp_path: Path) -> None:
    done = run(tmp_path / "none", "--task", "KS", "--encoder", "x", "--output", tmp_path / "out")
    assert done.exit_code == 2
    assert "does not exist" in done.stderr
    assert not (tmp_path / "out").exists()
