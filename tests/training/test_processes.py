"""Two processes that train together, whole and sharded, are one with accumulation; either resumes what the other wrote.

What `torchrun` starts processes with starts them here, as copies of one that has loaded torch. They train all the runs
below one after the other, over shards, and write down what they saw. Compiling takes longer than all the rest, so that
one of them does it, for one step.
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
    "killed": (["parallel=fsdp", "activation_checkpointing=true"], None),
    "resumed": (["parallel=fsdp"], "one"),
    "resumed from a file": (["parallel=fsdp"], "old"),
    "low rank": (
        ["parallel=fsdp", "compile=true", "method=lora", "regularisation.ctc=0.5", "steps=1", "optimizer.warmup=1"],
        None,
    ),
    "adapters": (["parallel=fsdp", "activation_checkpointing=true", "method=prefix", "steps=2"], None),
    "frozen": (["parallel=fsdp", "compile=false", "optimizer.frozen_encoder_steps=1", "steps=2"], None),
    "frozen, data": (["parallel=data", "compile=false", "optimizer.frozen_encoder_steps=1", "steps=2"], None),
    "half": (["parallel=fsdp", "compile=false", "method=decoder", "precision=bfloat16", "steps=2"], None),
}
#: How the second process then differs from the first, and what both say.
REFUSED = {
    "settings": "UsageError: the processes have different settings; start all of them with the same",
    "data": "UsageError: the processes have different data; all machines must have the same files of records under the",
    "interrupted": "KeyboardInterrupt: of a user",
}
CLIP = 2.0

#: Trains the runs named in a file, counting what is sent. Before, the first process dies in the run "killed", while
#: it writes a checkpoint. The second process sees no checkpoint in any folder, as on a disk that shows
#: new names late.
_SCRIPT = """
import dataclasses, json, os, shutil, signal, sys, threading
from functools import partial
from pathlib import Path
import torch, torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from mtasr.data import reading
from mtasr.data.samples import SampleStore
from mtasr.training import loop, state, tensor_files
from mtasr.training.config import read_config
from mtasr.training.loop import train
from mtasr.training.objectives import whisper

torch.set_num_threads(1)
seen, inside, heard = {}, [], []
folder, ports = Path(sys.argv[1]), json.loads(sys.argv[2])
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

def meet():
    os.environ.update(MASTER_PORT=str(ports.pop()), TORCHELASTIC_USE_AGENT_STORE="False")  # nothing of other meetings

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
compiling = torch.compile
finish = state._finish

def dies(staging, *args):
    if staging.name == ".step-00000003.partial":
        os.kill(os.getpid(), signal.SIGKILL)
    return finish(staging, *args)

def killed():
    state._finish = dies
    train(read_config(folder / "killed.yaml"))

def work():
    rank = os.environ["RANK"]
    torch.compile = partial(compiling, backend="eager") if rank == "0" else lambda function: function
    if rank == "1":
        state.checkpoints = loop.checkpoints = lambda _: []
    for name in json.loads((folder / "plan.json").read_text()):
        seen.clear()
        heard.clear()
        run = train(read_config(folder / f"{name}.yaml"))
        (folder / f"{name}.heard{rank}").write_text(json.dumps(heard))
        if rank == "0":
            model = getattr(run.layout.loss, "model", None)
            local = {name: list(weight.to_local().shape) for name, weight in model.named_parameters()} if model else {}
            (folder / f"{name}.seen").write_text(json.dumps({"sent": seen, "local": local}))
        meet()
    for difference in ("settings", "data", "interrupted"):
        differ(difference, rank)
        meet()

def differ(difference, rank, real=reading.files_of):
    config = read_config(folder / "data.yaml")
    if rank == "1":
        config = dataclasses.replace(config, seed=1) if difference == "settings" else config
        reading.files_of = (lambda where: real(where)[:-1]) if difference == "data" else real
        if difference == "interrupted":
            tensor_files._Reader.read_data = interrupted
    try:
        train(config)
    except BaseException as exc:
        (folder / f"{difference}.{rank}").write_text(f"{type(exc).__name__}: {exc}")

def interrupted(*_):
    raise KeyboardInterrupt("of a user")

def start(function, name):
    places = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0"}
    elastic_launch(LaunchConfig(1, 1, 2, run_id=name, start_method="fork", max_restarts=0, **places), function)()

try:
    start(killed, "killed")
except ChildFailedError as exc:
    assert signal.SIGKILL in {-failure.exitcode for failure in exc.failures.values()}, exc
