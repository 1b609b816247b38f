"""The networks, in PyTorch, and their sizes."""
