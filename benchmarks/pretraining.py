"""Do the objectives of pre-training learn what they should, at a size that two cores can train?

    python benchmarks/pretraining.py FOLDER [JOB...] [--hours 1] [--part 1]

A job is a name in the table at the end of this file, such as `best-rq-0`; without any, all are done that have no result
yet. Each writes its figures to FOLDER/results.json as soon as it has them, and a run that was stopped goes on where it
was. `--part .01` takes a hundredth of all steps: it shows that everything runs, and learns nothing.

Speech is synthesised (`made_phones.py`). Probes are linear, of frames, without silence, on sentences that are in no
training data, read by two voices that are in none either. A goal was written down before its first run, and the table
says whether it was reached.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jobs import Figures, Goal, Job, run_jobs
from made_phones import make_labels, make_recordings
from made_speech import UNSEEN_VOICES, VOICES, make_set

from mtasr.data.samples import read_samples
from mtasr.encoders import load_encoder
from mtasr.pretraining.units.kmeans import UnitCentres, fit_centres
from mtasr.training.run_log import read_log
from mtasr.unit_measures import unit_quality

_VOICES = {"train": VOICES[:11], "dev": VOICES[11:13], "test": UNSEEN_VOICES}
_COUNTS = {"train": 300, "dev": 60, "test": 120}
#: Languages that several-language pre-training hears, and the one that none hears.
_LANGUAGES, _UNSEEN = ("en", "it", "es", "de"), "fr"
#: Units by which the states of encoders are compared with phones.
_UNITS = 100


@dataclass(frozen=True)
class Bench:
    """The folder of a benchmark, and how much is done."""

    folder: Path
    hours: float
    part: float

    def steps(self, count: int) -> int:
        return max(2, round(count * self.part))

    def speech(self, language: str, hours: float | None = None) -> Path:
        hours = self.hours if hours is None else hours
        return make_recordings(self.folder / "speech" / f"{language}-{hours:g}", language, VOICES, hours, seed=1)

    def held_out(self, language: str) -> Path:
        return make_recordings(self.folder / "speech" / f"{language}-held-out", language, UNSEEN_VOICES, 0.05, seed=2)

    def labels(self, language: str = "en", *, mixed: bool = False) -> Path:
        folder = self.folder / "labels" / (f"{language}-mixed" if mixed else language)
        return make_labels(folder, language, _VOICES, _COUNTS, seed=3, mixed=mixed)


def mtasr(*args: object) -> None:
    subprocess.run([sys.executable, "-m", "mtasr", *map(str, args)], check=True)


def last_evaluation(run: Path) -> Figures:
    found: Figures = [entry["evaluation"] for entry in read_log(run / "log.jsonl") if "evaluation" in entry][-1]
    return found


def pretrained(
    bench: Bench,
    name: str,
    objective: str,
    steps: int,
    data: list[Path],
    evaluation: Path | None = None,
    **settings: object,
) -> Path:
    """The folder of a run, trained to its end."""
    run = bench.folder / "runs" / name
    options = [f"{key.replace('__', '.')}={value}" for key, value in settings.items()]
    mtasr(
        "pretrain", f"objective={objective}", f"data=[{', '.join(map(str, data))}]", f"output={run}",
        f"steps={bench.steps(steps)}", f"optimizer.warmup={bench.steps(steps // 10)}",
        f"save_every={bench.steps(steps // 4)}", f"data.evaluation=[{evaluation or bench.held_out('en')}]",
        f"data.cache={bench.folder / 'audio'}", *options,
    )  # fmt: skip
    return run


def probed(bench: Bench, labels: Path, *encoders: object) -> dict[str, float]:
    """The share of frames in the right phone, for each encoder."""
    out = bench.folder / "probes" / labels.parent.name
    result = out / "last.json"
    names = [part for each in encoders for part in ("--encoder", str(each))]
    mtasr(
        "probe", labels, *names, "--task", "phones", "--output", out, "--json", result, "--no-single-layers",
        "--steps", bench.steps(500), "--learning-rates", "1e-3,1e-2", "--quiet",
    )  # fmt: skip
    rows = json.loads(result.read_text(encoding="utf-8"))
    return {str(name): row["figures"]["accuracy"] for name, row in zip(encoders, rows, strict=True)}


def pnmi(labels: Path, encoder: str, layer: int) -> float:
    """How much units of a layer tell of phones (Hsu et al. 2021), on the test split; units are fitted on the others."""
    model = load_encoder(encoder, "cpu")
    frames: dict[bool, list[np.ndarray[Any, Any]]] = {True: [], False: []}
    phones: list[np.ndarray[Any, Any]] = []
    numbers: dict[str, int] = {}
    for line in labels.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        samples = read_samples(labels.parent / row["audio"])
        with torch.no_grad():
            state = model.states(torch.from_numpy(samples)[None])[layer][0].numpy()
        times = model.offset_seconds + model.frame_seconds * np.arange(len(state))
        said = np.full(len(state), -1)
        for phone, start, end in row["phones"]:
            said[(times >= start) & (times < end)] = numbers.setdefault(phone, len(numbers))
        is_test = row["split"] == "test"
        frames[is_test].append(state[said >= 0])
        if is_test:
            phones.append(said[said >= 0])
    centres = UnitCentres(centres=fit_centres(np.concatenate(frames[False]), _UNITS))
    return unit_quality((centres.assign(each), said) for each, said in zip(frames[True], phones, strict=True)).pnmi


# --- jobs ------------------------------------------------------------------------------------------------------------


def best_rq(bench: Bench, seed: int) -> Figures:
    """Chiu et al. 2022, three layers of width 128, four books of 128 codes."""
    run = pretrained(bench, f"best-rq-{seed}", "best-rq", 600, [bench.speech("en")], seed=seed)
    accuracy = probed(bench, bench.labels(), run, f"random:{run}")
    return last_evaluation(run) | {"probe": accuracy[str(run)], "twin": accuracy[f"random:{run}"]}


def controls(bench: Bench, _: int) -> Figures:
    """What the same probe finds in features and in a trained recogniser."""
    return probed(bench, bench.labels(), "log-mel", "log-mel+5", "mfcc+5", "base")


def _unit_run(bench: Bench, name: str, objective: str, **options: object) -> Path:
    """A run of HuBERT or WavLM, with settings for short runs.

    With the published spans and rate, runs of this length only find the commonest unit. Here spans are shorter,
    unmasked frames count as well, and the rate is higher.
    """
    settings = {f"objective_options__{key}": value for key, value in options.items()}
    return pretrained(
        bench, name, objective, 800, [bench.speech("en")], data__batch_seconds=30, optimizer__batches_per_step=1,
        optimizer__learning_rate=3e-3, objective_options__masked=0.5, objective_options__span=4,
        objective_options__unmasked_weight=1, **settings,
    )  # fmt: skip


def _first_hubert(bench: Bench) -> Path:
    return _unit_run(bench, "hubert-1", "hubert", units=50)


def second_hubert(bench: Bench) -> Path:
    """The run of the second iteration, after that of the first."""
    return _unit_run(bench, "hubert-2", "hubert", units=100, teacher=_first_hubert(bench), layer=2)


def hubert(bench: Bench, _: int) -> Figures:
    """Hsu et al. 2021, both iterations: 50 units of cepstra, then 100 of the second layer of the first network."""
    first, second = _first_hubert(bench), second_hubert(bench)
    labels = bench.labels()
    figures = last_evaluation(second) | {
        "first accuracy": last_evaluation(first)["accuracy"],
        "first majority": last_evaluation(first)["majority"],
        "pnmi mfcc": pnmi(labels, "mfcc", -1),
        "pnmi first": pnmi(labels, str(first), 2),
        "pnmi second": pnmi(labels, str(second), 2),
    }
    return figures | dict(zip(("probe 1", "probe 2"), probed(bench, labels, first, second).values(), strict=True))


def wavlm(bench: Bench, _: int) -> Figures:
    """Chen et al. 2021 beside HuBERT: the same units, steps and audio, half of the crops mixed; tested at 0 dB."""
    runs = {
        "hubert": _first_hubert(bench),
        "wavlm": _unit_run(bench, "wavlm", "wavlm", units=50, mixed=0.5),
    }
    figures: Figures = {}
    for kind, labels in (("clean", bench.labels()), ("mixed", bench.labels(mixed=True))):
        accuracy = probed(bench, labels, *runs.values())
        figures |= {f"{name} {kind}": accuracy[str(run)] for name, run in runs.items()}
    return figures


def _wav2vec2(bench: Bench, name: str, data: list[Path]) -> Path:
    # With the published weight of diversity, .1, the books of short runs collapse.
    return pretrained(
        bench, name, "wav2vec2", 1200, data, data__batch_seconds=30, optimizer__batches_per_step=1,
        objective_options__codes=32, objective_options__negatives=50, objective_options__diversity=2,
    )  # fmt: skip


def wav2vec2(bench: Bench, _: int) -> Figures:
    """Baevski et al. 2020, two books of 32 codes, 50 wrong answers."""
    run = _wav2vec2(bench, "wav2vec2", [bench.speech("en")])
    accuracy = probed(bench, bench.labels(), run, f"random:{run}")
    return last_evaluation(run) | {"probe": accuracy[str(run)], "twin": accuracy[f"random:{run}"]}


def cpc(bench: Bench, _: int) -> Figures:
    """Van den Oord et al. 2018, 64 channels, 64 wrong answers, twelve steps of 10 ms."""
    run = pretrained(bench, "cpc", "cpc", 2000, [bench.speech("en")], objective_options__negatives=64)
    return last_evaluation(run) | dict(
        zip(("probe", "twin"), probed(bench, bench.labels(), run, f"random:{run}").values(), strict=True)
    )


def xls_r(bench: Bench, _: int) -> Figures:
    """Babu et al. 2021: equal hours of one language (the run of `wav2vec2`) and of four, probed in a fifth."""
    one = _wav2vec2(bench, "wav2vec2", [bench.speech(_LANGUAGES[0])])
    share = [bench.speech(language, bench.hours / len(_LANGUAGES)) for language in _LANGUAGES]
    four = _wav2vec2(bench, "four-languages", share)
    return dict(zip(("one", "four"), probed(bench, bench.labels(_UNSEEN), one, four).values(), strict=True))


def usm(bench: Bench, _: int) -> Figures:
    """Zhang et al. 2023: character errors of CTC with 1/49, 1/7 and all labels, and with 1/7 after BEST-RQ on all."""
    folder = bench.folder / "usm"
    if not (folder / "vocabulary").exists():
        make_set(
            folder / "train", VOICES, recordings=7, sentences=12, nothing=1, held_out=False, seed=1, languages=("en",)
        )
        make_set(
            folder / "test",
            UNSEEN_VOICES,
            recordings=3,
            sentences=10,
            nothing=1,
            held_out=True,
            seed=2,
            languages=("en",),
        )
        for part in ("train", "test"):
            mtasr("data", "ingest", folder / part / "en", folder / f"{part}.jsonl", "--language", "en")
        lines = (folder / "train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        for share in (7, 49):
            (folder / f"train-{share}.jsonl").write_text("".join(lines[::share]), encoding="utf-8")
        mtasr("tokenizer", "train", folder / "train.jsonl", "--output", folder / "vocabulary", "--size", 290)
    sizes = "{n_audio_ctx: 1500, n_audio_state: 128, n_audio_head: 4, n_audio_layer: 3, n_text_ctx: 128, "
    sizes += "n_text_state: 128, n_text_head: 4, n_text_layer: 1}"
    start = pretrained(bench, "usm", "best-rq", 600, [folder / "train" / "en"], evaluation=folder / "test" / "en")
    figures: Figures = {}
    for name, records, init in (
        ("1/49", "train-49", None), ("1/7", "train-7", None), ("all", "train", None),
        ("1/7 after BEST-RQ", "train-7", start),
    ):  # fmt: skip
        run = folder / f"ctc-{name.replace('/', '-').replace(' ', '-')}"
        config = folder / "ctc.yaml"
        config.write_text(
            f"{{model: tiny, objective: ctc, scratch: {sizes}, vocabulary: {folder / 'vocabulary'}, output: {run}, "
            f"steps: {bench.steps(1500)}, save_every: {bench.steps(250)}, evaluate_every: {bench.steps(250)}, "
            f"data: {{train: {folder / records}.jsonl, evaluation: {folder / 'test.jsonl'}, batch_seconds: 60, "
            f"cache: {bench.folder / 'audio'}, longest: 6, join: 0, previous: 0}}, "
            f"optimizer: {{learning_rate: 1e-3, warmup: {bench.steps(150)}, weight_decay: 0.01}}}}",
            encoding="utf-8",
        )
        mtasr("train", config, *([f"init_encoder={init}"] if init else []))
        figures[name] = min(
            entry["evaluation"]["cer"] for entry in read_log(run / "log.jsonl") if "evaluation" in entry
        )
    return figures


# --- goals -----------------------------------------------------------------------------------------------------------

_BEST_RQ: list[Goal] = [
    ("probe at least 3 points over its random twin", lambda f: f["probe"] >= f["twin"] + 0.03),
    ("loss .3 nat below the entropy of the codes", lambda f: f["loss"] <= f["unigram"] - 0.3),
    ("perplexity of the codes over .3 of their number", lambda f: f["perplexity"] > 0.3 * 128),
]
JOBS: dict[str, Job[Bench]] = {
    "controls": (controls, 0, []),
    **{f"best-rq-{seed}": (best_rq, seed, _BEST_RQ) for seed in range(3)},
    "hubert": (
        hubert,
        0,
        [
            ("masked accuracy above that of the most frequent unit", lambda f: f["accuracy"] > f["majority"]),
            (
                "PNMI of the second iteration above that of the first, and that above that of cepstra",
                lambda f: f["pnmi second"] > f["pnmi first"] > f["pnmi mfcc"],
            ),
        ],
    ),
    "usm": (
        usm,
        0,
        [
            (
                "pre-training closes half of the gap between a seventh of the labels and all",
                lambda f: f["1/7"] - f["1/7 after BEST-RQ"] >= 0.5 * (f["1/7"] - f["all"]) > 0,
            )
        ],
    ),
    "wav2vec2": (
        wav2vec2,
        0,
        [
            ("contrastive loss below chance, ln 51", lambda f: f["contrastive_loss"] < math.log(51)),
            (
                "neither book collapses: perplexity of each over 2",
                lambda f: min(f["code_perplexity_1"], f["code_perplexity_2"]) > 2,
            ),
        ],
    ),
    "cpc": (
        cpc,
        0,
        [
            (
                "accuracy falls from step 3 to 12",
                lambda f: f["accuracy_3"] > f["accuracy_6"] > f["accuracy_12"],
            ),
            (
                "accuracy above chance, 1/65, from step 3 on",
                lambda f: min(f[f"accuracy_{step}"] for step in range(3, 13)) > 1 / 65,
            ),
        ],
    ),
    "wavlm": (
        wavlm,
        0,
        [
            (
                "loses less accuracy than HuBERT when another voice is mixed in",
                lambda f: f["wavlm clean"] - f["wavlm mixed"] < f["hubert clean"] - f["hubert mixed"],
            )
        ],
    ),
    "xls-r": (xls_r, 0, [("four languages beat one in an unseen one", lambda f: f["four"] > f["one"])]),
}  # fmt: skip


#: The runs of each job, which others may use once it is done.
RUNS = {
    **{f"best-rq-{seed}": [f"best-rq-{seed}"] for seed in range(3)},
    "hubert": ["hubert-1", "hubert-2"],
    "wavlm": ["wavlm"],
    "wav2vec2": ["wav2vec2"],
    "cpc": ["cpc"],
    "xls-r": ["four-languages"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("jobs", nargs="*", metavar="JOB", choices=[[], *JOBS])
    parser.add_argument("--hours", type=float, default=1.0, help="hours of audio without texts")
    parser.add_argument("--part", type=float, default=1.0, help="share of the steps")
    args = parser.parse_args()
    bench = Bench(args.folder.absolute(), args.hours, args.part)
    run_jobs(bench, JOBS, args.jobs, args.folder / "results.json")


if __name__ == "__main__":
    main()
