"""How near encoder and decoder come to what arithmetic and memory allow, and what the next largest cost is.

    OPENBLAS_NUM_THREADS=1 python benchmarks/floor.py --clips MANIFEST [--model base] [--beam-size 5] [--batch-size 0]

One worker on one thread transcribes MANIFEST (as for windows.py), and each call of the engine is noted: windows, their
length, tokens, processor seconds. The floor of a call is counted from the model's shapes: of each part the larger of
the time for its multiplications and that for reading what they need, at rates that are measured first with NumPy:
products of float32 matrices that stay in the cache, and the maximum of an array as large as what is read. Products of
int8 are taken to be four times as fast as those of float32 (VNNI multiplies four in place of one), and all that is not
a product to be free. So the floor cannot be reached.

What the decoder's time goes to is told by least squares over its calls: the start of a window (the keys and values of
the encoder's output), a step whatever the number of windows in it (the weights), a token, and a token for each second
that its window is long (reading the keys and values).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from windows import score

from mtasr.engines.ctranslate2 import CTranslate2Engine
from mtasr.networks.dimensions import DIMENSIONS, ModelDimensions
from mtasr.transcribe import load_model

#: Encoder positions for a second.
_POSITIONS = 50
_INT8_GAIN = 4


@dataclass(frozen=True)
class Rates:
    """Of one thread: multiplications and additions of float32 a second, and a time for reading so many bytes."""

    products: float
    reading: Callable[[float], float]

    def int8(self, count: float, read: float = 0.0) -> float:
        return max(count / (_INT8_GAIN * self.products), self.reading(read) if read else 0.0)

    def float32(self, count: float, read: float = 0.0) -> float:
        return max(count / self.products, self.reading(read) if read else 0.0)


@dataclass(frozen=True)
class Call:
    """`tokens` of each window, with the end of text; none for the encoder's calls."""

    windows: int
    seconds: float
    tokens: tuple[int, ...]
    spent: float


def measured_rates() -> Rates:
    a = np.ones((512, 512), np.float32)
    spent = _median_time(lambda: a @ a, 50)
    known: dict[int, float] = {}

    def reading(count: float) -> float:
        size = max(1, int(count)) // 8
        if size not in known:
            array = np.ones(size + 1)
            known[size] = _median_time(array.max, 7)
        return known[size]

    return Rates(512**3 / spent, reading)


def _median_time(work: Callable[[], Any], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def encoder_floor(dims: ModelDimensions, rates: Rates, call: Call) -> float:
    d, positions = dims.n_audio_state, call.seconds * _POSITIONS
    convolutions = 3 * d * (2 * positions * dims.n_mels + positions * d)
    linear = dims.n_audio_layer * 12 * d * d * positions
    attention = dims.n_audio_layer * 2 * positions**2 * d
    return call.windows * (rates.float32(convolutions + attention) + rates.int8(linear))


def decoder_floor(dims: ModelDimensions, rates: Rates, call: Call, beam: int) -> dict[str, float]:
    d, layers, positions = dims.n_text_state, dims.n_text_layer, call.seconds * _POSITIONS
    weights = layers * 14 * d * d + dims.n_vocab * d
    keys = layers * 2 * positions * d
    parts = {"start": call.windows * rates.int8(layers * 2 * d * d * positions), "step": 0.0, "token * s": 0.0}
    for step in range(max(call.tokens)):
        alive = sum(count > step for count in call.tokens)
        parts["step"] += rates.int8(weights * alive * beam, weights)
        parts["token * s"] += alive * rates.float32(keys * beam, 4 * keys)
    return parts


def costs(calls: Sequence[Call]) -> dict[str, float]:
    """Seconds of the decoder by what they go to."""
    rows = [(c.windows * c.seconds, max(c.tokens), sum(c.tokens), sum(c.tokens) * c.seconds) for c in calls]
    columns = np.array(rows, float)
    each, *_ = np.linalg.lstsq(columns, np.array([call.spent for call in calls]), rcond=None)
    return dict(zip(("start", "step", "token", "token * s"), map(float, (columns * each).sum(axis=0)), strict=True))


def watched(engine: CTranslate2Engine) -> tuple[list[Call], list[Call]]:
    """Lists that fill with the calls of encoder and decoder."""
    encoder: list[Call] = []
    decoder: list[Call] = []
    encode, generate = engine.encode, engine.generate

    def timed_encode(features: Sequence[Any]) -> Any:
        began = time.process_time()
        found = encode(features)
        encoder.append(Call(len(features), features[0].shape[1] / 100, (), time.process_time() - began))
        return found

    def timed_generate(encoded: Sequence[Any], prompts: Any, options: Any, temperature: float) -> Any:
        began = time.process_time()
        found = generate(encoded, prompts, options, temperature)
        spent = time.process_time() - began
        if temperature == 0:
            tokens = tuple(len(hypothesis.tokens) + 1 for hypothesis in found)
            decoder.append(Call(len(encoded), encoded[0].shape[0] / _POSITIONS, tokens, spent))
        return found

    engine.encode, engine.generate = timed_encode, timed_generate  # type: ignore[method-assign]
    return encoder, decoder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--model", default="base")
    parser.add_argument("--beam-size", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=0)
    args = parser.parse_args()
    dims, rates = DIMENSIONS[args.model], measured_rates()
    print(f"float32 {rates.products / 1e9:.0f} G products/s; reading 48 MB {48e6 / rates.reading(48e6) / 1e9:.0f} GB/s")
    model = load_model(args.model, threads=1, workers=1, batch_size=args.batch_size)
    encoder, decoder = watched(model.engine)  # type: ignore[arg-type]
    rows = json.loads(args.clips.read_text(encoding="utf-8"))
    errors, total = score(model, args.clips, rows, {"beam_size": args.beam_size})
    print(f"{100 * errors / total:.2f} % of {total} words; stages {model.timings}")
    spent, floor = sum(c.spent for c in encoder), sum(encoder_floor(dims, rates, call) for call in encoder)
    heard = sum(call.windows * call.seconds for call in encoder)
    print(f"encoder: {spent:.1f} s for {heard:.0f} s of sound, floor {floor:.1f} s ({100 * floor / spent:.0f} %)")
    spent = sum(call.spent for call in decoder)
    floors = [decoder_floor(dims, rates, call, args.beam_size) for call in decoder]
    floor = sum(sum(parts.values()) for parts in floors)
    steps, tokens = sum(max(c.tokens) for c in decoder), sum(sum(c.tokens) for c in decoder)
    share = f"floor {floor:.1f} s ({100 * floor / spent:.0f} %)"
    print(f"decoder: {spent:.1f} s for {tokens} tokens in {steps} steps, {share}")
    for name, seconds in costs(decoder).items():
        least = sum(parts.get(name, 0.0) for parts in floors)
        print(f"  {name:9} {seconds:5.1f} s, floor {least:5.1f} s")


if __name__ == "__main__":
    main()
