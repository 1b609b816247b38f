"""Checkpoints: a model with its vocabulary and settings, in the formats of several programs."""
