"""The commands of docs/guide/pretraining.md and probing.md, with fewer steps and tiny models; the files of a table."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from speech import SAMPLE_RATE, speak, write_wav
from training_model import DIMS, write_model, write_tones

from mtasr.cli import program

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guide"
TEXT = (GUIDE / "pretraining.md").read_text(encoding="utf-8")
COMMANDS = [
    command
    for page in (TEXT, (GUIDE / "probing.md").read_text(encoding="utf-8"))
    for text in re.findall(r"^```sh\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    for command in text.replace("\\\n", " ").splitlines()
]
WORDS = ("harbour", "lighthouse")


def test_the_files_of_the_table_exist() -> None:
    table = TEXT.partition("## Which system is which file")[2].partition("##")[0]
    named = re.findall(r"`([\w/]+(?:\.py|/))`", table)
    assert len(named) > 12
    assert [name for name in named if not (ROOT / "mtasr" / name).exists()] == []


@pytest.mark.slow
def test_the_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, voice in (("recordings", "en-us"), ("held-out", "en-us+f1")):
        (tmp_path / folder).mkdir()
        write_wav(tmp_path / folder / "talk.wav", speak("The harbour is quiet tonight, and the light is on.", voice))
    rows = []
    for split, voice in (("train", "en-us"), ("dev", "en-us+f1"), ("test", "en-us+m3")):
        for word in WORDS:
            path = tmp_path / f"{split}-{word}.wav"
            write_wav(path, speak(word, voice)[:SAMPLE_RATE])
            rows.append({"audio": path.name, "split": split, "label": word})
    for name in ("words.jsonl", "labels.jsonl"):
        (tmp_path / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    sizes = {"n_audio_state": 128, "n_audio_head": 4, "n_audio_layer": 3, "n_text_state": 128}
    write_model(tmp_path / "model.pt", replace(DIMS, **sizes))
    (tmp_path / "tones").mkdir()
    records = write_tones(tmp_path / "tones", 3)
    (tmp_path / "recogniser.yaml").write_text(
        f"{{model: model.pt, output: recogniser, steps: 1, export: float32, data: {{train: {records}}}}}"
    )
    write_wav(tmp_path / "recording.wav", speak(WORDS[0]))
    assert len(COMMANDS) == 6
    for command in COMMANDS:
        assert command.startswith("mtasr ")
        fewer = re.sub(r"facebook.hubert-base-ls960", "run", command)
        fewer = fewer.replace("steps=2000", "steps=2 optimizer.warmup=1 data.batch_seconds=15")
        fewer = re.sub(r"(?<=[ :])base\b", "model.pt", fewer)
        if command.startswith("mtasr probe"):
            fewer += " --steps 2 --learning-rates 0.01"
        done = CliRunner().invoke(program, fewer.split()[1:])
        assert done.exit_code == 0, done.output
    assert (tmp_path / "run" / "encoder" / "model.safetensors").is_file()
    assert (tmp_path / "probes" / "report.html").is_file()
    assert (tmp_path / "recogniser" / "model" / "model.bin").is_file()
