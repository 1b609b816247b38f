"""The options of the commands: spellings, value types, groups in the help, and the way to `DecodingOptions`.

Names follow openai-whisper and whisper-ctranslate2. Decoding defaults come from `DecodingOptions` alone.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from mtasr.audio.tracks import Tracks
from mtasr.cli import failures
from mtasr.errors import UsageError
from mtasr.formats.cues import Style
from mtasr.formats.registry import OUTPUT_FORMATS
from mtasr.options import FALLBACK_TEMPERATURES, DecodingOptions
from mtasr.subtitles import STYLES, Layout

if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # generic from click 8.4 on

_F = TypeVar("_F", bound=Callable[..., Any])

DEFAULTS = DecodingOptions()

#: The precisions that CTranslate2 knows, and "auto".
COMPUTE_TYPES = (
    "auto", "default", "int8", "int8_float16", "int8_float32", "int8_bfloat16", "int16", "float16", "bfloat16",
    "float32",
)  # fmt: skip


def normalise(name: str) -> str:
    """One spelling of `--beam-size` and `--beam_size`; click applies it to names and never to values."""
    return name.replace("_", "-")


# --- options and commands -------------------------------------------------------------------------------------------


#: Heading of the options that belong to no group of ours.
_OTHER = "Other"


class Option(click.Option):
    """An option that knows its heading in the help, and may be set by a configuration file and the environment.

    It may unless it names a file or is told that it may not, being about one recording alone.
    """

    def __init__(self, *args: Any, group: str = _OTHER, configurable: bool | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group
        if configurable is None:
            configurable = not self.hidden and not isinstance(self.type, click.Path)
        if configurable:
            self.envvar = f"MTASR_{self.key.upper()}"
        self.configurable = configurable

    @property
    def key(self) -> str:
        """Its name in configuration files."""
        return next(name for name in self.opts if name.startswith("--"))[2:].replace("-", "_")

    def handle_parse_result(
        self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        try:
            return super().handle_parse_result(ctx, opts, args)
        except click.BadParameter as error:
            if ctx.get_parameter_source(str(self.name)) is ParameterSource.ENVIRONMENT:
                error.param_hint = str(self.envvar)
            raise


class Switch(Option):
    """A boolean: `--name`, `--no-name`, and with a value `--name True`, for which `Command` makes room."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        if self.hidden:
            return None
        text = f"{self.help}  [default: on]" if self.default is True else self.help
        return f"--[no-]{self.opts[0].removeprefix('--')}", text or ""


#: Where the settings that a project's file makes are noted in click's context, and the file's name.
PROJECT = "mtasr.project"
#: Where lines about variables are noted whose names are nearly those of settings.
MISSPELT = "mtasr.misspelt"


class Command(click.Command):
    """A command with grouped help, whose switches may have the values True and False.

    Settings that come from the file of a project are told, since it may be somebody else's; so are variables that were
    meant to set something.
    """

    def invoke(self, ctx: click.Context) -> Any:
        from mtasr.cli.display import Display

        display = Display(quiet=ctx.params.get("quiet", False), progress=ctx.params.get("progress", "bar"))
        for line in ctx.meta.get(MISSPELT, ()):
            display.note(f"warning: {line}")
        file, names = ctx.meta.get(PROJECT, ("", frozenset()))
        used = [
            param.key
            for param in self.params
            if isinstance(param, Option)
            and param.name in names
            and ctx.get_parameter_source(str(param.name)) is ParameterSource.DEFAULT_MAP
        ]
        if used:
            display.note(f"{file} sets {', '.join(used)}")
        return super().invoke(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _fold_switches(self, ctx, args))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if not isinstance(param, click.Option):
                continue
            record = param.get_help_record(ctx)
            if record is not None:
                groups.setdefault(getattr(param, "group", _OTHER), []).append(record)
        groups[_OTHER] = groups.pop(_OTHER)  # last; --help is always in it
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records, col_max=28)


