"""Does a model learn to transcribe, translate, tell languages, times and silence from nothing, on a CPU?

    python benchmarks/from_scratch.py FOLDER [--control] [--small] [KEY=VALUE ...]

Speech of three languages is synthesised from a grammar (`made_speech.py`), and goes through `mtasr data ingest`, `mtasr
tokenizer train` and `mtasr train`. Then sentences and voices that are in none of it are scored: by the model folder in
CTranslate2, in int8, and by the same weights in torch, in float32. `--control` gives the captions of each language
to other sentences first; such a model must fail. `--small` is a minute of it, and learns nothing.

Called again, it goes on where it was stopped, so `timeout 480 python benchmarks/from_scratch.py ...` may be called
several times; the seconds of all steps are added up from the log. `--score` only scores what is there.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import ctranslate2
import numpy as np
import torch
import yaml
from grammar import LANGUAGES
from made_speech import UNSEEN_VOICES, VOICES, make_set

from mtasr.arrays import Float32Array
from mtasr.data.excerpts import cut_excerpts
from mtasr.data.reading import read_records
from mtasr.data.records import Record, write_records
from mtasr.data.samples import read_samples
from mtasr.data.texts import word_errors
from mtasr.decoding.timing.segments import all_pieces
from mtasr.decoding.window_input import context_for, features_of
from mtasr.edit_distance import ErrorCount
from mtasr.engines.engine import Encoded
from mtasr.engines.torch import TorchEngine
from mtasr.options import DecodingOptions
from mtasr.spans import SAMPLE_RATE
from mtasr.tokenizer import Tokenizer
from mtasr.training.config import TrainConfig, read_config
from mtasr.training.loop import begin, best_checkpoints, export
from mtasr.training.parallel import Crew
from mtasr.training.run_log import read_log
from mtasr.transcribe import Model, load_model

CONFIG = Path(__file__).with_name("from_scratch.yaml")
#: From this probability on, a model says that nobody speaks, as in decoding.
NO_SPEECH = 0.6
#: Sound around a sentence of which the language is told.
_AROUND = 0.2
_KINDS = (*LANGUAGES, "nothing")


@dataclass(frozen=True)
class Size:
    """How much is made: voices, recordings of each in each language, sentences in each; recordings of nothing."""

    voices: tuple[str, ...] = VOICES
    recordings: int = 10
    sentences: int = 12
    nothing: int = 40


SIZES = {"full": Size(), "small": Size(voices=VOICES[:2], recordings=1, sentences=4, nothing=2)}


def mtasr(*args: object) -> None:
    subprocess.run([sys.executable, "-m", "mtasr", *map(str, args)], check=True)


def prepare(folder: Path, size: Size) -> None:
    """Speech, its records, and a vocabulary, where they are not there yet."""
    if not (folder / "speech" / "done").exists():
        make_set(
            folder / "speech" / "test", UNSEEN_VOICES, recordings=min(2, size.recordings),
            sentences=min(10, size.sentences), nothing=min(8, size.nothing), held_out=True, seed=2,
        )  # fmt: skip
        make_set(
            folder / "speech" / "train", size.voices, recordings=size.recordings, sentences=size.sentences,
            nothing=size.nothing, held_out=False, seed=1,
        )  # fmt: skip
        (folder / "speech" / "done").touch()
    for part in ("train", "test"):
        for kind in _KINDS:
            if not (records := folder / f"{part}-{kind}.jsonl").exists():
                spoken = ["--language", kind] if kind in LANGUAGES else []
                mtasr("data", "ingest", folder / "speech" / part / kind, records, *spoken)
    make_vocabulary(_records(folder, "train", LANGUAGES), folder / "vocabulary")


def make_vocabulary(records: Sequence[Path], folder: Path) -> Path:
    """A folder with the vocabulary of those texts, made where it is not there yet."""
    if not folder.exists():
        # Hardly more than bytes: an encoder learns to spell letters long before it tells syllables.
        mtasr("tokenizer", "train", *records, "--output", folder, "--size", 290)
    return folder


def _records(folder: Path, part: str, kinds: Sequence[str] = _KINDS) -> list[Path]:
    return [folder / f"{part}-{kind}.jsonl" for kind in kinds]


def shuffle(folder: Path) -> None:
    """Records in which the captions of a language belong to other sentences of it, translations to others again."""
    rng = np.random.default_rng(0)
    for path in _records(folder, "train"):
        records = list(read_records(path))
        for task in ("transcribe", "translate"):
            places = [place for place, record in enumerate(records) if record.task == task]
            texts = [caption.text for place in places for caption in records[place].captions]
            drawn = iter([texts[index] for index in rng.permutation(len(texts))])
            for place in places:
                captions = tuple(replace(caption, text=next(drawn)) for caption in records[place].captions)
                records[place] = replace(records[place], captions=captions)
        write_records(records, folder / f"shuffled-{path.name.partition('-')[2]}")


@dataclass
class Scores:
    """Of one engine, on all that was held out."""

    words: ErrorCount = field(default_factory=ErrorCount)
    by_language: dict[str, ErrorCount] = field(default_factory=dict)
    translated: ErrorCount = field(default_factory=ErrorCount)
    languages: list[bool] = field(default_factory=list)
    #: Windows in which nobody speaks, and in which somebody does, told right or wrong.
    nothing: list[bool] = field(default_factory=list)
    speech: list[bool] = field(default_factory=list)
    #: Seconds by which the times of captions are off, of the windows where as many were found as there are.
    times: list[float] = field(default_factory=list)
    timed_excerpts: list[bool] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        yield f"WER {100 * self.words.rate:.1f} % of {self.words.length} words; " + ", ".join(
            f"{language} {100 * errors.rate:.1f}" for language, errors in self.by_language.items()
        )
        yield f"translation into English: WER {100 * self.translated.rate:.1f} % of {self.translated.length} words"
        yield f"language: {_share(self.languages)} of the sentences"
        yield f"no speech: {_share(self.nothing + self.speech)} of the windows: {_share(self.nothing)} of those "
        yield f"  without speech, {_share(self.speech)} of those with"
        if self.times:
            worst = np.quantile(self.times, 0.9)
            yield f"times: {statistics.median(self.times):.2f} s off in the median, 90 % within {worst:.2f} s, "
            yield f"  where there are as many captions as there should be: {_share(self.timed_excerpts)} of the windows"


def _share(right: Sequence[bool]) -> str:
    return f"{100 * sum(right) / max(1, len(right)):.1f} % ({sum(right)}/{len(right)})"


def score(model: Model, folder: Path) -> Scores:
    """Transcripts and translations as `mtasr transcribe` makes them; the rest as the model itself says it."""
    found = Scores()
    for record in (each for path in _records(folder, "test") for each in read_records(path)):
        if record.task == "translate":
            text = model.transcribe(record.audio, language=record.language, task="translate").text
            found.translated += word_errors(record.text, text)
            continue
        samples = read_samples(Path(record.audio))
        _score_windows(model, record, samples, found)
        if record.captions:
            errors = word_errors(record.text, model.transcribe(record.audio).text)
            found.words += errors
            found.by_language[record.language] = found.by_language.get(record.language, ErrorCount()) + errors
            for caption in record.captions:
                first, last = (round(time * SAMPLE_RATE) for time in (caption.start - _AROUND, caption.end + _AROUND))
                guesses = model.engine.detect_language(_encoded(model, samples[max(0, first) : last]))
                found.languages.append(guesses[0].code == record.language)
    return found


def _score_windows(model: Model, record: Record, samples: Float32Array, found: Scores) -> None:
    """No speech and times, in windows cut as in training."""
    tokenizer, options = model.engine.tokenizer, DecodingOptions(beam_size=1)
    for cut in cut_excerpts(record, lambda: model.engine.limits.audio_seconds - 1):
        excerpt, part = cut.before_cut(), cut.parts[0]
        heard = samples[round(part.start * SAMPLE_RATE) : round((part.start + excerpt.seconds) * SAMPLE_RATE)]
        prompt = tokenizer.sot_sequence(record.language or "en", "transcribe")
        hypothesis = model.engine.generate([_encoded(model, heard)], [prompt], options, 0.0)[0]
        if not excerpt.captions:
            found.nothing.append(hypothesis.no_speech_prob > NO_SPEECH)
            continue
        found.speech.append(hypothesis.no_speech_prob <= NO_SPEECH)
        pieces = all_pieces(hypothesis.tokens, tokenizer, excerpt.seconds)
        found.timed_excerpts.append(len(pieces) == len(excerpt.captions))
        if found.timed_excerpts[-1]:
            for piece, caption in zip(pieces, excerpt.captions, strict=True):
                found.times += [abs(piece.start - caption.start), abs(piece.end - caption.end)]


def _encoded(model: Model, samples: Float32Array) -> Encoded:
    engine = model.engine
    context = context_for(len(samples) / SAMPLE_RATE, "transcribe", engine.limits.audio_seconds)
    return engine.encode([features_of(samples, context, engine.limits.n_mels)])[0]


def in_torch(config: TrainConfig) -> tuple[Model, Path]:
    """What has come of a run in torch, in float32, and the folder for CTranslate2 made of it."""
    run, _, _ = begin(config, Crew())
    exported = export(run)
    checkpoint = run.objective.merged(best_checkpoints(run))
    settings = checkpoint.settings
    engine = TorchEngine(
        checkpoint.model,
        Tokenizer(checkpoint.tokens),
        suppress_ids=settings.suppress_ids,
        suppress_ids_begin=settings.suppress_ids_begin,
        alignment_heads=settings.alignment_heads,
    )
    return Model(engine), exported.path


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--control", action="store_true", help="Shuffle the captions first.")
    parser.add_argument("--small", action="store_true", help="A minute of it, to see that it works.")
    parser.add_argument("--score", action="store_true", help="Do not train.")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    options = parser.parse_intermixed_args(args)
    folder = options.folder.absolute()
    prepare(folder, SIZES["small" if options.small else "full"])
    if options.control:
        shuffle(folder)
    run = folder / ("control" if options.control else "run")
    overrides = [
        f"output={run}",
        f"vocabulary={folder / 'vocabulary'}",
        f"data.cache={folder / 'audio'}",
        f"data.train={listed(_records(folder, 'shuffled' if options.control else 'train'))}",
        *(["steps=20"] if options.small else []),
        *options.overrides,
    ]
    if not options.score:
        mtasr("train", CONFIG, *overrides)
    steps = [entry for entry in read_log(run / "log.jsonl") if "loss" in entry]
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, ", end="")
    print(f"torch {torch.__version__}, CTranslate2 {ctranslate2.__version__}")
    print(f"{len(steps)} steps in {sum(entry['seconds'] for entry in steps):.0f} s, ", end="")
    print(f"{sum(entry['audio_seconds'] for entry in steps):.0f} s of audio", flush=True)
    reference, exported = in_torch(read_config(CONFIG, overrides))
    for name, model in (("CTranslate2, int8", load_model(exported)), ("torch, float32", reference)):
        print(f"\n{name}", *score(model, folder).lines(), sep="\n  ", flush=True)


def listed(paths: Sequence[Path]) -> str:
    """As a setting of a configuration."""
    return yaml.safe_dump([str(path) for path in paths], default_flow_style=True, width=10_000).strip()


if __name__ == "__main__":
    main()
