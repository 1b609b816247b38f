"""Search on tables of probabilities small enough to try every sequence."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest

torch = pytest.importorskip("torch")

from mtasr.engines.rules import SuppressTokens  # noqa: E402
from mtasr.engines.search import Found, beam_search, greedy, sample  # noqa: E402

SIZE, EOT, MOST = 4, 3, 4


class Table:
    """Random but fixed logits for each beginning, and a check that `rows` says truly what continues what."""

    def __init__(self, seed: int, eot_bias: float = 0.0) -> None:
        self.seed, self.eot_bias = seed, eot_bias
        self.widths: list[int] = []
        self._before: torch.Tensor | None = None

    def logits(self, beginning: tuple[int, ...]) -> torch.Tensor:
        code = sum((token + 1) * 7**place for place, token in enumerate(beginning))
        values = 2 * torch.randn(SIZE, generator=torch.Generator().manual_seed(self.seed * 100_003 + code))
        values[EOT] += self.eot_bias
        return values

    def __call__(self, tokens: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        assert len(tokens) == len(rows)
        if self._before is not None:
            assert torch.equal(tokens[:, :-1], self._before[rows])
        else:
            assert tokens.shape[1] == 0
            assert not rows.any()
        self._before = tokens
        self.widths.append(len(tokens))
        return torch.stack([self.logits(tuple(row)) for row in tokens.tolist()])

    def everything(self) -> list[Found]:
        """Every sequence that ends, and every one that reaches the last step without."""
        found = []
        for length in range(MOST + 1):
            for tokens in itertools.product(range(EOT), repeat=length):
                whole = (*tokens, EOT) if length < MOST else tokens
                logprob = sum(
                    float(self.logits(whole[:at]).log_softmax(dim=0)[token]) for at, token in enumerate(whole)
                )
                found.append(Found(tokens, logprob))
        return found


def search(table: Table, beam_size: int, patience: float = 1.0, length_penalty: float = 1.0) -> Found:
    return all_found(table, beam_size, patience, length_penalty)[0]


def all_found(table: Table, beam_size: int, patience: float = 1.0, length_penalty: float = 1.0) -> list[Found]:
    return beam_search(
        table, (), eot=EOT, max_tokens=MOST, beam_size=beam_size, patience=patience, length_penalty=length_penalty
    )


@pytest.mark.parametrize("length_penalty", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(8))
def test_a_beam_wide_and_patient_enough_finds_the_best_of_all(seed: int, length_penalty: float) -> None:
    table = Table(seed)
    best = max(table.everything(), key=lambda found: found.score(length_penalty))
    result = search(table, beam_size=200, patience=10, length_penalty=length_penalty)
    assert result.tokens == best.tokens
    assert result.logprob == pytest.approx(best.logprob, abs=1e-5)


@pytest.mark.parametrize("seed", range(8))
def test_what_a_beam_wide_enough_finds_after_the_best_is_the_next_best_of_all(seed: int) -> None:
    table = Table(seed)
    best = sorted(table.everything(), key=lambda found: -found.score(1.0))[:5]
    assert [each.tokens for each in all_found(table, 200, 10)[:5]] == [each.tokens for each in best]


def test_without_length_penalty_the_most_probable_wins_and_the_search_stops_once_it_is_sure() -> None:
    tables = [Table(seed) for seed in range(8)]
    for table in tables:
        best = max(table.everything(), key=lambda found: found.logprob)
        assert search(table, beam_size=200, patience=10, length_penalty=0).tokens == best.tokens
        assert len(table.widths) >= min(len(best.tokens) + 1, MOST)
    assert min(len(table.widths) for table in tables) == 1


def plain_beam(table: Table, beam_size: int, patience: float, length_penalty: float) -> tuple[Found, int]:
    """Beam search once more, with lists and without tensors; returns the steps taken too."""
    beam: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    ended: list[Found] = []
    for step in range(1, MOST + 1):
        candidates = sorted(
            (
                (total + float(logprob), (*tokens, token))
                for tokens, total in beam
                for token, logprob in enumerate(table.logits(tokens).log_softmax(dim=0))
            ),
            reverse=True,
        )[: 2 * beam_size]
        for total, tokens in candidates[:beam_size]:
            if tokens[-1] == EOT:
                ended.append(Found(tokens[:-1], total))
            elif step == MOST:
                ended.append(Found(tokens, total))
        beam = [(tokens, total) for total, tokens in candidates if tokens[-1] != EOT][:beam_size]
        if len(ended) >= math.floor(beam_size * patience + 0.5):
            return max(ended, key=lambda found: found.score(length_penalty)), step
    return max(ended, key=lambda found: found.score(length_penalty)), MOST


@pytest.mark.parametrize("patience", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("beam_size", [2, 3, 5])
def test_narrow_beams_do_what_plain_lists_do(beam_size: int, patience: float) -> None:
    steps = Counter[int]()
    for seed in range(20):
        table = Table(seed, eot_bias=1.0)
        expected, taken = plain_beam(table, beam_size, patience, 1.0)
        result = search(table, beam_size, patience)
        assert result.tokens == expected.tokens
        assert result.logprob == pytest.approx(expected.logprob, abs=1e-5)
        assert len(table.widths) == taken
        assert max(table.widths) <= beam_size
        steps[taken] += 1
    assert patience > 1 or len(steps) > 1, "some of these searches should end early"


def test_patience_searches_longer() -> None:
    taken = []
    for patience in (0.5, 1.0, 3.0):
        tables = [Table(seed, eot_bias=1.0) for seed in range(10)]
        for table in tables:
            search(table, 3, patience)
        taken.append(sum(len(table.widths) for table in tables))
    assert taken == sorted(set(taken))


@pytest.mark.parametrize("seed", range(10))
def test_greedy_takes_the_best_token_at_each_step(seed: int) -> None:
    table, tokens, total = Table(seed), (), 0.0
    result = greedy(table, (), eot=EOT, max_tokens=MOST)
    for _ in range(MOST):
        logprobs = table.logits(tokens).log_softmax(dim=0)
        token = int(logprobs.argmax())
        total += float(logprobs[token])
        if token == EOT:
            break
        tokens = (*tokens, token)
    assert result.tokens == tokens
    assert result.logprob == pytest.approx(total, abs=1e-5)


def test_forbidden_tokens_are_never_written_and_take_no_probability() -> None:
    table = Table(3)
    rules = [SuppressTokens((0, 2, EOT))]
    found = greedy(table, rules, eot=EOT, max_tokens=MOST)
    assert found == Found((1,) * MOST, 0.0)


def draw(table: Table, *, seed: int = 0, temperature: float = 1.0, count: int = 1) -> Found:
    return sample(
        table,
        (),
        eot=EOT,
        max_tokens=MOST,
        temperature=temperature,
        count=count,
        length_penalty=1.0,
        generator=torch.Generator().manual_seed(seed),
    )[0]


def test_samples_are_as_frequent_as_they_are_probable() -> None:
    first = Counter(draw(Table(1), seed=seed).tokens[:1] for seed in range(1500))
    probabilities = Table(1).logits(()).softmax(dim=0)
    for token in range(SIZE):
        frequency = first[() if token == EOT else (token,)] / 1500
        assert frequency == pytest.approx(float(probabilities[token]), abs=0.05)


def test_the_temperature_sharpens_what_is_drawn_and_not_the_score() -> None:
    table = Table(1)
    cold = draw(table, temperature=0.01)
    assert cold.tokens == greedy(Table(1), (), eot=EOT, max_tokens=MOST).tokens
    assert cold.logprob == pytest.approx(greedy(Table(1), (), eot=EOT, max_tokens=MOST).logprob, abs=1e-5)


def test_more_samples_give_a_better_one_and_a_seed_repeats_them() -> None:
    assert draw(Table(2), seed=5, count=4) == draw(Table(2), seed=5, count=4)
    mean = [
        sum(max(draw(Table(seed), seed=seed, count=count).score(1.0), -50) for seed in range(100)) / 100
        for count in (1, 4, 16)
    ]
    assert mean == sorted(mean)


def test_a_sequence_that_ended_leaves_the_batch() -> None:
    table = Table(4, eot_bias=1.0)
    draw(table, count=16)
    assert table.widths == sorted(table.widths, reverse=True)
    assert table.widths[-1] < table.widths[0]


def test_the_empty_sequence_loses() -> None:
    assert Found((), -0.1).score(1.0) == -math.inf
    assert Found((), -0.1).score(0) == -0.1
    assert Found((1, 2), -3.0).score(1.0) == -1.5