def _fold_switches(command: click.Command, ctx: click.Context, args: list[str]) -> list[str]:
    """`args` with `--name True`, `--name=False` and so on as the bare `--name` or `--no-name`.

    Only the words True, False and None are taken as a switch's value, so a file after the switch stays a file. Values
    of other options and all after `--` stay as they are.
    """
    options = {name: p for p in command.get_params(ctx) if isinstance(p, click.Option) for name in p.opts}
    folded: list[str] = []
    rest = iter([*args])
    pending = next(rest, None)
    while pending is not None:
        arg, pending = pending, next(rest, None)
        if arg == "--":
            return [*folded, arg, *([] if pending is None else [pending]), *rest]
        name, equals, value = arg.partition("=")
        option = options.get(f"--{normalise(name[2:])}") if arg.startswith("--") else None
        if isinstance(option, Switch):
            if not equals and pending is not None and _truth(pending) is not None:
                value, equals, pending = pending, "=", next(rest, None)
            folded.append(_bare(option, arg, value if equals else "True"))
            continue
        folded.append(arg)
        takes_next = not equals and not option.is_flag if option else _short_takes_next(arg, options)
        if takes_next and pending is not None:
            folded.append(pending)
            pending = next(rest, None)
    return folded


def _bare(switch: Switch, arg: str, value: str) -> str:
    truth = _truth(value)
    if truth is None:
        raise click.BadOptionUsage(arg, f"Option {switch.opts[0]!r} is True or False, not {value!r}.")
    return switch.opts[0] if truth else switch.secondary_opts[0]


def _truth(text: str) -> bool | None:
    return {"true": True, "false": False, "none": False}.get(text.lower())


def _short_takes_next(arg: str, options: Mapping[str, click.Option]) -> bool:
    """Whether the next argument is the value of a group of short options such as `-qo`."""
    if arg.startswith("--") or not arg.startswith("-"):
        return False
    for place, letter in enumerate(arg[1:], start=2):
        option = options.get(f"-{letter}")
        if option is None:
            return False
        if not option.is_flag:
            return place == len(arg)
    return False


# --- value types ----------------------------------------------------------------------------------------------------


class NoneOr(_ParamType):
    """A value of another type, or the word None, which stands for `none`."""

    def __init__(self, kind: _ParamType, none: Any = None) -> None:
        self.kind = kind
        self.none = none
        self.name = kind.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return self.none if value == "None" else self.kind.convert(value, param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return self.kind.shell_complete(ctx, param, incomplete)


class Count(_ParamType):
    """A whole number from `least` on. click's own `IntRange` writes x>=0 into the help."""

    name = "n"

    def __init__(self, least: int = 0) -> None:
        self.least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        number: int = click.INT.convert(value, param, ctx)
        if number < self.least:
            self.fail(f"{number} is less than {self.least}.", param, ctx)
        return number


class OneOf(_ParamType):
    """One of some words. click's own `Choice` would respell them too, int8_float16 as int8-float16."""

    name = "word"

    def __init__(self, *words: str) -> None:
        self.words = words

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return "|".join(self.words)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        word = str(value).lower()
        if word not in self.words:
            self.fail(f"{value!r} is not one of {', '.join(self.words)}.", param, ctx)
        return word

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(word) for word in self.words if word.startswith(incomplete.lower())]


class SomeOf(OneOf):
    """Some words between commas, as a tuple; an option of it that may be repeated needs `flat` as its callback."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        return tuple(super(SomeOf, self).convert(word.strip(), param, ctx) for word in str(value).split(","))

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return _complete_last(OneOf(*self.words), ctx, param, incomplete)


def _complete_last(
    kind: _ParamType, ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The last of some words between commas."""
    before, comma, last = incomplete.rpartition(",")
    return [CompletionItem(before + comma + item.value) for item in kind.shell_complete(ctx, param, last)]


