"""Damaged recordings by the thousand: each must give samples or one typed error, soon, and leave nothing behind.

    PYTHONPATH=tests python benchmarks/fuzz_media.py [--count 1000] [--formats wav,mp3,...] [--seed 0] [--keep DIR]

A sentence is encoded in each format and damaged: bytes changed, cut out, repeated, set to zero, or the end cut off,
half of the time near the head, where headers and indices are. Read in this process. Wrong are:
any exception that is not an InputError, more than --limit seconds, much more audio than there was, a process, thread
or descriptor left behind. Such files are kept in --keep. The exit status is 1 if there is any.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
from speech import SAMPLE_RATE, speak, write_wav

from mtasr.audio.ffmpeg import find_ffmpeg
from mtasr.audio.read import open_audio
from mtasr.errors import InputError

#: Audio that damage may add, in seconds: times in a file may be forged, and holes are filled.
MOST_SECONDS = 3600.0


def damaged(whole: bytes, rng: np.random.Generator) -> bytes:
    data = bytearray(whole)
    reach = min(len(data), 4096) if rng.random() < 0.5 else len(data)
    kind = rng.choice(["change", "change", "cut", "repeat", "zero", "end"])
    start = int(rng.integers(reach))
    length = int(rng.integers(1, 1 + min(len(data) - start, 2 ** int(rng.integers(1, 14)))))
    if kind == "change":
        for place in rng.integers(reach, size=2 ** int(rng.integers(0, 7))):
            data[place] = int(rng.integers(256))
    elif kind == "cut":
        del data[start : start + length]
    elif kind == "repeat":
        data[start:start] = data[start : start + length]
    elif kind == "zero":
        data[start : start + length] = bytes(length)
    else:
        del data[start:]
    return bytes(data)


def left_behind() -> tuple[int, int, int]:
    """Children, threads and descriptors of this process."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return len(children), threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


def read(path: Path) -> tuple[str, float]:
    """What became of it, and how many seconds of audio."""
    samples = 0
    try:
        with open_audio(path) as stream:
            for block in stream:
                samples += len(block)
                if not np.isfinite(block).all() or np.abs(block).max(initial=0) > 1:
                    return "WRONG: samples out of range", samples / SAMPLE_RATE
                if samples > MOST_SECONDS * SAMPLE_RATE:
                    return "WRONG: audio without end", samples / SAMPLE_RATE
            return "read with a warning" if stream.warnings else "read", samples / SAMPLE_RATE
    except InputError as error:
        if "\n" in str(error):
            return "WRONG: an error of several lines", samples / SAMPLE_RATE
        return "refused", samples / SAMPLE_RATE
    except Exception as error:  # what is looked for
        return f"WRONG: {type(error).__name__}: {error}", samples / SAMPLE_RATE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--formats", type=lambda text: text.split(","), default=["wav", "mp3", "ogg", "flac", "mp4"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=10, help="seconds that a file may take")
    parser.add_argument("--keep", type=Path, help="keep the files that went wrong here")
    args = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_wav(folder / "source.wav", speak("We met at the station, and it was raining. Then the train came."))
        for number, form in enumerate(args.formats):
            source = folder / f"whole.{form}"
            command = [find_ffmpeg(), "-nostdin", "-loglevel", "error", "-i", str(folder / "source.wav"), str(source)]
            subprocess.run(command, check=True)
            whole, rng = source.read_bytes(), np.random.default_rng([args.seed, number])
            before, found, times, longest = left_behind(), Counter[str](), [], 0.0
            for index in range(args.count):
                path = folder / f"damaged.{form}"
                path.write_bytes(damaged(whole, rng))
                began = time.perf_counter()
                what, seconds = read(path)
                times.append(time.perf_counter() - began)
                longest = max(longest, seconds)
                if times[-1] > args.limit:
                    what = f"WRONG: {times[-1]:.0f} s"
                elif left_behind() != before:
                    what = f"WRONG: {before} became {left_behind()}"
                found[what] += 1
                if what.startswith("WRONG"):
                    wrong += 1
                    print(f"{form} {index}: {what}", flush=True)
                    if args.keep:
                        args.keep.mkdir(parents=True, exist_ok=True)
                        shutil.copy(path, args.keep / f"{index}.{form}")
            counts = ", ".join(f"{count} {what}" for what, count in found.most_common())
            median, slowest = statistics.median(times), max(times)
            print(
                f"{form}: {counts}; {median:.2f} s (median), {slowest:.2f} s at most, {longest:.0f} s of audio at most"
            )
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
