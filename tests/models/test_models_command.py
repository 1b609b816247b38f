"""`mtasr models`, by way of the group alone."""

from __future__ import annotations

from pathlib import Path

import click.testing
import pytest
from fakehub import FakeHub

from mtasr.cli import models as command
from mtasr.cli.display import Display
from mtasr.errors import ModelIntegrityError, ModelNotFoundError, UsageError

pytestmark = pytest.mark.usefixtures("fake_model")


def run(*arguments: str, answer: str | None = None) -> click.testing.Result:
    # The commands remember the names of their help option, and the reference of all commands is written from them.
    names = ["--help", "-h"]
    return click.testing.CliRunner().invoke(command.models, arguments, input=answer, help_option_names=names)


def test_list_is_plain_where_nobody_watches(fake_hub: FakeHub) -> None:
    run("pull", "fake")
    result = run("list")
    assert result.exit_code == 0
    rows = {line.split("\t")[0]: line.split("\t")[1:] for line in result.stdout.splitlines()}
    assert rows["small"] == ["multilingual", "486212372", "downloadable", ""]
    assert rows["medium.en"][0] == "English"
    assert rows["fake"][2] == "cached"
    assert Path(rows["fake"][3]).is_dir()


def test_list_is_a_table_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    from mtasr.models import list_models

    command._print_table(list_models())
    out = capsys.readouterr().out
    assert "large-v3-turbo, turbo" in out
    assert "486.2 MB" in out


def test_pull_and_path(fake_hub: FakeHub) -> None:
    missing = run("path", "fake")
    assert isinstance(missing.exception, ModelNotFoundError)
    pulled = run("pull", "fake")
    assert (pulled.exit_code, pulled.stdout) == (0, "")
    found = run("path", "fake")
    assert found.stderr == ""
    assert Path(found.stdout.rstrip("\n")).joinpath("model.bin").is_file()


def test_the_progress_bar_goes_to_stderr(
    fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Display().downloads() as progress:
        assert progress
        progress("model.bin", 1, 2)
        progress("model.bin", 2, 2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "model.bin" in captured.err


def test_verify(fake_hub: FakeHub) -> None:
    run("pull", "fake")
    assert run("verify", "fake").stdout.endswith(": ok\n")
    folder = Path(run("path", "fake").stdout.strip())
    (folder / "config.json").write_text("[]" * 8 + "\n")
    result = run("verify", "fake")
    assert isinstance(result.exception, ModelIntegrityError)
    assert "config.json has changed" in result.stdout


def test_remove_asks(fake_hub: FakeHub) -> None:
    run("pull", "fake")
    refused = run("remove", "fake", answer="n\n")
    assert refused.exit_code == 1
    assert run("path", "fake").exit_code == 0
    nobody = run("remove", "fake", answer="")
    assert isinstance(nobody.exception, UsageError)
    assert "--yes deletes without asking" in str(nobody.exception)
    assert run("remove", "fake", answer="y\n").exit_code == 0
    assert isinstance(run("path", "fake").exception, ModelNotFoundError)
    run("pull", "fake")
    assert run("remove", "--yes", "fake").exit_code == 0
    assert isinstance(run("remove", "--yes", "fake").exception, ModelNotFoundError)
