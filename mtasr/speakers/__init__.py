"""Who speaks when: turns of a recording, and a speaker on every segment and word of its transcript."""
