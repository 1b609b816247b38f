"""Word errors in noise, ours and those of faster-whisper, on the same weights and recordings.

    python benchmarks/noise.py --clips MANIFEST --peers PYTHON [--per-language N] [--levels 20,10,0] [--json FILE]
    python benchmarks/noise.py --join FILE... --peers PYTHON

Manifest and PYTHON are those of speed.py. To each recording noise is added: white, pink, or the babble of six other
recordings of the manifest, one kind after the other, at each level in dB: the power of the speech by that of the noise,
both where somebody speaks (voice activity of the recording alone). What is drawn follows from --seed. The noisy
recordings are transcribed by whole processes, one for each language and level, with the language given. Intervals: see
score.py.

A long run can be made in parts (--levels, --only) that write JSON, and --join reports them together.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import sound
from speed import HERE, Clip, Weights, ask, machine, our_system, peers_of, read_clips, run_once, say, table, versions

KINDS = ("white", "pink", "babble")
#: Voices in babble.
_VOICES = 6
#: Below this frequency in Hz pink noise grows no louder.
_PINK_FROM = 30.0

Floats = npt.NDArray[np.float64]


def coloured(kind: str, length: int, rng: np.random.Generator) -> Floats:
    noise = rng.normal(size=length)
    if kind == "white":
        return noise
    spectrum = np.fft.rfft(noise)
    frequencies = np.fft.rfftfreq(length, 1 / 16_000)
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(frequencies, _PINK_FROM)), length)


def babble(others: Sequence[Path], length: int, rng: np.random.Generator) -> Floats:
    """Several recordings at once, equally loud, each from anywhere on and over again."""
    mixed = np.zeros(length)
    for index in rng.choice(len(others), min(_VOICES, len(others)), replace=False):
        voice = sound.read(others[index]).astype(np.float64)
        voice /= np.sqrt(power(voice, sound.speech(voice.astype(np.float32)))) or 1.0
        mixed += np.resize(np.roll(voice, -int(rng.integers(len(voice)))), length)
    return mixed


def power(samples: npt.NDArray[np.floating], spans: Sequence[sound.Span]) -> float:
    """Mean square within the spans."""
    return float(np.mean(np.square(np.concatenate([samples[span.start : span.end] for span in spans]), dtype=float)))


def mixed(clip: Clip, noise: Floats, clean: sound.Samples, level: float) -> Floats:
    spans = sound.speech(clean)
    gain = np.sqrt(power(clean, spans) / power(noise, spans) / 10 ** (level / 10))
    return clean + gain * noise


def make(clips: dict[str, list[Clip]], level: float, seed: int, folder: Path) -> dict[str, list[tuple[Clip, str]]]:
    """The noisy clips of each language, and the kind of noise in each."""
    paths = [clip.audio for those in clips.values() for clip in those]
    made: dict[str, list[tuple[Clip, str]]] = {}
    for language, those in clips.items():
        (folder / language).mkdir(parents=True)
        made[language] = []
        for number, clip in enumerate(those):
            # The same noise at each level, whatever part of the manifest is asked for.
            rng = np.random.default_rng([seed, *clip.audio.name.encode()])
            kind, clean = KINDS[number % len(KINDS)], sound.read(clip.audio)
            others = [path for path in paths if path != clip.audio]
            noise = babble(others, len(clean), rng) if kind == "babble" else coloured(kind, len(clean), rng)
            path = folder / language / f"{clip.audio.stem}.wav"
            sound.write(path, mixed(clip, noise, clean, level))
            made[language].append((Clip(path, language, clip.segments), kind))
    return made


def transcribed(args: argparse.Namespace, clips: dict[str, list[Clip]], level: float) -> list[dict[str, Any]]:
    """Rows as score.py reads them, with level and kind."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = Weights(args.model, folder / "weights")
        systems = [our_system(args, weights, None), *peers_of("faster-whisper", args, weights)]
        made = make(clips, level, args.seed, folder)
        for language, noisy in made.items():
            if args.only and language not in args.only:
                continue
            texts = {}
            for system in systems:
                run = run_once(system, [clip for clip, _ in noisy], 0, stages=False)
                say(f"{level:g} dB, {language}, {system.name}: {run.wall:.1f} s")
                texts[system.name] = run.texts
            for clip, kind in noisy:
                heard = {system: [found[clip.audio.stem]] for system, found in texts.items()}
                row = {"language": language, "segments": clip.segments, "texts": heard}
                rows.append({"audio": clip.audio.stem, "level": level, "kind": kind, **row})
    return rows


