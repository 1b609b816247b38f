"""The loss of wav2vec 2.0 is the one that transformers computes with the same weights, masks and negatives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mtasr.checkpoints.encoders import wave_names
from mtasr.networks.wave import WaveConfig, WaveEncoder
from mtasr.networks.wave_config import convolutions
from mtasr.pretraining.heads.contrastive import contrastive_loss
from mtasr.pretraining.heads.gumbel import perplexities
from mtasr.pretraining.wav2vec2 import Wav2Vec2Network, Wav2Vec2Options, diversity_loss

#: Written by the script beside it.
_GOLDEN = Path(__file__).parents[1] / "golden" / "wav2vec2_loss.npz"
_SIZES = WaveConfig(
    convolutions=convolutions(12), width=24, layers=2, heads=2, feed_forward=32, position_kernel=8, position_groups=2
)
_OPTIONS = Wav2Vec2Options(codes=3, code_width=8, compared_width=8)
_HEADS = {
    "quantiser.scores": "quantizer.weight_proj", "of_states": "project_hid", "of_codes": "project_q",
}  # fmt: skip


def _loaded(state: dict[str, Tensor]) -> Wav2Vec2Network:
    model = Wav2Vec2Network(WaveEncoder(_SIZES), _OPTIONS).eval()
    names = {f"encoder.{ours}": f"wav2vec2.{wave_names.foreign_name(ours)}" for ours in model.encoder.state_dict()}
    names |= {f"{ours}.{leaf}": f"{theirs}.{leaf}" for ours, theirs in _HEADS.items() for leaf in ("weight", "bias")}
    names["quantiser.codes"] = "quantizer.codevectors"
    assert sorted(names.values()) == sorted(state)
    model.load_state_dict({ours: state[theirs].view_as(model.state_dict()[ours]) for ours, theirs in names.items()})
    return model


def test_the_loss_is_that_of_transformers() -> None:
    golden = {name: torch.from_numpy(np.asarray(each)) for name, each in np.load(_GOLDEN).items()}
    model = _loaded({name.removeprefix("state."): each for name, each in golden.items() if name.startswith("state.")})
    with torch.no_grad():
        found = model(golden["audio"], golden["mask"], golden["negatives"], 2.0)
    assert torch.isinf(found.logits).any()  # a code of several frames is among the negatives
    contrastive = float(contrastive_loss(found.logits))
    assert contrastive == pytest.approx(float(golden["contrastive_loss"]), rel=1e-5)
    chosen = F.one_hot(found.codes, _OPTIONS.codes).float()
    assert float(perplexities(chosen).sum()) == pytest.approx(float(golden["chosen_perplexity"]), rel=1e-5)
    diversity = float(diversity_loss(found.probabilities)) * int(golden["mask"].sum())
    assert diversity == pytest.approx(float(golden["diversity_loss"]), rel=1e-5)
    assert float(golden["weight"]) == pytest.approx(_OPTIONS.diversity)
