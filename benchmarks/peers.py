"""Other systems behind one command line: all files in one process, one JSON for each.

    PYTHON benchmarks/peers.py SYSTEM --model WEIGHTS --output-dir OUT --language LANG FILE...
    PYTHON benchmarks/peers.py versions

Runs in an environment of its own (peers-requirements.txt), without mtasr. WEIGHTS is a CTranslate2 folder, an OpenAI
.pt file or a file of ggml.py. What the options do not set is left at each system's default.

Of openai-whisper and whisper.cpp, which want an ffmpeg on the path, the functions that take samples are called, with
samples decoded by the ffmpeg that imageio-ffmpeg packs.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import re
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

PACKAGES = ("faster-whisper", "ctranslate2", "openai-whisper", "torch", "pywhispercpp", "whisper-normalizer")


class Piece(NamedTuple):
    """A segment; times in seconds."""

    start: float
    end: float
    text: str


Transcribe = Callable[[Path], list[Piece]]


def faster_whisper(args: argparse.Namespace) -> Transcribe:
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    model = WhisperModel(args.model, device=args.device, compute_type=args.compute_type, cpu_threads=args.threads)
    run: Callable[..., Any] = model.transcribe
    if args.system == "faster-whisper-vad":
        run = partial(run, vad_filter=True)
    elif args.system == "faster-whisper-batched":
        batched = BatchedInferencePipeline(model).transcribe
        run = partial(batched, batch_size=args.batch_size, without_timestamps=False)

    def transcribe(path: Path) -> list[Piece]:
        segments, _ = run(str(path), language=args.language, beam_size=args.beam_size)
        return [Piece(each.start, each.end, each.text) for each in segments]

    return transcribe


def openai_whisper(args: argparse.Namespace) -> Transcribe:
    import torch
    import whisper

    torch.set_num_threads(args.threads)
    model = whisper.load_model(args.model, device=args.device)

    def transcribe(path: Path) -> list[Piece]:
        found = model.transcribe(
            samples(path), language=args.language, beam_size=args.beam_size, best_of=5, fp16=args.device != "cpu"
        )
        return [Piece(each["start"], each["end"], each["text"]) for each in found["segments"]]

    return transcribe


def whisper_cpp(args: argparse.Namespace) -> Transcribe:
    from pywhispercpp.model import Model

    model = Model(
        args.model,
        params_sampling_strategy=1,
        redirect_whispercpp_logs_to=None,
        language=args.language,
        n_threads=args.threads,
        beam_search={"beam_size": args.beam_size, "patience": -1.0},
        print_progress=False,
    )

    def transcribe(path: Path) -> list[Piece]:
        return [Piece(each.t0 / 100, each.t1 / 100, each.text) for each in model.transcribe(samples(path))]

    return transcribe


SYSTEMS: dict[str, Callable[[argparse.Namespace], Transcribe]] = {
    "faster-whisper": faster_whisper,
    "faster-whisper-vad": faster_whisper,
    "faster-whisper-batched": faster_whisper,
    "openai-whisper": openai_whisper,
    "whisper.cpp": whisper_cpp,
}


def samples(path: Path) -> Any:
    """Mono float32 at 16 kHz, shape (N,)."""
    import imageio_ffmpeg
    import numpy as np

    ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-i", str(path)]
    done = subprocess.run([*ffmpeg, "-f", "f32le", "-ac", "1", "-ar", "16000", "-"], stdout=subprocess.PIPE, check=True)
    return np.frombuffer(done.stdout, np.float32)


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if "pywhispercpp" in found:
        import _pywhispercpp

        info = str(_pywhispercpp.whisper_print_system_info())
        found["whisper.cpp built with"] = " ".join(re.findall(r"(\w+) = 1", info))
    return found


def write(path: Path, language: str, pieces: list[Piece]) -> None:
    text = " ".join(piece.text.strip() for piece in pieces)
    document = {"language": language, "text": text, "segments": [piece._asdict() for piece in pieces]}
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", choices=[*SYSTEMS, "versions"])
    parser.add_argument("--model")
    parser.add_argument("--output-dir", type=Path)
    parser.add_argument("--language")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compute-type", default="int8", help="of faster-whisper")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--beam-size", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("files", nargs="*", type=Path)
    args = parser.parse_intermixed_args()  # files come after options
    if args.system == "versions":
        print(json.dumps(versions()))
        return
    transcribe = SYSTEMS[args.system](args)
    args.output_dir.mkdir(parents=True, exist_ok=True)
    for path in args.files:
        write(args.output_dir / f"{path.stem}.json", args.language, transcribe(path))


if __name__ == "__main__":
    main()
