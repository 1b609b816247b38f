"""Time, memory and word errors of whole processes, ours and those of other systems, on the same weights and recordings.

    python benchmarks/speed.py --clips MANIFEST --peers PYTHON [--rounds 3] [--threads 2] [--json FILE]
    python benchmarks/speed.py ... --device cuda --compute-type int8_float16 --batch-sizes 1,2,4,8,16,32

PYTHON is the interpreter of an environment with peers-requirements.txt. A manifest is a JSON list of objects with
"audio" (beside the manifest), "language", and "text" or "segments", each of which has a "text".

Each process loads its model, transcribes all recordings of one language and writes one JSON for each. Within a round
and a language the systems take turns, and each round begins with another one. A system's time in a round is the sum
over languages; medians of rounds are reported, and ratios of medians, with the lowest and highest ratio of a round.
Memory is the peak resident set of the largest process, as the kernel counts it (Linux). Word errors: see score.py.

All systems get the same beam, number of threads and language; all else is their default. With --batch-sizes mtasr and
faster-whisper's batched mode run once for each size, side by side; others are compared with mtasr at the first size.

With --stages, mtasr is asked by --timings FILE to write seconds by stage, a JSON object, and they are reported.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

# No NumPy or torch here: the kernel counts the memory of a process from its fork on, when it still is that of this one.
from mtasr.models import DEFAULT_MODEL, resolve

HERE = Path(__file__).parent

PEERS = ("faster-whisper", "faster-whisper-vad", "faster-whisper-batched", "openai-whisper")
CPU_PEERS = ("whisper.cpp", "whisper.cpp-q8_0")
BATCHED = "faster-whisper-batched"
BATCH_SIZE = 8


# What to run


@dataclass(frozen=True)
class Clip:
    audio: Path
    language: str
    segments: tuple[str, ...]


def read_clips(manifests: Sequence[Path], limit: int | None) -> dict[str, list[Clip]]:
    """Clips by language, so many of each at most."""
    found: dict[str, list[Clip]] = defaultdict(list)
    for manifest in manifests:
        for row in json.loads(manifest.read_text(encoding="utf-8")):
            segments = (row["text"],) if row.get("text") else tuple(each["text"] for each in row["segments"])
            clips = found[row["language"]]
            if limit is None or len(clips) < limit:
                clips.append(Clip(manifest.parent / row["audio"], row["language"], segments))
    for language, clips in found.items():
        if len({clip.audio.stem for clip in clips}) < len(clips):
            raise SystemExit(f"two recordings in {language} have the same name, so one result would replace the other")
    return dict(found)


class Weights:
    """The same model in the formats of all systems, converted when first asked for and kept in a folder."""

    def __init__(self, model: str, folder: Path) -> None:
        self.model, self.folder = model, folder
        folder.mkdir(parents=True, exist_ok=True)

    @cached_property
    def ctranslate2(self) -> Path:
        return resolve(self.model)

    @cached_property
    def openai(self) -> Path:
        made = self.folder / f"{self._name}.pt"
        convert = [sys.executable, "-m", "mtasr", "models", "convert", str(self.ctranslate2), str(made)]
        return self._make(made, [*convert, "--format", "openai"])

    def ggml(self, kind: str) -> Path:
        made = self.folder / f"{self._name}-{kind}.bin"
        convert = [sys.executable, str(HERE / "ggml.py"), str(self.ctranslate2), str(made)]
        return self._make(made, [*convert, "--type", kind])

    @property
    def _name(self) -> str:
        return self.ctranslate2.name

    def _make(self, made: Path, command: list[str]) -> Path:
        if not made.exists():
            say(f"converting the model: {made.name}")
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return made


@dataclass(frozen=True)
class System:
    """A command that takes `--language`, `--output-dir` and files, and the name of the one to compare it with."""

    name: str
    precision: str
    command: tuple[str, ...]
    against: str


def systems_of(args: argparse.Namespace, weights: Weights) -> list[System]:
    ours = [our_system(args, weights, size) for size in args.batch_sizes or [None]]
    wanted = args.systems or [*PEERS, *(CPU_PEERS if args.device == "cpu" else ())]
    return [*ours, *(system for name in wanted for system in peers_of(name, args, weights))]


def our_name(batch_size: int | None) -> str:
    return "mtasr" if batch_size is None else f"mtasr, batch {batch_size}"


def our_system(args: argparse.Namespace, weights: Weights, batch_size: int | None) -> System:
    command = (*shlex.split(args.mtasr), "transcribe", "--output-format", "json", "--model", str(weights.ctranslate2))
    batch = () if batch_size is None else ("--batch-size", str(batch_size))
    options = (*common(args), "--compute-type", args.compute_type, *batch, *shlex.split(args.mtasr_args))
    return System(our_name(batch_size), args.compute_type, command + options, our_name((args.batch_sizes or [None])[0]))


def peers_of(name: str, args: argparse.Namespace, weights: Weights) -> Iterator[System]:
    """The system of this name, several times if it is to run with several batch sizes."""
    kind = name.removesuffix("-q8_0")
    command = (args.peers, str(HERE / "peers.py"), kind)
    first = our_name((args.batch_sizes or [None])[0])
    if kind == "whisper.cpp":
        precision = "q8_0" if name != kind else "f16"
        yield System(name, precision, (*command, "--model", str(weights.ggml(precision)), *common(args)), first)
    elif kind == "openai-whisper":
        precision = "float32" if args.device == "cpu" else "float16"
        yield System(name, precision, (*command, "--model", str(weights.openai), *common(args)), first)
    else:
        model = ("--model", str(weights.ctranslate2), "--compute-type", args.compute_type)
        command = (*command, *model, *common(args))
        sizes = args.batch_sizes or [None] if name == BATCHED else []
        for size in sizes:
            batch = ("--batch-size", str(size or BATCH_SIZE))
            label = f"{name}, batch {size or BATCH_SIZE}"
            yield System(label, args.compute_type, command + batch, our_name(size))
        if not sizes:
            yield System(name, args.compute_type, command, first)


def common(args: argparse.Namespace) -> tuple[str, ...]:
    return ("--device", args.device, "--threads", str(args.threads), "--beam-size", str(args.beam_size))


# Runs


@dataclass(frozen=True)
class Run:
    """One process. `cpu` are seconds of all its threads and children; `memory` is in MiB."""

    round: int
    language: str
    system: str
    wall: float
    cpu: float
    memory: float
    texts: dict[str, str] = field(repr=False)
    audio_seconds: float
    stages: dict[str, float]


def run_once(system: System, clips: Sequence[Clip], number: int, *, stages: bool) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        out, timings, errors = (Path(folder) / name for name in ("out", "timings.json", "errors"))
        asked = ["--language", clips[0].language, "--output-dir", str(out)]
        asked += ["--timings", str(timings)] if stages else []
        wall, usage = measured([*system.command, *asked, *(str(clip.audio) for clip in clips)], errors)
        found = {clip.audio.stem: json.loads((out / f"{clip.audio.stem}.json").read_text("utf-8")) for clip in clips}
        return Run(
            round=number,
            language=clips[0].language,
            system=system.name,
            wall=wall,
            cpu=usage.ru_utime + usage.ru_stime,
            memory=usage.ru_maxrss / 1024,  # KiB on Linux
            texts={stem: " ".join(each["text"].strip() for each in j["segments"]) for stem, j in found.items()},
            audio_seconds=sum(each.get("duration", 0) for each in found.values()),
            stages=json.loads(timings.read_text("utf-8")) if stages else {},
        )


def measured(command: list[str], errors: Path) -> tuple[float, Any]:
    """Seconds of a whole process, and what the kernel counted for it and its children."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    with errors.open("wb") as stderr:
        begin = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        tail = errors.read_text("utf-8", "replace")[-2000:]
        raise SystemExit(f"exit status {process.returncode}: {shlex.join(command[:8])} ...\n{tail}")
    return wall, usage


