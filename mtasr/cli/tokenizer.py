"""`mtasr tokenizer train`."""

from __future__ import annotations

from pathlib import Path

import click

from mtasr.cli.failures import printable, terminable

_PATH = click.Path(path_type=Path)


@click.group("tokenizer")
def tokenizer() -> None:
    """Make a vocabulary for training a model from scratch. Needs the extra `train`."""


@tokenizer.command()
@click.argument("records", metavar="RECORDS...", nargs=-1, required=True, type=_PATH)
@click.option("--output", required=True, type=_PATH, metavar="FOLDER", help="The folder for the vocabulary.")
@click.option(
    "--size",
    type=click.IntRange(min=257),
    default=8000,
    show_default=True,
    help="Maximum number of text tokens. Short texts give fewer.",
)
def train(records: tuple[Path, ...], output: Path, size: int) -> None:
    """Learn a vocabulary from the texts in RECORDS.

    It has a token for each language that the records name. `mtasr data` writes such RECORDS. To train a model with the
    vocabulary, set `scratch` and `vocabulary: FOLDER` in the configuration of `mtasr train`.
    """
    from mtasr.data.reading import read_records
    from mtasr.training.vocabulary import learn_vocabulary, texts_of, write_vocabulary

    with terminable():
        # Read twice, so that memory does not grow with the records.
        languages = {record.language for path in records for record in read_records(path) if record.language}
        found = (record for path in records for record in read_records(path))
        tokens = learn_vocabulary(texts_of(found), size, sorted(languages))
        write_vocabulary(tokens, output)
    texts = tokens.index("")
    click.echo(printable(f"{texts} text tokens, {len(languages)} languages: the vocabulary is in {output}"), err=True)
