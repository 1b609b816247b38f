"""Text read aloud over HTTP."""
