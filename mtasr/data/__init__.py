"""Recordings with text: gathered, filtered, labelled and cut for training."""
