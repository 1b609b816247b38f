"""Completion: what a shell asks when the user presses Tab."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from mtasr.cli import program


def ask(instruction: str, words: str = "", position: int = 0) -> str:
    environment = {"_MTASR_COMPLETE": instruction, "COMP_WORDS": words, "COMP_CWORD": str(position)}
    # The program's name decides the variable's.
    result = CliRunner().invoke(program, [], prog_name="mtasr", env=environment)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_as_the_readme_loads_them(shell: str) -> None:
    assert f"_MTASR_COMPLETE={shell}_complete" in ask(f"{shell}_source")


@pytest.mark.parametrize(
    ("words", "position", "expected"),
    [
        ("mtasr tran", 1, ["plain,transcribe", "plain,translate"]),
        ("mtasr transcribe --subtitle-", 2, ["plain,--subtitle-style"]),
        ("mtasr transcribe --subtitle-style b", 3, ["plain,broadcast"]),
        ("mtasr transcribe -f t", 3, ["plain,txt", "plain,ttml", "plain,tsv"]),
        ("mtasr transcribe -f srt,j", 3, ["plain,srt,json"]),
        ("mtasr transcribe --model large-v3-", 3, ["plain,large-v3-turbo"]),
        ("mtasr transcribe --model ./", 3, ["dir,./"]),
        ("mtasr transcribe inter", 2, ["file,inter"]),
        ("mtasr transcribe --language sw", 3, ["plain,sw", "plain,swedish", "plain,swahili"]),
        ("mtasr transcribe --languages en,sw", 3, ["plain,en,sw", "plain,en,swedish", "plain,en,swahili"]),
        ("mtasr transcribe --device c", 3, ["plain,cpu", "plain,cuda"]),
        ("mtasr models pull large-v3-", 3, ["plain,large-v3-turbo"]),
        ("mtasr models pull speakers-c", 3, ["plain,speakers-campplus"]),
        ("mtasr models info large-v3-", 3, ["plain,large-v3-turbo"]),
        ("mtasr config show ev", 3, ["plain,evaluate"]),
    ],
)
def test_answers(words: str, position: int, expected: list[str]) -> None:
    assert ask("bash_complete", words, position).split() == expected
