"""Many small files in one batch: the time of each against that of recognition alone, and memory.

    python benchmarks/many.py [--files 200] [--rounds 3] [--model base]

Files of one to three spoken sentences are synthesised. Recognition alone is `Model.stream_all` over the same samples in
memory; the batch is `mtasr transcribe FOLDER`, once the model is loaded, as `--progress json` tells. They take
turns. Memory is the resident set after each file of the last two thirds; the growth is the slope of a straight line
through them, for 100 files.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from kills import ENGLISH
from speech import SAMPLE_RATE, speak, write_wav

from mtasr.transcribe import Model, load_model


def recognise(model: Model, recordings: list[np.ndarray]) -> float:
    began = time.perf_counter()
    with model.stream_all(recordings, word_timestamps=True) as streams:
        for stream in streams:
            with stream:
                stream.transcript()
    return time.perf_counter() - began


def resident(pid: int) -> float:
    """In MB."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024 / 1e6


def batch(folder: Path, out: Path, count: int, options: list[str]) -> tuple[float, float]:
    """Seconds, and MB gained for 100 files."""
    command = [sys.executable, "-m", "mtasr", "transcribe", str(folder), "--output-dir", str(out), "--no-verbose"]
    memory: list[float] = []
    took, done = 0.0, 0
    with subprocess.Popen([*command, "--progress", "json", *options], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            event = json.loads(line)
            if event["event"] == "end":
                done += 1
                if done > count // 3:
                    memory.append(resident(process.pid))
            elif event["event"] == "finish":
                took = event["took"]
                assert event["done"] + event["in_doubt"] == count, event
    return took, 100 * float(np.polyfit(range(len(memory)), memory, 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="base")
    args = parser.parse_args()
    chooser = random.Random(0)
    recordings = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "in"
        folder.mkdir()
        for number in range(args.files):
            parts = [
                speak(text, pitch=chooser.randint(30, 70)) for text in chooser.sample(ENGLISH, chooser.randint(1, 3))
            ]
            recordings.append(np.concatenate(parts))
            write_wav(folder / f"{number:04}.wav", recordings[-1])
        seconds = sum(map(len, recordings)) / SAMPLE_RATE
        model = load_model(args.model)
        pure, whole, growth = [], [], []
        for number in range(args.rounds):
            pure.append(recognise(model, recordings))
            took, grown = batch(folder, Path(name) / f"out{number}", args.files, ["--model", args.model])
            whole.append(took)
            growth.append(grown)
            print(
                f"round {number + 1}: alone {pure[-1]:.2f} s, batch {took:.2f} s ({took / pure[-1]:.3f} times), "
                f"memory {grown:+.2f} MB for 100 files",
                flush=True,
            )
    one, other = statistics.median(pure) / args.files, statistics.median(whole) / args.files
    print(
        f"{args.files} files of {seconds / args.files:.1f} s: recognition alone {one * 1000:.1f} ms a file, in a batch "
        f"{other * 1000:.1f} ms, {other / one:.2f} times; memory {statistics.median(growth):+.2f} MB for 100 files"
    )


if __name__ == "__main__":
    main()
