"""Checkpoints: a model with its vocabulary and settings, in the formats of several programs.

`formats.py` lists the formats and says how to add one; `checkpoint.py` has what they share.
"""
