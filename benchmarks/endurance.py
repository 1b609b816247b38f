"""A recording of hours: peak memory, time to the first segment, the same output for any number of workers.

    python benchmarks/endurance.py FILE [--hours 4] [--mtasr mtasr] [--model base] [--language en]

FILE is repeated up to ten minutes and up to the hours asked for (FLAC files in a temporary folder, some 60 MB an hour).
Memory is the peak of mtasr's resident set, read from /proc every tenth of a second. Throughput on one core and on two
comes from the ten minutes, in turns, three rounds.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mtasr.audio.ffmpeg import find_ffmpeg


class Run(NamedTuple):
    """Seconds to the first segment and in all, and the peak of memory in MiB."""

    first: float
    whole: float
    peak: float


def repeated(source: Path, seconds: float, target: Path) -> Path:
    command = [find_ffmpeg(), "-nostdin", "-loglevel", "error", "-stream_loop", "-1", "-i", str(source)]
    subprocess.run([*command, "-t", str(seconds), "-ac", "1", "-ar", "16000", str(target)], check=True)
    return target


def run(command: list[str], cores: Sequence[int] = ()) -> Run:
    if cores:
        command = ["taskset", "-c", ",".join(map(str, cores)), *command]
    began = time.perf_counter()
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
    ) as process:
        assert process.stdout is not None
        os.read(process.stdout.fileno(), 1)
        first = time.perf_counter() - began
        os.set_blocking(process.stdout.fileno(), False)
        peak = 0.0
        while process.poll() is None:
            process.stdout.read()
            peak = max(peak, memory(process.pid))
            time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"{command} exited {process.returncode}")
    return Run(first, time.perf_counter() - began, peak)


def memory(pid: int) -> float:
    """The peak so far, in MiB; 0 once the process has ended."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--hours", type=float, default=4)
    parser.add_argument("--mtasr", default="mtasr")
    parser.add_argument("--model", default="base")
    parser.add_argument("--language", default="en")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        short = repeated(args.file, 600, folder / "short.flac")
        long = repeated(args.file, 3600 * args.hours, folder / "long.flac")

        def command(file: Path, out: str, *more: str) -> list[str]:
            options = ["--model", args.model, "--language", args.language, "--output-format", "json"]
            return [args.mtasr, "transcribe", str(file), *options, "--output-dir", str(folder / out), *more]

        run(command(short, "first"))
        for what, file in (("ten minutes", short), (f"{args.hours:g} hours", long)):
            first, whole, peak = run(command(file, "out"))
            print(f"{what}: first segment {first:.2f} s, whole {whole:.1f} s, peak {peak:.0f} MiB", flush=True)
        for workers in ("1", "3"):
            run(command(short, f"w{workers}", "--workers", workers))
        texts = {(folder / out / "short.json").read_bytes() for out in ("first", "w1", "w3")}
        print(f"1, 2 and 3 workers: {'the same bytes' if len(texts) == 1 else 'DIFFERENT OUTPUT'}", flush=True)
        times: dict[int, list[float]] = {1: [], 2: []}
        cores = sorted(os.sched_getaffinity(0))
        for _ in range(3):
            for count, found in times.items():
                found.append(run(command(short, "cores"), cores[:count]).whole)
        one, two = (statistics.median(times[count]) for count in (1, 2))
        print(f"ten minutes on one core {one:.1f} s, on two {two:.1f} s: {one / two:.2f} times")


if __name__ == "__main__":
    main()
