"""Write the folder `encodec`: a tiny EnCodec of transformers with random weights, and what it makes of noise.

    PEERS/bin/python tests/golden/make_encodec.py

PEERS is an environment with torch and transformers 5.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import EncodecConfig, EncodecModel

FOLDER = Path(__file__).with_name("encodec")


def main() -> None:
    torch.manual_seed(0)
    config = EncodecConfig(
        target_bandwidths=[8.0, 24.0], sampling_rate=24_000, num_filters=4, upsampling_ratios=[4, 3], hidden_size=6,
        codebook_size=16, codebook_dim=6, num_lstm_layers=2, chunk_length_s=None,
    )  # fmt: skip
    model = EncodecModel(config).eval()
    for layer in model.quantizer.layers:
        layer.codebook.embed.normal_(std=0.3)
    audio = torch.randn(2, 1, 500)
    with torch.no_grad():
        vectors = model.encoder(audio)
        codes = model.quantizer.encode(vectors)
        made = model.decoder(model.quantizer.decode(codes))
    model.save_pretrained(FOLDER)
    (FOLDER / "model.safetensors").chmod(0o644)
    arrays = {"audio": audio[:, 0], "vectors": vectors, "codes": codes.transpose(0, 1), "made": made[:, 0]}
    np.savez_compressed(FOLDER / "expected.npz", **{name: each.numpy() for name, each in arrays.items()})


if __name__ == "__main__":
    main()
