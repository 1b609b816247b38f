"""A batch that is killed again and again ends with the same bytes as one that is left alone.

    python benchmarks/kills.py [--kills 50] [--files 20] [--seed 0] [--shortest 0] [--longest 4] [-- --model base ...]

Files are synthesised, of 5 to 60 s, in English and Spanish. Each run of `mtasr transcribe --resume` is killed (SIGKILL)
after a random time; one that comes to its end before is compared with an undisturbed batch and begins anew, until there
were as many kills as asked for; the last run is left alone. All the time every file that can be seen must be whole.
Counted are windows whose decoding began in a run that was killed and began again in a later one, and their seconds. A
batch is done as soon as its notes are gone: a kill that comes after it, while the process ends, is none.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from mtasr.batch.journal import FOLDER
from mtasr.decoding.retries import Decoding
from mtasr.decoding.window_input import WindowInput

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

ENGLISH = (
    "The morning train was late again, so we walked along the river to the old market.",
    "She keeps her grandmother's letters in a wooden box under the bed.",
    "We counted eleven swans on the lake and went home before the rain.",
    "My brother repairs clocks, and every one of them tells another time.",
    "The baker opens at six, but the best bread is gone by seven.",
)
SPANISH = (
    "El tren de la mañana llegó tarde y fuimos andando hasta el mercado.",
    "Mi hermana guarda las cartas de la abuela en una caja de madera.",
    "Contamos once cisnes en el lago y volvimos a casa antes de la lluvia.",
)


def synthesise(folder: Path, count: int, sentences: int, chooser: random.Random) -> None:
    """Recordings of one to `sentences` sentences."""
    from speech import SAMPLE_RATE, speak, write_wav

    folder.mkdir()
    for number in range(count):
        texts, voice = (SPANISH, "es") if number % 4 == 3 else (ENGLISH, "en-us")
        parts = []
        for _ in range(chooser.randint(1, sentences)):
            pause = np.zeros(round(chooser.uniform(0.3, 2.5) * SAMPLE_RATE), np.float32)
            parts += [speak(chooser.choice(texts), voice, pitch=chooser.randint(30, 70)), pause]
        write_wav(folder / f"{number:02}.wav", np.concatenate(parts))


def contents(folder: Path) -> dict[str, bytes]:
    """All that is not hidden."""
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*") if path.is_file()}


def begun(log: Path) -> dict[str, float]:
    """The windows whose decoding began, with their seconds, and forget them."""
    if not log.exists():
        return {}
    windows = log.read_text().split()
    log.unlink()
    return {window: float(window.rpartition("-")[2]) for window in windows}


def child(log: str, args: list[str]) -> None:
    """mtasr, which writes down each window that it begins to decode."""
    from mtasr.cli import main
    from mtasr.decoding.window_decoder import WindowDecoder

    decode = WindowDecoder.decode
    stream = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def logged(
        self: WindowDecoder, inputs: Sequence[WindowInput], is_wanted: Callable[[int], bool]
    ) -> Iterator[tuple[int, Decoding]]:
        windows = (each.window for each in inputs)
        names = (f"{zlib.crc32(each.samples.tobytes()):08x}-{each.start}-{each.seconds}" for each in windows)
        os.write(stream, (" ".join(names) + "\n").encode())
        return decode(self, inputs, is_wanted)

    WindowDecoder.decode = logged  # type: ignore[method-assign]
    main(args)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--files", type=int, default=20)
    parser.add_argument("--sentences", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shortest", type=float, default=0.0)
    parser.add_argument("--longest", type=float, default=4.0)
    parser.add_argument("options", nargs="*", help="of mtasr")
    args = parser.parse_args()
    chooser = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        synthesise(folder / "in", args.files, args.sentences, chooser)
        log, out = folder / "log", folder / "out"
        command = [sys.executable, __file__, "--child", str(log), "transcribe", str(folder / "in"), "-q"]
        command += ["-f", "srt", "-f", "json", *args.options, "--output-dir"]
        subprocess.run([*command, str(folder / "whole")], check=True, stdout=subprocess.DEVNULL)
        whole, windows = contents(folder / "whole"), begun(log)
        print(f"{args.files} files, {len(windows)} windows, {len(whole)} outputs", flush=True)
        kills, repeated, rounds = 0, [], 0
        while kills < args.kills:
            killed: list[dict[str, float]] = []
            while True:
                seconds = chooser.uniform(args.shortest, args.longest) if kills < args.kills else math.inf
                ended = attempt([*command, str(out), "--resume"], seconds, out, whole)
                runs = begun(log)
                if ended:
                    break
                kills += 1
                killed.append(runs)
            later = set(runs)
            for each in reversed(killed):
                repeated.append([seconds for window, seconds in each.items() if window in later])
                later |= set(each)
            rounds += 1
            hidden = [path.name for path in out.iterdir() if path.name.startswith(".")]
            if contents(out) != whole or hidden:
                raise SystemExit(f"DIFFERENT after {kills} kills: {sorted(contents(out))}, {hidden}")
            shutil.rmtree(out)
            print(f"batch {rounds}: the same bytes after {len(killed)} kills", flush=True)
        counts, sums = list(map(len, repeated)), list(map(sum, repeated))
        print(
            f"{kills} kills in {rounds} batches, all with the same bytes as an undisturbed one; windows repeated: "
            f"{sum(counts) / kills:.2f} for each kill, {max(counts)} at most; seconds of them: "
            f"{sum(sums) / kills:.1f} for each kill, {max(sums):.1f} at most"
        )


def attempt(command: list[str], seconds: float, out: Path, whole: dict[str, bytes]) -> bool:
    """Run it, and kill it after so many seconds; tells whether it came to its end before."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    end = time.monotonic() + seconds
    while process.poll() is None:
        if time.monotonic() >= end:
            process.send_signal(signal.SIGKILL)
            process.wait()
        for file, content in contents(out).items() if out.exists() else ():
            if content != whole[file]:
                raise SystemExit(f"{file}: is not whole")
        time.sleep(0.005)
    if process.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(f"{command} exited {process.returncode}")
    return process.returncode == 0 or (contents(out) == whole and not (out / FOLDER).exists())


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3:])
    else:
        main()
