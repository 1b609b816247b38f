"""Several threads with one model, as in a server: calls in turn and at once, and a short one beside a long one.

    python benchmarks/callers.py [--model base] [--rounds 5] [--threads 2] [--files 24]

Files of one to three spoken sentences are synthesised. `one after the other` transcribes them in one thread, `threads`
shares them out among several; the two take turns, and their results must be equal. `short beside long` is how long a
short recording takes while a long one is being transcribed by the same model, over how long it takes alone.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from kills import ENGLISH
from speech import SAMPLE_RATE, speak

from mtasr.transcribe import Model, load_model
from mtasr.transcript import Transcript


def recordings(count: int) -> list[np.ndarray]:
    chooser, silence = random.Random(0), np.zeros(SAMPLE_RATE, np.float32)
    return [
        np.concatenate(
            [part for _ in range(chooser.randint(1, 3)) for part in (speak(chooser.choice(ENGLISH)), silence)]
        )
        for _ in range(count)
    ]


def timed(work: Callable[[], list[Transcript]]) -> tuple[float, list[Transcript]]:
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


def beside_a_long_one(model: Model, short: np.ndarray, long: np.ndarray) -> float:
    """Seconds for the short recording while the long one is under way."""
    started = threading.Event()

    def transcribe_long() -> None:
        with model.stream(long, language="en") as stream:
            for _ in stream:
                started.set()

    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(transcribe_long)
        started.wait()
        seconds, _ = timed(lambda: [model.transcribe(short, language="en")])
        if pending.done():
            raise RuntimeError("the long recording was done before the short one")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="base")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--files", type=int, default=24)
    args = parser.parse_args()
    model, files = load_model(args.model), recordings(args.files)
    model.transcribe(files[0], language="en")  # warm
    ratios, waits = [], []
    long, short = np.concatenate(files * 4), files[0]
    for _ in range(args.rounds):
        alone, expected = timed(lambda: [model.transcribe(each, language="en") for each in files])
        with ThreadPoolExecutor(args.threads) as pool:
            shared, found = timed(lambda: list(pool.map(lambda each: model.transcribe(each, language="en"), files)))
        if found != expected:
            raise RuntimeError("the results differ")
        ratios.append(alone / shared)
        by_itself, _ = timed(lambda: [model.transcribe(short, language="en")])
        waits.append(beside_a_long_one(model, short, long) / by_itself)
        print(f"one after the other {alone:.2f} s, threads {shared:.2f} s; short beside long {waits[-1]:.2f} times")
    print(f"equal results; threads {statistics.median(ratios):.2f} times as fast", end="; ")
    print(f"short beside long {statistics.median(waits):.2f} times (medians of {args.rounds})")


if __name__ == "__main__":
    main()
