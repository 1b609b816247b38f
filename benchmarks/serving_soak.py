"""`mtasr serve` for a long time: what it holds must not grow, also when clients hang up.

    python benchmarks/serving_soak.py [--model base] [--requests 1000] [--gone 50] [--clients 8]

Clips are sent by several clients at a time; in between, some clients hang up at a random moment. After every tenth part
of the requests it prints the resident size, the open descriptors and the places in use, as `/metrics` has them.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections import Counter

import httpx
from serving import PATH, Load, clips, ours, send

_SHOWN = ("process_resident_memory_bytes", "process_open_fds")


async def hang_up(client: httpx.AsyncClient, clip: bytes, after: float) -> None:
    request = client.post(PATH, files={"file": ("clip.wav", clip)}, data={"stream": "true"})
    task = asyncio.ensure_future(request)
    await asyncio.sleep(after)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def figures(client: httpx.AsyncClient) -> dict[str, float]:
    text = (await client.get("/metrics")).text
    rows = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in rows}


async def soak(url: str, args: argparse.Namespace) -> Counter[int]:
    chooser, files, load = random.Random(0), clips(64), Load()
    async with httpx.AsyncClient(base_url=url, timeout=600) as client:

        async def one(left: list[int]) -> None:
            while left:
                number = left.pop()
                if number < args.gone // 10:
                    await hang_up(client, chooser.choice(files), chooser.uniform(0.0, 1.0))
                await send(client, chooser.choice(files), load)

        print("| Requests | Resident, MB | Descriptors | Places in use |\n|---|---|---|---|")
        for _ in range(10):
            left = list(range(args.requests // 10))
            await asyncio.gather(*(one(left) for _ in range(args.clients)))
            await asyncio.sleep(1.0)
            found = await figures(client)
            places = sum(value for name, value in found.items() if name.startswith("mtasr_places"))
            memory, descriptors = (found[name] for name in _SHOWN)
            print(f"| {len(load.waits)} | {memory / 1e6:.0f} | {descriptors:.0f} | {places:.0f} |", flush=True)
    return load.statuses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="base")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--gone", type=int, default=50, help="clients that hang up")
    parser.add_argument("--clients", type=int, default=8)
    args = parser.parse_args()
    with ours(args.model) as url:
        statuses = asyncio.run(soak(url, args))
    print(f"\nAnswers: {', '.join(f'{count} x {status}' for status, count in sorted(statuses.items()))}")


if __name__ == "__main__":
    main()
