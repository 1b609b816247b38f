"""A cluster of Ray on this machine beside one machine, and what is left when its parts are killed.

    python benchmarks/cluster.py speed FOLDER [--rounds 3] [-- --model base ...]
    python benchmarks/cluster.py kills FOLDER [--kills 20] [--seed 0] [-- --model base ...]

`speed` transcribes the recordings of FOLDER in turns: on this machine with all its cores, and on a cluster with a node
for each core. It compares the bytes, and prints the seconds from the first recording to the last (without loading) and
their ratio.

`kills` transcribes them on a cluster with two nodes and kills a worker, a node or the driver, at random. A killed node
is replaced, and a killed driver is started again with `--resume`. A batch that has come to its end is compared with an
undisturbed one and begins anew, until there were as many kills as asked for. Counted is what was sent again:
recordings, surveys and windows; and the windows whose results the journal had already, whatever brought them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from ray_cluster import RayCluster


def contents(folder: Path) -> dict[str, bytes]:
    """All that is not hidden."""
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*") if path.is_file()}


def command(recordings: Path, output: Path, options: list[str]) -> list[str]:
    return [
        "transcribe", str(recordings), "--recursive", "--output-format", "json,srt", "--no-verbose", "--progress",
        "json", "--output-dir", str(output), *options,
    ]  # fmt: skip


#: Seconds that one batch may take.
_LIMIT = 3600.0


def took(arguments: list[str]) -> tuple[float, int]:
    """Seconds of the batch, as mtasr tells them, and its exit code."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "mtasr", *arguments], check=False, capture_output=True, text=True, timeout=_LIMIT
        )
    except subprocess.TimeoutExpired as error:
        raise SystemExit(f"mtasr {' '.join(arguments)}: has not ended within {_LIMIT:g} s") from error
    events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    if done.returncode not in (0, 6) or not events:
        raise SystemExit(f"mtasr exited {done.returncode}: {done.stderr}")
    return float(next(each["took"] for each in events if each["event"] == "finish")), done.returncode


def speed(recordings: Path, rounds: int, options: list[str]) -> None:
    cores = len(os.sched_getaffinity(0))
    ratios, ones, manies = [], [], []
    with tempfile.TemporaryDirectory() as name, RayCluster(*[1] * cores) as cluster:
        for number in range(rounds):
            one, many = Path(name, f"one-{number}"), Path(name, f"many-{number}")
            seconds = {
                "one": lambda one=one: took(command(recordings, one, options))[0],
                "many": lambda many=many: took([*command(recordings, many, options), "--cluster", cluster.address])[0],
            }
            order = ["one", "many"] if number % 2 == 0 else ["many", "one"]
            found = {each: seconds[each]() for each in order}
            if contents(one) != contents(many):
                raise SystemExit(f"DIFFERENT in round {number}")
            ratios.append(found["one"] / found["many"])
            ones.append(found["one"])
            manies.append(found["many"])
            print(
                f"round {number}: one machine {found['one']:.1f} s, {cores} nodes of one core {found['many']:.1f} s; "
                f"throughput {ratios[-1]:.2f} of one machine's; {len(contents(one))} files, the same bytes",
                flush=True,
            )
    print(
        f"speed: ratio {statistics.median(ratios):.3f}, one machine {statistics.median(ones):.1f} s, {cores} nodes of "
        f"one core {statistics.median(manies):.1f} s (medians of {rounds} rounds)"
    )


def child(log: str, arguments: list[str]) -> None:
    """mtasr, which writes down what it sends to workers and what has come back."""
    from mtasr.cli import main
    from mtasr.cluster.dispatcher import Dispatcher
    from mtasr.cluster.errands import Errand
    from mtasr.cluster.ray_nodes import _RayWorker
    from mtasr.cluster.under_way import Answer

    stream = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    send, take = _RayWorker.call, Dispatcher._take

    def note(what: str, found: list[str]) -> None:
        if found:
            os.write(stream, (json.dumps([what, found]) + "\n").encode())

    def call(self: _RayWorker, method: str, /, *arguments: Any) -> Any:
        if method == "work":
            note("sent", items(arguments[0]))
        return send(self, method, *arguments)

    def taken(self: Dispatcher, answer: Answer[Errand]) -> None:
        take(self, answer)  # which notes the results in the journal
        if not isinstance(answer.content, Exception):
            note("back", noted(answer.sent.task, answer.content))

    _RayWorker.call = call  # type: ignore[method-assign]
    Dispatcher._take = taken  # type: ignore[method-assign]
    main(arguments)


def items(task: object) -> list[str]:
    """What a task does: recordings, windows, surveys, windows that need random samples."""
    from mtasr.cluster.tasks import ChunkTask, SurveyTask, WholeTask

    match task:
        case WholeTask():
            return list(task.sources)
        case SurveyTask():
            return [f"{task.source} surveyed"]
        case ChunkTask():
            drawn = " drawn" if task.draws else ""
            return [f"{task.source}@{task.channel}-{each.place.start}{drawn}" for each in task.outlines]
    return []


