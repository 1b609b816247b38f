"""From the tokens of a window to segments and words with times."""
