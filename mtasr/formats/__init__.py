"""Writers and readers of transcripts.

A new output format is one file in this folder, with a function `write(transcript, stream, style)`, and its line in the
table `OUTPUT_FORMATS` (registry.py). The command line's `--output-format`, `--output-format all`, `Transcript.write`
and `Transcript.to_format` read that table. A program that uses mtasr can add a format of its own to it.
"""
