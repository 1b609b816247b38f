"""One step of pre-training at published sizes: memory, seconds of each part, and what bfloat16 does to the loss.

    python benchmarks/base_sizes.py [PRESET...] [--device cpu] [--precision float32 bf16]
    python benchmarks/base_sizes.py --device cuda --precision float32 bf16

Each preset trains a few steps in a process of its own, through the loop, the objective and the optimiser of
`mtasr pretrain`. On the CPU a batch is two crops of two seconds; on a GPU it is that of the preset, as published for
each of its processes. `--crop` and `--seconds` choose others. The audio is `examples/interview.flac`, again and again:
figures of speed do not depend on what is said, and losses are those of new weights.

Backward has the clipping of gradients in it. Peak memory is that of torch's allocator on a GPU, and that of the process
on the CPU. "Against float32" compares the losses of the new weights for one batch, without dropout.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from speed import machine, table

from mtasr.data.samples import read_samples
from mtasr.pretraining.recipes import pretrain_config
from mtasr.spans import SAMPLE_RATE
from mtasr.training.batches import Batch
from mtasr.training.config import TrainConfig
from mtasr.training.loop import Run, batches_from, begin, take_step
from mtasr.training.parallel import Crew
from mtasr.training.state import RunState

#: The objective of each preset. WavLM's units come from a run of HuBERT; here they are as many units of cepstra.
PRESETS: dict[str, list[str]] = {
    "wav2vec2-base": ["objective=wav2vec2"],
    "hubert-base": ["objective=hubert"],
    "wavlm-base": ["objective=wavlm", "objective_options.layer=null"],
    "cpc": ["objective=cpc"],
    "whisper-base": ["objective=best-rq"],
    "whisper-small": ["objective=best-rq"],
    "xls-r-300m": ["objective=wav2vec2"],
}
_PRECISIONS = {"float32": "float32", "bf16": "bfloat16"}
#: Steps that are not counted: they fill caches and choose algorithms.
_WARM = 2
_SPEECH = Path(__file__).parent.parent / "examples" / "interview.flac"

Figures = dict[str, Any]


def config_for(options: argparse.Namespace, name: str, precision: str, folder: Path) -> TrainConfig:
    """That of a preset, for crops and batches of the lengths in question and one batch per step."""
    settings = [
        *PRESETS[name], f"preset={name}", f"data={folder / 'speech.wav'}", f"output={folder / 'run'}",
        f"steps={_WARM + options.steps}", "optimizer.warmup=1", "optimizer.batches_per_step=1",
        f"device={options.device}", f"precision={_PRECISIONS[precision]}",
    ]  # fmt: skip
    published = pretrain_config(None, settings)
    on_cpu = options.device == "cpu"
    crop = options.crop or (2.0 if on_cpu else published.data.longest)
    seconds = options.seconds or (4.0 if on_cpu else published.data.batch_seconds)
    lengths = [f"data.longest={crop}", f"data.shortest={crop}", f"data.batch_seconds={max(seconds, crop)}"]
    return pretrain_config(None, [*settings, *lengths])


def write_speech(path: Path, seconds: float) -> None:
    samples = np.resize(read_samples(_SPEECH), int(seconds * SAMPLE_RATE))
    with wave.open(str(path), "wb") as stream:
        stream.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        stream.writeframes((samples * 32767).astype("<i2").tobytes())


class PartTimes:
    """When the parts of each step began and ended, in seconds; on a GPU, when it had computed them."""

    def __init__(self, run: Run, state: RunState) -> None:
        self._wait = torch.cuda.synchronize if run.device.type == "cuda" else lambda: None
        self.forward: list[float] = []
        self.backward: list[float] = []
        self.step: list[float] = []
        self._last = 0.0
        loss = run.layout.loss

        def timed(batch: Batch) -> torch.Tensor:
            self._pass()
            found = loss(batch)
            self.forward.append(self._pass())
            return found

        run.layout.loss = timed
        state.optimizer.register_step_pre_hook(lambda *_: self.backward.append(self._pass()))
        state.optimizer.register_step_post_hook(lambda *_: self.step.append(self._pass()))

    def _pass(self) -> float:
        """Seconds since the last call."""
        self._wait()
        before, self._last = self._last, time.perf_counter()
        return self._last - before


@torch.no_grad()
def loss_per_target(run: Run, state: RunState, batch: Batch, *, rounded: bool) -> float:
    """Of the weights as they are, without dropout, in float32 or under autocast in bfloat16."""
    state.model.eval()
    torch.manual_seed(0)
    autocast = torch.autocast(run.device.type, torch.bfloat16) if rounded else contextlib.nullcontext()
    with autocast:
        return float(run.objective.loss(state.model, batch)) / batch.targets


def measured(options: argparse.Namespace, name: str, precision: str) -> Figures:
    """The figures of a preset, in this process."""
    with tempfile.TemporaryDirectory(dir=options.work) as kept:
        folder = Path(kept)
        config = config_for(options, name, precision, folder)
        write_speech(folder / "speech.wav", (config.steps + 2) * config.data.batch_seconds)
        run, state, log = begin(config, Crew())
        assert log is not None
        with contextlib.closing(log):
            batches = batches_from(run, 0, 0)
            batch = next(batches)[2]
            exact = loss_per_target(run, state, batch, rounded=False)
            apart = None
            if precision == "bf16":
                apart = loss_per_target(run, state, batch, rounded=True) / exact - 1
            if run.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            times = PartTimes(run, state)
            entries = []
            for state.step in range(1, config.steps + 1):
                entries.append(take_step(run, state, batches))
    parts = [statistics.median(each[_WARM:]) for each in (times.forward, times.backward, times.step)]
    counted = entries[_WARM:]
    return {
        "preset": name,
        "precision": precision,
        "parameters": sum(each.numel() for each in state.model.parameters()),
        "batch": f"{len(batch.audio)} x {config.data.longest:g} s",  # type: ignore[attr-defined]
        "peak": peak_bytes(run.device),
        "parts": parts,
        "speed": statistics.mean(entry["audio_seconds"] for entry in counted) / sum(parts),
        "loss": exact,
        "apart": apart,
        "last": entries[-1]["loss"],
    }


def peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def row_of(found: Figures) -> list[str]:
    return [
        f"`{found['preset']}`", found["precision"], f"{found['parameters'] / 1e6:.1f} M", found["batch"],
        f"{found['peak'] / 2**30:.1f}", *(f"{part:.3g}" for part in found["parts"]), f"{found['speed']:.3g}",
        f"{found['loss']:.4f}", "" if found["apart"] is None else f"{100 * found['apart']:+.2f} %",
    ]  # fmt: skip


def rows(options: argparse.Namespace, args: Sequence[str]) -> Iterator[list[str]]:
    """Each preset in a process of its own, whose memory is then its own too."""
    for name in options.presets or PRESETS:
        for precision in options.precision:
            command = [sys.executable, __file__, *args, "--one", name, precision]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            sys.stderr.write(done.stderr)
            if done.returncode:
                yield [f"`{name}`", precision, f"failed ({done.returncode})", *[""] * 8]
            else:
                yield row_of(json.loads(done.stdout.splitlines()[-1]))
            print(f"{name} in {precision} is done", file=sys.stderr, flush=True)


def main(args: Sequence[str] | None = None) -> None:
    given = list(sys.argv[1:] if args is None else args)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("presets", nargs="*", metavar="PRESET", help=", ".join(PRESETS))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", nargs="+", choices=_PRECISIONS, default=["float32"])
    parser.add_argument("--crop", type=float, help="seconds of a crop; by default 2, or the preset's on a GPU")
    parser.add_argument("--seconds", type=float, help="of audio in a batch; by default 4, or the preset's on a GPU")
    parser.add_argument("--steps", type=int, default=3, help=f"that are counted, after {_WARM} others")
    parser.add_argument("--work", type=Path, help="where temporary files are")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(given)
    if unknown := set(options.presets) - set(PRESETS):
        parser.error(f"there are no presets {', '.join(sorted(unknown))}")
    if options.one:
        print(json.dumps(measured(options, *options.one)))
        return
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    print(f"{machine(options.device)}; torch {torch.__version__}; OMP_NUM_THREADS: {threads}\n")
    head = [
        "Preset", "Precision", "Parameters", "Batch", "Peak GiB", "Forward, s", "Backward, s", "Step, s",
        "Audio a second, s", "Loss", "Against float32",
    ]  # fmt: skip
    for line in table(head, list(rows(options, given))):
        print(line)


if __name__ == "__main__":
    main()
