"""Transcripts as files: written and read."""
