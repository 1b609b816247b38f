"""Recordings: reading them, writing sound and video. Only this package starts subprocesses."""