def run_all(args: argparse.Namespace, systems: list[System], clips: dict[str, list[Clip]]) -> list[Run]:
    runs = []
    for number in range(args.rounds):
        first = number % len(systems)
        for language, those in clips.items():
            for system in [*systems[first:], *systems[:first]]:
                stages = args.stages and system.name.startswith("mtasr")
                runs.append(run_once(system, those, number, stages=stages))
                say(f"round {number + 1}, {language}, {system.name}: {runs[-1].wall:.2f} s")
    return runs


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


# Figures


@dataclass(frozen=True)
class Figures:
    """Of one system: a round's seconds, their ratio to those of the system it is compared with, and errors."""

    name: str
    precision: str
    against: str
    walls: list[float]
    cpu: float
    memory: float
    speed: float  # seconds of audio in a second; 0 if unknown
    ratio: float
    ratios: list[float]
    language_walls: dict[str, float]
    stages: dict[str, float]
    score: dict[str, Any]

    @property
    def wall(self) -> float:
        return statistics.median(self.walls)


def by_round(runs: Sequence[Run], what: str) -> list[float]:
    """Sums over languages."""
    totals: dict[int, float] = defaultdict(float)
    for run in runs:
        totals[run.round] += getattr(run, what)
    return [total for _, total in sorted(totals.items())]


