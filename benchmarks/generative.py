"""Do the models that write speech learn what they should, at a size that two cores can train?

    python benchmarks/generative.py FOLDER [JOB...] [--hours 1] [--part 1] [--real FOLDER]

A job is a name in the table at the end of this file; without any, all are done that have no result yet. FOLDER may be
that of `pretraining.py`, whose second HuBERT these jobs listen with, and train if it is not there. Figures go to
FOLDER/generative.json as soon as a job has them, and a run that was stopped goes on where it was. `--part .01` takes a
hundredth of all steps: it shows that everything runs, and learns nothing.

Speech is synthesised (`made_phones.py`), but that of the job `codec`: `--real` names a folder with `train`, recordings
to learn from, and `short.json`, a list of objects with `audio` (in that folder), `language` and `text`. Goals were
written down before the first run, and the table says whether they were reached.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from grammar import sentence
from jobs import Figures, Goal, Job, run_jobs
from made_phones import make_recordings
from made_speech import VOICES
from pretraining import Bench, last_evaluation, mtasr, pnmi, second_hubert

from mtasr import load_model
from mtasr.data.samples import read_samples
from mtasr.generative.codec_folder import load_codec
from mtasr.generative.metrics import area_over_temperatures, heard_errors, recurring, vert
from mtasr.generative.sampling import Sampling
from mtasr.generative.unit_model import UnitModel, load_unit_model, shuffled_blocks
from mtasr.generative.unit_sequences import read_unit_file
from mtasr.unit_measures import perplexity

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from speech import speak, write_wav

#: Units, the layer of HuBERT that they divide, and the seeds of runs.
_UNITS, _LAYER, _SEEDS = 100, 2, range(3)
_TEMPERATURES = (0.3, 0.7, 1.0, 1.5, 2.0)
#: Units of a block that is moved, of a prompt, and of a continuation; continuations of each temperature at most.
_BLOCK, _PROMPT, _NEW, _MOST = 10, 60, 150, 100
_PAIRS = 240

#: Numbers of books with which a codec is judged.
_BOOKS = (1, 2, 4, 8)

Sequences = list[list[int]]


@dataclass(frozen=True)
class RealBench(Bench):
    """A benchmark that may have real speech too."""

    real: Path | None


# --- data ------------------------------------------------------------------------------------------------------------


def centres(bench: Bench) -> Path:
    path = bench.folder / "units" / "centres.npz"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        encoder = second_hubert(bench)
        mtasr(
            "units", "--fit", bench.speech("en"), "--encoder", encoder, "--layer", _LAYER, "--clusters", _UNITS,
            "--output", path, "--quiet",
        )  # fmt: skip
    return path


def unit_file(bench: Bench, name: str, recordings: Path) -> Path:
    """The joined units of a folder of recordings, one line for each, in the order of their names."""
    path = bench.folder / "units" / f"{name}.txt"
    if not path.exists():
        command = [sys.executable, "-m", "mtasr", "units", str(recordings), "--centres", str(centres(bench))]
        done = subprocess.run([*command, "--format", "sequence", "--quiet"], check=True, stdout=subprocess.PIPE)
        path.write_bytes(done.stdout)
    return path


def other_sentences(bench: Bench) -> Path:
    """Other sentences in the voices of the training data."""
    return make_recordings(bench.folder / "speech" / "en-other", "en", VOICES, 0.1 * bench.hours, seed=4)


def sequences(path: Path) -> Sequences:
    return [each.tolist() for each in read_unit_file(path, _UNITS)]


def words(bench: Bench, count: int) -> dict[str, Path]:
    """Folders of words and of pseudo-words, whose halves are of two words; the same number has the same voice."""
    folders = {name: bench.folder / "speech" / name for name in ("words", "pseudo-words")}
    if (folders["words"] / "done").exists():
        return folders
    rng = np.random.default_rng(5)
    said = " ".join(sentence(rng, held_out=False)["en"] for _ in range(500)).lower()
    known = sorted({word.strip(".,?!") for word in said.split()})
    known = [word for word in known if len(word) >= 6 and word.isalpha()]
    for number in range(0, count, 2):
        one, other = (known[int(place)] for place in rng.choice(len(known), 2, replace=False))
        swapped = (one[: len(one) // 2] + other[len(other) // 2 :], other[: len(other) // 2] + one[len(one) // 2 :])
        voice = f"en-us+{VOICES[int(rng.integers(len(VOICES)))]}"
        for name, pair in (("words", (one, other)), ("pseudo-words", swapped)):
            folders[name].mkdir(parents=True, exist_ok=True)
            for place, word in enumerate(pair):
                write_wav(folders[name] / f"{number + place:04}.wav", speak(word, voice))
    (folders["words"] / "done").touch()
    return folders


class Trigram:
    """Interpolated with bigrams, units and a uniform share, each by Witten and Bell 1991."""

    def __init__(self, learnt: Sequences, end: int) -> None:
        self._end = end
        self._followers: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for sequence in learnt:
            tokens = [end, end, *sequence, end]
            for place in range(2, len(tokens)):
                for size in range(3):
                    self._followers[tuple(tokens[place - size : place])][tokens[place]] += 1

    def _probability(self, before: tuple[int, ...], token: int) -> float:
        shorter = self._probability(before[1:], token) if before else 1 / (self._end + 1)
        followers = self._followers.get(before)
        if not followers:
            return shorter
        return (followers[token] + len(followers) * shorter) / (followers.total() + len(followers))

    def loss(self, judged: Sequences) -> float:
        """Nats a token, ends included."""
        nats, count = 0.0, 0
        for sequence in judged:
            tokens = [self._end, self._end, *sequence, self._end]
            for place in range(2, len(tokens)):
                nats -= math.log(self._probability(tuple(tokens[place - 2 : place]), tokens[place]))
                count += 1
        return nats / count


# --- jobs ------------------------------------------------------------------------------------------------------------


def units(bench: Bench, _: int) -> Figures:
    """Hsu et al. 2021: what units tell of phones, beside those of log-mel features; and their bits a second."""
    found = sequences(unit_file(bench, "other", other_sentences(bench)))
    counts = np.bincount(np.concatenate(found), minlength=_UNITS)
    seconds = 30.0 * len(found)
    rate = math.log2(perplexity(counts)) * counts.sum() / seconds
    labels = bench.labels()
    hubert = str(second_hubert(bench))
    return {"pnmi": pnmi(labels, hubert, _LAYER), "pnmi log-mel": pnmi(labels, "log-mel", 0), "bits a second": rate}


def unit_lm(bench: Bench, seed: int) -> Figures:
    """Lakhotia et al. 2021, four layers of width 256, on joined units."""
    train = unit_file(bench, "train", bench.speech("en"))
    other = unit_file(bench, "other", other_sentences(bench))
    run = bench.folder / "runs" / f"unit-lm-{seed}"
    mtasr(
        "pretrain", "objective=unit_lm", f"data={train}", f"data.evaluation={other}", "data.evaluation_windows=100000",
        f"objective_options.centres={centres(bench)}", f"output={run}", f"seed={seed}", f"steps={bench.steps(1000)}",
        f"optimizer.warmup={bench.steps(100)}", f"save_every={bench.steps(250)}", f"evaluate_every={bench.steps(250)}",
    )  # fmt: skip
    model = load_unit_model(run, "cpu")
    held_out = sequences(other)
    trigram = Trigram(sequences(train), model.end)
    return {
        "loss": last_evaluation(run)["loss"],
        "trigram": trigram.loss(held_out),
        "real above shuffled": _above_shuffled(model, held_out),
        "word above pseudo-word": _above_pseudo(bench, model),
        **_by_temperature(bench, model, trigram, held_out),
    }


def _per_token(model: UnitModel, sequence: Sequence[int]) -> float:
    cut = list(sequence)[: model.network.sizes.context - 1]
    return model.log_probability(cut) / (len(cut) + 1)


def _above_shuffled(model: UnitModel, held_out: Sequences) -> float:
    rng = np.random.default_rng(0)
    pairs = [(each, shuffled_blocks(each, _BLOCK, rng)) for each in held_out]
    return float(np.mean([_per_token(model, real) > _per_token(model, mixed) for real, mixed in pairs]))


def _above_pseudo(bench: Bench, model: UnitModel) -> float:
    folders = words(bench, max(4, round(_PAIRS * min(1, 10 * bench.part))))
    real, pseudo = (sequences(unit_file(bench, name, folder)) for name, folder in folders.items())
    pairs = zip(real, pseudo, strict=True)
    return float(np.mean([_per_token(model, one) > _per_token(model, other) for one, other in pairs]))


def _by_temperature(bench: Bench, model: UnitModel, trigram: Trigram, held_out: Sequences) -> Figures:
    """Of continuations at each temperature, and of what really follows: recurring 4-grams, VERT, and perplexity."""
    used = [each for each in held_out if len(each) >= _PROMPT + _NEW][: max(2, round(_MOST * bench.part))]
    written = {"real": [each[_PROMPT : _PROMPT + _NEW] for each in used]}
    for temperature in _TEMPERATURES:
        how = Sampling(temperature=temperature)
        written[f"{temperature:g}"] = [model.continuations(each[:_PROMPT], 1, _NEW, how)[0] for each in used]
    figures: Figures = {}
    for name, found in written.items():
        figures[f"4-grams {name}"] = float(np.mean([recurring(each, 4) for each in found]))
        figures[f"VERT {name}"] = vert(found)
        figures[f"perplexity {name}"] = math.exp(trigram.loss(found))
    points = [(figures[f"perplexity {each:g}"], figures[f"VERT {each:g}"]) for each in _TEMPERATURES]
    return figures | {"area": area_over_temperatures(points)}


def codec(bench: Bench, seed: int) -> Figures:
    """Défossez et al. 2022, 16 filters, 8 books of 256 entries at 50 Hz; the error over time rules first."""
    real = bench.real if isinstance(bench, RealBench) else None
    if real is None:
        sys.exit("the job codec needs --real")
    run = bench.folder / "runs" / "codec"
    clips = json.loads((real / "short.json").read_text(encoding="utf-8"))
    clips = [clip for clip in clips if clip["language"] == "en"]
    clips = clips[: max(2, round(len(clips) * bench.part))]
    heard = ", ".join(str(real / clip["audio"]) for clip in clips)
    mtasr(
        "pretrain", "objective=codec", f"data={real / 'train'}", f"data.evaluation=[{heard}]", f"output={run}",
        f"seed={seed}", f"steps={bench.steps(1600)}", f"optimizer.warmup={bench.steps(50)}",
        f"objective_options.discriminator_from={bench.steps(1200)}", f"save_every={bench.steps(200)}",
        f"data.cache={bench.folder / 'audio'}",
    )  # fmt: skip
    found, recogniser = load_codec(run), load_model("base")
    sounds = [read_samples(real / clip["audio"]) for clip in clips]
    texts = [clip["text"] for clip in clips]
    figures = last_evaluation(run) | {"WER": heard_errors(recogniser, zip(sounds, texts, strict=True)).rate}
    for books in _BOOKS:
        decoded = [found.sound_of(found.codes_of(each, books), len(each)) for each in sounds]
        figures[f"WER {books}"] = heard_errors(recogniser, zip(decoded, texts, strict=True)).rate
    return figures


# --- goals -----------------------------------------------------------------------------------------------------------


def _ordered(figures: Figures, name: str, *, rises: bool) -> bool:
    """Whether a figure never goes the other way as the temperature rises, and does not stay where it was."""
    values = [figures[f"{name} {each:g}"] for each in _TEMPERATURES]
    steps = [(other - one if rises else one - other) for one, other in pairwise(values)]
    return min(steps) >= 0 < sum(steps)


def _over_books(figures: Figures, name: str) -> list[float]:
    return [figures[f"{name}{books}"] for books in _BOOKS]


_CODEC: list[Goal] = [
    (
        "SI-SNR rises with 1, 2, 4, 8 books, to over 0 dB",
        lambda f: all(one < more for one, more in pairwise(_over_books(f, "si_snr_"))) and f["si_snr_8"] > 0,
    ),
    ("distance of mel spectra falls", lambda f: all(one > more for one, more in pairwise(_over_books(f, "mel_")))),
    (
        "WER falls from 1 to 8 books, and never rises",
        lambda f: all(one >= more for one, more in pairwise(_over_books(f, "WER "))) and f["WER 1"] > f["WER 8"],
    ),
    ("perplexity of each book over a third of 256", lambda f: min(f[f"perplexity_{n}"] for n in range(1, 9)) > 256 / 3),
    ("WER with 8 books within 10 points of the original's", lambda f: f["WER 8"] <= f["WER"] + 0.1),
]
_UNIT_LM: list[Goal] = [
    ("loss below that of the trigram on other sentences", lambda f: f["loss"] < f["trigram"]),
    ("real above block-shuffled in 95 %", lambda f: f["real above shuffled"] >= 0.95),
    ("word above pseudo-word in over 55 %", lambda f: f["word above pseudo-word"] > 0.55),
    (
        "from temperature .3 to 2, fewer recurring 4-grams, lower VERT, higher perplexity",
        lambda f: (
            _ordered(f, "4-grams", rises=False)
            and _ordered(f, "VERT", rises=False)
            and _ordered(f, "perplexity", rises=True)
        ),
    ),
    ("VERT of real speech between those at .3 and 1", lambda f: f["VERT 0.3"] >= f["VERT real"] >= f["VERT 1"]),
]
JOBS: dict[str, Job[RealBench]] = {
    "codec": (codec, 0, _CODEC),
    "units": (units, 0, [("PNMI .1 above that of log-mel units", lambda f: f["pnmi"] >= f["pnmi log-mel"] + 0.1)]),
    **{f"unit_lm-{seed}": (unit_lm, seed, _UNIT_LM) for seed in _SEEDS},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("jobs", nargs="*", metavar="JOB", choices=[[], *JOBS])
    parser.add_argument("--hours", type=float, default=1.0, help="hours of audio to learn from")
    parser.add_argument("--part", type=float, default=1.0, help="share of the steps")
    parser.add_argument("--real", type=Path, help="folder of real speech, for the job codec")
    args = parser.parse_args()
    bench = RealBench(args.folder.absolute(), args.hours, args.part, args.real and args.real.absolute())
    run_jobs(bench, JOBS, args.jobs, args.folder / "generative.json")


if __name__ == "__main__":
    main()