def flat(ctx: click.Context, param: click.Parameter, value: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The values of all repetitions one after the other."""
    return tuple(word for words in value for word in words)


class Language(_ParamType):
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

        words = [*LANGUAGES, *(name for name in LANGUAGES.values() if " " not in name)]
        return [CompletionItem(word) for word in words if word.startswith(incomplete.lower())]


class Languages(_ParamType):
    """Languages by code or English name, between commas, as their codes."""

    name = "languages"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        return tuple(Language().convert(each.strip(), param, ctx) for each in str(value).split(","))

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return _complete_last(Language(), ctx, param, incomplete)


class Names(_ParamType):
    """Names between commas."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        return value if isinstance(value, tuple) else tuple(str(value).split(","))


class Device(_ParamType):
    """auto, cpu, cuda or cuda:N."""

    name = "device"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        device = str(value).lower()
        if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", device):
            self.fail(f"{value!r} is not auto, cpu, cuda or cuda:N.", param, ctx)
        return device

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(word) for word in ("auto", "cpu", "cuda") if word.startswith(incomplete)]


class Numbers(_ParamType):
    """Numbers between commas, nothing for none; `example` is what an error calls a list of them."""

    def __init__(self, name: str, kind: type[int] | type[float], example: str) -> None:
        self.name, self.kind, self.example = name, kind, example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self.kind(part) for part in str(value).split(",") if part.strip())
        except ValueError:
            self.fail(f"{value!r} is not a list of {self.example}.", param, ctx)


#: -1 stands for the model's own list.
TOKEN_IDS = Numbers("ids", int, "numbers such as -1 or 50257,50362")
SECONDS = Numbers("times", float, "seconds such as 10,25.5,60,90")


# --- the options, by group ------------------------------------------------------------------------------------------


def _all(*decorators: Callable[[_F], _F]) -> Callable[[_F], _F]:
    def apply(function: _F) -> _F:
        for decorator in reversed(decorators):  # click adds the last decorator first
            function = decorator(function)
        return function

    return apply


def _option(group: str, *names: str, **settings: Any) -> Callable[[_F], _F]:
    return click.option(*names, cls=Option, group=group, **settings)


def _switch(group: str, name: str, **settings: Any) -> Callable[[_F], _F]:
    return click.option(f"--{name}/--no-{name}", cls=Switch, group=group, **settings)


#: The same in fewer letters, so that most options stay on one line of help.
_METAVARS = {"integer": "N", "float": "X"}


def _field(group: str, field: str, kind: _ParamType, text: str, **settings: Any) -> Callable[[_F], _F]:
    """The option for a field of `DecodingOptions`, with the field's default."""
    settings = {"default": getattr(DEFAULTS, field), "metavar": _METAVARS.get(kind.name)} | settings
    return _option(group, f"--{normalise(field)}", type=kind, help=text, **settings)


def _field_switch(group: str, field: str, text: str) -> Callable[[_F], _F]:
    return _switch(group, normalise(field), default=getattr(DEFAULTS, field), help=text)


def _note_debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[failures.DEBUG] = True


debug_option = click.option(
    "--debug", is_flag=True, expose_value=False, is_eager=True, callback=_note_debug, help="Show where an error arose."
)


