"""Types of option values: how they are spelt, checked and completed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from mtasr.errors import UsageError

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # generic from click 8.4 on


class NoneOr(ParamType):
    """A value of another type, or the word None, which stands for `none`."""

    def __init__(self, kind: ParamType, none: Any = None) -> None:
        self.kind = kind
        self.none = none
        self.name = kind.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return self.none if value == "None" else self.kind.convert(value, param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return self.kind.shell_complete(ctx, param, incomplete)


class Count(ParamType):
    """A whole number of at least `least`. click's own `IntRange` writes x>=0 into the help."""

    name = "n"

    def __init__(self, least: int = 0) -> None:
        self.least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        number: int = click.INT.convert(value, param, ctx)
        if number < self.least:
            self.fail(f"{number} is less than {self.least}.", param, ctx)
        return number


class OneOf(ParamType):
    """One of some words. click's own `Choice` would respell them too, int8_float16 as int8-float16."""

    name = "word"

    def __init__(self, *words: str) -> None:
        self.words = words

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return "|".join(self.words)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        word = str(value).lower()
        if word not in self.words:
            self.fail(f"{value!r} is not one of {', '.join(self.words)}.", param, ctx)
        return word

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return _starting_with(self.words, incomplete)


class Language(ParamType):
    """A language by code or English name, as its code."""

    name = "language"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from mtasr.tokenizer.languages import to_code

        try:
            return to_code(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from mtasr.tokenizer.languages import LANGUAGES

        return _starting_with([*LANGUAGES, *(name for name in LANGUAGES.values() if " " not in name)], incomplete)


class Device(ParamType):
    """auto, cpu, cuda or cuda:N."""

    name = "device"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        device = str(value).lower()
        if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", device):
            self.fail(f"{value!r} is not auto, cpu, cuda or cuda:N.", param, ctx)
        return device

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return _starting_with(("auto", "cpu", "cuda"), incomplete)


class Several(ParamType):
    """Values of another type between commas, as a tuple. An option that may be repeated has `flat` as its callback."""

    def __init__(self, kind: ParamType) -> None:
        self.kind, self.name = kind, kind.name

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str | None:
        return self.kind.get_metavar(param, ctx)  # type: ignore[arg-type]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        if isinstance(value, tuple):
            return value
        return tuple(self.kind.convert(each.strip(), param, ctx) for each in str(value).split(","))

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",")
        return [CompletionItem(before + comma + item.value) for item in self.kind.shell_complete(ctx, param, last)]


class SomeOf(Several):
    """Some of these words between commas."""

    def __init__(self, *words: str) -> None:
        super().__init__(OneOf(*words))


def flat(ctx: click.Context, param: click.Parameter, value: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The values of all repetitions one after the other."""
    return tuple(word for words in value for word in words)


class Numbers(ParamType):
    """Numbers between commas, possibly none; `example` is what an error calls a list of them."""

    def __init__(self, name: str, kind: type[int] | type[float], example: str) -> None:
        self.name, self.kind, self.example = name, kind, example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self.kind(part) for part in str(value).split(",") if part.strip())
        except ValueError:
            self.fail(f"{value!r} is not a list of {self.example}.", param, ctx)


def _starting_with(words: Sequence[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(word) for word in words if word.startswith(incomplete.lower())]
