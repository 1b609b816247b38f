"""Is a spoken translation understood, and is it in time?

    OMP_NUM_THREADS=1 python benchmarks/dubbing.py CLIPS --language es [--count 48] [--long LONG]

CLIPS is a manifest of `mtasr evaluate` whose recordings have a `translation`: each recording of the language is dubbed,
and Whisper `base` writes down the English speech. BLEU of what it heard (ASR-BLEU), which is nothing where the
recogniser was not sure enough, stands beside BLEU of the whole translation. Both texts are in lower case and without
punctuation, since speech has neither. LONG is a second manifest, of which the first recording of the language is
dubbed: how far the starts are from those of the source, what overlaps, what is late, and loudness.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import sacrebleu
from parity import words
from speed import machine

from mtasr import load_model, load_voice
from mtasr.audio.dubbed import loudness
from mtasr.dubbing.dub import Dub, dub, dub_transcript
from mtasr.errors import InputError
from mtasr.options import DecodingOptions
from mtasr.speech.phonemes.spoken_text import spoken_text


def rows(manifest: Path, language: str) -> Iterator[dict[str, Any]]:
    document = json.loads(manifest.read_text(encoding="utf-8"))
    for row in document["recordings"] if isinstance(document, dict) else document:
        if row["language"] == language:
            yield row | {"audio": str(manifest.parent / row["audio"])}


def plain(text: str) -> str:
    return " ".join(words(spoken_text(text)))


def short(args: argparse.Namespace, folder: Path, model: Any, voice: Any) -> None:
    references, texts, heard = [], [], []
    refused = 0
    spoken = cost = 0.0
    options = DecodingOptions(language=args.language, task="translate")
    for number, row in enumerate(list(rows(args.clips, args.language))[: args.count]):
        references.append(plain(row["translation"]))
        transcript = model.transcribe(row["audio"], options)
        texts.append(plain(transcript.text))
        target = folder / f"{number}.wav"
        before = os.times()
        try:
            made = dub_transcript(Path(row["audio"]), transcript, voice, target, options=options)
        except InputError:
            refused += 1
            heard.append("")
            continue
        after = os.times()
        cost += after.user + after.system - before.user - before.system
        spoken += sum(each.end - each.start for each in made.lines)
        heard.append(plain(model.transcribe(target, language="en").text))
    bleu, of_speech = (sacrebleu.corpus_bleu(each, [references]).score for each in (texts, heard))
    print(f"{len(heard)} clips, {refused} not dubbed; BLEU of the text {bleu:.1f}, of the speech {of_speech:.1f}")
    print(f"{spoken:.0f} s of speech, {cost / spoken:.2f} processor seconds for each, without the translation")


def long(args: argparse.Namespace, folder: Path, model: Any, voice: Any) -> None:
    row = next(rows(args.long, args.language))
    made: Dub = dub(row["audio"], voice, model=model, output=folder / "long.wav")
    late = np.array([each.late for each in made.lines])
    overlaps = sum(after.start < before.end for before, after in zip(made.lines, made.lines[1:], strict=False))
    before, after = loudness(Path(row["audio"])), loudness(made.path)
    print(
        f"{len(made.lines)} lines, {len(made.left_out)} left out; start errors: median {np.median(late):.2f} s, "
        f"95 % {np.quantile(late, 0.95):.2f} s, largest {late.max():.2f} s; {overlaps} overlaps; "
        f"speed at most {max(each.speed for each in made.lines):.2f}; loudness {before} and {after} LUFS"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--language", default="es")
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--long", type=Path)
    args = parser.parse_args()
    model, voice = load_model("base"), load_voice(threads=1)
    print(machine("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        short(args, Path(folder), model, voice)
        if args.long:
            long(args, Path(folder), model, voice)


if __name__ == "__main__":
    main()
