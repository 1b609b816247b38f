"""Do other programs load what we export, and hear the same?

In an environment of its own, because the peers bring torch and half a gigabyte of packages:

    mtasr models convert base exported/base.pt --format openai
    mtasr models convert base exported/transformers --format huggingface
    mtasr models convert base exported/ctranslate2
    python -m venv .venv-peers
    .venv-peers/bin/pip install torch==2.13.0 openai-whisper==20250625 transformers faster-whisper soundfile
    text="$(mtasr transcribe examples/interview.flac --model exported/base.pt --engine torch --language en)"
    .venv-peers/bin/python tests/parity/peers.py exported examples/interview.flac "$text"

Without network: HF_HUB_OFFLINE is set here, so a peer that misses a file fails instead of fetching it. Peers that
are not installed are named and passed over, but one at least must be there. Exits with 1 if one fails or writes another
text than mtasr's torch engine, which reads the same .pt, did for this recording: give that text as a third argument.
"""

# ruff: noqa: T201 - a script

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"


def openai_whisper(exported: Path, recording: Path) -> str:
    import whisper

    model = whisper.load_model(str(exported / "base.pt"), device="cpu")
    return model.transcribe(_samples(recording), language="en", beam_size=5, fp16=False, temperature=0.0)["text"]


def transformers_whisper(exported: Path, recording: Path) -> str:
    import torch
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    folder = exported / "transformers"
    processor = WhisperProcessor.from_pretrained(folder)
    model, report = WhisperForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    strange = {name: report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys") if report[name]}
    if strange:
        raise ValueError(f"transformers does not find its tensors: {strange}")
    inputs = processor(_samples(recording), sampling_rate=16_000, return_tensors="pt")
    tokens = model.generate(inputs.input_features, language="en", task="transcribe", num_beams=5)
    return processor.batch_decode(tokens, skip_special_tokens=True)[0]


def faster_whisper(exported: Path, recording: Path) -> str:
    from faster_whisper import WhisperModel

    model = WhisperModel(str(exported / "ctranslate2"), device="cpu", compute_type="float32")
    segments, _ = model.transcribe(_samples(recording), language="en", beam_size=5, temperature=0.0)
    return "".join(segment.text for segment in segments)


def _samples(recording: Path):
    import soundfile

    samples, rate = soundfile.read(recording, dtype="float32")
    if rate != 16_000 or samples.ndim != 1:
        raise ValueError(f"{recording} is not mono at 16 kHz")
    return samples


PEERS: dict[str, Callable[[Path, Path], str]] = {
    "whisper": openai_whisper,
    "transformers": transformers_whisper,
    "faster_whisper": faster_whisper,
}


def main(exported: Path, recording: Path, expected: str) -> int:
    texts, failed = {"mtasr": " ".join(expected.split())}, False
    for package, run in PEERS.items():
        if importlib.util.find_spec(package) is None:
            print(f"{package}: not installed")
            continue
        try:
            texts[package] = " ".join(run(exported, recording).split())
            print(f"{package}: {texts[package]}")
        except Exception:
            traceback.print_exc()
            failed = True
    if len(texts) == 1:
        print("none of the peers is installed: nothing was checked")
        failed = True
    if len(set(texts.values())) > 1:
        print("the texts differ")
        failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
