"""How far int8 is from float32 when the weights use more or less of the range of int8.

    python benchmarks/int8_range.py RECORDING... [--model base] [--largest 127,104,96,80]

Encodes the first eight seconds of each recording. Prints, for each largest weight, mean and maximum over the recordings
of the root mean square of the difference, as part of that of the float32 output. `CT2_USE_MKL=1` in the environment
makes CTranslate2 compute with MKL.
"""

from __future__ import annotations

import argparse
import os
import tempfile

import ctranslate2
import numpy as np

from mtasr import system
from mtasr.audio.read import open_audio
from mtasr.features import log_mel
from mtasr.models import int8_copy, resolve
from mtasr.spans import SAMPLE_RATE

SECONDS = 8


def features(path: str, n_mels: int) -> np.ndarray:
    with open_audio(path) as blocks:
        samples = np.concatenate([*blocks, np.zeros(SECONDS * SAMPLE_RATE, np.float32)])
    return log_mel(samples[: SECONDS * SAMPLE_RATE], n_mels)


def encode(model: ctranslate2.models.Whisper, mel: np.ndarray) -> np.ndarray:
    return np.asarray(model.encode(ctranslate2.StorageView.from_array(mel[None]), to_cpu=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="+")
    parser.add_argument("--model", default="base")
    parser.add_argument("--largest", default="127,104,96,80")
    arguments = parser.parse_args()
    folder = resolve(arguments.model)
    exact = ctranslate2.models.Whisper(str(folder), compute_type="float32")
    mels = [features(path, exact.n_mels) for path in arguments.recordings]
    wanted = [encode(exact, mel) for mel in mels]
    print("largest  mean    maximum")
    for largest in map(int, arguments.largest.split(",")):
        system.largest_weight = lambda largest=largest: largest
        with tempfile.TemporaryDirectory() as cache:
            os.environ["MTASR_CACHE"] = cache
            copy = int8_copy.make(folder)
            if copy is None:
                raise SystemExit(f"{folder} is in int8 already, or too small for a copy")
            model = ctranslate2.models.Whisper(str(copy), compute_type="int8")
            apart = [
                float(np.sqrt(np.square(encode(model, mel) - right).mean() / np.square(right).mean()))
                for mel, right in zip(mels, wanted, strict=True)
            ]
            print(f"{largest:7}  {np.mean(apart):6.2%}  {np.max(apart):6.2%}", flush=True)


if __name__ == "__main__":
    main()
