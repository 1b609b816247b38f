"""Many small files in one batch: the time of each against that of recognition alone, and memory.

    python benchmarks/many.py [--files 200] [--rounds 3] [--model base]

Files of one to three spoken sentences are synthesised. Recognition alone is `Model.stream_all` over the same samples in
memory; the batch is `mtasr transcribe FOLDER`, once the model is loaded, as `--progress json` tells. They take
turns. Memory is the resident set of a batch when its last file is done and nothing is under way, what is freed given
back; the growth is that of all files over half of them, for 100 files. While windows are under way it swings by far
more than files could add.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from kills import ENGLISH
from speech import SAMPLE_RATE, speak, write_wav

from mtasr.batch import Ending
from mtasr.transcribe import Model, load_model


def recognise(model: Model, recordings: list[np.ndarray]) -> float:
    began = time.perf_counter()
    with model.stream_all(recordings, word_timestamps=True) as streams:
        for stream in streams:
            with stream:
                stream.transcript()
    return time.perf_counter() - began


def child(told: Path, args: list[str]) -> None:
    """mtasr, which writes down its resident set in MB when its last file is done."""
    from mtasr.cli import main
    from mtasr.cli.display import Display

    finish = Display.finish

    def measured(self: Display, endings: Sequence[Ending]) -> None:
        ctypes.CDLL(None).malloc_trim(0)
        found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
        assert found is not None
        told.write_text(str(int(found[1]) * 1024 / 1e6))
        finish(self, endings)

    Display.finish = measured  # type: ignore[method-assign]
    main(args)


def batch(files: list[Path], out: Path, options: list[str]) -> tuple[float, float]:
    """Seconds, and MB at the end."""
    told, names = out.with_suffix(".memory"), out.with_suffix(".names")
    names.write_text("\n".join(map(str, files)))
    command = [sys.executable, __file__, "--child", str(told), "transcribe", "--files-from", str(names)]
    command += ["--output-dir", str(out), "--no-verbose", "--progress", "json", *options]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=True)
    finish = json.loads(done.stderr.splitlines()[-1])
    assert finish["done"] + finish["in_doubt"] == len(files), finish
    return finish["took"], float(told.read_text())


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
        files, options, half = sorted(folder.iterdir()), ["--model", args.model], args.files // 2
        pure, whole, growth = [], [], []
        for number in range(args.rounds):
            pure.append(recognise(model, recordings))
            took, most = batch(files, Path(name) / f"out{number}", options)
            _, least = batch(files[:half], Path(name) / f"half{number}", options)
            whole.append(took)
            growth.append((most - least) / (args.files - half) * 100)
            print(
                f"round {number + 1}: alone {pure[-1]:.2f} s, batch {took:.2f} s ({took / pure[-1]:.3f} times), "
                f"memory {least:.1f} to {most:.1f} MB, {growth[-1]:+.2f} MB for 100 files",
                flush=True,
            )
    one, other = statistics.median(pure) / args.files, statistics.median(whole) / args.files
    print(
        f"{args.files} files of {seconds / args.files:.1f} s: recognition alone {one * 1000:.1f} ms a file, in a batch "
        f"{other * 1000:.1f} ms, {other / one:.2f} times; memory {statistics.median(growth):+.2f} MB for 100 files"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]), sys.argv[3:])
    else:
        main()