def noted(task: object, answer: Any) -> list[str]:
    """The windows whose results have come back for the journal, called the same in whole recordings and in chunks."""
    from mtasr.cluster.tasks import ChunkTask, WholeTask
    from mtasr.recordings.decoded import DecodedRecording

    match task:
        case WholeTask():
            placed = [
                (source, channel, each)
                for source, outcome in zip(task.sources, answer, strict=True)
                if isinstance(outcome, DecodedRecording)
                for channel, results in enumerate(outcome.results)
                for each in results
            ]
        case ChunkTask():
            placed = [(task.source, task.channel, each) for each in answer.results]
        case _:
            placed = []
    return [f"{source}@{channel}-{each.place.start}" for source, channel, each in placed if each.to_note and each.place]


def kills(recordings: Path, count: int, seed: int, longest: float, minutes: float, options: list[str]) -> None:
    chooser = random.Random(seed)
    killed: Counter[str] = Counter()
    again = done_again = most = resumed = 0
    last = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory() as name, RayCluster(1, 1) as cluster:
        log, out, whole = Path(name, "log"), Path(name, "out"), Path(name, "whole")
        _, right = took(command(recordings, whole, options))
        start = [sys.executable, __file__, "--child", str(log), *command(recordings, out, options)]
        start += ["--cluster", cluster.address, "--resume"]
        is_over = False
        while not is_over:
            with Path(name, "err").open("ab") as errors:
                process = subprocess.Popen(start, stdout=subprocess.DEVNULL, stderr=errors)
            while process.poll() is None:
                end = time.monotonic() + chooser.uniform(0.5, longest)
                while process.poll() is None and time.monotonic() < end:
                    time.sleep(0.05)
                if time.monotonic() > last:
                    process.kill()
                    raise SystemExit(f"has not ended within {minutes:g} minutes, after {killed.total()} kills")
                if process.poll() is None and killed.total() < count:
                    kind = chooser.choice(("worker", "node", "driver"))
                    killed[kind] += kill(kind, cluster, process, chooser)
            if process.returncode == -signal.SIGKILL or (process.returncode == 6 != right and resumed < count):
                resumed += process.returncode == 6  # two kills in a row have cost a recording
                continue
            if process.returncode != right or contents(out) != contents(whole):
                raise SystemExit(f"exit {process.returncode}, DIFFERENT: {Path(name, 'err').read_text()[-2000:]}")
            found = repeated(log)
            again, done_again, most = again + found[0], done_again + found[1], max(most, found[2])
            print(f"the same bytes after {killed.total()} kills: {dict(killed)}", flush=True)
            is_over = killed.total() >= count
            shutil.rmtree(out)
    print(
        f"{killed.total()} kills ({', '.join(f'{number} of a {kind}' for kind, number in killed.items())}), all with "
        f"the same bytes; recordings, surveys and windows sent again: {again}; windows sent again after their results "
        f"had been noted: {done_again}; one was sent {most} times at most"
    )


def kill(kind: str, cluster: RayCluster, driver: subprocess.Popen[bytes], chooser: random.Random) -> int:
    """Kill one of that kind; returns how many there were to kill."""
    if kind == "worker":
        workers = cluster.workers()
        if workers:
            os.kill(chooser.choice(workers), signal.SIGKILL)
        return min(len(workers), 1)
    if kind == "node":
        cluster.kill(chooser.choice(cluster.nodes))
        cluster.add(1)
    else:
        driver.kill()
        driver.wait()
    return 1


def repeated(log: Path) -> tuple[int, int, int]:
    """What was sent more than once, what of it after it had come back, and the most times. Forgets the log."""
    sent: Counter[str] = Counter()
    back: set[str] = set()
    windows: Counter[str] = Counter()
    done_again = 0
    for line in log.read_text().splitlines():
        what, items = json.loads(line)
        if what == "sent":
            sent.update(items)
            done_again += sum(windows[item] + (item in back) for item in items)
        else:
            windows.update(item.rpartition("@")[0] for item in set(items) - back)
            back |= set(items)
    log.unlink()
    return sum(number - 1 for number in sent.values()), done_again, max(sent.values(), default=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "kills"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=15.0, help="seconds between kills at most")
    parser.add_argument("--minutes", type=float, default=60.0, help="minutes after which `kills` gives up")
    # Not left to argparse, which refuses options after positional arguments and others.
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    args, options = parser.parse_args(sys.argv[1:split]), sys.argv[split + 1 :]
    if args.what == "speed":
        speed(args.folder, args.rounds, options)
    else:
        kills(args.folder, args.kills, args.seed, args.longest, args.minutes, options)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3:])
    else:
        main()
