"""Who spoke when: errors, time and memory of mtasr and other systems on the same recordings.

    python benchmarks/diarization.py FOLDER... --peers PYTHON [--systems senko,resemblyzer] [--json FILE]
    python benchmarks/diarization.py FOLDER --hours 4 [--transcribe]

A FOLDER has recordings (.wav or .flac, mono at 16 kHz), each with an RTTM of the same name, such as
`made_dialogues.py` writes; there is one table for each. PYTHON is the interpreter of an environment with
diarization-requirements.txt.

DER has no collar, and overlapping speech counts for each speaker. Its parts are shares of the reference's speech, as
DER itself, over all recordings of a folder; JER is the mean over their speakers. Each system is told the number of
speakers, and then finds it. A process has all recordings for which it is told the same number. Seconds are those of
whole processes, for each second of audio; memory is the peak resident set of the largest one (Linux).

With --hours, the recordings are repeated, in random order, until they last so long; speakers of the same name are one
person. The table shows the memory of whole processes, and what happens after the last sample, when the speakers of the
whole recording are told apart. With --transcribe, the recording is also transcribed, without speakers and with them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import sys
import tempfile
import time
import wave
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from speed import HERE, ask, machine, measured, say, table

from mtasr.evaluation import DiarizationErrors, diarization_errors, read_rttm, turns_of
from mtasr.transcript import Turn

OURS = "mtasr"
PEERS = ("senko", "senko-pyannote", "resemblyzer")
SUFFIXES = (".wav", ".flac")
TOLD, FOUND = "told", "found"


@dataclass(frozen=True)
class Recording:
    audio: Path
    turns: tuple[Turn, ...]

    @property
    def speakers(self) -> int:
        return len({turn.speaker for turn in self.turns})


def recordings(folder: Path) -> list[Recording]:
    audio = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    found = [Recording(path, turns_in(path.with_suffix(".rttm"))) for path in audio]
    if not found:
        raise SystemExit(f"{folder}: has no {' or '.join(SUFFIXES)}")
    return found


def turns_in(path: Path) -> tuple[Turn, ...]:
    return turns_of(path.stem, path, read_rttm(path))


# Runs


@dataclass(frozen=True)
class Run:
    """All recordings of a folder. Seconds of audio and of processes; `memory` in MiB; errors of each recording."""

    folder: str
    system: str
    number: str
    audio: float
    wall: float
    cpu: float
    memory: float
    errors: Mapping[str, DiarizationErrors] = field(repr=False)

    @property
    def total(self) -> DiarizationErrors:
        return sum(self.errors.values(), DiarizationErrors())

    @property
    def right(self) -> float:
        """The share of recordings with the right number of speakers."""
        return sum(each.speakers == each.found for each in self.errors.values()) / len(self.errors)


def command_of(system: str, args: argparse.Namespace) -> list[str]:
    if system == OURS:
        return [*shlex.split(args.mtasr), "diarize", "--quiet", "--output-format", "rttm"]
    return [args.peers, str(HERE / "diarization_peers.py"), system, "--threads", str(args.threads)]


def run(system: str, number: str, folder: Path, those: Sequence[Recording], args: argparse.Namespace) -> Run:
    groups: dict[int | None, list[Recording]] = defaultdict(list)
    for each in those:
        groups[each.speakers if number == TOLD else None].append(each)
    wall = cpu = memory = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out"
        for count, group in groups.items():
            options = ["--output-dir", str(out), *(("--num-speakers", str(count)) if count else ())]
            command = [*command_of(system, args), *options, *(str(each.audio) for each in group)]
            seconds, usage = measured(command, Path(scratch) / "errors")
            wall, cpu = wall + seconds, cpu + usage.ru_utime + usage.ru_stime
            memory = max(memory, usage.ru_maxrss / 1024)  # KiB on Linux
        errors = {each.audio.stem: errors_of(each, out) for each in those}
    audio = sum(seconds_of(each.audio) for each in those)
    return Run(folder.name, system, number, audio, wall, cpu, memory, errors)


def errors_of(recording: Recording, out: Path) -> DiarizationErrors:
    return diarization_errors(recording.turns, turns_in(out / f"{recording.audio.stem}.rttm"))


def seconds_of(path: Path) -> float:
    from mtasr.audio.read import open_audio

    with open_audio(path) as stream:
        return sum(len(block) for block in stream) / 16_000


# Long recordings


def write_long(path: Path, those: Sequence[Recording], seconds: float) -> tuple[Turn, ...]:
    """Write the recordings again and again, in random order; the turns."""
    import numpy as np

    from mtasr.audio.read import open_audio

    rng, turns, samples, left = random.Random(0), [], 0, []
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        while samples < seconds * 16_000:
            left = left or rng.sample(those, len(those))
            each, begin = left.pop(), samples / 16_000
            turns += [replace(turn, start=begin + turn.start, end=begin + turn.end) for turn in each.turns]
            with open_audio(each.audio) as stream:
                for block in stream:
                    file.writeframes((block.clip(-1, 1) * 32767).astype(np.int16).tobytes())
                    samples += len(block)
    return tuple(turns)


def long_rows(path: Path, turns: tuple[Turn, ...], args: argparse.Namespace) -> Iterator[list[str]]:
    recording = Recording(path, turns)
    audio = seconds_of(path)
    ours = shlex.split(args.mtasr)
    transcribe = [*ours, "transcribe", "--quiet", "--output-format", "json", *shlex.split(args.mtasr_args)]
    commands = {"diarize": command_of(OURS, args)}
    if args.transcribe:
        commands |= {"transcribe": transcribe, "transcribe --diarize": [*transcribe, "--diarize"]}
    with tempfile.TemporaryDirectory() as scratch:
        for name, command in commands.items():
            out = Path(scratch) / name.replace(" ", "")
            wall, usage = measured([*command, "--output-dir", str(out), str(path)], Path(scratch) / "errors")
            cpu, errors = usage.ru_utime + usage.ru_stime, None
            if name == "diarize":
                errors = errors_of(recording, out)
            yield [name, f"{wall / audio:.4f}", f"{cpu / audio:.4f}", f"{usage.ru_maxrss / 1024:.0f}", *scores(errors)]


def scores(errors: DiarizationErrors | None) -> tuple[str, str]:
    if errors is None:
        return "", ""
    return f"{100 * (errors.der or 0):.1f}", f"{errors.found} of {errors.speakers}"


def seconds_after_the_end(path: Path) -> float:
    """From the last sample of a recording to its turns, in this process."""
    from mtasr.audio.read import open_audio
    from mtasr.speakers.diarize import load_diarizer
    from mtasr.speakers.options import SpeakerOptions

    listening = load_diarizer().listen()
    with open_audio(path) as stream:
        for block in stream:
            listening.add(block)
    begin = time.perf_counter()
    listening.turns(SpeakerOptions())
    return time.perf_counter() - begin


def report_long(folder: Path, args: argparse.Namespace) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "long.wav"
        turns = write_long(path, recordings(folder), args.hours * 3600)
        yield f"{folder.name}, repeated for {args.hours:g} hours. Machine: {machine('cpu')}."
        yield ""
        head = ("", "Seconds per second", "Processor seconds", "Peak MiB", "DER %", "Speakers found")
        yield from table(head, list(long_rows(path, turns, args)))
        yield ""
        yield f"From the last sample to the turns: {seconds_after_the_end(path):.1f} s."


# The report


def row(each: Run) -> list[str]:
    total = each.total
    parts = (total.seconds, total.missed, total.false_alarm, total.confusion)
    rates = [f"{100 * part / total.speech:.1f}" for part in parts]
    speed = [f"{each.wall / each.audio:.3f}", f"{each.cpu / each.audio:.3f}", f"{each.memory:.0f}"]
    return [f"{each.system}, {each.number}", *rates, f"{100 * (total.jer or 0):.1f}", f"{100 * each.right:.0f}", *speed]


def report(runs: Sequence[Run], those: Sequence[Recording]) -> Iterator[str]:
    counts = sorted({each.speakers for each in those})
    yield f"{runs[0].folder}: {len(those)} recordings of {counts[0]} to {counts[-1]} speakers, " \
          f"{runs[0].audio / 60:.1f} minutes"  # fmt: skip
    yield ""
    head = ("System, number of speakers", "DER %", "Missed", "False alarm", "Confusion", "JER %", "Number right %",
            "Seconds per second", "Processor seconds", "Peak MiB")  # fmt: skip
    yield from table(head, [row(each) for each in runs])
    yield ""


def system_names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - {OURS, *PEERS}:
        raise argparse.ArgumentTypeError(f"there is no {', '.join(sorted(unknown))}")
    return names


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter of the peers' environment")
    parser.add_argument("--systems", type=system_names, help=f"of {','.join((OURS, *PEERS))}; all by default")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--mtasr", default=f"{shlex.quote(sys.executable)} -m mtasr", help="the command")
    parser.add_argument("--mtasr-args", default="", help="more options of `mtasr transcribe`, as one text")
    parser.add_argument("--hours", type=float, help="of one long recording")
    parser.add_argument("--transcribe", action="store_true", help="with --hours: transcribe it as well")
    parser.add_argument("--json", type=Path, help="write all figures here, for each recording")
    args = parser.parse_args()
    args.systems = args.systems or [OURS, *(PEERS if args.peers else ())]
    if not args.peers and set(args.systems) & set(PEERS):
        parser.error("peers need --peers")
    return args


def main() -> None:
    args = arguments()
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(args.threads))
    if args.hours:
        for folder in args.folders:
            print(*report_long(folder, args), sep="\n")
        return
    about = {"machine": machine("cpu"), "mtasr": ask([*shlex.split(args.mtasr), "--version"]).split()[-1]}
    if args.peers:
        about["peers"] = ask([args.peers, str(HERE / "diarization_peers.py"), "versions"])
    print(*(f"{name}: {value}" for name, value in about.items()), "", sep="\n")
    runs = []
    for folder in args.folders:
        those, mine = recordings(folder), []
        for system in args.systems:
            for number in (TOLD, FOUND):
                mine.append(run(system, number, folder, those, args))
                say(f"{folder.name}, {system}, {number}: DER {100 * (mine[-1].total.der or 0):.1f} %")
        print(*report(mine, those), sep="\n", flush=True)
        runs += mine
    if args.json:
        document: dict[str, Any] = {**about, "runs": [asdict(each) for each in runs]}
        args.json.write_text(json.dumps(document, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
