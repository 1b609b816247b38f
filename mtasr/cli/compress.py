"""`mtasr compress` and `mtasr decompress`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtasr.audio.write import SPEECH_ENDINGS, speech_ending
from mtasr.cli.display import Display
from mtasr.cli.failures import printable, terminable
from mtasr.cli.options.command import Command, debug_option, option
from mtasr.cli.options.files import quiet_option
from mtasr.errors import InputError, UsageError
from mtasr.extras import extras

if TYPE_CHECKING:
    from mtasr.generative.codec import Codec
    from mtasr.generative.codec_file import CodecFile

_CODEC = "Codec"
_PATH = click.Path(path_type=Path, dir_okay=False)
_ENDING = ".ecdc"
_PUBLISHED = "encodec_24khz"
#: Seconds of a recording, which is coded in one go, in memory that grows with its length.
_LONGEST = 600.0
#: Of Meta's tool.
_BANDWIDTH = 6.0


@click.command("compress", cls=Command)
@click.argument("recording", metavar="FILE", type=_PATH)
@option(
    _CODEC,
    "--output",
    "-o",
    type=_PATH,
    configurable=False,
    metavar="ECDC",
    help="Where to write the codes.  [default: FILE with the ending .ecdc]",
)
@option(
    _CODEC,
    "--codec",
    default=_PUBLISHED,
    show_default=True,
    configurable=False,
    metavar="NAME",
    help="The codec: encodec_24khz, which is downloaded (93 MB), a file .th of Meta's, a folder in transformers' form, "
    "or a run of `mtasr pretrain objective=codec`.",
)
@option(
    _CODEC,
    "--bandwidth",
    "-b",
    type=click.FloatRange(0, min_open=True),
    configurable=False,
    metavar="KBPS",
    help="Thousands of bits a second; encodec_24khz has .75 to 24.  [default: 6, or the most that the codec has]",
)
@quiet_option
@debug_option
def compress(**params: Any) -> None:
    """Turn a recording into the codes of a neural codec.

    The result is a file that Meta's tool `encodec` reads too, if the codec is encodec_24khz, and mtasr decompress with
    any. All channels are mixed, and FILE must not be longer than 10 minutes. Meta states no
    licence for the weights of encodec_24khz alone: ask before you use them commercially. Needs the extra `train`.
    """  # fmt: skip
    source: Path = params["recording"]
    target = params["output"] or source.with_suffix(_ENDING)
    if target.suffix.lower() != _ENDING:
        raise UsageError(f"{target}: its name must end with {_ENDING}")
    with extras():
        from mtasr.audio.at_rate import read_at_rate
        from mtasr.generative.codec_file import write_codec_file
    display = Display(quiet=params["quiet"])
    with terminable():
        codec = _loaded(params["codec"], display)
        config, bandwidth = codec.config, params["bandwidth"]
        most = config.kilobits(config.books)
        books = config.books_for(min(_BANDWIDTH, most) if bandwidth is None else bandwidth)
        samples = read_at_rate(source, config.rate, _LONGEST)
        codes = codec.codes_of(samples, books)
        write_codec_file(target, codes, config.bits, model=codec.name, samples=len(samples), digest=codec.digest)
    seconds = len(samples) / config.rate
    display.note(printable(f"{seconds:.1f} s at {config.kilobits(books):g} kbit/s in {target}"))


@click.command("decompress", cls=Command)
@click.argument("codes", metavar="ECDC", type=_PATH)
@option(
    _CODEC,
    "--output",
    "-o",
    type=_PATH,
    configurable=False,
    metavar="FILE",
    help=f"Where to write the sound. Its ending says how: {', '.join(SPEECH_ENDINGS)}.  "
    "[default: the name of ECDC with _decompressed.wav]",
)
@option(
    _CODEC,
    "--codec",
    configurable=False,
    metavar="NAME",
    help="The codec that made the codes, as for mtasr compress.  [default: encodec_24khz, if it did]",
)
@quiet_option
@debug_option
def decompress(**params: Any) -> None:
    """Turn the codes that mtasr compress or Meta's tool `encodec` wrote into sound again.

    The sound is as long as the recording was, to the sample. Codes that encodec wrote with --lm or --hq are not read.
    Needs the extra `train`.
    """
    source: Path = params["codes"]
    target = params["output"] or source.with_name(f"{source.stem}_decompressed.wav")
    ending = speech_ending(target)
    with extras():
        from mtasr.atomic import write_file
        from mtasr.audio.write import write_sound
        from mtasr.generative.codec_file import read_codec_file
    display = Display(quiet=params["quiet"])
    found = read_codec_file(source)
    if params["codec"] is None and found.model != _PUBLISHED:
        raise UsageError(f"{source}: was made by the codec {printable(found.model)}; name it with --codec")
    with terminable():
        codec = _loaded(params["codec"] or _PUBLISHED, display)
        _require_made_by(codec, found, source)
        config = codec.config
        try:
            codes = found.codes(config.bits, config.frames(found.samples))
        except InputError as exc:
            raise InputError(f"{source}: {exc}") from exc
        if codes.size and codes.max() >= config.entries:
            raise InputError(f"{source}: has codes that this codec does not know")
        sound = codec.sound_of(codes, found.samples)
        write_file(target, lambda passing: write_sound(sound, config.rate, passing, ending, {}))
    display.note(printable(f"{found.samples / config.rate:.1f} s of sound in {target}"))


def _require_made_by(codec: Codec, found: CodecFile, source: Path) -> None:
    """Raise `InputError` for codes of another codec, which would be noise, or that are too many."""
    other = found.digest != codec.digest if found.digest else found.model != codec.name
    if other or found.books > codec.config.books:
        raise InputError(f"{source}: was made by another codec than the one that --codec names")
    if found.samples > _LONGEST * codec.config.rate:
        raise InputError(f"{source}: is longer than {_LONGEST:g} s")
    if not found.samples:
        raise InputError(f"{source}: holds no sound")


def _loaded(name: str, display: Display) -> Codec:
    from mtasr.generative.codec_folder import load_codec

    with display.downloads() as progress:
        return load_codec(name, progress)
