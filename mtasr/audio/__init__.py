"""Recordings: reading them, writing sound and video. This package starts ffmpeg."""
