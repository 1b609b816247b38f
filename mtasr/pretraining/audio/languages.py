"""How much of the audio each corpus gets when many languages are learned together, as XLS-R draws them.

Babu et al. 2021 (arXiv:2111.09296): within a corpus, a language with the share p of the hours is drawn in proportion to
p^a; corpora are drawn likewise. The first is `Mixture` with the temperature 1 / a, the second this.
"""

from __future__ import annotations

from collections.abc import Sequence

from mtasr.data.reading import RecordBlock


def corpus_weights(sources: Sequence[Sequence[RecordBlock]], temperature: float) -> tuple[float, ...]:
    """The share of the audio of each source, in any unit: its hours to the power 1 / `temperature`.

    They are the `weights` of a `Mixture` with the same temperature.
    """
    # A source of recordings without lengths keeps a share: weights must be positive.
    return tuple(max(sum(block.seconds for block in source), 1.0) ** (1 / temperature) for source in sources)
