"""Two processes that train together, whole and sharded, are one with accumulation; either resumes what the other wrote.

They start once, train all the runs below one after the other, and write down what they saw.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from training_model import MIXED, Configure, checkpoint, free_port, write_single_file

from mtasr.training.config import to_document
from mtasr.training.loop import Run, train
from mtasr.training.run_log import read_log
from mtasr.training.state import checkpoints, load_document

#: The settings of each run beside four batches per step, and where it begins: anew, or from step 2 of another run.
RUNS: dict[str, tuple[list[str], str | None]] = {
    "data": (["parallel=data"], None),
    "resumed": (["parallel=fsdp"], "one"),
    "resumed from a file": (["parallel=fsdp"], "old"),
    "killed": (["parallel=fsdp", "activation_checkpointing=true"], None),
    "low rank": (["parallel=fsdp", "compile=true", "method=lora", "regularisation.ctc=0.5", "steps=2"], None),
    "half": (["parallel=fsdp", "compile=false", "method=decoder", "precision=bfloat16", "steps=2"], None),
}

#: Trains the runs named in a file, counting what is sent; a run that is to be killed dies while it writes a checkpoint.
_SCRIPT = """
import json, os, signal, sys, threading
from functools import partial
from pathlib import Path
import torch, torch.distributed as dist
from mtasr.data.samples import SampleStore
from mtasr.training import state
from mtasr.training.config import read_config
from mtasr.training.objectives import whisper
from mtasr.training.loop import train

torch.set_num_threads(1)
torch.compile = partial(torch.compile, backend="eager")
rank, seen, inside, heard = os.environ["RANK"], {}, [], []
backward = torch.autograd.backward
make_batch, stretch = whisper.make_batch, SampleStore.stretch

def noted_batch(*args):
    heard.append([])
    return make_batch(*args)

def noted(self, audio, start, end):
    if threading.current_thread() is not threading.main_thread():  # where the model is evaluated
        heard[-1].append(audio)
    return stretch(self, audio, start, end)

whisper.make_batch, SampleStore.stretch = noted_batch, noted

def counted(name, real):
    def call(*args, **kwargs):
        if name != "all_reduce" or args[0].numel() > 100:
            key = name + (" in backward" if inside else "")
            seen[key] = seen.get(key, 0) + 1
        return real(*args, **kwargs)
    return call

def marked(*args, **kwargs):
    inside.append(1)
    try:
        return backward(*args, **kwargs)
    finally:
        inside.pop()

torch.autograd.backward = marked
dist.all_reduce = counted("all_reduce", dist.all_reduce)
for name in [name for name in dir(dist) if name.startswith("reduce_scatter")]:  # FSDP's depends on the version of torch
    setattr(dist, name, counted("reduce_scatter", getattr(dist, name)))
finish = state._finish

def dies(staging, *args):
    if "killed" in str(staging) and staging.name == ".step-00000004.partial":
        os.kill(os.getpid(), signal.SIGKILL)
    return finish(staging, *args)

for path, port in json.loads(Path(sys.argv[1]).read_text()):
    if sys.argv[2] == "die":
        state._finish = dies
    seen.clear()
    heard.clear()
    run = train(read_config(Path(path)))
    Path(f"{path}.heard{rank}").write_text(json.dumps(heard))
    if rank == "0":
        model = getattr(run.layout.loss, "model", None)
        local = {name: list(weight.to_local().shape) for name, weight in model.named_parameters()} if model else {}
        Path(path + ".seen").write_text(json.dumps({"sent": seen, "local": local}))
    os.environ.update(MASTER_PORT=str(port), TORCHELASTIC_USE_AGENT_STORE="False")  # no traces of this meeting
