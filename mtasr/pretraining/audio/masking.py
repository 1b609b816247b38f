"""Which frames a model does not see and has to predict: spans, since single frames could be guessed from neighbours.

Spans as in wav2vec 2.0 (Baevski et al. 2020, section 4.2), on whose rule HuBERT and WavLM agree.
"""

from __future__ import annotations

import numpy as np

from mtasr.arrays import BoolArray


def span_mask(
    rows: int, frames: int, share: float, span: int, least: int, rng: np.random.Generator, *, equal: bool = True
) -> BoolArray:
    """A mask (B, S) of spans of frames; if `equal`, with equally many masked frames in each row.

    In each row, the starts of `floor(share * S / span + U(0, 1))` spans are drawn without replacement, and of `least`
    at least. Spans may overlap, so that less than `share` is masked: 49 % for .65 and spans of 10. For equal counts,
    frames drawn at random are then unmasked until every row has as many masked frames as the row with the fewest, which
    leaves 46 % in six rows of 500 frames. Raises `ValueError` for rows that a span does not fit into.
    """
    if frames < span:
        raise ValueError(f"a span of {span} frames does not fit into {frames}")
    places = frames - span + 1
    count = min(places, max(least, int(share * frames / span + rng.random())))
    mask = np.zeros((rows, frames), bool)
    for row in mask:
        starts = rng.choice(places, count, replace=False)
        row[starts[:, None] + np.arange(span)] = True
    if not equal:
        return mask
    fewest = mask.sum(axis=1).min(initial=frames)
    for row in mask:
        (masked,) = row.nonzero()
        row[rng.choice(masked, len(masked) - fewest, replace=False)] = False
    return mask
