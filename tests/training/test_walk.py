"""The commands of docs/training.md do what it says, with a tiny model instead of base."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from speech import SAMPLE_RATE, speak, write_wav
from training_model import write_model

from mtasr import load_model
from mtasr.cli import program

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "training.md").read_text()
COMMANDS = [
    line for kind, text in re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE) if kind == "sh"
    for line in text.splitlines()
]  # fmt: skip
SENTENCES = {
    "recordings/morning": "Buongiorno a tutti, il pane caldo è pronto.",
    "recordings/letters": "Le lettere arrivano sempre prima di mezzogiorno.",
    "held-out/talk": "Domani il negozio resta chiuso tutto il giorno.",
}


@pytest.mark.slow
def test_the_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in SENTENCES.items():
        path = tmp_path / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        samples = speak(text, "it")
        write_wav(path, samples)
        end = f"{len(samples) / SAMPLE_RATE:06.3f}".replace(".", ",")
        path.with_suffix(".srt").write_text(f"1\n00:00:00,100 --> 00:00:{end}\n{text}\n")
    write_model(tmp_path / "base")
    assert len(COMMANDS) == 7
    for command in COMMANDS:
        assert command.startswith("mtasr ")
        # Random weights in int8 are no copy of themselves in float32; the tests of conversion have real ones.
        tiny = command.replace("--epochs 8", "--epochs 5 export=float32").split()[1:]
        done = CliRunner().invoke(program, tiny)
        assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "report.json").read_text())
    assert [(entry["source"], entry["records"]) for entry in report["kept"]] == [("recordings", 2)]
    assert (tmp_path / "run" / "model" / "model.bin").is_file()
    assert not load_model(tmp_path / "run" / "model").engine.limits.variable_length  # too few steps
    assert (tmp_path / "talk.srt").is_file()
