"""`mtasr serve` under load: many clients at a time, and a short clip beside a long recording.

    python benchmarks/serving.py [--model base] [--clients 32] [--clips 96] [--rounds 3] [--minutes 30]
                                 [--peers PEERS/bin/python]

Clips of one to three spoken sentences are synthesised. They are sent one by one, and then by many clients at a time, of
whom each sends its next clip when it has the text of the last. With --peers the same is done with faster-whisper behind
a plain FastAPI handler with a lock (`serving_peer.py`), with the same weights. Each round takes the systems in turn.

Then a long recording is sent, and while it is transcribed a clip of 2 s, again and again. Everything runs on this
machine: servers, and the one process that sends.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import random
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import wave
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from kills import ENGLISH
from speech import SAMPLE_RATE, speak

from mtasr.models import resolve

PATH = "/v1/audio/transcriptions"
PEER = Path(__file__).with_name("serving_peer.py")


@dataclass
class Load:
    """How a server did: seconds in all, of each request, and the statuses."""

    seconds: float = 0.0
    waits: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    def __add__(self, other: Load) -> Load:
        return Load(self.seconds + other.seconds, self.waits + other.waits, self.statuses + other.statuses)

    @property
    def rate(self) -> float:
        """Requests per second."""
        return len(self.waits) / self.seconds

    def quantile(self, share: float) -> float:
        return sorted(self.waits)[min(len(self.waits) - 1, int(share * len(self.waits)))]


def spoken(sentences: Sequence[str]) -> np.ndarray:
    silence = np.zeros(SAMPLE_RATE // 2, np.float32)
    return np.concatenate([part for each in sentences for part in (speak(each), silence)])


def wav(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, SAMPLE_RATE, len(samples), "NONE", ""))
        writer.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue()


def clips(count: int) -> list[bytes]:
    chooser = random.Random(0)
    return [wav(spoken(chooser.sample(ENGLISH, chooser.randint(1, 3)))) for _ in range(count)]


@contextlib.contextmanager
def started(command: Sequence[str | Path]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([str(each) for each in command], stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def ours(model: str) -> Iterator[str]:
    """The address of `mtasr serve`."""
    data = tempfile.mkdtemp()
    try:
        with started(
            [sys.executable, "-m", "mtasr", "serve", "--model", model, "--port", "0", "--data", data]
        ) as server:
            assert server.stderr is not None
            url = next(found[1] for line in server.stderr if (found := re.search(r"serving on (\S+);", line)))
            drain(server)
            yield url
    finally:
        shutil.rmtree(data)


def drain(server: subprocess.Popen[str]) -> None:
    """Read the log, which would fill the pipe."""
    assert server.stderr is not None
    threading.Thread(target=server.stderr.read, daemon=True).start()


@contextlib.contextmanager
def theirs(python: str, weights: Path) -> Iterator[str]:
    """The address of the peer."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with started([python, PEER, weights, str(port)]) as server:
        drain(server)
        url = f"http://127.0.0.1:{port}"
        while True:
            with contextlib.suppress(httpx.TransportError):
                httpx.get(url)
                break
            time.sleep(0.1)
        yield url


async def send(client: httpx.AsyncClient, clip: bytes, load: Load) -> str:
    began = time.perf_counter()
    answer = await client.post(PATH, files={"file": ("clip.wav", clip)}, data={"model": "whisper-1", "language": "en"})
    load.waits.append(time.perf_counter() - began)
    load.statuses[answer.status_code] += 1
    return str(answer.json().get("text", ""))


async def loaded(url: str, files: Sequence[bytes], clients: int) -> Load:
    """Send all files, so many at a time."""
    load, left = Load(), iter(files)
    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits) as client:

        async def one() -> None:
            for clip in left:
                await send(client, clip, load)

        began = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(clients)))
        load.seconds = time.perf_counter() - began
    return load


async def beside_a_long_one(url: str, minutes: float, times: int) -> Load:
    """Send a clip of 2 s again and again while a long recording is transcribed."""
    talk = spoken(ENGLISH)
    long = wav(np.tile(talk, -(-round(minutes * 60 * SAMPLE_RATE) // len(talk))))
    short = wav(speak(ENGLISH[0])[: 2 * SAMPLE_RATE])
    load = Load()
    async with httpx.AsyncClient(base_url=url, timeout=None) as client:
        fields = {"language": "en", "stream": "true"}
        async with client.stream("POST", PATH, files={"file": ("talk.wav", long)}, data=fields) as events:
            coming = events.aiter_lines()
            await anext(coming)  # it is being transcribed
            began = time.perf_counter()
            for number in range(times):
                await send(client, short, load)
                await asyncio.sleep(0.05 * (number % 7))
            load.seconds = time.perf_counter() - began
            if any("transcript.text.done" in line for line in await pending(coming)):
                raise RuntimeError("the long recording was done before the short ones")
    return load


async def pending(lines: object) -> list[str]:
    """The lines that have come."""
    found: list[str] = []
    with contextlib.suppress(TimeoutError, StopAsyncIteration):
        while True:
            found.append(await asyncio.wait_for(anext(lines), 0.05))  # type: ignore[call-overload]
    return found


def row(name: str, load: Load) -> str:
    statuses = ", ".join(f"{count} x {status}" for status, count in sorted(load.statuses.items()))
    return (
        f"| {name} | {load.rate:.2f} | {statistics.median(load.waits):.2f} | {load.quantile(0.95):.2f} "
        f"| {max(load.waits):.2f} | {statuses} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="base")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--clips", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--short", type=int, default=30, help="clips sent beside the long recording")
    parser.add_argument("--peers", help="the Python that has faster-whisper and FastAPI")
    args = parser.parse_args()
    files = clips(args.clips)
    found: dict[str, Load] = {}
    with contextlib.ExitStack() as running:
        urls = {"mtasr": running.enter_context(ours(args.model))}
        if args.peers:
            urls["faster-whisper"] = running.enter_context(theirs(args.peers, resolve(args.model)))
        for url in urls.values():  # warm
            asyncio.run(loaded(url, files[:4], 2))
        for _ in range(args.rounds):
            for name, url in urls.items():
                for clients in (1, args.clients):
                    key = f"{name}, {clients} at a time"
                    found[key] = found.get(key, Load()) + asyncio.run(loaded(url, files, clients))
        beside = asyncio.run(beside_a_long_one(urls["mtasr"], args.minutes, args.short))
        alone = asyncio.run(loaded(urls["mtasr"], [wav(speak(ENGLISH[0])[: 2 * SAMPLE_RATE])] * args.short, 1))
    print("| Load | Requests per second | Median, s | 95th percentile, s | Longest, s | Answers |")
    print("|---|---|---|---|---|---|")
    for name, load in found.items():
        print(row(name, load))
    print(row("mtasr, a clip of 2 s beside a long recording", beside))
    print(row("mtasr, a clip of 2 s alone", alone))
    at_once = found[f"mtasr, {args.clients} at a time"]
    print(f"\nAt a time, over one by one: {at_once.rate / found['mtasr, 1 at a time'].rate:.2f}")
    if args.peers:
        theirs_at_once = found[f"faster-whisper, {args.clients} at a time"]
        print(f"At a time, over faster-whisper: {at_once.rate / theirs_at_once.rate:.2f}")


if __name__ == "__main__":
    main()
