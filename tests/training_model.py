"""A model small enough to train in a test, and something for it to learn."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from speech import SAMPLE_RATE, write_wav
from vocabularies import vocabulary

from mtasr.checkpoints.checkpoint import Checkpoint
from mtasr.checkpoints.formats import save_checkpoint
from mtasr.checkpoints.settings import default_settings
from mtasr.data.records import Caption, Record, write_records
from mtasr.networks.whisper import ModelDimensions, Whisper
from mtasr.training.config import TrainConfig
from mtasr.training.state import load_document
from mtasr.training.tensor_files import read_whole_tensors

#: The folder of a run, `key=value` overrides, and `steps=` -> a configuration for the tiny model.
Configure = Callable[..., TrainConfig]

TOKENS = vocabulary(text_size=300)
DIMS = ModelDimensions(
    n_mels=80, n_audio_ctx=1500, n_audio_state=32, n_audio_head=2, n_audio_layer=2,
    n_vocab=len(TOKENS), n_text_ctx=128, n_text_state=32, n_text_head=2, n_text_layer=2,
)  # fmt: skip

#: A pool of three of the recordings in `sharded`, two sources of which one counts three times as much, languages made
#: more equal, and batches of one or two excerpts.
POOL = f"data.pool_hours={10.0 / 3600}"
MIXED = [POOL, "data.weights=[3, 1]", "data.temperature=5", "data.join=0", "data.padding=1"]

#: Language, frequency in hertz, and what a tone of it is taught to mean.
TONES = (("en", 400, "the"), ("fr", 1200, "of"), ("it", 2500, "and"))


def checkpoint(seed: int = 0, dims: ModelDimensions = DIMS) -> Checkpoint:
    torch.manual_seed(seed)
    model = Whisper(dims).eval()
    return Checkpoint(model, TOKENS, default_settings(TOKENS, DIMS.n_text_layer, DIMS.n_text_head))


def write_model(path: Path, dims: ModelDimensions = DIMS) -> Path:
    save_checkpoint(checkpoint(dims=dims), path, "openai")
    return path


def write_tones(folder: Path, count: int = 6) -> Path:
    """Records of tones, each of 1 to 2 s in 3 s of silence."""
    records = []
    rng = np.random.default_rng(0)
    for number in range(count):
        language, hertz, text = TONES[number % len(TONES)]
        start, seconds = rng.uniform(0.2, 0.8), rng.uniform(1, 2)
        times = np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
        inside = (times >= start) & (times < start + seconds)
        path = folder / f"{number}.wav"
        write_wav(path, (0.3 * np.sin(2 * np.pi * hertz * times) * inside).astype(np.float32))
        caption = Caption(start=float(start), end=float(start + seconds), text=text)
        records.append(Record(id=path.stem, audio=str(path), duration=3.0, language=language, captions=(caption,)))
    silence = folder / "silence.wav"
    write_wav(silence, np.zeros(4 * SAMPLE_RATE, np.float32))
    records.append(replace(records[0], id="silence", audio=str(silence), duration=4.0, captions=()))
    write_records(records, folder / "tones.jsonl")
    return folder / "tones.jsonl"


def write_single_file(checkpoint: Path, path: Path) -> None:
    """A checkpoint of a run as earlier versions wrote it."""
    document, tensors = load_document(checkpoint), read_whole_tensors(checkpoint)
    order = [name for name in document["model"] if f"optimizer.{name}.exp_avg" in tensors]
    # The optimiser's groups: matrices, and all others.
    order.sort(key=lambda name: document["model"][name].ndim < 2 or name.endswith("positions"))
    document["optimizer"] = {
        "state": {
            number: {"step": torch.tensor(float(document["updates"]))}
            | {moment: tensors[f"optimizer.{name}.{moment}"] for moment in ("exp_avg", "exp_avg_sq")}
            for number, name in enumerate(order)
        },
        "param_groups": [],
    }
    del document["updates"], document["processes"]
    path.parent.mkdir(exist_ok=True)
    torch.save(document, path)


def free_port() -> int:
    """For processes that train together to meet at."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return int(free.getsockname()[1])
