"""What an embedding network hears of a clip: Kaldi's filter banks without their mean."""

from __future__ import annotations

from mtasr.arrays import Float32Array
from mtasr.kaldi_features import FRAME_LENGTH, FRAME_STEP, Window, filter_banks

#: Bands of a frame.
N_BANDS = 80
#: Samples of the shortest clip that an embedding network takes: three frames. Below .3 s a vector says little.
SHORTEST = FRAME_LENGTH + 2 * FRAME_STEP


def voice_features(clip: Float32Array, window: Window = "povey") -> Float32Array:
    """Features of shape (1 + (N - 400) // 160, 80) for samples of shape (N,), 16 kHz, within -1 to 1.

    Raises `ValueError` for a clip of fewer than `SHORTEST` samples.
    """
    if clip.size < SHORTEST:
        raise ValueError(f"a clip needs {SHORTEST} samples, not {clip.size}")
    features = filter_banks(clip, N_BANDS, window)
    features -= features.mean(axis=0)
    return features
