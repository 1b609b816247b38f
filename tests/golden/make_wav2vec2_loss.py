"""Write `wav2vec2_loss.npz`: what transformers computes as the loss of wav2vec 2.0, on random weights.

    PEERS/bin/python tests/golden/make_wav2vec2_loss.py

PEERS is an environment with torch and transformers 5.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining

ROWS, SAMPLES, NEGATIVES = 2, 12_000, 6


def main() -> None:
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, conv_dim=[12] * 7,
        num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2, num_codevectors_per_group=3, codevector_dim=8,
        proj_codevector_dim=8, num_negatives=NEGATIVES, layerdrop=0.0,
    )  # fmt: skip
    model = Wav2Vec2ForPreTraining(config).eval()
    rng = np.random.default_rng(0)
    audio = rng.standard_normal((ROWS, SAMPLES)).astype(np.float32)
    frames = int(model._get_feat_extract_output_lengths(SAMPLES))
    masked = frames // 2
    places = np.stack([np.sort(rng.choice(frames, masked, replace=False)) for _ in range(ROWS)])
    mask = np.zeros((ROWS, frames), bool)
    np.put_along_axis(mask, places, True, axis=1)
    negatives = rng.integers(0, masked - 1, (ROWS, masked, NEGATIVES))
    negatives += negatives >= np.arange(masked)[:, None]
    # transformers counts frames over the whole batch, and has negatives for frames that are not masked too.
    flat = np.zeros((ROWS, frames, NEGATIVES), np.int64)
    for row in range(ROWS):
        flat[row, places[row]] = places[row][negatives[row]] + row * frames
    arguments = {
        "input_values": torch.from_numpy(audio),
        "mask_time_indices": torch.from_numpy(mask),
        "sampled_negative_indices": torch.from_numpy(flat),
    }
    with torch.no_grad():
        found = model(**arguments)
        # Only in training is its diversity that of probabilities; those do not depend on the noise.
        model.quantizer.train()
        trained = model(**arguments)
    np.savez_compressed(
        Path(__file__).with_name("wav2vec2_loss.npz"),
        audio=audio, mask=mask, negatives=negatives,
        contrastive_loss=found.contrastive_loss.numpy(), chosen_perplexity=found.codevector_perplexity.numpy(),
        diversity_loss=trained.diversity_loss.numpy(), weight=np.float32(config.diversity_loss_weight),
        **{f"state.{name}": tensor.numpy() for name, tensor in model.state_dict().items()},
    )  # fmt: skip


if __name__ == "__main__":
    main()
