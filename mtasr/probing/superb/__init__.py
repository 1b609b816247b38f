"""Corpora in the layouts that SUPERB's recipes expect, as labelled clips: one file for each corpus.

A reader takes the folders of a corpus and raises `ManifestError` for what is missing or damaged.
"""
