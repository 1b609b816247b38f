"""Hundreds of mixed files in one process: does memory grow, are handles left open?

    MALLOC_ARENA_MAX=1 PYTHONPATH=tests python benchmarks/soak.py [--files 500] [--way api|command] [--trim]
        [--model base] [--seed 0]

Files are synthesised, of 1 to 4 s, in several languages, formats, rates and numbers of channels; one in eight is
silent, and one in five cannot be read or is cut short. `api` gives them to one `Model` of this process, some eight at a
time, and the others alone as English, with and without word times, and writes every format. `command` is one `mtasr
transcribe`. After every 25 files resident memory, descriptors, threads and children are read from /proc; the slope is
that of a straight line through the second half (least squares), in MiB for 100 files. The exit status is 1 if it is 1
or more, or if with `api`, where nothing is under way when they are counted, descriptors, threads or children become
more.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from speech import SAMPLE_RATE, speak, write_wav

from mtasr.audio.ffmpeg import find_ffmpeg

TEXTS = (
    ("en-us", "We counted eleven swans on the lake."),
    ("en-us", "The baker opens at six."),
    ("es", "El tren llegó tarde a la estación."),
    ("fr", "La gare est fermée ce matin."),
    ("de", "Das Boot liegt im alten Hafen."),
    ("it", "Il pane è finito alle sette."),
)
#: Ending and what ffmpeg is told.
FORMS = (
    (".wav", ()), (".wav", ("-ar", "8000", "-c:a", "pcm_alaw")), (".wav", ("-ar", "48000", "-ac", "2")),
    (".flac", ()), (".mp3", ()), (".mp3", ("-ar", "44100", "-ac", "2")), (".ogg", ()), (".m4a", ()), (".mp4", ()),
    (".opus", ("-c:a", "libopus", "-ar", "48000")),
)  # fmt: skip

#: Files between two samples.
EVERY = 25


class Sample(NamedTuple):
    files: int
    mebibytes: float
    descriptors: int
    threads: int
    children: int


def sample(files: int, pid: int) -> Sample:
    process = Path(f"/proc/{pid}")
    pages = int((process / "statm").read_text().split()[1])
    threads = list((process / "task").iterdir())
    children = sum(len((each / "children").read_text().split()) for each in threads)
    megabytes = pages * os.sysconf("SC_PAGESIZE") / 2**20
    return Sample(files, megabytes, len(list((process / "fd").iterdir())), len(threads), children)


def make(folder: Path, count: int, chooser: random.Random) -> list[Path]:
    """The files, in a random order of kinds; some are not what their name says."""
    found = []
    for number in range(count):
        voice, text = chooser.choice(TEXTS)
        samples = speak(text, voice, words_per_minute=chooser.randint(130, 190), pitch=chooser.randint(20, 80))
        if number % 8 == 3:
            samples = np.zeros(chooser.randint(1, 4) * SAMPLE_RATE, np.float32)
        ending, options = chooser.choice(FORMS)
        path = folder / f"{number:04}{ending}"
        write_wav(folder / "source.wav", samples)
        command = [find_ffmpeg(), "-nostdin", "-loglevel", "error", "-i", str(folder / "source.wav"), *options]
        subprocess.run([*command, "-y", str(path)], check=True)
        if number % 5 == 4:
            whole = path.read_bytes()
            kind = chooser.randrange(4)
            cut = whole[: len(whole) // 2]
            path.write_bytes([b"", b"no sound at all\n" * 40, cut, chooser.randbytes(3000)][kind])
        found.append(path)
    (folder / "source.wav").unlink()
    return found


def settle(*, trim: bool) -> None:
    """Wait for threads that have nothing left to do; one that stays is counted."""
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join(5.0)
    time.sleep(0.1)  # the system takes a moment to count them out
    if trim:
        ctypes.CDLL(None).malloc_trim(0)


def through_api(files: list[Path], model_name: str, *, trim: bool) -> tuple[list[Sample], Counter[str]]:
    from mtasr import MtasrError, load_model
    from mtasr.formats.registry import OUTPUT_FORMATS
    from mtasr.transcript import Transcript

    model = load_model(model_name)
    samples, ended = [], Counter[str]()

    def written(transcript: Transcript) -> None:
        for name in OUTPUT_FORMATS:
            transcript.to_format(name)
        ended["text" if transcript.text.strip() else "silence"] += 1

    for start in range(0, len(files), EVERY):
        group = files[start : start + EVERY]
        with model.stream_all(group[:8], temperature=0.0) as streams:
            for stream in streams:
                try:
                    with stream:
                        written(stream.transcript())
                except MtasrError as error:
                    ended[type(error).__name__] += 1
        for number, file in enumerate(group[8:]):
            try:
                # Second tries by sampling take several times as long, so one file of 25 may have them.
                tries = {} if number == 0 else {"temperature": 0.0}
                written(model.transcribe(file, language="en", word_timestamps=number % 2 == 1, **tries))
            except MtasrError as error:
                ended[type(error).__name__] += 1
        settle(trim=trim)
        samples.append(sample(start + len(group), os.getpid()))
        print(*samples[-1], sep="\t", flush=True)
    return samples, ended


def through_command(files: list[Path], model_name: str, out: Path) -> tuple[list[Sample], Counter[str]]:
    command = [sys.executable, "-m", "mtasr", "transcribe", str(files[0].parent), "--model", model_name, "-f", "all"]
    command += ["--temperature", "0"]
    samples, ended = [], Counter[str]()
    with subprocess.Popen(
        [*command, "-o", str(out), "--progress", "json"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if not line.startswith("{"):  # an error, which is written as it is
                sys.stderr.write(line)
                continue
            event = json.loads(line)
            if event["event"] != "end":
                continue
            ended[event["result"]] += 1
            if ended.total() % EVERY == 0:
                samples.append(sample(ended.total(), process.pid))
                print(*samples[-1], sep="\t", flush=True)
    print(f"exit code {process.returncode}")
    if process.returncode not in {0, 6}:  # 6: some of the files failed, as they should
        raise SystemExit("the command ended before its work was done")
    # What ends before it is looked at has no memory.
    return [each for each in samples if each.mebibytes], ended


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--way", choices=["api", "command"], default="api")
    parser.add_argument("--model", default="base")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trim", action="store_true", help="with api: give freed memory back before each sample")
    args = parser.parse_args()
    if args.files < 4 * EVERY:
        parser.error(f"a line needs at least {4 * EVERY} files")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "in")
        folder.mkdir()
        began = time.monotonic()
        files = make(folder, args.files, random.Random(args.seed))
        made = time.monotonic()
        print(
            f"{len(files)} files made in {made - began:.0f} s\nfiles\tMiB\tdescriptors\tthreads\tchildren", flush=True
        )
        if args.way == "api":
            samples, ended = through_api(files, args.model, trim=args.trim)
        else:
            samples, ended = through_command(files, args.model, Path(name, "out"))
    print(f"{time.monotonic() - made:.0f} s; " + ", ".join(f"{count} {what}" for what, count in ended.most_common()))
    half = samples[len(samples) // 2 :]
    slope = 100 * float(np.polyfit([each.files for each in half], [each.mebibytes for each in half], 1)[0])
    more = [max(at[2:][place] for at in half) - half[0][2:][place] for place in range(3)]
    print(f"slope {slope:+.2f} MiB for 100 files; more descriptors {more[0]}, threads {more[1]}, children {more[2]}")
    raise SystemExit(1 if slope >= 1 or (args.way == "api" and any(more)) else 0)


if __name__ == "__main__":
    main()
