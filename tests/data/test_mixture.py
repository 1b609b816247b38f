"""Pools: everything once in each pass, in the shares that were asked for, the same for the same seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_files import write_shard
from training_data import record

from mtasr.data.mixture import Mixture
from mtasr.data.reading import RecordBlock, blocks_of
from mtasr.data.records import Record, write_records

#: Seconds of a record with one caption of 3 s.
SECONDS = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Held(RecordBlock):
    """A block that is read once, for tests that read it thousands of times."""

    held: tuple[Record, ...]

    @classmethod
    def of(cls, block: RecordBlock) -> Held:
        return cls(path=block.path, place=block.place, sizes=block.sizes, held=tuple(block.read()))

    def read(self) -> Iterator[Record]:
        return iter(self.held)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[list[RecordBlock]]:
    """600 records in a file, a quarter of them in French, and 200 in four shards, of which the last is Italian."""
    folder = tmp_path_factory.mktemp("sources")
    lines = (record("Hi.", id=f"l{n}", language="en" if n % 4 else "fr") for n in range(600))
    write_records(lines, folder / "lines.jsonl")
    for shard in range(4):
        numbers = range(50 * shard, 50 * shard + 50)
        write_shard(folder / f"shards/{shard}.tar", numbers, "it" if shard == 3 else "en")
    return [[Held.of(block) for block in blocks_of(folder / name)] for name in ("lines.jsonl", "shards")]


def drawn(mixture: Mixture, pools: int) -> Counter[str]:
    return Counter(each.id for number in range(pools) for each in mixture.pool(number))


@given(size=st.integers(1, 900), seed=st.integers(0, 3))
@settings(max_examples=min(40, settings.default.max_examples))
def test_a_pass_has_each_record_once(sources: list[list[RecordBlock]], size: int, seed: int) -> None:
    mixture = Mixture(sources, pool_seconds=SECONDS * size, seed=seed)
    everything = [name for source in sources for name in names(source)]
    assert mixture.passes_per_pool == min(1, size / 800)
    found: Counter[str] = Counter()
    for number in range(12):
        found.update(each.id for each in mixture.pool(number))
        most, least = max(found.values()), min(found[name] for name in everything)
        assert most - least <= 1
        assert found.total() == (number + 1) * min(size, 800)


def names(blocks: list[RecordBlock]) -> list[str]:
    return [each.id for block in blocks for each in block.read()]


def test_a_small_pool_of_everything_is_in_order(sources: list[list[RecordBlock]]) -> None:
    mixture = Mixture(sources, pool_seconds=1e6)
    wanted = [each for source in sources for block in source for each in block.read()]
    assert mixture.pool(0) == mixture.pool(7) == wanted


def test_pools_are_a_function_of_seed_and_number(sources: list[list[RecordBlock]]) -> None:
    def made(seed: int) -> Mixture:
        return Mixture(sources, pool_seconds=200 * SECONDS, seed=seed, temperature=3.0)

    first = made(1)
    pools = [first.pool(number) for number in range(6)]
    assert [made(1).pool(number) for number in (5, 2)] == [pools[5], pools[2]]
    assert made(2).pool(5) != pools[5]
    assert pools[0] != pools[1]


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0, 1e6])
def test_languages_come_by_temperature(sources: list[list[RecordBlock]], temperature: float) -> None:
    mixture = Mixture(sources, pool_seconds=80 * SECONDS, temperature=temperature)
    found = Counter(each.language for number in range(100) for each in mixture.pool(number))
    wanted = {"en": 600 ** (1 / temperature), "fr": 150 ** (1 / temperature), "it": 50 ** (1 / temperature)}
    for language, share in wanted.items():
        assert found[language] / found.total() == pytest.approx(share / sum(wanted.values()), abs=0.001)
    assert found.total() == pytest.approx(8000, abs=10)


def test_sources_come_by_weight(sources: list[list[RecordBlock]]) -> None:
    mixture = Mixture(sources, pool_seconds=100 * SECONDS, weights=[3, 7])
    found = drawn(mixture, 40)
    assert sum(count for name, count in found.items() if name[0] == "n") == pytest.approx(2800, abs=2)
    assert {count for name, count in found.items() if name[0] == "n"} == {14}
    assert {count for name, count in found.items() if name[0] == "l"} == {2}
    both = Mixture(sources, pool_seconds=100 * SECONDS, weights=[3, 7], temperature=1e6)
    languages = Counter((each.id[0], each.language) for number in range(40) for each in both.pool(number))
    assert languages["n", "it"] == pytest.approx(1400, abs=2)
    assert languages["l", "fr"] == pytest.approx(600, abs=2)


def test_shares_count_hours_and_not_recordings(tmp_path: Path) -> None:
    write_records(
        (record("Hi.", id=f"{n}", language="en", seconds=99.5, gap=0.25) for n in range(50)), tmp_path / "a.jsonl"
    )
    write_records(
        (record("Hi.", id=f"{n}", language="fr", seconds=9.5, gap=0.25) for n in range(50)), tmp_path / "b.jsonl"
    )
    mixed = [list(blocks_of(tmp_path / name)) for name in ("a.jsonl", "b.jsonl")]
    seconds: Counter[str | None] = Counter()
    for number in range(50):
        for each in Mixture(mixed, pool_seconds=1000, temperature=1e6).pool(number):
            seconds[each.language] += each.duration
    assert seconds["en"] == pytest.approx(seconds["fr"], rel=0.05)


def test_nothing(tmp_path: Path) -> None:
    write_records([], tmp_path / "none.jsonl")
    assert Mixture([], pool_seconds=10).pool(3) == []
    assert Mixture([list(blocks_of(tmp_path / "none.jsonl"))], pool_seconds=10).pool(3) == []
