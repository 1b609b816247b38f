"""Encoders of speech in folders: those of transformers (wav2vec 2.0, XLS-R, HuBERT, WavLM) and two forms of our own."""

from mtasr.checkpoints.encoders.reading import StoredEncoder, fresh_encoder, fresh_twin, read_encoder
from mtasr.checkpoints.encoders.spellers import save_speller
from mtasr.checkpoints.encoders.stored import StoredTensors
from mtasr.checkpoints.encoders.writing import Family, save_encoder

__all__ = [
    "Family",
    "StoredEncoder",
    "StoredTensors",
    "fresh_encoder",
    "fresh_twin",
    "read_encoder",
    "save_encoder",
    "save_speller",
]
