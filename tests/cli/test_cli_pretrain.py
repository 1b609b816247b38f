"""`mtasr pretrain` as somebody uses it who has recordings and no text: a run, its result, and what is wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from speech import SAMPLE_RATE, write_wav
from training_model import checkpoint

from mtasr.checkpoints.formats import save_checkpoint
from mtasr.cli import program
from mtasr.cli.failures import ExitCode
from mtasr.data.records import Caption, Record, write_records
from mtasr.training.run_log import read_log

TINY = [
    "objective=best-rq", "output=run", "steps=3", "device=cpu", "data.longest=2", "data.shortest=1",
    "data.batch_seconds=4", "optimizer.batches_per_step=1", "optimizer.warmup=1", "objective_options.codes=16",
    "objective_options.sizes={n_audio_state: 32, n_audio_head: 2, n_audio_layer: 2}",
]  # fmt: skip


@pytest.fixture
def mtasr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Result]]:
    """Runs a command in a folder that has a folder of recordings."""
    monkeypatch.chdir(tmp_path)
    Path("recordings").mkdir()
    rng = np.random.default_rng(0)
    for name, seconds in (("a", 1.5), ("b", 2.5), ("c", 0.5)):
        write_wav(Path("recordings") / f"{name}.wav", rng.normal(0, 0.1, int(seconds * SAMPLE_RATE)).astype(np.float32))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    handlers = list(logging.getLogger("mtasr").handlers)

    def run(*args: str) -> Result:
        ran = CliRunner().invoke(program, args, prog_name="mtasr")
        logging.getLogger("mtasr").handlers[:] = handlers  # those of commands write where a test no longer listens
        return ran

    yield run
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_from_a_folder_to_a_recogniser(mtasr: Callable[..., Result]) -> None:
    """Pre-training, the same command again, and then training with few labels."""
    Path("recordings/broken.wav").write_bytes(b"no sound")
    ran = mtasr("pretrain", *TINY, "data=recordings", "data.evaluation=recordings/b.wav")
    assert ran.exit_code == 0, ran.output
    assert "broken.wav" in ran.stderr
    assert "recordings: 1 record shorter than 1 s left out" in ran.stderr
    assert "step 3/3: evaluation: loss " in ran.stderr
    assert ran.stderr.endswith(f"the encoder is in {Path.cwd()}/run/encoder\n")
    assert {each.name for each in Path("run/encoder").iterdir()} == {"config.json", "model.safetensors"}
    losses = read_log(Path("run/log.jsonl"))
    again = mtasr("pretrain", *TINY, "data=recordings", "data.evaluation=recordings/b.wav")
    assert again.exit_code == 0
    assert "continues from step 3/3" in again.stderr
    assert read_log(Path("run/log.jsonl")) == losses
    save_checkpoint(checkpoint(), Path("model.pt"), "openai")
    caption = Caption(start=0.1, end=1.4, text="the")
    audio = str(Path("recordings/a.wav").absolute())
    write_records([Record(id="a", audio=audio, duration=1.5, language="en", captions=(caption,))], Path("a.jsonl"))
    tuned = mtasr(
        "finetune", "model.pt", "a.jsonl", "--output", "tuned", "init_encoder=run", "steps=1", "device=cpu",
        "optimizer.layer_decay=0.9", "export=float32",
    )  # fmt: skip
    assert tuned.exit_code == 0, tuned.output


def test_what_is_wrong(mtasr: Callable[..., Result]) -> None:
    Path("empty").mkdir()

    def said(*settings: str) -> str:
        ran = mtasr("pretrain", *settings)
        assert ran.exit_code in {ExitCode.USAGE, ExitCode.INPUT}, ran.output
        assert not Path("run/config.json").exists()
        (line,) = ran.stderr.splitlines()[-1:]
        return line.removeprefix("mtasr: error: ")

    assert said(*TINY, "data=empty") == "empty: is a folder without recordings and without shards"
    assert said(*TINY, "data=none.wav") == "none.wav: no such file"
    assert said(*TINY, "data=recordings/c.wav").endswith("lasts data.shortest=1 s; the longest lasts 0.5 s")
    assert said(*TINY, "data=recordings", "preset=huge").endswith("not 'huge'")
    assert said("objective=best-qr", "data=recordings", "output=run").endswith("not 'best-qr'")
    assert said(*TINY, "recordings") == (
        "settings are KEY=VALUE, after at most one configuration file; not 'recordings'"
    )
    assert said("recordings.yaml", *TINY) == "recordings.yaml: cannot be read: No such file or directory"
    assert said() == (
        "objective, data and output are not set, as in: mtasr pretrain objective=best-rq data=recordings output=RUN"
    )
    assert said(*TINY) == "data is not set: name a folder of recordings, or records"


def test_a_run_that_cannot_be_written_is_an_error_of_one_line(mtasr: Callable[..., Result]) -> None:
    Path("run").write_text("a file")
    ran = mtasr("pretrain", *TINY, "data=recordings", "--debug")
    assert ran.exit_code == ExitCode.OUTPUT, ran.output
    assert ran.stderr.endswith("mtasr: error: cannot write run/recordings: Not a directory\n")
