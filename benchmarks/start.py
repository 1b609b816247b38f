"""Cold start and memory of whole processes: --help, --version, first text, peak memory.

    python benchmarks/start.py FILE [--mtasr mtasr] [--rounds 5]

Prints medians. The first text is the first line of a pipe's standard output. Memory is the peak resident
set of mtasr and of ffmpeg, as the kernel counts them when each has ended.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import tempfile
import time


def whole(command: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begin


def first_line(command: list[str]) -> tuple[float, float]:
    """Seconds until the first line, and until the end."""
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0) as process:
        assert process.stdout is not None
        os.read(process.stdout.fileno(), 1)
        first = time.perf_counter() - begin
        process.stdout.read()
    if process.returncode:
        raise SystemExit(f"{command} exited {process.returncode}")
    return first, time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--mtasr", default="mtasr")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    for flag in ("--help", "--version"):
        print(f"{flag}: {statistics.median(whole([args.mtasr, flag]) for _ in range(args.rounds)):.3f} s")
    with tempfile.TemporaryDirectory() as folder:
        command = [args.mtasr, "transcribe", args.file, "--output-dir", folder]
        runs = [first_line(command) for _ in range(args.rounds)]
    print(f"first text: {statistics.median(first for first, _ in runs):.2f} s")
    print(f"whole process: {statistics.median(end for _, end in runs):.2f} s")
    # ru_maxrss of the children is the largest single process, in KiB on Linux.
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
