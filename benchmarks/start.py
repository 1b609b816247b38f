"""Cold start and memory of whole processes: --help, --version, imports, model loading, first text, peak memory.

    python benchmarks/start.py FILE [--mtasr mtasr] [--model base] [--rounds 5]

Prints medians. Loading and first text are measured in turns with the int8 copy of the model (`models/int8_copy.py`)
and without, in caches of their own that link to the model. The first text is the first line of a pipe's standard
output. Memory is the peak resident set of mtasr and of ffmpeg, as the kernel counts them when each has ended.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from mtasr.models import int8_copy, resolve

# What `mtasr transcribe` imports until its model is loaded, and the loading.
PROBE = """
import json, sys, time
begin = time.perf_counter()
import mtasr.audio.read, mtasr.cli.transcribe, mtasr.engines.ctranslate2, mtasr.checkpoints.ctranslate2.info
import mtasr.transcribe
imported = time.perf_counter()
engine = mtasr.transcribe.load_model(sys.argv[1], device="cpu").engine
print(json.dumps([imported - begin, time.perf_counter() - imported, str(engine.folder)]))
"""


def whole(command: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begin


def first_line(command: list[str], environment: dict[str, str]) -> tuple[float, float, float]:
    """Seconds until the first line and until the end, and the peak memory in MiB."""
    begin = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0, env=environment
    ) as process:
        assert process.stdout is not None
        os.read(process.stdout.fileno(), 1)
        first = time.perf_counter() - begin
        process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} exited {process.returncode}")
    # ru_maxrss is that of the largest single process among it and its children, in KiB on Linux.
    return first, time.perf_counter() - begin, usage.ru_maxrss / 1024


def probe(model: str, environment: dict[str, str], *, copied: bool) -> tuple[float, float]:
    """Seconds for the imports, and for loading the model."""
    done = subprocess.run([sys.executable, "-c", PROBE, model], check=True, capture_output=True, env=environment)
    imports, loading, folder = json.loads(done.stdout)
    if (Path(folder).parent.name == "int8") != copied:
        raise SystemExit(f"{folder} was loaded, which is not what was to be measured")
    return imports, loading


def prepare(folder: Path, model: Path, *, copied: bool) -> dict[str, str]:
    """The environment of a cache with this model alone, with its int8 copy or where there can be none."""
    folder.mkdir()
    (folder / model.name).symlink_to(model.resolve())
    os.environ["MTASR_CACHE"] = str(folder)
    if not copied:
        (folder / "int8").touch()
    elif int8_copy.make(folder / model.name) is None:
        raise SystemExit(f"{model} gets no int8 copy")
    return dict(os.environ)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--mtasr", default="mtasr")
    parser.add_argument("--model", default="base")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    for flag in ("--help", "--version"):
        print(f"{flag}: {statistics.median(whole([args.mtasr, flag]) for _ in range(args.rounds)):.3f} s")
    model = resolve(args.model)
    seconds: dict[str, list[float]] = defaultdict(list)
    peaks: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        cases = {
            "with the int8 copy": prepare(Path(folder, "with"), model, copied=True),
            "without it": prepare(Path(folder, "without"), model, copied=False),
        }
        command = [args.mtasr, "transcribe", args.file, "--model", args.model, "--output-dir", folder]
        for _ in range(args.rounds):
            for case, environment in cases.items():
                imports, loading = probe(args.model, environment, copied=case == "with the int8 copy")
                first, end, memory = first_line([*command, "--device", "cpu"], environment)
                seconds["imports"].append(imports)
                seconds[f"model loading, {case}"].append(loading)
                seconds[f"first text, {case}"].append(first)
                seconds[f"whole process, {case}"].append(end)
                peaks[case].append(memory)
    for what, values in seconds.items():
        print(f"{what}: {statistics.median(values):.3f} s")
    for case, values in peaks.items():
        print(f"peak memory, {case}: {statistics.median(values):.0f} MiB")


if __name__ == "__main__":
    main()
