"""Each rule against a plain statement of itself, written token by token in Python, on random cases."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")

from vocabularies import vocabulary  # noqa: E402

from mtasr.engines.rules import (  # noqa: E402
    FORBIDDEN,
    NoRepeatNGram,
    RepetitionPenalty,
    Rule,
    SuppressBlank,
    SuppressTokens,
    TimestampRules,
    rules_for,
)
from mtasr.engines.search import log_probabilities  # noqa: E402
from mtasr.errors import UsageError  # noqa: E402
from mtasr.options import DecodingOptions  # noqa: E402
from mtasr.tokenizer import Tokenizer  # noqa: E402

# A vocabulary in small: text 0-29, end of text, specials, "no timestamps", timestamps.
EOT, NO_TIMESTAMPS, BEGIN, SIZE = 30, 37, 38, 60

#: What a rule says of one hypothesis: logits of the next token by id, with None for those it forbids.
Statement = Callable[[list[float], list[int]], list[float | None]]


def forbid(logits: list[float], banned: Callable[[int], bool]) -> list[float | None]:
    return [None if banned(token) else value for token, value in enumerate(logits)]


def penalty_statement(logits: list[float], tokens: list[int]) -> list[float | None]:
    penalised: list[float | None] = list(logits)
    for token in set(tokens):
        penalised[token] = logits[token] / 1.3 if logits[token] >= 0 else logits[token] * 1.3
    return penalised


def ngram_statement(size: int) -> Statement:
    def statement(logits: list[float], tokens: list[int]) -> list[float | None]:
        def occurs(token: int) -> bool:
            completed = [*tokens, token][-size:]
            return len(completed) == size and any(
                tokens[at : at + size] == completed for at in range(len(tokens) - size + 1)
            )

        return forbid(logits, occurs)

    return statement


def timestamp_statement(logits: list[float], tokens: list[int]) -> list[float | None]:
    """The sentences of the class's docstring, one after the other."""
    times = [token for token in tokens if token >= BEGIN]
    tail = [token >= BEGIN for token in tokens[-2:]]
    after_pair = tail in ([True], [True, True])
    after_first_of_pair = tail == [False, True]

    def banned(token: int) -> bool:
        is_time = token >= BEGIN
        if token == NO_TIMESTAMPS:
            return True
        if not tokens:
            return not is_time or token > BEGIN + 5
        if after_pair:
            return is_time
        if after_first_of_pair:
            return token < times[-1] if is_time else token < EOT
        return is_time and bool(times) and token <= times[-1]

    allowed = forbid(logits, banned)
    if not tokens or after_pair:
        return allowed
    time_mass = sum(math.exp(value) for value in allowed[BEGIN:] if value is not None)
    best_text = max((math.exp(value) for value in allowed[:BEGIN] if value is not None), default=0.0)
    if time_mass > best_text:
        return [None] * BEGIN + allowed[BEGIN:]
    return allowed


CASES: dict[str, tuple[Rule, Statement]] = {
    "suppress tokens": (SuppressTokens((3, 17, 45)), lambda logits, _: forbid(logits, {3, 17, 45}.__contains__)),
    "suppress blank": (
        SuppressBlank((5, EOT)),
        lambda logits, tokens: forbid(logits, lambda token: not tokens and token in (5, EOT)),
    ),
    "repetition penalty": (RepetitionPenalty(1.3), penalty_statement),
    "no repeated token": (NoRepeatNGram(1), ngram_statement(1)),
    "no repeated pair": (NoRepeatNGram(2), ngram_statement(2)),
    "no repeated triple": (NoRepeatNGram(3), ngram_statement(3)),
    "timestamps": (
        TimestampRules(eot=EOT, no_timestamps=NO_TIMESTAMPS, timestamp_begin=BEGIN, max_initial=5),
        timestamp_statement,
    ),
}