def median_stages(runs: Sequence[Run]) -> dict[str, float]:
    totals: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for run in runs:
        for stage, seconds in run.stages.items():
            totals[stage][run.round] += seconds
    return {stage: statistics.median(rounds.values()) for stage, rounds in totals.items()}


def figures_of(systems: Sequence[System], runs: Sequence[Run], scores: dict[str, Any]) -> list[Figures]:
    runs_of = {system.name: [run for run in runs if run.system == system.name] for system in systems}
    walls = {name: by_round(those, "wall") for name, those in runs_of.items()}
    audio = max(by_round(runs_of[systems[0].name], "audio_seconds"))
    found = []
    for system in systems:
        mine, theirs, those = walls[system.name], walls[system.against], runs_of[system.name]
        languages = {run.language: [each.wall for each in those if each.language == run.language] for run in those}
        found.append(
            Figures(
                name=system.name,
                precision=system.precision,
                against=system.against,
                walls=mine,
                cpu=statistics.median(by_round(those, "cpu")),
                memory=max(run.memory for run in those),
                speed=audio / statistics.median(mine),
                ratio=statistics.median(mine) / statistics.median(theirs),
                ratios=[a / b for a, b in zip(mine, theirs, strict=True)],
                language_walls={language: statistics.median(seconds) for language, seconds in languages.items()},
                stages=median_stages(those),
                score=scores["systems"][system.name],
            )
        )
    return found


def score(
    args: argparse.Namespace, systems: Sequence[System], clips: dict[str, list[Clip]], runs: Sequence[Run]
) -> Any:
    """What score.py answers, in the peers' environment."""
    texts: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        for stem, text in run.texts.items():
            texts[run.language, stem][run.system].append(text)
    rows = [
        {"language": clip.language, "segments": clip.segments, "texts": texts[clip.language, clip.audio.stem]}
        for those in clips.values()
        for clip in those
    ]
    against = {system.name: system.against for system in systems}
    question = {"clips": rows, "against": against, "draws": args.draws, "seed": 0}
    return json.loads(ask([args.peers, str(HERE / "score.py")], json.dumps(question)))


def ask(command: list[str], question: str = "") -> str:
    return subprocess.run(command, input=question, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


# The report


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(row)} |"


def main_table(found: Sequence[Figures]) -> Iterator[str]:
    head = ("", "Precision", "Seconds", "x real time", "Ratio to mtasr (rounds)", "CPU s", "Peak MiB", "WER %",
            "WER - mtasr's, points [95 %]")  # fmt: skip
    yield from table(head, [main_row(each) for each in found])


def main_row(each: Figures) -> list[str]:
    ratio = wer = "-"
    if each.against != each.name:
        low, high = (100 * end for end in each.score["interval"])
        ratio = f"{each.ratio:.2f} ({min(each.ratios):.2f} to {max(each.ratios):.2f})"
        wer = f"{100 * each.score['difference']:+.2f} [{low:+.2f}, {high:+.2f}]"
    speed = f"{each.speed:.1f}" if each.speed else "-"
    measures = [f"{each.wall:.2f}", speed, ratio, f"{each.cpu:.1f}", f"{each.memory:.0f}"]
    return [each.name, each.precision, *measures, f"{100 * each.score['wer']:.2f}", wer]


def language_table(found: Sequence[Figures]) -> Iterator[str]:
    """Seconds and word errors, language by language."""
    languages = list(found[0].language_walls)
    rows = [
        [
            each.name,
            *(f"{each.language_walls[it]:.2f} s, {100 * each.score['languages'][it]:.2f} %" for it in languages),
        ]
        for each in found
    ]
    yield from table(["Seconds and WER", *languages], rows)


def stage_tables(found: Sequence[Figures]) -> Iterator[str]:
    for each in found:
        if each.stages:
            rows = [
                [stage, f"{seconds:.2f}", f"{100 * seconds / each.wall:.0f}"] for stage, seconds in each.stages.items()
            ]
            yield ""
            yield from table([f"Stage of {each.name}", "Seconds", "% of the process"], rows)