"""


def losses(output: Path) -> list[float]:
    return [entry["loss"] for entry in read_log(output / "log.jsonl") if "loss" in entry]


def weights(output: Path) -> dict[str, Any]:
    return load_document(checkpoints(output)[-1])["model"]


def together(folder: Path, runs: list[str], *, die: bool = False) -> subprocess.CompletedProcess[str]:
    (folder / "twice.py").write_text(_SCRIPT)
    (folder / "plan.json").write_text(json.dumps([(str(folder / f"{name}.yaml"), free_port()) for name in runs]))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    arguments = [str(folder / "twice.py"), str(folder / "plan.json"), "die" if die else "live"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, env=environment, timeout=240, check=False
    )


def begun(folder: Path, other: Path, name: str) -> None:
    """Copy step 2 of another run, and its log, which has more steps."""
    folder.mkdir()
    path = other / name
    (shutil.copytree if path.is_dir() else shutil.copy)(path, folder / name)
    shutil.copy(other / "log.jsonl", folder)


@pytest.mark.slow
def test_two_processes_are_one_with_accumulation(sharded: Configure, data: dict[str, Path], tmp_path: Path) -> None:
    common = [*MIXED, "save_every=2", "keep=9", "optimizer.batches_per_step=4", "data.evaluation_windows=2"]
    common.append(f"data.evaluation={data['records']}")
    run = train(sharded(tmp_path / "one", *common))
    write_single_file(run.folder / "step-00000002", tmp_path / "old" / "step-00000002.pt")
    shutil.copy(run.folder / "log.jsonl", tmp_path / "old")
    for name, (settings, source) in RUNS.items():
        config = sharded(tmp_path / name, *common, *settings)
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(to_document(config)))
        if source:
            suffix = ".pt" if source == "old" else ""
            begun(tmp_path / name, tmp_path / source, f"step-00000002{suffix}")

    died = together(tmp_path, ["killed"], die=True)
    assert died.returncode != 0
    assert [path.name for path in checkpoints(tmp_path / "killed")] == ["step-00000002"]
    assert (tmp_path / "killed" / ".step-00000004.partial" / ".metadata").exists()
    before = losses(tmp_path / "killed")
    assert len(before) == 4
    done = together(tmp_path, list(RUNS))
    assert done.returncode == 0, done.stderr

    expected = losses(run.folder)
    assert len(expected) == 4
    one = weights(run.folder)
    for name in ("data", "resumed", "resumed from a file", "killed"):
        assert losses(tmp_path / name) == pytest.approx(expected, rel=1e-5), name
        found = weights(tmp_path / name)
        assert found.keys() == one.keys()
        assert all(one[key].allclose(found[key], atol=1e-5) for key in one), name
    assert not all(one[key].equal(checkpoint().model.state_dict()[key]) for key in one)
    assert losses(tmp_path / "killed") == before, "to the last digit"
    assert not list((tmp_path / "killed").glob(".*.partial"))
    for name in ("low rank", "half"):
        alone = train(sharded(tmp_path / f"{name} alone", *common, *RUNS[name][0][2:]))
        assert losses(tmp_path / name) == pytest.approx(losses(alone.folder), rel=1e-3 if name == "half" else 1e-5)
        assert weights(tmp_path / name).keys() == weights(alone.folder).keys()

    _what_was_heard(tmp_path, run)
    _what_was_sent(tmp_path)
    _what_one_process_makes_of_it(sharded, tmp_path, common, expected)


def _what_was_heard(folder: Path, run: Run) -> None:
    """Of the batches of one process, in their order, each of two processes reads every other one, and no other."""
    plans = itertools.chain.from_iterable(map(run.objective.epoch, itertools.count()))
    recordings = [[part.audio for each in plan for part in each.excerpt.parts] for plan in itertools.islice(plans, 16)]
    assert len({audio for batch in recordings for audio in batch}) > 3, "of more than one pool"
    for rank in (0, 1):
        heard = json.loads((folder / f"data.yaml.heard{rank}").read_text())
        assert heard[:8] == recordings[rank::2]


def _what_was_sent(folder: Path) -> None:
    """Gradients are sent once per step of two batches, and before the backward pass has ended."""
    data, sharded = (json.loads((folder / f"{name}.yaml.seen").read_text()) for name in ("data", "resumed"))
    assert data["sent"] == {"all_reduce in backward": 4}, "a small model is one buffer"
    groups = 1 + 4  # what is outside of layers, and two layers each of the encoder and the decoder
    assert sharded["sent"] == {"reduce_scatter in backward": 2 * groups}, "of two steps"
    whole = {name: list(weight.shape) for name, weight in checkpoint().model.named_parameters()}
    assert sharded["local"] == {name: [-(-shape[0] // 2), *shape[1:]] for name, shape in whole.items()}


def _what_one_process_makes_of_it(sharded: Configure, folder: Path, common: list[str], expected: list[float]) -> None:
    """It resumes what two have written."""
    for name in ("data", "killed"):
        other = folder / f"{name} on one"
        begun(other, folder / name, "step-00000002")
        train(sharded(other, *common))
        assert losses(other) == pytest.approx(expected, rel=1e-5)
        assert losses(other)[:2] == losses(folder / name)[:2]
    evaluations = [
        [entry["evaluation"] for entry in read_log(folder / name / "log.jsonl") if "evaluation" in entry]
        for name in ("one", "data", "killed")
    ]
    assert len(evaluations[0]) == 1
    assert evaluations[0] == evaluations[1] == evaluations[2]
