"""What do encoders know? SUPERB's tasks on synthesised speech, for any number of encoders.

    python benchmarks/superb_table.py FOLDER [--encoder E ...] [TASK...] [--part 1] [--write benchmarks/superb]

Labelled speech is made once (`made_tasks.py`). Then each encoder does each task as in `mtasr probe`, with several
seeds: a head on the learned weighted sum of its layers, and one on each layer alone. A result is written to
FOLDER/results as soon as it is there, and what is there is not done again, so a further encoder costs only its own
time. `--encoder` takes what `mtasr probe` takes, or the folder of `pretraining.py`, which stands for its finished runs.
Without `--encoder`, the table of what is there is written. `--part .1` makes a tenth of the clips and steps: it shows
that all runs.

The learning rate is that of the first seed. Costly tasks have fewer seeds, and heads on single layers for the first
only or not at all.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import made_tasks
import pretraining
from speed import machine, table

from mtasr import plots
from mtasr.encoders import load_encoder
from mtasr.networks.speech_encoder import SpeechEncoder
from mtasr.probing.fitting import ProbeSettings
from mtasr.probing.labels import read_labels
from mtasr.probing.report import best_layer, read_results, shown, write_results
from mtasr.probing.run import ProbeResult, probe, tasks_of
from mtasr.probing.states import identity_of
from mtasr.probing.tasks import task_class
from mtasr.probing.tasks.classes import ClassTask

_BYTES = 4e9
#: Curves of one plot.
_CURVES = 8


class ProsodyTask(ClassTask):
    """Statement, question, or more to come: what a synthetic voice can say without words. It is not emotion."""

    name, area = "prosody", "paralinguistics"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a task is done: its clips, its steps, and the sizes of its head."""

    clips: str
    steps: int = 200
    batch: int = 32
    rates: tuple[float, ...] = (1e-2, 1e-1)
    sizes: tuple[int, ...] | None = None
    seeds: int = 3
    #: The seeds that have heads on single layers, too.
    alone: int = 3


_RECURRENT = Setting(clips="commands", steps=300, batch=8, rates=(1e-2,), sizes=(48, 48), seeds=2, alone=0)
SETTINGS = {
    "phones": Setting(clips="words", steps=120, batch=8, rates=(1e-2,)),
    "phones-ctc": Setting(clips="words", steps=150, batch=8, rates=(1e-2,), seeds=2, alone=1),
    "characters": _RECURRENT,
    "keyword": Setting(clips="keyword"),
    "search": Setting(clips="search", seeds=1, alone=1),
    "speaker": Setting(clips="speaker"),
    "verification": Setting(
        clips="verification", steps=120, batch=16, rates=(1e-3,), sizes=(64, 64, 64, 64, 64, 128, 64), seeds=2, alone=1
    ),
    "diarization": Setting(clips="diarization", steps=80, batch=8, rates=(1e-2,), sizes=(32,), seeds=2, alone=1),
    "intent": Setting(clips="commands"),
    "slots": _RECURRENT,
    "prosody": Setting(clips="prosody"),
    "language": Setting(clips="language"),
}


@dataclass(frozen=True)
class Bench:
    folder: Path
    part: float

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def kept(self, encoder: str, identity: str, task: str, seed: int) -> Path:
        """The folder of one result. Its name depends on weights and settings, so that what has changed is done anew."""
        key = hashlib.sha256(f"{encoder}\0{identity}\0{SETTINGS[task]}".encode()).hexdigest()[:12]
        return self.results / f"{key}-{task}-{seed}"


def title(encoder: str) -> str:
    """A name for the table: that of a folder without those above it."""
    kind, colon, name = encoder.rpartition(":")
    return kind + colon + name.rpartition("/")[2]


def all_encoders(given: Sequence[str]) -> Iterator[str]:
    """The encoders, with the finished runs of a folder of `pretraining.py` in its place."""
    for name in given:
        results = Path(name) / "results.json"
        if not (Path(name) / "runs").is_dir():
            yield name
            continue
        finished = json.loads(results.read_text(encoding="utf-8")) if results.is_file() else {}
        for job, runs in pretraining.RUNS.items():
            yield from (str(Path(name) / "runs" / run) for run in runs if job in finished)


def measure(bench: Bench, name: str, tasks: Sequence[str]) -> None:
    """Do the tasks that have no result yet, all seeds of each."""
    encoder = load_encoder(name, "cpu")
    identity, begun = identity_of(encoder), time.process_time()
    for task in tasks:
        rate: float | None = None
        for seed in range(SETTINGS[task].seeds):
            kept = bench.kept(name, identity, task, seed)
            found = read_results(kept)
            if not found:
                found = [_probed(bench, encoder, task, seed, rate)]
                write_results(found, kept)
            rate = found[0].learning_rate
        if time.process_time() > begun + 1:
            print(f"{title(name)}: {task} {found[0].value:.3f}, {time.process_time() - begun:.0f} s so far", flush=True)


