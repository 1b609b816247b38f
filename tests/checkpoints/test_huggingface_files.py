"""What a Hugging Face folder tells of features."""

from __future__ import annotations

from dataclasses import replace

from mtasr.checkpoints.huggingface.files import preprocessor_config
from mtasr.networks.dimensions import DIMENSIONS


def test_features_are_as_long_as_the_encoder_takes() -> None:
    published, short = (
        preprocessor_config(replace(DIMENSIONS["base"], n_audio_ctx=context)) for context in (1500, 300)
    )
    lengths = ("chunk_length", "n_samples", "nb_max_frames", "sampling_rate")
    assert [published[name] for name in lengths] == [30, 480_000, 3000, 16_000]
    assert [short[name] for name in lengths] == [6, 96_000, 600, 16_000]
