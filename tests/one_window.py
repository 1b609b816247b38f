"""Engines asked about a single window."""

from __future__ import annotations

from collections.abc import Sequence

from mtasr.arrays import Float32Array
from mtasr.engines.engine import Encoded, Engine, Hypothesis
from mtasr.options import DecodingOptions


def encode_one(engine: Engine, features: Float32Array) -> Encoded:
    (encoded,) = engine.encode([features])
    return encoded


def generate_one(
    engine: Engine, encoded: Encoded, prompt: Sequence[int], options: DecodingOptions, temperature: float = 0.0
) -> Hypothesis:
    (hypothesis,) = engine.generate([encoded], [prompt], options, temperature)
    return hypothesis