def _probed(bench: Bench, encoder: SpeechEncoder, task: str, seed: int, rate: float | None) -> ProbeResult:
    setting = SETTINGS[task]
    labels = read_labels(made_tasks.make(bench.folder / "data", setting.clips, bench.part))
    kind = ProsodyTask if task == ProsodyTask.name else task_class(task)
    settings = ProbeSettings(
        steps=max(10, round(setting.steps * bench.part)),
        batch_size=setting.batch,
        learning_rates=setting.rates if rate is None else (rate,),
        single_layers=seed < setting.alone,
        sizes=setting.sizes,
        seed=seed,
    )
    return probe(tasks_of(kind, labels), encoder, settings, bench.folder / "states", most_bytes=_BYTES).result


# --- what the results say --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One encoder on one task: the results of its seeds."""

    seeds: list[ProbeResult]

    @property
    def area(self) -> str:
        return self.seeds[0].area

    @property
    def figure(self) -> str:
        values = [each.value for each in self.seeds]
        spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
        return shown(self.seeds[0].figure, statistics.mean(values)).removesuffix(" %") + spread

    def centres(self) -> list[float]:
        """Where the shares of the layers balance, from 0 (the input of the first) to 1 (the output of the last)."""
        return [centre(each.shares) for each in self.seeds if len(each.shares) > 1]

    def untrained(self) -> float:
        """The same while the weights are still equal, so of the sizes alone."""
        return centre([size / sum(self.seeds[0].sizes) for size in self.seeds[0].sizes])

    def best(self) -> list[float]:
        """The layer that is best alone on dev, from 0 to 1."""
        found = [(best_layer(each), len(each.layers) - 1) for each in self.seeds if len(each.layers) > 1]
        return [layer.layer / last for layer, last in found if layer is not None]


def centre(shares: Sequence[float]) -> float:
    return sum(place * share for place, share in enumerate(shares)) / (len(shares) - 1)


def read_cells(bench: Bench) -> dict[str, dict[str, Cell]]:
    """By encoder and task. Of weights that were trained anew, the newest count."""
    found: dict[tuple[str, str], dict[str, list[ProbeResult]]] = {}
    newest: dict[tuple[str, str], float] = {}
    for path in sorted(bench.results.glob("*/results.json")):
        (result,) = read_results(path.parent)
        seed = int(path.parent.name.rpartition("-")[2])
        if path.parent != bench.kept(result.encoder, result.identity, result.task, seed):
            continue  # of other settings
        found.setdefault((result.encoder, result.identity), {}).setdefault(result.task, []).append(result)
        key = (result.encoder, result.identity)
        newest[key] = max(newest.get(key, 0.0), path.stat().st_mtime)
    cells: dict[str, dict[str, Cell]] = {}
    for key in sorted(found, key=lambda key: newest[key]):
        cells[title(key[0])] = {task: Cell(found[key][task]) for task in SETTINGS if task in found[key]}
    return cells


def report(cells: dict[str, dict[str, Cell]], bench: Bench) -> Iterator[str]:
    tasks = [task for task in SETTINGS if any(task in own for own in cells.values())]
    clips = {task: next(own[task].seeds[0] for own in cells.values() if task in own) for task in tasks}
    heads = [f"{task}, {clips[task].figure} {'%, ' if clips[task].figure != 'MTWV' else ''}"
             f"{'less' if clips[task].falls else 'more'} is better, {clips[task].clips['test']} tests"
             for task in tasks]  # fmt: skip
    yield "What encoders know, by `benchmarks/superb_table.py`: mean and deviation of the figure on test over seeds."
    yield f"Computed on {machine('cpu')}" + (f", with {bench.part:g} of clips and steps." if bench.part < 1 else ".")
    yield ""
    yield from table(
        ["Encoder", *heads],
        [[name, *(own[task].figure if task in own else "" for task in tasks)] for name, own in cells.items()],
    )
    majority = [clips[task].figures.get("majority") for task in tasks]
    yield ""
    yield "The most frequent answer alone reaches: " + ", ".join(
        f"{task} {100 * share:.1f} %" for task, share in zip(tasks, majority, strict=True) if share is not None
    )
    deep = {name: own for name, own in cells.items() if any(cell.centres() for cell in own.values())}
    if deep:
        yield from _layers(deep, tasks)


