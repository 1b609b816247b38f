"""What the settings of a checkpoint tell."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mtasr.checkpoints.settings import GenerationSettings, default_alignment_heads
from mtasr.networks.dimensions import DIMENSIONS

#: Of OpenAI's turbo.
TURBO_HEADS = ((2, 4), (2, 11), (3, 3), (3, 6), (3, 11), (3, 14))


@pytest.mark.parametrize(
    ("name", "changes", "heads", "is_reliable"),
    [
        ("base", {}, ((3, 1), (4, 2), (5, 6)), True),
        ("base", {}, (), False),
        ("base", {}, default_alignment_heads(6, 8), False),
        ("turbo", {}, TURBO_HEADS, False),
        ("large-v3", {"n_text_layer": 2}, ((1, 0), (1, 4)), False),
        ("small", {"n_text_layer": 4}, default_alignment_heads(4, 12), False),
    ],
    ids=["base", "no heads", "heads of nobody's choice", "turbo", "like distil-large-v3", "like distil-small.en"],
)
def test_whose_alignment_is_reliable(
    name: str, changes: dict[str, int], heads: tuple[tuple[int, int], ...], *, is_reliable: bool
) -> None:
    dims = replace(DIMENSIONS[name], **changes)
    assert GenerationSettings(alignment_heads=heads).has_reliable_alignment(dims) is is_reliable