def scored(args: argparse.Namespace, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    systems = list(rows[0]["texts"])
    question = {"clips": list(rows), "against": dict.fromkeys(systems, systems[0]), "draws": args.draws, "seed": 0}
    found: dict[str, Any] = json.loads(ask([args.peers, str(HERE / "score.py")], json.dumps(question)))
    return found


def report(args: argparse.Namespace, document: dict[str, Any]) -> Iterator[str]:
    rows = document["rows"]
    yield f"Model {document['model']}. Machine: {document['machine']}."
    for who, those in document["versions"].items():
        yield f"Versions, {who}: {', '.join(f'{name} {version}' for name, version in those.items())}."
    yield ""
    ours, peer = rows[0]["texts"]
    yield from table(["dB", "Noise", "Clips", "Words", ours, peer, f"{peer} - {ours}, points [95 %]"], list(
        line(args, rows, ours, peer)
    ))  # fmt: skip


def line(args: argparse.Namespace, rows: Sequence[dict[str, Any]], ours: str, peer: str) -> Iterator[list[str]]:
    """A row of the report for each level, all noise and each kind of it, and one for everything."""
    levels = sorted({row["level"] for row in rows}, reverse=True)
    groups = [(f"{level:g}", kind) for level in levels for kind in ("all", *KINDS)]
    for level, kind in [*groups, ("all", "all")]:
        those = [row for row in rows if level in ("all", f"{row['level']:g}") and kind in ("all", row["kind"])]
        if not those:
            continue
        found = scored(args, those)
        wer = {name: f"{100 * each['wer']:.1f} %" for name, each in found["systems"].items()}
        low, high = (100 * edge for edge in found["systems"][peer]["interval"])
        difference = f"{100 * found['systems'][peer]['difference']:+.1f} [{low:+.1f}, {high:+.1f}]"
        yield [level, kind, str(len(those)), f"{found['words']:.0f}", wer[ours], wer[peer], difference]


def numbers(text: str) -> list[float]:
    return [float(each) for each in text.split(",")]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--clips", nargs="+", type=Path, metavar="MANIFEST")
    what.add_argument("--join", nargs="+", type=Path, metavar="FILE", help="report what was written by --json")
    parser.add_argument("--peers", required=True, metavar="PYTHON", help="interpreter of the peers' environment")
    parser.add_argument("--per-language", type=int, help="take only so many clips of each language")
    parser.add_argument("--only", type=lambda text: text.split(","), help="transcribe only these languages: en,fr")
    parser.add_argument("--levels", type=numbers, default=[20.0, 10.0, 0.0], help="in dB")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--beam-size", type=int, default=5)
    parser.add_argument("--model", default="base")
    parser.add_argument("--mtasr", default=f"{shlex.quote(sys.executable)} -m mtasr", help="the command")
    parser.add_argument("--mtasr-args", default="", help="more options for mtasr, as one text")
    parser.add_argument("--draws", type=int, default=10_000, help="of the bootstrap")
    parser.add_argument("--json", type=Path, help="write everything here")
    parser.set_defaults(device="cpu", compute_type="int8", batch_sizes=None)
    return parser.parse_args()


def joined(files: Sequence[Path]) -> dict[str, Any]:
    parts = [json.loads(file.read_text("utf-8")) for file in files]
    if any(part["versions"] != parts[0]["versions"] or part["model"] != parts[0]["model"] for part in parts):
        raise SystemExit("these were made with different models or versions")
    return {**parts[0], "rows": [row for part in parts for row in part["rows"]]}


def main() -> None:
    args = arguments()
    # What would fail at the end fails before the long part.
    ask([args.peers, "-c", "import rapidfuzz, whisper_normalizer.english"])
    if args.join:
        document = joined(args.join)
    else:
        clips = read_clips(args.clips, args.per_language)
        rows = [row for level in args.levels for row in transcribed(args, clips, level)]
        document = {"machine": machine("cpu"), "versions": versions(args), "model": args.model, "rows": rows}
    if args.json:
        args.json.write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")
    print(*report(args, document), sep="\n")


if __name__ == "__main__":
    main()