def _layers(cells: dict[str, dict[str, Cell]], tasks: Sequence[str]) -> Iterator[str]:
    weighed = [task for task in tasks if any(task in own and own[task].centres() for own in cells.values())]
    yield from (
        "",
        "Where the weights of the sum balance: 0 is the input of the first layer, 1 the output of the last. Each layer",
        "counts with its weight times the size of its states. In the column `equal` all weights are equal, as before",
        "training; a task that has learnt to prefer a layer differs from it. Mean and deviation over seeds.",
        "",
    )
    yield from table(
        ["Encoder", "equal", *weighed],
        [[name, _equal(own),
          *(_mean(own[task].centres()) if task in own else "" for task in weighed)]
         for name, own in cells.items()],
    )  # fmt: skip
    yield from ("", "The layer that is best alone on dev, likewise from 0 to 1:", "")
    yield from table(
        ["Encoder", *tasks],
        [[name, *(_mean(own[task].best()) if task in own else "" for task in tasks)] for name, own in cells.items()],
    )
    yield from ("", "Do speaker tasks use other layers than content tasks? Mean over the tasks of each area:", "")
    rows = []
    for name, own in cells.items():
        row = [name]
        for values in (Cell.centres, Cell.best):
            content, speaker = ([values(cell) for cell in own.values() if cell.area == area and values(cell)]
                                for area in ("content", "speaker"))  # fmt: skip
            if not (content and speaker):
                break
            differences = _differences(content, speaker)
            row += [_mean([_over(content)]), _mean([_over(speaker)]), _signed(differences)]
        else:
            rows.append(row)
    yield from table(
        ["Encoder", "content: balance", "speaker: balance", "difference",
         "content: best layer", "speaker: best layer", "difference"], rows,
    )  # fmt: skip
    yield ""
    balance, best = (sum(row[column].startswith("-") for row in rows) for column in (3, 6))
    yield (
        f"Speaker tasks balance nearer to the input than content tasks in {balance} of {len(rows)} encoders, "
        f"and the layer that is best for them alone is nearer to it in {best}."
    )


def _over(tasks: Sequence[Sequence[float]]) -> float:
    return statistics.mean(map(statistics.mean, tasks))


def _differences(content: Sequence[Sequence[float]], speaker: Sequence[Sequence[float]]) -> list[float]:
    """Speaker minus content for each seed. Tasks with fewer seeds than others count with the mean of theirs."""
    seeds = max(map(len, (*content, *speaker)))

    def of_seed(tasks: Sequence[Sequence[float]], seed: int) -> float:
        return statistics.mean(own[seed] if seed < len(own) else statistics.mean(own) for own in tasks)

    return [of_seed(speaker, seed) - of_seed(content, seed) for seed in range(seeds)]


def _signed(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):+.2f}{spread}"


def _equal(own: dict[str, Cell]) -> str:
    values = [cell.untrained() for cell in own.values() if cell.centres()]
    return f"{statistics.mean(values):.2f}" if values else ""


def _mean(values: Sequence[float]) -> str:
    if not values:
        return ""
    return f"{statistics.mean(values):.2f}" + (f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else "")


def pictures(cells: dict[str, dict[str, Cell]]) -> Iterator[tuple[str, str]]:
    """(name of the file, SVG): the shares of the layers of each encoder, and what its layers reach alone."""
    for file, panels in (("weights.svg", _shares(cells)), ("single-layers.svg", _alone(cells))):
        if drawn := list(panels):
            yield file, plots.picture(drawn)


def _shares(cells: dict[str, dict[str, Cell]]) -> Iterator[plots.Panel]:
    for name, own in cells.items():
        curves = {}
        for task, cell in own.items():
            if cell.centres() and cell.area in ("content", "speaker"):
                means = [statistics.mean(each) for each in zip(*(seed.shares for seed in cell.seeds), strict=True)]
                curves[f"{task} ({cell.area})"] = [(float(layer), mean) for layer, mean in enumerate(means)]
        if curves:
            last = max(map(len, curves.values())) - 1
            yield plots.curves(f"{name}: share of each layer", curves, last=last, numbered=True)


def _alone(cells: dict[str, dict[str, Cell]]) -> Iterator[plots.Panel]:
    """Of the first seed."""
    for task in SETTINGS:
        first = {name: own[task].seeds[0] for name, own in cells.items() if task in own}
        tried = [(name, result) for name, result in first.items() if len(result.layers) > 1]
        for begin in range(0, len(tried), _CURVES):
            some = tried[begin : begin + _CURVES]
            curves = {name: [(float(layer.layer), layer.test) for layer in result.layers] for name, result in some}
            last = max(map(len, curves.values())) - 1
            title_ = f"{task}: {some[0][1].figure} of each layer alone"
            yield plots.curves(title_, curves, last=last, numbered=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("tasks", nargs="*", metavar="TASK", choices=[[], *SETTINGS])
    parser.add_argument("--encoder", action="append", default=[], help="an encoder, or the folder of pretraining.py")
    parser.add_argument("--part", type=float, default=1.0, help="share of clips and steps")
    parser.add_argument("--write", type=Path, help="folder of the table and the pictures; FOLDER/table by default")
    args = parser.parse_args()
    folder = args.folder.absolute()
    bench = Bench(folder if args.part == 1 else folder / f"part-{args.part:g}", args.part)
    for name in all_encoders(args.encoder):
        measure(bench, name, args.tasks or list(SETTINGS))
    cells = read_cells(bench)
    if not cells:
        parser.error("there are no results yet; give --encoder")
    write = args.write or bench.folder / "table"
    write.mkdir(parents=True, exist_ok=True)
    text = "\n".join(report(cells, bench))
    (write / "table.md").write_text(f"{text}\n", encoding="utf-8")
    for name, picture in pictures(cells):
        (write / name).write_text(picture, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
