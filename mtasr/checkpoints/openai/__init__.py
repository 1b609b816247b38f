"""OpenAI checkpoints: one file of torch."""