shutil.copytree(folder / "killed", folder / "before")
start(work, "work")
"""


def losses(output: Path) -> list[float]:
    return figures(output, "loss")


def figures(output: Path, name: str) -> list[float]:
    return [entry[name] for entry in read_log(output / "log.jsonl") if name in entry]


def weights(output: Path) -> dict[str, Any]:
    return load_document(checkpoints(output)[-1])["model"]


def together(folder: Path, runs: list[str]) -> None:
    (folder / "twice.py").write_text(_SCRIPT)
    (folder / "plan.json").write_text(json.dumps(runs))
    ports = [free_port() for _ in range(len(runs) + len(REFUSED))]
    done = subprocess.run(
        [sys.executable, str(folder / "twice.py"), str(folder), json.dumps(ports)],
        capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def begun(folder: Path, other: Path, name: str) -> None:
    """Copy step 2 of another run, and its log, which has more steps."""
    folder.mkdir()
    path = other / name
    (shutil.copytree if path.is_dir() else shutil.copy)(path, folder / name)
    shutil.copy(other / "log.jsonl", folder)


@pytest.mark.slow
def test_two_processes_are_one_with_accumulation(sharded: Configure, data: dict[str, Path], tmp_path: Path) -> None:
    common = [*MIXED, "data.silence=1", "save_every=2", "keep=9", "optimizer.batches_per_step=4"]
    common += [f"optimizer.clip={CLIP}", f"data.evaluation={data['records']}", "data.evaluation_windows=2"]
    run = train(sharded(tmp_path / "one", *common, steps=3))
    write_single_file(run.folder / "step-00000002", tmp_path / "old" / "step-00000002.pt")
    shutil.copy(run.folder / "log.jsonl", tmp_path / "old")
    for name, (settings, source) in RUNS.items():
        config = sharded(tmp_path / name, "steps=3", *common, *settings)
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(to_document(config)))
        if source:
            suffix = ".pt" if source == "old" else ""
            begun(tmp_path / name, tmp_path / source, f"step-00000002{suffix}")

    together(tmp_path, list(RUNS))

    before = losses(tmp_path / "before")
    assert len(before) == 3
    assert [path.name for path in checkpoints(tmp_path / "before")] == ["step-00000002"]
    assert (tmp_path / "before" / ".step-00000003.partial" / ".metadata").exists()
    assert losses(tmp_path / "killed") == before, "to the last digit"
    assert not list((tmp_path / "killed").glob(".*.partial"))
    norms = figures(run.folder, "gradient_norm")
    assert min(norms) < CLIP < max(norms)
    for name in ("data", "killed", "resumed", "resumed from a file"):
        _is(tmp_path / name, run.folder, rel=1e-5)
    initial = checkpoint().model.state_dict()
    assert not all(tensor.equal(initial[key]) for key, tensor in weights(run.folder).items())
    for name in ("low rank", "adapters", "frozen", "frozen, data", "half"):
        alone = train(sharded(tmp_path / f"{name} alone", *common, *RUNS[name][0][2:]))
        _is(tmp_path / name, alone.folder, rel=1e-3 if name == "half" else 1e-5)
    evaluations = [figures(tmp_path / name, "evaluation") for name in ("one", "data", "killed")]
    assert len(evaluations[0]) == 1
    assert evaluations[0] == evaluations[1] == evaluations[2]

    _what_was_heard(tmp_path, run)
    _what_was_sent(tmp_path)
    for difference, words in REFUSED.items():
        said = [(tmp_path / f"{difference}.{rank}").read_text() for rank in (0, 1)]
        assert all(each.startswith(words) for each in said), said
    for name in ("data", "killed"):
        other = tmp_path / f"{name} on one"
        begun(other, tmp_path / name, "step-00000002")
        train(sharded(other, *common, steps=3))
        _is(other, run.folder, rel=1e-5)
        assert losses(other)[:2] == losses(tmp_path / name)[:2]


def _is(found: Path, expected: Path, rel: float) -> None:
    """Norms show a wrong scale of the gradients, which AdamW and clipping would hide from the losses and weights."""
    for name in ("loss", "gradient_norm"):
        assert figures(found, name) == pytest.approx(figures(expected, name), rel=rel), found.name
    one, other = weights(found), weights(expected)
    assert one.keys() == other.keys()
    if rel < 1e-4:
        assert all(one[key].allclose(other[key], atol=1e-5) for key in one), found.name


def _what_was_heard(folder: Path, run: Run) -> None:
    """Of the batches of one process, in their order, each of two processes reads every other one, and no other."""
    plans = itertools.chain.from_iterable(map(run.objective.epoch, itertools.count()))
    recordings = [[part.audio for each in plan for part in each.excerpt.parts] for plan in itertools.islice(plans, 12)]
    assert len({audio for batch in recordings for audio in batch}) > 3, "of more than one pool"
    for rank in (0, 1):
        heard = json.loads((folder / f"data.heard{rank}").read_text())
        assert heard[:6] == recordings[rank::2]


def _what_was_sent(folder: Path) -> None:
    """Gradients are sent once per step of two batches, and before the backward pass has ended."""
    data, sharded = (json.loads((folder / f"{name}.seen").read_text()) for name in ("data", "killed"))
    assert data["sent"] == {"all_reduce in backward": 3}, "a small model is one buffer"
    groups = 1 + 4  # what is outside of layers, and two layers each of the encoder and the decoder
    assert sharded["sent"] == {"reduce_scatter in backward": groups}, "of the one step after the resume"
    whole = {name: list(weight.shape) for name, weight in checkpoint().model.named_parameters()}
    assert sharded["local"] == {name: [-(-shape[0] // 2), *shape[1:]] for name, shape in whole.items()}
