"""Write `tests/golden/heads`: tiny checkpoints of transformers with heads, and what transformers makes of a sound.

    PEERS/bin/python tests/golden/make_heads.py

PEERS is a virtual environment with torch, transformers (5.x) and safetensors, which the tests do not need.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import transformers

FOLDER = Path(__file__).parent / "heads"

SIZES = {
    "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12,
    "conv_dim": [8] * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2,
    "feat_extract_norm": "group", "classifier_proj_size": 6, "use_weighted_layer_sum": True,
}  # fmt: skip
TDNN = {"tdnn_dim": [6, 6, 6, 6, 8], "xvector_output_dim": 5}
BIAS = {"num_buckets": 16, "max_bucket_distance": 40}
#: As superb/wav2vec2-base-superb-ic has them.
INTENTS = [
    "activate", "bring", "change language", "deactivate", "decrease", "increase",
    "Chinese", "English", "German", "Korean", "heat", "juice", "lamp", "lights", "music", "newspaper", "none", "shoes",
    "socks", "volume",
    "bedroom", "kitchen", "none", "washroom",
]  # fmt: skip
EMOTIONS = ["neu", "hap", "ang", "sad"]

#: Name of the folder -> class, and its settings.
HEADS = {
    "wav2vec2-intents": ("Wav2Vec2ForSequenceClassification", {"id2label": dict(enumerate(INTENTS))}),
    "hubert-emotion": (
        "HubertForSequenceClassification",
        {"id2label": dict(enumerate(EMOTIONS)), "use_weighted_layer_sum": False},
    ),
    "wavlm-voice": ("WavLMForXVector", {**TDNN, **BIAS}),
    "wavlm-turns": ("WavLMForAudioFrameClassification", {**BIAS, "num_labels": 2}),
}


def sound() -> np.ndarray:
    """0.7 s; tests make the same."""
    return np.random.default_rng(7).normal(0, 0.1, 11_200).astype(np.float32)


def main() -> None:
    for name, (kind, settings) in HEADS.items():
        torch.manual_seed(0)
        network = getattr(transformers, kind)
        config = network.config_class(**SIZES | settings)
        model = network(config).eval()
        with torch.no_grad():
            for tensor in model.parameters():  # fresh ones are so alike that mistakes would not show
                tensor.normal_(0, 0.3)
            found = model(torch.from_numpy(sound())[None])
        folder = FOLDER / name
        folder.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(folder)
        preprocessor = {"do_normalize": False, "feature_size": 1, "sampling_rate": 16_000, "padding_value": 0.0}
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
        (folder / "expected.json").write_text(
            json.dumps((found.embeddings if "XVector" in kind else found.logits)[0].tolist())
        )


if __name__ == "__main__":
    main()
