"""The options of the commands: value types, groups of options, and what they mean.

Names follow openai-whisper and whisper-ctranslate2. Decoding defaults come from `DecodingOptions` alone.
"""

from mtasr.cli.options.command import Command, Option, Switch, debug_option, normalise
from mtasr.cli.options.decoding import (
    audio_stream_option,
    decoding_options,
    language_option,
    languages_option,
    task_options,
    temperatures,
    to_decoding_options,
    to_tracks,
    track_options,
)
from mtasr.cli.options.files import (
    batch_options,
    files_argument,
    inputs_argument,
    needs_word_times,
    output_dir_option,
    output_options,
    progress_option,
    quiet_option,
    recursive_option,
    subtitle_options,
    to_layout,
    to_style,
)
from mtasr.cli.options.model import complete_model, model_options
from mtasr.cli.options.types import Count, Language, OneOf, SomeOf, flat

__all__ = [
    "Command",
    "Count",
    "Language",
    "OneOf",
    "Option",
    "SomeOf",
    "Switch",
    "audio_stream_option",
    "batch_options",
    "complete_model",
    "debug_option",
    "decoding_options",
    "files_argument",
    "flat",
    "inputs_argument",
    "language_option",
    "languages_option",
    "model_options",
    "needs_word_times",
    "normalise",
    "output_dir_option",
    "output_options",
    "progress_option",
    "quiet_option",
    "recursive_option",
    "subtitle_options",
    "task_options",
    "temperatures",
    "to_decoding_options",
    "to_layout",
    "to_style",
    "to_tracks",
    "track_options",
]