def _named_files(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    if value.count("-") > 1:
        raise click.BadParameter("standard input (-) can be read only once.", ctx, param)
    if "" in value:
        raise click.BadParameter("an empty name names no file.", ctx, param)
    return value


def _complete_file(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(incomplete, type="file")]


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of models, or else folders."""
    from mtasr.models.registry import MODELS

    names = [CompletionItem(name) for name in MODELS if name.startswith(incomplete)]
    return names or [CompletionItem(incomplete, type="dir")]


files_argument = click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, callback=_named_files, shell_complete=_complete_file
)

inputs_argument = click.argument(
    "files", metavar="[FILE]...", nargs=-1, callback=_named_files, shell_complete=_complete_file
)

quiet_option = _option("Output", "--quiet", "-q", is_flag=True, help="Print nothing but errors.")

language_option = _option(
    "Language",
    "--language",
    type=NoneOr(Language()),
    metavar="LANG",
    help="Spoken: code or name.  [default: detect it]",
)

languages_option = _option(
    "Language",
    "--languages",
    type=NoneOr(Languages()),
    metavar="LANG,LANG",
    help="When it is detected: one of these.",
)

_BOTH = "transcribe,translate"

task_options = _all(
    _option(
        "Language",
        "--task",
        type=OneOf("transcribe", "translate", _BOTH),
        default=DEFAULTS.task,
        metavar="TASK",
        help="Or translate, which is into English, or both: transcribe,translate.",
    ),
    _field_switch("Language", "also_translate", "Write it in English as well."),
)

model_options = _all(
    _option(
        "Model",
        "--model",
        metavar="NAME|FOLDER",
        shell_complete=complete_model,
        help="Model name or folder; see `mtasr models list`.",
    ),
    _option("Model", "--device", type=Device(), default="auto", metavar="DEVICE", help="auto, cpu, cuda or cuda:N."),
    _option("Model", "--device-index", type=Count(), default=0, help="Which GPU."),
    _option(
        "Model",
        "--compute-type",
        type=OneOf(*COMPUTE_TYPES),
        default="auto",
        metavar="TYPE",
        help="auto, int8, int8_float16, float16, float32, ...",
    ),
    _option(
        "Model",
        "--threads",
        type=Count(),
        default=0,
        help="CPU threads in all; 0 chooses.",
    ),
    _option("Model", "--workers", type=Count(), default=0, help="Batches decoded at a time; 0 chooses."),
    _option("Model", "--batch-size", type=Count(), default=0, help="Windows in a batch; 0 chooses."),
    _option(
        "Model",
        "--engine",
        type=OneOf("ctranslate2", "torch"),
        default="ctranslate2",
        metavar="NAME",
        help="Or torch, the reference.",
    ),
    # openai-whisper's name for the precision on a GPU, which is --compute-type here.
    _switch("Model", "fp16", default=True, hidden=True, expose_value=False),
)


def _output_dir(*short: str) -> Callable[[_F], _F]:
    return _option(
        "Output",
        "--output-dir",
        *short,
        "directory",
        type=click.Path(),
        default=".",
        configurable=True,
        metavar="FOLDER",
        help="Where to write.",
    )


#: For commands whose -o is something else.
output_dir_option = _output_dir()

output_options = _all(
    _option(
        "Output",
        "--output-format",
        "-f",
        "formats",
        type=SomeOf(*OUTPUT_FORMATS, "all"),
        multiple=True,
        default=("srt",),
        callback=flat,
        help="Files to write, such as srt,json.",
    ),
    _output_dir("-o"),
    _switch("Output", "verbose", default=True, help="Print the text as it comes."),
    _option("Output", "--timings", type=click.Path(dir_okay=False), hidden=True, help="Seconds by stage, as JSON."),
    _switch("Output", "strict", default=False, help="Exit with 6 if speech has no text, or text no speech."),
    quiet_option,
)

_BATCHES = "Batches"

recursive_option = _option(_BATCHES, "--recursive", "-r", is_flag=True, help="Look into subfolders of folders too.")

progress_option = _option(
    "Output",
    "--progress",
    type=OneOf("bar", "json", "none"),
    default="bar",
    help="json: for programs, on standard error.",
)

batch_options = _all(
    _option(
        _BATCHES,
        "--files-from",
        type=click.Path(dir_okay=False, allow_dash=True),
        metavar="LIST",
        help="Names in a file, a line each; - for standard input.",
    ),
    recursive_option,
    _option(
        _BATCHES, "--overwrite", is_flag=True, configurable=False, help="Replace files that are there; the default."
    ),
    _option(
        _BATCHES, "--skip-existing", is_flag=True, configurable=False, help="Skip recordings whose files are there."
    ),
    _option(_BATCHES, "--resume", is_flag=True, configurable=False, help="Go on where the same command was stopped."),
    progress_option,
)

_SUBTITLES = "Subtitles"

subtitle_options = _all(
    _option(
        _SUBTITLES,
        "--subtitle-style",
        type=OneOf(*STYLES),
        default="web",
        metavar="STYLE",
        help=f"{', '.join(STYLES)} (segments as recognised).",
    ),
    _option(_SUBTITLES, "--max-line-width", type=NoneOr(Count(1)), help="Characters.  [default: the style's]"),
    _option(_SUBTITLES, "--max-line-count", type=NoneOr(Count(1)), help="Lines.  [default: the style's]"),
    _option(_SUBTITLES, "--max-words-per-line", type=NoneOr(Count(1)), help="Words.  [default: the style's]"),
    _option(
        _SUBTITLES,
        "--max-cps",
        type=NoneOr(click.FLOAT),
        metavar="X",
        help="Characters a second.  [default: the style's]",
    ),
    _switch(_SUBTITLES, "highlight-words", default=False, help="Underline the word spoken, in SRT and VTT."),
)

_WORDS = "Word times"
_SEARCH = "Search"
_CHECKS = "Checks and fallback"
_CONTEXT = "Context and tokens"
_VOICE = "Input and voice activity"

audio_stream_option = _option(
    _VOICE,
    "--audio-stream",
    type=Count(),
    default=0,
    help="Which audio track of a file, from 0 on.",
)

track_options = _all(
    audio_stream_option,
    _option(
        _VOICE,
        "--channels",
        type=OneOf("mix", "split"),
        default="mix",
        help="split: who says what, a speaker a channel.",
    ),
    _option(
        _VOICE,
        "--speakers",
        type=NoneOr(Names()),
        metavar="NAME,NAME",
        help="What they are called, channel by channel.",
    ),
)

decoding_options = _all(
    languages_option,
    _field_switch("Language", "multilingual", "The language may change: detect it in every window."),
    _field_switch(_WORDS, "word_timestamps", "Find the times of each word; subtitles do."),
    _field(
        _WORDS, "prepend_punctuations", click.STRING, "Marks that belong to the word after them.", show_default=False
    ),
    _field(
        _WORDS, "append_punctuations", click.STRING, "Marks that belong to the word before them.", show_default=False
    ),
    # What None means is openai-whisper's: no beam, one sample, plain scores.
    _field(_SEARCH, "beam_size", NoneOr(click.INT, 1), "Width of the beam at temperature 0."),
    _field(_SEARCH, "patience", NoneOr(click.FLOAT, 1.0), "Go on until beam size x this have ended."),
    _field(_SEARCH, "length_penalty", NoneOr(click.FLOAT, 1.0), "Divide scores by length to this power."),
    _field(_SEARCH, "repetition_penalty", click.FLOAT, "Above 1: avoid words already used."),
    _field(_SEARCH, "no_repeat_ngram_size", click.INT, "No run of N tokens twice; 0: allow."),
    _field(_SEARCH, "n_best", click.INT, "Readings of each window to tell, in JSON."),
    _field(
        _CHECKS,
        "temperature",
        NoneOr(click.FLOAT, FALLBACK_TEMPERATURES[0]),
        "Randomness of the first try.",
        default=FALLBACK_TEMPERATURES[0],
    ),
    _option(
        _CHECKS,
        "--temperature-increment-on-fallback",
        "temperature_increment",
        metavar="X",
        type=NoneOr(click.FLOAT),
        default=FALLBACK_TEMPERATURES[1] - FALLBACK_TEMPERATURES[0],
        help="More for each further try; None: one try.",
    ),
    _field(_CHECKS, "best_of", NoneOr(click.INT, 1), "Samples above temperature 0."),
    _field(_CHECKS, "seed", click.INT, "The same seed draws the same samples."),
    _field(_CHECKS, "compression_ratio_threshold", NoneOr(click.FLOAT), "Above it, text is a loop: try again."),
    _field(_CHECKS, "logprob_threshold", NoneOr(click.FLOAT), "Below it, text is a guess: try again."),
    _field(_CHECKS, "no_speech_threshold", NoneOr(click.FLOAT), "Above it, a guess is silence."),
    _field(
        _VOICE,
        "clip_timestamps",
        SECONDS,
        "Only from START to END seconds, ...",
        metavar="START,END,...",
        configurable=False,
        default="",
        show_default=False,
    ),
    _field_switch(_VOICE, "vad_filter", "Decode only where somebody speaks."),
    _field(_VOICE, "vad_threshold", click.FLOAT, "Speech is what is this probable to be it."),
    _field(_CONTEXT, "initial_prompt", NoneOr(click.STRING), "Names, spelling, style to expect."),
    _field(_CONTEXT, "prefix", NoneOr(click.STRING), "What the first window begins with.", configurable=False),
    _field(_CONTEXT, "hotwords", NoneOr(click.STRING), "Words to expect in every window."),
    _field_switch(_CONTEXT, "condition_on_previous_text", "Whisper's own long form: slower, one window at a time."),
    _field(_CONTEXT, "prompt_reset_on_temperature", click.FLOAT, "But not after a try that was more random than this."),
    _field(
        _CONTEXT,
        "suppress_tokens",
        NoneOr(TOKEN_IDS, ()),
        "Never write them; -1: non-speech signs.",
        default=",".join(map(str, DEFAULTS.suppress_tokens)),
    ),
    _field_switch(_CONTEXT, "suppress_blank", "Start no window with a blank."),
    _field_switch(_CONTEXT, "without_timestamps", "One segment for each window."),
    _field(
        _CONTEXT,
        "max_initial_timestamp",
        NoneOr(click.FLOAT, 30.0),
        "Latest first time in a window.",
    ),
)


# --- what the options mean ------------------------------------------------------------------------------------------


def to_decoding_options(params: Mapping[str, Any]) -> DecodingOptions:
    """The `DecodingOptions` in a command's parameters. Raises `UsageError` for a value out of range."""
    names = {field.name for field in dataclasses.fields(DecodingOptions)}
    given = {name: value for name, value in params.items() if name in names}
    given["temperature"] = temperatures(params["temperature"], params["temperature_increment"])
    if given["task"] == _BOTH:
        given |= {"task": "transcribe", "also_translate": True}
    return DecodingOptions(**given)


def to_tracks(params: Mapping[str, Any]) -> Tracks:
    """The `Tracks` in a command's parameters. Raises `UsageError` for a combination that makes no sense."""
    return Tracks(audio_stream=params["audio_stream"], channels=params["channels"], speakers=params["speakers"] or ())


def to_style(params: Mapping[str, Any], options: DecodingOptions) -> Style:
    """The look of subtitles in a command's parameters. Raises `UsageError` for one that there are no times for."""
    if params["highlight_words"] and not options.word_timestamps:
        raise UsageError("--highlight-words needs the times of words: add --word-timestamps")
    return Style(highlight_words=params["highlight_words"])


def to_layout(params: Mapping[str, Any]) -> Layout | None:
    """The `Layout` in a command's parameters, None for raw segments. Raises `UsageError` for what makes no sense."""
    layout = STYLES[params["subtitle_style"]]
    limits = ("max_line_width", "max_line_count", "max_words_per_line", "max_cps")
    given = {name: params[name] for name in limits if params[name] is not None}
    if layout is None:
        if given:
            raise UsageError(f"--{normalise(next(iter(given)))} needs a --subtitle-style other than raw")
        return None
    # A limit that somebody gives holds for every script.
    given |= {f"{name}_cjk": given[name] for name in ("max_line_width", "max_cps") if name in given}
    return dataclasses.replace(layout, **given)


def needs_word_times(params: Mapping[str, Any], options: DecodingOptions, layout: Layout | None) -> bool:
    """Whether subtitles are laid out that want word times which nobody has decided about.

    Those of a translation are vague: the model translates sentences, not words.
    """
    subtitled = any(form == "all" or OUTPUT_FORMATS[form].is_subtitle for form in params["formats"])
    return layout is not None and subtitled and options.task == "transcribe"


def temperatures(first: float, increment: float | None) -> tuple[float, ...]:
    """From `first` up to 1 by `increment`, as in openai-whisper; `first` alone without an increment."""
    if not 0 <= first <= 2:
        raise UsageError(f"temperature is between 0 and 2, not {first}")
    if increment is None:
        return (first,)
    if not increment >= 0.01:
        raise UsageError(f"temperature_increment_on_fallback is None or at least 0.01, not {increment}")
    further = math.floor((1.0 - first) / increment + 1e-6)
    return tuple(round(first + i * increment, 10) for i in range(max(further, 0) + 1))