def machine(device: str) -> str:
    cpu, memory = platform.processor() or platform.machine(), ""
    if (info := Path("/proc/cpuinfo")).exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
        memory = f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    described = f"{cpu}, {len(os.sched_getaffinity(0))} of {os.cpu_count()} logical cores usable{memory}"
    if device != "cpu":
        described += ", " + ask(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"])
    return described


def versions(args: argparse.Namespace) -> dict[str, Any]:
    ours = {"mtasr": ask([*shlex.split(args.mtasr), "--version"]).split()[-1], "python": platform.python_version()}
    ours |= {name: importlib.metadata.version(name) for name in ("ctranslate2", "numpy")}
    return {"ours": ours, "peers": json.loads(ask([args.peers, str(HERE / "peers.py"), "versions"]))}


def context(args: argparse.Namespace, clips: dict[str, list[Clip]]) -> dict[str, Any]:
    return {
        "machine": machine(args.device),
        "versions": versions(args),
        "model": args.model,
        "clips": {language: len(those) for language, those in clips.items()},
        "rounds": args.rounds,
        "threads": args.threads,
        "beam_size": args.beam_size,
        "device": args.device,
        "mtasr_args": args.mtasr_args,
    }


def report(found: Sequence[Figures], about: dict[str, Any]) -> Iterator[str]:
    clips = ", ".join(f"{count} {language}" for language, count in about["clips"].items())
    yield f"Recordings: {clips}; {about['audio_seconds'] / 60:.1f} minutes, {about['words']:.0f} words."
    yield f"Model {about['model']}, beam {about['beam_size']}, {about['threads']} threads, {about['device']}."
    yield f"Medians of {about['rounds']} rounds. Machine: {about['machine']}."
    for who, those in about["versions"].items():
        yield f"Versions, {who}: {', '.join(f'{name} {version}' for name, version in those.items())}."
    yield ""
    yield from main_table(found)
    yield ""
    yield from language_table(found)
    yield from stage_tables(found)


# Command line


def sizes(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]


def system_names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - {*PEERS, *CPU_PEERS}:
        raise argparse.ArgumentTypeError(f"there is no {', '.join(sorted(unknown))}")
    return names


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", nargs="+", type=Path, required=True, metavar="MANIFEST")
    parser.add_argument("--peers", required=True, metavar="PYTHON", help="interpreter of the peers' environment")
    parser.add_argument("--systems", type=system_names, help=f"of {','.join((*PEERS, *CPU_PEERS))}; all by default")
    parser.add_argument("--limit", type=int, help="take only so many clips of each language")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--beam-size", type=int, default=5)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--compute-type", default="int8", help="of mtasr and faster-whisper")
    parser.add_argument("--batch-sizes", type=sizes, help="of mtasr and faster-whisper's batched mode: 1,2,4")
    parser.add_argument("--mtasr", default=f"{shlex.quote(sys.executable)} -m mtasr", help="the command")
    parser.add_argument("--mtasr-args", default="", help="more options for mtasr, as one text")
    parser.add_argument("--stages", action="store_true", help="ask mtasr where its time goes")
    parser.add_argument("--weights", type=Path, help="keep converted weights in this folder and use them again")
    parser.add_argument("--draws", type=int, default=10_000, help="of the bootstrap")
    parser.add_argument("--json", type=Path, help="write all figures here")
    args = parser.parse_args()
    if args.device != "cpu" and (slow := sorted(set(args.systems or ()) & set(CPU_PEERS))):
        parser.error(f"{', '.join(slow)}: only on the CPU")
    return args


def main() -> None:
    args = arguments()
    clips = read_clips(args.clips, args.limit)
    # What would fail at the end fails before the long part.
    ask([args.peers, "-c", "import rapidfuzz, whisper_normalizer.english"])
    about = context(args, clips)
    with tempfile.TemporaryDirectory() as folder:
        systems = systems_of(args, Weights(args.model, args.weights or Path(folder)))
        runs = run_all(args, systems, clips)
    scores = score(args, systems, clips, runs)
    found = figures_of(systems, runs, scores)
    audio = max(by_round([run for run in runs if run.system == systems[0].name], "audio_seconds"))
    about |= {"words": scores["words"], "audio_seconds": audio}
    print(*report(found, about), sep="\n")
    if args.json:
        document = {**about, "systems": [asdict(each) for each in found], "runs": [asdict(run) for run in runs]}
        args.json.write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
