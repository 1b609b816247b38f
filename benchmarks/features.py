"""Time log-mel against faster-whisper's, on the same noise, in turns; prints medians and the ratio.

    taskset -c 0 env OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/features.py [--minutes 10] [--rounds 5]

Without faster-whisper installed it times mtasr alone.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from mtasr.features import log_mel

WINDOW = 30 * 16_000


def seconds(work: Callable[[np.ndarray], object], windows: list[np.ndarray]) -> float:
    begin = time.perf_counter()
    for window in windows:
        work(window)
    return time.perf_counter() - begin


def peer(n_mels: int) -> Callable[[np.ndarray], object] | None:
    try:
        from faster_whisper.feature_extractor import FeatureExtractor
    except ImportError:
        return None
    return FeatureExtractor(feature_size=n_mels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    windows = [rng.normal(0, 0.1, WINDOW).astype(np.float32) for _ in range(round(args.minutes * 2))]
    for n_mels in (80, 128):
        other = peer(n_mels)
        log_mel(windows[0], n_mels)
        ours, theirs = [], []
        for _ in range(args.rounds):
            ours.append(seconds(lambda window, n=n_mels: log_mel(window, n), windows))
            if other is not None:
                theirs.append(seconds(other, windows))
        line = f"{n_mels} mels: mtasr {statistics.median(ours):.2f} s for {args.minutes:g} min"
        if theirs:
            ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
            line += f", faster-whisper {statistics.median(theirs):.2f} s, {ratio:.1f} times as long"
        print(line)


if __name__ == "__main__":
    main()
