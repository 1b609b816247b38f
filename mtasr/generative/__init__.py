"""Models that write speech: language models over units, and how their results are measured. Needs the extra `train`."""