def random_tokens(generator: torch.Generator, rows: int, length: int) -> torch.Tensor:
    """Half of them timestamps, over few distinct values, so that pairs, runs and repeated n-grams are common."""
    text = torch.randint(0, 6, (rows, length), generator=generator)
    times = torch.randint(BEGIN, SIZE, (rows, length), generator=generator)
    return torch.where(torch.rand(rows, length, generator=generator) < 0.5, text, times)


@pytest.mark.parametrize("name", CASES)
def test_a_rule_does_what_its_statement_says(name: str) -> None:
    rule, statement = CASES[name]
    generator = torch.Generator().manual_seed(0)
    rows = 150
    for length in range(10):  # 7 rules x 10 lengths x 150 rows: over 10,000 cases
        tokens = random_tokens(generator, rows, length)
        # Sharp and flat distributions, so that sometimes text and sometimes the mass of timestamps is ahead.
        logits = torch.randn(rows, SIZE, generator=generator) * torch.rand(rows, 1, generator=generator) * 4
        untouched = logits.clone()
        result = rule.apply(logits, tokens)
        assert torch.equal(logits, untouched), "a rule must not change what it is given"
        expected = torch.tensor(
            [
                [FORBIDDEN if value is None else value for value in statement(before, written)]
                for before, written in zip(logits.tolist(), tokens.tolist(), strict=True)
            ]
        )
        torch.testing.assert_close(result, expected, rtol=1e-6, atol=1e-12)


def test_both_outcomes_of_the_comparison_of_masses_occur() -> None:
    rule, _ = CASES["timestamps"]
    tokens = torch.tensor([[BEGIN, 1]])
    sharp = torch.zeros(1, SIZE)
    sharp[0, 2] = 10
    assert (rule.apply(sharp, tokens)[0, :EOT] > FORBIDDEN).all()
    # No single timestamp beats a text token here; all 21 that are left, together, do.
    assert (rule.apply(torch.zeros(1, SIZE), tokens)[0, :BEGIN] == FORBIDDEN).all()


def test_where_everything_is_forbidden_there_are_still_numbers() -> None:
    everything = SuppressTokens(tuple(range(SIZE)))
    logprobs = log_probabilities(torch.randn(2, SIZE), torch.zeros(2, 1, dtype=torch.long), [everything])
    assert logprobs.isfinite().all()


TOKENIZER = Tokenizer(vocabulary())


def kinds(rules: tuple[Rule, ...]) -> list[str]:
    return [type(rule).__name__ for rule in rules]


def test_rules_follow_the_options() -> None:
    every = DecodingOptions(repetition_penalty=1.1, no_repeat_ngram_size=3, suppress_tokens=(-1, 40))
    rules = rules_for(TOKENIZER, every, timestamps=True, suppress_ids=(1, 2), suppress_ids_begin=(220,))
    assert kinds(rules) == ["RepetitionPenalty", "NoRepeatNGram", "SuppressTokens", "SuppressBlank", "TimestampRules"]
    assert rules[2] == SuppressTokens((1, 2, 40, *TOKENIZER.never_text))
    assert isinstance(rules[4], TimestampRules)
    assert rules[4].max_initial == 50  # one second

    none = DecodingOptions(suppress_blank=False, suppress_tokens=())
    rules = rules_for(TOKENIZER, none, timestamps=False, suppress_ids=(1, 2), suppress_ids_begin=(220,))
    assert rules == (SuppressTokens(TOKENIZER.never_text),)


def test_a_token_that_does_not_exist_cannot_be_suppressed() -> None:
    with pytest.raises(UsageError, match="suppress_tokens: the model has tokens 0 to"):
        rules_for(TOKENIZER, DecodingOptions(suppress_tokens=(99_999,)), timestamps=True)


def test_after_a_text_that_is_given_anything_may_come_but_the_token_without_timestamps() -> None:
    rules = TimestampRules(eot=5, no_timestamps=6, timestamp_begin=7, max_initial=1, begun=2)
    allowed = rules.apply(torch.zeros(1, 10), torch.tensor([[1, 2]])) > FORBIDDEN
    assert allowed.tolist() == [[True] * 6 + [False] + [True] * 3]
