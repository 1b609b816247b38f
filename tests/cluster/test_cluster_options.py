"""`--cluster` on the command line, before any cluster is joined."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from mtasr.cli import display as displays
from mtasr.cli import program
from mtasr.cli.display import Display
from mtasr.cli.display.pace import Pace
from mtasr.cli.display.terminal import Bars
from mtasr.cli.options.command import AddressOption, Command, option
from mtasr.cluster.team import NodeState


@click.command(cls=Command)
@click.argument("files", nargs=-1)
@option("Other", "--cluster", cls=AddressOption)
def echo(files: tuple[str, ...], cluster: str | None) -> None:
    click.echo(f"{cluster} {' '.join(files)}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("a.wav", "None a.wav"),
        ("--cluster a.wav", "auto a.wav"),
        ("a.wav --cluster", "auto a.wav"),
        ("--cluster talks/2024:1.wav", "auto talks/2024:1.wav"),
        ("--cluster 127.0.0.1:6379 a.wav", "127.0.0.1:6379 a.wav"),
        ("--cluster head.example:6379 a.wav", "head.example:6379 a.wav"),
        ("--cluster [::1]:6379 a.wav", "[::1]:6379 a.wav"),
        ("--cluster ray://head:10001 a.wav", "ray://head:10001 a.wav"),
        ("--cluster=other a.wav", "other a.wav"),
        ("a.wav -- --cluster", "None a.wav --cluster"),
    ],
)
def test_the_next_word_is_an_address_only_if_it_looks_like_one(arguments: str, said: str):
    result = CliRunner().invoke(echo, arguments.split())
    assert result.output.strip() == said


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["-"], "standard input (-) cannot be read by the nodes of a cluster"),
        (["a.wav", "--engine", "torch"], "--cluster works with --engine ctranslate2, not with torch"),
        (["a.wav", "--timings", "t.json"], "--timings measures this machine"),
    ],
)
def test_what_no_cluster_can_do_is_refused(
    arguments: list[str],
    reason: str,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        program.main(["transcribe", *arguments, "--cluster"], prog_name="mtasr")
    assert ended.value.code == 2
    assert reason in capfd.readouterr().err


def test_each_node_has_a_line_below_the_bars(capsys: pytest.CaptureFixture[str]):
    states = [NodeState("head", tasks=2, recordings=3, seconds=61.0), NodeState("old", reason="has mtasr 0.1")]
    bars = Bars("a.wav", lambda: 1.0, lambda: 2.0, Pace({"a.wav": 1}), nodes=lambda: states)
    bars._console.print(bars._render())
    drawn = capsys.readouterr().err
    assert "2 tasks under way" in drawn
    assert "3 files  1:01" in drawn
    assert "no work" in drawn


def test_programs_hear_of_nodes_when_something_changes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(displays, "_LOOK", 0.0)
    state = NodeState("head", tasks=1)
    display = Display(progress="json")
    display.look_at_nodes()
    display.follow_nodes(lambda: [state])
    display.look_at_nodes()
    display.look_at_nodes()
    state.seconds = 300.0
    display.look_at_nodes()
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(each["event"], each["nodes"][0]["seconds"]) for each in events] == [("nodes", 0.0), ("nodes", 300.0)]


def test_help_says_what_it_takes():
    command = program.get_command(click.Context(program), "transcribe")
    assert command is not None
    assert "--cluster [HOST:PORT]" in command.get_help(click.Context(command))
